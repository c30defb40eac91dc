"""Shell functions that protect root where other users could have replaced a file or folder."""

from __future__ import annotations

from circuit_harness.remote.script import Scripts

GUARD = Scripts.beside(__file__).text("guard")
"""Shell, for root: ``only_roots PATH`` ends with status 0 if only root can change or replace the file or folder;
``as_user UID:GID COMMAND...`` runs a command as this user and group."""
