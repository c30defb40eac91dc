"""Check the parameters of a service."""

from __future__ import annotations

import re

from circuit_harness.errors import DeployError

PORTS = range(1024, 65536)
"""Only root's programs can listen on a port below 1024."""

NAMES = "up to 24 lowercase letters, digits and _, beginning with a letter"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,23}")


def is_name(text: str) -> bool:
    """Return whether a text can name a service, a database or a user, in a path and in SQL without quotes."""
    return bool(_NAME.fullmatch(text))


def check(name: str, port: int) -> None:
    """Check the name and the port of a service.

    :raises DeployError: one of them is not valid.
    """
    if not is_name(name):
        raise DeployError(f"{name!r} is not a valid service name: use {NAMES}")
    if port not in PORTS:
        raise DeployError(f"service {name}: port {port!r} is not from {PORTS.start} to {PORTS.stop - 1}")
