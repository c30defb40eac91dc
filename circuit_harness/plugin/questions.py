"""Requests to a run's coordinator, and its answers: plain values, which can be sent between processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CIRCUIT = "circuit"
HOSTS_PICKED = "hosts"
ADDRESSES = "addresses"
LOST = "lost"
"""The hosts that the run has lost. Instead of services, this request names hosts that its process has lost."""

Answer = dict[str, Any]
"""What was requested, described by plain values."""

Ask = Callable[[str, frozenset[str]], Answer]
"""Answers a request, given the names of all services that will be requested; see ``Coordinator.ask``."""


class Unavailable(Exception):
    """What was requested is unavailable. ``already_reported`` is whether another test has failed with this message."""

    def __init__(self, message: str, *, already_reported: bool) -> None:
        super().__init__(message)
        self.already_reported = already_reported
