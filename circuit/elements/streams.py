"""Byte streams of elements: a process's three, and the messages of a channel.

A server serves concurrent requests on one stream in any order, so they are sent one after the other. In each class,
the methods after "on the loop" are for this package.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Generic, TypeVar

from circuit.display import Hidden
from circuit.elements.element import call, check, expect, submit
from circuit.errors import CallFailed, Closed, RemoteFault, TooMuchOutput
from circuit.net.calls import Done, Results
from circuit.net.futures import Outcome, mark_retrieved
from circuit.net.held import Handle
from circuit.net.runtime import Runtime
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

    @property
    def is_pending(self) -> bool:
        """Whether there is a request whose result no caller has got yet."""
        return self._task is not None

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

    def __init__(self, runtime: Runtime, name: str, source: Handle, method: str = "") -> None:
        """:param source: has the method that returns the stream, or is the stream, where there is no method."""
        self._runtime = runtime
        self._name = name
        self._source = source
        self._method = method
        self._handle = None if method else source
        self._opening: Outcome[Handle] | None = None
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
            self._handle.release_later()

    # on the loop

    def begin_open(self) -> Outcome[Handle]:
        """Fetch the server's stream, once."""
        opening = self._opening
        if opening is None:
            opening = self._opening = Outcome()
            if self._handle is not None:
                opening.settle(self._handle)
            else:
                submit(self._runtime, self._source, self._name, self._method, (), partial(self._fetched, opening))
        return opening

    async def open(self) -> Handle:
        """Fetch the server's stream, and wait for it."""
        if self._handle is None:
            await self._runtime.diagnosed(self._source.pointer.address, self.begin_open().get())
        assert self._handle is not None
        return self._handle

    def submit(self, method: str, arguments: tuple[object, ...], done: Done) -> None:
        """Call a method of an open stream; see :func:`circuit.elements.element.submit`."""
        assert self._handle is not None
        submit(self._runtime, self._handle, self._name, method, arguments, done)

    async def shut(self) -> None:
        """Close it. Not in turn: a close is what ends a request that would never be answered."""
        if self.closed:
            return
        await self.open()
        self.closed = True
        await self._call("Close")

    def _fetched(self, opening: Outcome[Handle], results: Results | None, error: Exception | None) -> None:
        if results is not None:
            try:
                self._handle = expect(results[0], Handle, f"open {self._name}")
            except RemoteFault as fault:
                error = fault
        if error is not None:
            # The next caller tries again.
            self._opening = None
        elif self.closed:
            self.release()
        opening.settle(self._handle, error)

    async def _call(self, method: str, *arguments: object) -> tuple[Any, ...]:
        return await call(self._runtime, await self.open(), self._name, method, *arguments)


class WriteStream(Stream):
    """A stream into an element, such as the standard input of a process."""

    @property
    def is_busy(self) -> bool:
        """Whether something is being written."""
        return self._turn.locked()

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

    def __init__(self, runtime: Runtime, name: str, source: Handle, method: str = "") -> None:
        super().__init__(runtime, name, source, method)
        self.collected = bytearray()
        """What was read to the end by :meth:`drain`, so far."""
        self.ended = False
        """Whether the server has said that it has ended."""
        self._reading = Ongoing(self._read)

    @property
    def is_busy(self) -> bool:
        """Whether something is being read, or was read and nobody has got it yet."""
        return self._reading.is_pending

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

    def collect(self, block: bytes, limit: int) -> None:
        """Add a block to what is collected.

        :raises TooMuchOutput: that is more than ``limit`` bytes; only the first ``limit`` are collected.
        """
        room = limit - len(self.collected)
        self.collected += block[:room]
        if len(block) > room:
            raise TooMuchOutput(f"{self._name}: more than {limit} bytes")

    def block(self, results: Results) -> bytes:
        """Return the block in the results of a Read, which may be empty. Afterwards see :attr:`ended`.

        :raises CallFailed: the server could not read.
        :raises RemoteFault: they are not the results of a Read.
        """
        data, error = results
        if error is not None and error_text(error) == EOF:
            self.ended = True
        else:
            check(error, f"read {self._name}")
        block = expect(data, bytes, f"read {self._name}")
        if len(block) > READ_BYTES:
            raise RemoteFault(f"read {self._name} was answered with {len(block)} bytes, where {READ_BYTES} fit")
        return block

    async def _collect(self, limit: int) -> bool:
        """Collect the next block; return whether there was one."""
        block = await self._reading.result()
        self.collect(block, limit)
        return bool(block)

    async def _read(self) -> bytes:
        while not self.ended:
            if self.closed:
                raise Closed(f"read {self._name}: it was closed")
            if block := self.block(await self._call("Read", READ_BYTES)):
                return block
        return b""
