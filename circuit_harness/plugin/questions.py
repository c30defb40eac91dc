"""Requests to a run's coordinator, and its answers: plain values, which can be sent between processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CIRCUIT = "circuit"
HOSTS_PICKED = "hosts"
ADDRESSES = "addresses"
LOST = "lost"
"""The hosts that the run has lost. Instead of services, this request names hosts that its process has lost."""

DOWN = "down"
"""Which service is down. Instead of all services, this request names those that a failed check uses."""

SEEN = "seen"
"""Whose evidence a failed check is to collect: that of each service is collected once in a run. Instead of all
services, this request names those that the check uses, and the check."""

Answer = dict[str, Any]
"""What was requested, described by plain values."""

Ask = Callable[[str, frozenset[str]], Answer]
"""Answers a request, given the names of all services that will be requested; see ``Coordinator.ask``."""


class Unavailable(Exception):
    """What was requested is unavailable. ``already_reported`` is whether another test has failed with this message.

    ``down`` is whether it was deployed, and is down.
    """

    def __init__(self, message: str, *, already_reported: bool, down: bool = False) -> None:
        super().__init__(message)
        self.already_reported = already_reported
        self.down = down
