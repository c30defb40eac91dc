"""Steps of a deployment, told while they happen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One step that is over: what was done, on which host ("" for here), since when and for how long, in seconds."""

    what: str
    host: str
    start: float
    seconds: float
    ok: bool


class Steps:
    """Times steps, and tells a listener of each when it is over. Safe to use from many threads."""

    def __init__(self, listener: Callable[[Step], None] = lambda step: None) -> None:
        self._listener = listener
        self._epoch = time.monotonic()
        self.done: list[Step] = []
        """The steps so far, in the order of their ends."""

    @contextmanager
    def step(self, what: str, host: str = "") -> Iterator[None]:
        """Time the body as one step."""
        start = time.monotonic()
        ok = False
        try:
            yield
            ok = True
        finally:
            now = time.monotonic()
            step = Step(what, host, start - self._epoch, now - start, ok)
            self.done.append(step)
            self._listener(step)
