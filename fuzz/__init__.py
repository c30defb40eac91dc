"""Hostile bytes: what they do to everything here that reads what others wrote. ``./run fuzz`` runs it."""
