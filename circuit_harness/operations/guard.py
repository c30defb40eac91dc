"""What root checks before it reads or writes where others could have put something else."""

from __future__ import annotations

from circuit_harness.remote.script import Scripts

GUARD = Scripts.beside(__file__).text("guard")
"""Shell, for root: ``only_roots PATH`` ends with status 0 where nobody else can change what is there, or put something
else there; ``as_user UID:GID COMMAND...`` runs a command with these rights and groups."""
