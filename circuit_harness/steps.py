"""Steps of a deployment, told while they happen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from circuit_harness.errors import LeaseLost, Stopped


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
        self._stopped = threading.Event()
        self._lost: set[str] = set()
        self.done: list[Step] = []
        """The steps so far, in the order of their ends."""

    @contextmanager
    def step(self, what: str, host: str = "") -> Iterator[None]:
        """Time the body as one step.

        :raises Stopped: before the body, where no more is to be done.
        :raises LeaseLost: before the body, where no more is to be done on this host.
        """
        self.raise_if_stopped()
        if host in self._lost:
            raise LeaseLost(f"the lease on host {host} has ended, so that nothing more is changed there")
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

    def stop(self) -> None:
        """Have no further step begin: whoever asks for one, or pauses, gets :class:`Stopped`."""
        self._stopped.set()

    def resume(self) -> None:
        """Let steps begin again: those that undo what was done."""
        self._stopped.clear()

    def lose(self, host: str) -> None:
        """Have no further step begin on a host: whoever asks for one gets :class:`LeaseLost`. Others go on."""
        self._lost.add(host)

    def regain(self, host: str) -> None:
        """Let steps begin again on a host."""
        self._lost.discard(host)

    def raise_if_stopped(self) -> None:
        """Return where steps may begin.

        :raises Stopped: they may not.
        """
        if self._stopped.is_set():
            raise Stopped("stopped before it was done")

    def pause(self, seconds: float) -> None:
        """Wait this long, and not a moment longer than steps may begin.

        :raises Stopped: they may not, or no longer.
        """
        self._stopped.wait(seconds)
        self.raise_if_stopped()
