"""An event loop that is run by the threads that wait for it.

A loop on a thread of its own costs each call two hand-overs between threads, which take as long as a round trip on a
fast network. So a caller runs the loop itself until its result is there. Another one waits meanwhile, and goes on when
it leaves. A thread in the background runs the loop while there is no caller, or when one leaves several.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from circuit.errors import Closed
from circuit.net.held_signals import HeldSignals

_GRACE_S = 0.02
"""How long the background waits for the next caller before it takes over. To take over costs as much as a call."""

_BLIND_S = 0.001
"""How long nobody may have run the loop for a call to begin without a look at the connections."""

T = TypeVar("T")


class LimitReached(Exception):
    """A work was not done in time, and was cancelled."""


class SharedLoop:
    """A loop, and the order in which threads run it."""

    def __init__(self, name: str) -> None:
        """:param name: of the background's thread."""
        self.loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        """For all that follows."""
        self._driver: _Caller[Any] | threading.Thread | None = None
        """Who runs the loop."""
        self._waiting: list[_Caller[Any]] = []
        self._turns = self._seen = 0
        """How often a caller has come or gone, and how often when the background last looked."""
        self._unattended_since = self.loop.time()
        """When somebody ran the loop last, if nobody does."""
        self._closed = False
        self._is_wanted = False
        """Whether the background is to take over at once."""
        self._parked = False
        """Whether the background sleeps until the driver leaves."""
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run_in_background, name=name, daemon=True)
        self.thread.start()

    def run(self, work: Coroutine[Any, Any, T], limit: float) -> T:
        """Run ``work`` on the loop and return its result.

        :param limit: seconds; infinite for none.
        :raises LimitReached: there was no result in time.
        :raises Closed: the loop was closed before.
        """
        return self._run(_Caller(self.loop, work, limit))

    def close(self, last: Coroutine[Any, Any, None], limit: float) -> None:
        """Accept no further work, run ``last``, and end the loop. Closing again does nothing.

        :param limit: seconds that ``last`` may take, and then other callers until they have left.
        :raises LimitReached: ``last`` was not done in time.
        """
        try:
            self._run(_Caller(self.loop, last, limit, is_last=True))
        except Closed:
            return
        finally:
            self.thread.join(limit)

    def attend(self) -> None:
        """Have the loop run now, not only when no caller has come for a moment; from any thread, or finalizer."""
        if self._driver is None:
            self._is_wanted = True
            self._news.put(None)

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Have the loop call ``callback``, from any thread or finalizer. Nothing happens when it is closed."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(callback)

    def _run(self, caller: _Caller[T]) -> T:
        with HeldSignals(caller.interrupt) as signals:
            self._enter(caller)
            try:
                while not caller.done:
                    if caller.drives:
                        self._drive(signals.moment_s)
                    else:
                        with contextlib.suppress(queue.Empty):
                            caller.news.get(timeout=signals.moment_s)
                    signals.deliver()
            except BaseException:
                self.call_soon(caller.cancel)
                raise
            finally:
                self._leave(caller)
        return caller.result()

    def _drive(self, moment_s: float | None) -> None:
        """Run the loop until it is stopped, or for a moment."""
        timer = None if moment_s is None else self.loop.call_later(moment_s, self.loop.stop)
        try:
            self.loop.run_forever()
        finally:
            if timer is not None:
                timer.cancel()

    def _enter(self, caller: _Caller[Any]) -> None:
        with self._lock:
            if self._closed:
                caller.refuse()
                raise Closed("the client is closed")
            self._closed = caller.is_last
            self._turns += 1
            if self._driver is None and caller.may_drive:
                self._driver = caller
                caller.drives = True
                if self.loop.time() - self._unattended_since < _BLIND_S:
                    caller.begin()
                else:
                    # Two turns later: in the first, ends of connections are seen, and in the second reported.
                    self.loop.call_soon(self.loop.call_soon, caller.begin)
                return
            self._waiting.append(caller)
            self.loop.call_soon_threadsafe(caller.begin)
            if self._driver is self.thread and caller.may_drive and len(self._waiting) == 1:
                self.loop.call_soon_threadsafe(self.loop.stop)
            elif self._driver is None:
                self._news.put(None)

    def _leave(self, leaver: _Caller[Any] | threading.Thread) -> None:
        with self._lock:
            self._turns += 1
            if isinstance(leaver, _Caller) and leaver in self._waiting:
                self._waiting.remove(leaver)
            if self._driver is leaver:
                self._unattended_since = self.loop.time()
                self._pass_on()
            if self._parked or self._closed:
                self._news.put(None)
            if self._closed and self._driver is self.thread:
                self.loop.call_soon_threadsafe(self.loop.stop)

    def _pass_on(self) -> None:
        self._driver = None
        able = [caller for caller in self._waiting if caller.may_drive and not caller.done]
        if len(able) == 1:
            (caller,) = able
            self._waiting.remove(caller)
            self._driver = caller
            caller.drives = True
            caller.news.put(None)
        elif able:
            # Each of many would leave soon, and pass it on again.
            self._news.put(None)

    def _run_in_background(self) -> None:
        while not self._is_over():
            if self._takes_over():
                self.loop.run_forever()
                self._leave(self.thread)
            else:
                with contextlib.suppress(queue.Empty):
                    self._news.get(timeout=None if self._parked else _GRACE_S)
        self.loop.close()

    def _is_over(self) -> bool:
        with self._lock:
            return self._closed and self._driver is None and not self._waiting

    def _takes_over(self) -> bool:
        """Become the driver, if nobody is and no caller may be expected."""
        with self._lock:
            quiet, self._seen = self._turns == self._seen, self._turns
            # A call that takes its time has a driver until it is over.
            self._parked = quiet and self._driver is not None
            wanted, self._is_wanted = self._is_wanted, False
            if self._driver is None and (self._waiting or ((quiet or wanted) and not self._closed)):
                self._driver = self.thread
            return self._driver is self.thread


