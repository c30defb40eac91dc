"""Pytest's side: options, hooks, what checks ask for, what runs in place of checks."""
