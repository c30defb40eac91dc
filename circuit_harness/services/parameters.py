"""What the parameters of a service can be."""

from __future__ import annotations

import re

from circuit_harness.errors import DeployError

PORTS = range(1024, 65536)
"""Ports below are only for root's programs to listen on."""

NAMES = "up to 24 small letters, digits and _, the first of them a letter"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,23}")


def is_name(text: str) -> bool:
    """Whether a text can name a service, a database or a user, in a path and in SQL without quotes."""
    return bool(_NAME.fullmatch(text))


def check(name: str, port: int) -> None:
    """Refuse the name or the port of a service.

    :raises DeployError: one cannot be.
    """
    if not is_name(name):
        raise DeployError(f"service {name!r}: a name is {NAMES}")
    if port not in PORTS:
        raise DeployError(f"service {name}: port {port!r} is not from {PORTS.start} to {PORTS.stop - 1}")
