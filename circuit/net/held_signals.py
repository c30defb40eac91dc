"""Signal handlers wait while the main thread is inside code that an exception of theirs would leave half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

_NUMBERS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGWINCH")
    if hasattr(signal, name)
)
"""The signals for which programs have handlers."""

MOMENT_S = 0.2
"""For how long at a time the main thread may block: a signal that comes just before that does not wake it."""

Handler = Callable[[int, FrameType | None], object]


class HeldSignals:
    """In this context, handlers written in Python run only in :meth:`deliver`, and at the end.

    Python runs handlers on the main thread, between any two of its steps: on other threads there is nothing to do.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        """:param wake: called when a signal arrives; it must be safe to call between any two steps."""
        self.moment_s = MOMENT_S if threading.current_thread() is threading.main_thread() else None
        """For how long at a time this thread may block; None for any time."""
        self._wake = wake
        self._handlers: dict[int, Handler] = {}
        self._arrived: list[tuple[Handler, int, FrameType | None]] = []

    def __enter__(self) -> HeldSignals:
        if self.moment_s is not None:
            self._hold()
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()
        self._run_arrived()

    def deliver(self) -> None:
        """Run the handlers of the signals that have arrived. What they raise is raised here."""
        if self._arrived:
            self._restore()
            try:
                self._run_arrived()
            finally:
                self._hold()

    def _hold(self) -> None:
        try:
            for number in _NUMBERS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, self._note)
        except BaseException:
            # A handler that is not held yet has raised.
            self._restore()
            raise

    def _restore(self) -> None:
        try:
            for number in list(self._handlers):
                signal.signal(number, self._handlers[number])
                del self._handlers[number]
        except BaseException:
            # A handler that was restored first has raised.
            self._restore()
            raise

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._arrived.append((self._handlers[number], number, frame))
        self._wake()

    def _run_arrived(self) -> None:
        while self._arrived:
            handler, number, frame = self._arrived.pop(0)
            handler(number, frame)
