"""What asyncio's futures lack."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, TypeVar

from circuit.errors import TimedOut

T = TypeVar("T")


def mark_retrieved(done: asyncio.Future[Any]) -> None:
    """Keep asyncio from logging a failure that no caller is left to handle."""
    if not done.cancelled():
        done.exception()


def finish(future: asyncio.Future[Any], value: object, error: BaseException | None) -> None:
    """Give a future its result, or its error. Nothing happens where its caller has left."""
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
        mark_retrieved(future)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Cancel the body when its time is over. Python has this from 3.11 on.

    :param seconds: infinite for no limit.
    :raises TimedOut: it was cancelled.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    timer = loop.call_later(seconds, task.cancel, _LATE) if math.isfinite(seconds) else None
    try:
        yield
    except asyncio.CancelledError as cancelled:
        if _LATE not in cancelled.args:
            raise
        raise TimedOut(f"no answer within {seconds:g} s") from None
    finally:
        if timer is not None:
            timer.cancel()


_LATE = "its time was over"


class Outcome(Generic[T]):
    """A result, or an error, that any number of callers wait for.

    A caller that gives up takes it from no other, as it would with a future, and callbacks run at once.
    """

    def __init__(self) -> None:
        self.is_settled = False
        self._value: T | None = None
        self._error: Exception | None = None
        self._callbacks: list[Callable[[T | None, Exception | None], None]] = []

    def settle(self, value: T | None, error: Exception | None = None) -> None:
        """Here it is. Nothing happens when there was one before."""
        if self.is_settled:
            return
        self.is_settled, self._value, self._error = True, value, error
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(value, error)

    def then(self, callback: Callable[[T | None, Exception | None], None]) -> None:
        """Call ``callback`` with the result, now or when it is there."""
        if self.is_settled:
            callback(self._value, self._error)
        else:
            self._callbacks.append(callback)

    async def get(self) -> T:
        """Return the result, or raise the error, when it is there."""
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.then(partial(finish, waiter))
        return await waiter
