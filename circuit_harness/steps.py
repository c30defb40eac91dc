"""Steps of a deployment: timed, reported when they begin and end, and stopped where the run must not go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
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


@dataclass(frozen=True, eq=False)
class Begun:
    """One running step or wait: what is done, on which host ("" for this machine), its start by the monotonic clock."""

    what: str
    host: str
    since: float


class Watcher:
    """Receives the progress of steps, from many threads. This one ignores it."""

    def began(self, begun: Begun) -> None:
        """Receive a step or a wait that begins."""

    def ended(self, begun: Begun, step: Step | None, *, stopped: bool = False) -> None:
        """Receive the end of it; ``step`` is None for a wait. One that is not ok has failed, or was ``stopped``."""

    def saw(self, begun: Begun, state: str) -> None:
        """Receive what a step that waits sees in place of what it waits for."""

    def placed(self, services: Mapping[str, Sequence[str]]) -> None:
        """Receive which services are for which host, by the host's name."""


class Steps:
    """Times steps and reports each to a watcher. Safe to use from many threads."""

    def __init__(self, watcher: Watcher | None = None) -> None:
        self._watcher = watcher or Watcher()
        self._epoch = time.monotonic()
        self._stopped = threading.Event()
        self._lost: set[str] = set()
        self._under_way: dict[Begun, None] = {}
        self._of_thread = threading.local()
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
        begun = Begun(what, host, time.monotonic())
        self._watcher.began(begun)
        self._under_way[begun] = None
        self._of_thread.step = begun
        ok = stopped = False
        try:
            yield
            ok = True
        except (KeyboardInterrupt, Stopped):
            stopped = True
            raise
        finally:
            del self._under_way[begun]
            step = Step(what, host, begun.since - self._epoch, time.monotonic() - begun.since, ok)
            self.done.append(step)
            self._watcher.ended(begun, step, stopped=stopped)

    def see(self, state: str) -> None:
        """Report what this thread's step sees in place of what it waits for."""
        if (begun := getattr(self._of_thread, "step", None)) in self._under_way:
            self._watcher.saw(begun, state)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Report a wait while the body runs, so that it is not silent. It is no step: nothing records it."""
        begun = Begun(what, "", time.monotonic())
        self._watcher.began(begun)
        try:
            yield
        finally:
            self._watcher.ended(begun, None)

    def placed(self, services: Mapping[str, Sequence[str]]) -> None:
        """Report which services are for which host, by the host's name."""
        self._watcher.placed(services)

    def under_way(self) -> list[Begun]:
        """Return the steps that have not ended, in the order in which they began. Takes no lock."""
        return list(self._under_way)

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
