"""Waiting for something to come about, with a limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from circuit_harness.errors import NotReady
from circuit_harness.steps import Steps

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5


def wait_until(probe: Callable[[], str], what: str, timeout: float, steps: Steps) -> None:
    """Call ``probe`` until it returns "", which means yes; otherwise it says what it saw instead.

    The pauses between two calls grow from 0.02 to 0.5 s.

    :param what: what is waited for, as in "the API on X5f to answer".
    :param steps: whose end ends the waiting, too.
    :raises NotReady: the limit is over; the message has the last thing seen.
    :raises Stopped: the steps were stopped.
    """
    deadline = time.monotonic() + timeout
    for pause in growing(_FIRST_PAUSE_S, _LONGEST_PAUSE_S):
        seen = probe()
        if not seen:
            return
        if time.monotonic() + pause > deadline:
            raise NotReady(f"waited {timeout:g} s for {what}; last seen: {seen}")
        steps.pause(pause)


def growing(first: float, longest: float) -> Iterator[float]:
    """Pauses in seconds, without end: the first one, then each half as long again as the one before it."""
    pause = first
    while True:
        yield pause
        pause = min(pause * 1.5, longest)
