"""Byte streams of elements: a process's three, and the messages of a channel.

A server serves concurrent requests on one stream in any order, so they are sent one after the other. In each class,
the methods after "on the loop" are for this package.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from circuit.display import Hidden
from circuit.elements.element import call, check, expect
from circuit.errors import CallFailed, Closed, RemoteFault, TooMuchOutput
from circuit.net.futures import mark_retrieved
from circuit.net.runtime import Handle, Runtime
from circuit.wire.messages import EOF, error_text

READ_BYTES = 32_000
"""The size of one read: that of a server's buffer, which is the most that one read returns."""

WRITE_BYTES = 512 * 1024
"""How much of a longer input goes into one write. Fewer, larger writes save round trips; a frame has its limit."""

MAX_COLLECTED_BYTES = 64 * 1024 * 1024
"""How much of one stream is collected in memory, unless the caller names another limit."""

T = TypeVar("T")


class Ongoing(Generic[T]):
    """A request that goes on when its caller's time is over: the next caller gets its result.

    A server cannot cancel a request. It would serve a second one as well, and one result would be lost.
    """

    def __init__(self, request: Callable[[], Awaitable[T]], *, repeatable: bool = False) -> None:
        """:param repeatable: whether to make a request again that failed while no caller waited. Otherwise the next
        caller gets the failure: what a server had taken out of a stream for the request is lost.
        """
        self._request = request
        self._repeatable = repeatable
        self._turn = asyncio.Lock()
        self._task: asyncio.Future[T] | None = None

    def cancel(self) -> None:
        """Give a pending request up; pointers in the server's late answer are released."""
        if self._task is not None:
            self._task.cancel()

    async def result(self) -> T:
        """Return the result of the pending request, or of a new one. Callers get theirs in turn."""
        async with self._turn:
            if self._task is None or (self._repeatable and _failed(self._task)):
                self._task = asyncio.ensure_future(self._request())
                self._task.add_done_callback(mark_retrieved)
            try:
                return await asyncio.shield(self._task)
            finally:
                if self._task.done():
                    self._task = None


def _failed(task: asyncio.Future[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


class Stream:
    """One direction of bytes, opened when it is first used."""

    def __init__(self, runtime: Runtime, name: str, fetch: Callable[[], Awaitable[object]]) -> None:
        self._runtime = runtime
        self._name = name
        self._fetch = fetch
        self._handle: Handle | None = None
        self._opening = Ongoing(self._open, repeatable=True)
        self._turn = asyncio.Lock()
        self.closed = False
        """Whether it was closed on this side."""

    def __repr__(self) -> str:
        return f"<{self._name}>"

    def close(self) -> None:
        """Close the stream; closing again does nothing. The rest of an output is discarded."""
        self._runtime.run(self.shut(), f"close {self._name}")

    def release(self) -> None:
        """Let go of the server's stream, which then closes it."""
        self.closed = True
        if self._handle is not None:
            self._handle.release()

    # on the loop

    async def open(self) -> Handle:
        """Fetch the server's stream, once."""
        return self._handle or await self._opening.result()

    async def shut(self) -> None:
        """Close it. Not in turn: a close is what ends a request that would never be answered."""
        if self.closed:
            return
        await self.open()
        self.closed = True
        await self._call("Close")

    async def _open(self) -> Handle:
        if self._handle is None:
            self._handle = expect(await self._fetch(), Handle, f"open {self._name}")
        return self._handle

    async def _call(self, method: str, *arguments: object) -> tuple[Any, ...]:
        return await call(self._runtime, await self.open(), self._name, method, *arguments)


class WriteStream(Stream):
    """A stream into an element, such as the standard input of a process."""

    def write(self, data: bytes | Hidden, timeout: float | None = None) -> None:
        """Write all of ``data``. The server buffers: the other end may see it only when the stream is closed.

        :raises TimedOut: the server did not take all of it in time; how much it took is unknown.
        :raises Closed: the stream was closed on this side.
        """
        self._runtime.run(self.put(data), f"write {self._name}", timeout)

    # on the loop

    async def put(self, data: bytes | Hidden) -> None:
        """Write all of ``data``."""
        async with self._turn:
            for start in range(0, len(data), WRITE_BYTES):
                if self.closed:
                    raise Closed(f"write {self._name}: it was closed")
                block = data[start : start + WRITE_BYTES]
                taken, error = await self._call("Write", block)
                check(error, f"write {self._name}")
                if taken != len(block):
                    raise RemoteFault(f"write {self._name}: {taken!r} of {len(block)} bytes were taken"[:300])

    async def feed(self, data: bytes | Hidden) -> None:
        """Write ``data``, then close. It is not an error if the reader does not take all of it."""
        try:
            if data:
                await self.put(data)
        except (CallFailed, Closed):
            pass
        await self.shut()


class ReadStream(Stream):
    """A stream out of an element, such as the standard output of a process."""

    def __init__(self, runtime: Runtime, name: str, fetch: Callable[[], Awaitable[object]]) -> None:
        super().__init__(runtime, name, fetch)
        self.collected = bytearray()
        """What was read to the end by :meth:`drain`, so far."""
        self._ended = False
        self._reading = Ongoing(self._read)

    def read(self, timeout: float | None = None) -> bytes:
        """Read the next block, of at most 32,000 bytes; empty at the end.

        The server buffers: nothing arrives before it has 32,000 bytes or the other end has closed. A process's
        output ends once the process has ended and its stdin is closed.

        :raises TimedOut: nothing arrived in time; the next read gets what arrives later.
        :raises Closed: the stream was closed on this side.
        """
        return self._runtime.run(self._reading.result(), f"read {self._name}", timeout)

    # on the loop

    async def drain(self, limit: int = MAX_COLLECTED_BYTES) -> None:
        """Read to the end into :attr:`collected`.

        :raises TooMuchOutput: there are more than ``limit`` bytes; only the first ``limit`` are collected.
        """
        # No variable here holds what was read when a later read fails.
        while await self._collect(limit):
            pass

    def give_up(self) -> None:
        """Stop reading, discard what a pending read returns, and let go of the stream."""
        self._reading.cancel()
        self.release()

    async def _collect(self, limit: int) -> bool:
        """Collect the next block; return whether there was one."""
        block = await self._reading.result()
        room = limit - len(self.collected)
        self.collected += block[:room]
        if len(block) > room:
            raise TooMuchOutput(f"{self._name}: more than {limit} bytes")
        return bool(block)

    async def _read(self) -> bytes:
        while not self._ended:
            if self.closed:
                raise Closed(f"read {self._name}: it was closed")
            data, error = await self._call("Read", READ_BYTES)
            if error is not None and error_text(error) == EOF:
                self._ended = True
            else:
                check(error, f"read {self._name}")
            block = expect(data, bytes, f"read {self._name}")
            if len(block) > READ_BYTES:
                raise RemoteFault(f"read {self._name} was answered with {len(block)} bytes, where {READ_BYTES} fit")
            if block:
                return block
        return b""
