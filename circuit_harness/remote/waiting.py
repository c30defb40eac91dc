"""Wait for a condition, with a limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from circuit_harness.errors import NotReady
from circuit_harness.steps import Steps

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5


def wait_until(probe: Callable[[], str], what: str, timeout: float, steps: Steps) -> None:
    """Call ``probe`` until it returns ""; any other text is the current state, for the error message.

    The pauses between two calls grow from 0.02 to 0.5 s.

    :param what: the condition in words, as in "the API on X5f to answer".
    :param steps: to stop them ends the wait, too.
    :raises NotReady: the limit was reached; the message has the last state.
    :raises Stopped: the steps were stopped.
    """
    deadline = time.monotonic() + timeout
    for pause in growing(_FIRST_PAUSE_S, _LONGEST_PAUSE_S):
        state = probe()
        if not state:
            return
        steps.see(state)
        if time.monotonic() + pause > deadline:
            raise NotReady(f"waited {timeout:g} s for {what}; last seen: {state}")
        steps.pause(pause)


def growing(first: float, longest: float) -> Iterator[float]:
    """Yield pauses in seconds, without end: each is 1.5 times as long as the one before, up to ``longest``."""
    pause = first
    while True:
        yield pause
        pause = min(pause * 1.5, longest)
