"""Faults of the real server that this one has only on request, so that a client can be tested against them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from circuit.wire.messages import METHODS

_SWITCHES = ("wait-aborted", "nil-exit", "swallow-hello", "no-dial-back")
_STALLED = "stalled-call"

NAMES = (*_SWITCHES, f"{_STALLED}=METHOD")
"""What :func:`parse_faults` takes."""


@dataclass(frozen=True)
class Faults:
    """Which faults a node has."""

    wait_aborted: bool = False
    """Wait of a Scrub=true process answers the error ``aborted`` and an empty Stat."""
    nil_exit: bool = False
    """Wait answers a nil Exit where the process failed; Peek is right."""
    swallow_hello: bool = False
    """Every other connection, the first included, gets no answer to its hello."""
    no_dial_back: bool = False
    """No client gets a lifeline; its pointers stay."""
    stalled: frozenset[str] = frozenset()
    """Methods that are neither executed nor answered."""


def parse_faults(names: Iterable[str]) -> Faults:
    """Return the faults with these :data:`NAMES`.

    :raises ValueError: the fault or the method does not exist.
    """
    switches: dict[str, bool] = {}
    stalled = set()
    for name in names:
        kind, _, method = name.partition("=")
        if name in _SWITCHES:
            switches[name.replace("-", "_")] = True
        elif kind == _STALLED and method in METHODS:
            stalled.add(method)
        elif kind == _STALLED:
            raise ValueError(f"no method {method!r}; there are: {', '.join(METHODS)}")
        else:
            raise ValueError(f"no fault {name!r}; there are: {', '.join(NAMES)}")
    return Faults(**switches, stalled=frozenset(stalled))
