"""What one can ask of a run's coordinator, and the answers: plain values, which travel between processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CIRCUIT = "circuit"
HOSTS_PICKED = "hosts"
ADDRESSES = "addresses"
LOST = "lost"
"""The hosts that the run has lost. What goes along with this question is not parts but hosts that the asker misses."""

Answer = dict[str, Any]
"""What is told of a thing that was asked for."""

Ask = Callable[[str, frozenset[str]], Answer]
"""Tells of a thing, given all parts that will be asked for; see ``Coordinator.ask``."""


class Unavailable(Exception):
    """What was asked for cannot be had, and why. ``told`` is whether somebody has been told the same before."""

    def __init__(self, message: str, *, told: bool) -> None:
        super().__init__(message)
        self.told = told
