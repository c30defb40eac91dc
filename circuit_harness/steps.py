"""Steps of a deployment: timed, reported, and stopped where the run must not go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from circuit_harness.errors import LeaseLost, Stopped


@dataclass(frozen=True)
class Step:
    """One finished step: what was done, on which host ("" for this machine), its start and its duration in seconds."""

    what: str
    host: str
    start: float
    seconds: float
    ok: bool


@dataclass(frozen=True)
class StepUnderWay:
    """A step that has not ended; ``start`` is by the monotonic clock."""

    what: str
    host: str
    start: float


class Steps:
    """Times steps and reports each to a listener when it ends. Safe to use from many threads."""

    def __init__(self, listener: Callable[[Step], None] = lambda step: None) -> None:
        self._listener = listener
        self._epoch = time.monotonic()
        self._stopped = threading.Event()
        self._lost: set[str] = set()
        self._under_way: dict[object, StepUnderWay] = {}
        self.done: list[Step] = []
        """The finished steps, in the order in which they ended."""

    @contextmanager
    def step(self, what: str, host: str = "") -> Iterator[None]:
        """Time the body as one step.

        :raises Stopped: before the body, after :meth:`stop`.
        :raises LeaseLost: before the body, after :meth:`lose` for this host.
        """
        self.raise_if_stopped()
        if host in self._lost:
            raise LeaseLost(f"the lease on host {host} has ended, so the run changes nothing more there")
        start = time.monotonic()
        ok = False
        key = object()
        self._under_way[key] = StepUnderWay(what, host, start)
        try:
            yield
            ok = True
        finally:
            now = time.monotonic()
            del self._under_way[key]
            step = Step(what, host, start - self._epoch, now - start, ok)
            self.done.append(step)
            self._listener(step)

    def under_way(self) -> list[StepUnderWay]:
        """Return the steps that have not ended, in the order in which they began. Takes no lock."""
        return list(self._under_way.values())

    def stop(self) -> None:
        """Let no further step begin: :meth:`step` and :meth:`pause` raise :class:`Stopped` from now on."""
        self._stopped.set()

    def resume(self) -> None:
        """Let steps begin again, such as those that undo the deployment."""
        self._stopped.clear()

    def lose(self, host: str) -> None:
        """Let no further step begin on a host: :meth:`step` raises :class:`LeaseLost`. Other hosts are not affected."""
        self._lost.add(host)

    def regain(self, host: str) -> None:
        """Let steps begin again on a host."""
        self._lost.discard(host)

    def raise_if_stopped(self) -> None:
        """Raise :class:`Stopped` after :meth:`stop`, else return."""
        if self._stopped.is_set():
            raise Stopped("stopped before it was done")

    def pause(self, seconds: float) -> None:
        """Wait this many seconds, or until :meth:`stop`.

        :raises Stopped: :meth:`stop` was called before or during the wait.
        """
        self._stopped.wait(seconds)
        self.raise_if_stopped()