class _Caller(Generic[T]):
    """A thread that waits for a result."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T], limit: float, *, is_last: bool = False
    ) -> None:
        self.is_last = is_last
        """Whether no caller may come after it."""
        self.may_drive = not _is_in_a_loop()
        """Whether its thread can run the loop."""
        self.drives = False
        """Whether it is the one that runs the loop."""
        self.done = False
        """Whether there is a result, or will be none."""
        self.news: queue.SimpleQueue[None] = queue.SimpleQueue()
        """Wakes a caller that does not run the loop."""
        self._loop = loop
        self._work = work
        self._limit = limit
        self._task: asyncio.Task[None] | None = None
        self._value: T | None = None
        self._error: BaseException | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_late = False
        self._has_left = False

    def result(self) -> T:
        """Return the result, or raise the error; once it is done."""
        if self._is_late:
            raise LimitReached
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                # Its traceback holds this frame, and all that its variables hold.
                del error
        return self._value  # type: ignore[return-value] # a T where there is no error

    def refuse(self) -> None:
        """Never begin."""
        self._work.close()

    def interrupt(self) -> None:
        """Have the caller look around. Signal handlers call this."""
        self.news.put(None)
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)

    # on the loop

    def begin(self) -> None:
        """Start the work, unless the caller has left."""
        if self._has_left:
            self._work.close()
            return
        self._task = self._loop.create_task(self._run())
        if math.isfinite(self._limit):
            self._timer = self._loop.call_later(self._limit, self._expire)

    def cancel(self) -> None:
        """End the work of a caller that has left."""
        self._has_left = True
        if self._task is None:
            return
        self._task.cancel()
        # It may not have begun.
        self._task.add_done_callback(lambda _: self._work.close())

    def _expire(self) -> None:
        assert self._task is not None
        self._is_late = True
        # Its end is not awaited: it may take its time to notice, or never do.
        self._task.cancel()
        self._finish()

    async def _run(self) -> None:
        try:
            self._value = await self._work
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - raised again by the caller
            if not self.done:
                self._error = error
        if self._timer is not None:
            self._timer.cancel()
        self._finish()

    def _finish(self) -> None:
        self.done = True
        if self.drives:
            self._loop.stop()
        else:
            self.news.put(None)


def _is_in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
