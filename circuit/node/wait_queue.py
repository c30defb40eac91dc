"""A queue of callers that wait for something that only one of them can get."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class WaitQueue(Generic[T]):
    """The waiting callers, oldest first. What a cancelled one was given is put back: nothing is lost with a client."""

    def __init__(self, put_back: Callable[[T], None]) -> None:
        """:param put_back: gets what was given to a caller that was cancelled before it noticed."""
        self._put_back = put_back
        # Ordered, and quick to remove any one of many.
        self._waiting: OrderedDict[asyncio.Future[T | None], None] = OrderedDict()

    async def wait(self) -> T | None:
        """Wait for an item; None means that no more will arrive."""
        future: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = None
        try:
            return await future
        except asyncio.CancelledError:
            self._waiting.pop(future, None)
            if not future.cancelled() and (given := future.result()) is not None:
                self._put_back(given)
            raise

    def give(self, item: T) -> bool:
        """Give ``item`` to the first caller that waits; return whether there was one."""
        while self._waiting:
            future, _ = self._waiting.popitem(last=False)
            # A cancelled one may not have noticed yet.
            if not future.done():
                future.set_result(item)
                return True
        return False

    def end(self) -> None:
        """Wake all callers without an item."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()
