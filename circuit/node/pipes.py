"""The streams that clients read and write: the standard ones of a process, and the messages of channels.

The real server copies each stream twice, with a buffer of 32,000 bytes between, and that shows: no output arrives
before the buffer is full or the writing side closes; a written block is taken whole however large, and the next one
waits; closing the reading side stalls the process. All classes behave like that, with one buffer each.

Everything runs on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable

BLOCK_BYTES = 32_000
"""The buffer of a stream: blocks of this size travel, and a last one that may be shorter."""

_COPY_BYTES = 32 * 1024
"""The size of one read from a process."""

END_OF_FILE = "EOF"
CLOSED = "io: read/write on closed pipe"
INTERRUPTED = "unexpected EOF"


class PipeError(Exception):
    """A stream's answer other than data, in the words of Go."""


class Readable:
    """The reading side of a stream, with its buffer."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._rest = b""
        """The rest of a block whose reader took less."""
        self._finished = self._closed = self._over = False
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether the reading side is closed."""
        return self._closed

    @property
    def full(self) -> bool:
        """Whether a block waits for its reader."""
        return len(self._data) >= BLOCK_BYTES

    def add(self, data: bytes) -> None:
        """Buffer what was written."""
        self._data += data
        self._changed.set()

    def finish(self) -> None:
        """No more data will arrive: what is left may be read, in blocks of any size, then the end."""
        self._finished = True
        self._changed.set()

    async def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, and no more than what is left of one block.

        :raises PipeError: the stream has ended, or was closed.
        """
        async with self._turn:
            if not self._rest:
                self._rest = await self._block()
            data, self._rest = self._rest[:size], self._rest[size:]
            return data

    def close(self) -> None:
        """Close the reading side."""
        self._closed = True
        self._changed.set()

    def _taken(self) -> None:
        """There is room for more."""

    async def _block(self) -> bytes:
        if self._over:
            raise PipeError(CLOSED)
        while not (self._closed or self._finished or self.full):
            self._changed.clear()
            await self._changed.wait()
        if self._closed or not self._data:
            self._over = True
            raise PipeError(END_OF_FILE)
        block = bytes(self._data[:BLOCK_BYTES])
        del self._data[:BLOCK_BYTES]
        self._taken()
        return block


class Output(Readable):
    """Standard output or error: the process writes, clients read. Closing it does not close the process's end, which
    stalls once the buffers are full. That ends with the process; the real server needs up to 5 s for it.
    """

    def __init__(self, ended: Callable[[], None]) -> None:
        """:param ended: called once, when the process's side has closed and all that came from it was taken."""
        super().__init__()
        self._ended = ended
        self._fd: int | None = None
        self._writer_ended = False
        self._chunk = b""
        """What was read and is not taken yet; nothing more is read meanwhile."""

    def attach(self, fd: int) -> None:
        """Take over the reading end of the process's pipe."""
        os.set_blocking(fd, False)
        self._fd = fd
        asyncio.get_running_loop().add_reader(fd, self._fill)

    def close(self) -> None:
        """Close the reading side."""
        super().close()
        self._end_stall()

    def writer_ended(self) -> None:
        """The process has ended; what it started may still write."""
        self._writer_ended = True
        self._end_stall()

    def abandon(self) -> None:
        """Let go of the process."""
        self._detach()
        self.close()

    def _end_stall(self) -> None:
        if self._closed and self._writer_ended and self._fd is not None:
            self._detach()
            self._ended()

    def _taken(self) -> None:
        if self._chunk and self._take() and self._fd is not None:
            asyncio.get_running_loop().add_reader(self._fd, self._fill)

    def _fill(self) -> None:
        assert self._fd is not None
        try:
            self._chunk = os.read(self._fd, _COPY_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._chunk = b""
        if not self._chunk:
            self._detach()
            self._ended()
        elif not self._take():
            asyncio.get_running_loop().remove_reader(self._fd)

    def _take(self) -> bool:
        """Take the chunk, unless a block waits for its reader; if the stream is closed, it waits forever."""
        if self.full:
            return False
        self.add(self._chunk)
        self._chunk = b""
        return True

    def _detach(self) -> None:
        if self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None


class Writable:
    """The writing side of a stream."""

    def __init__(self) -> None:
        self._closed = False
        self._waiting: deque[tuple[bytes, asyncio.Future[int]]] = deque()

    async def write(self, data: bytes) -> int:
        """Write all of ``data``; return its length once it is taken, which is before a reader sees it.

        :raises PipeError: the stream is closed, before or meanwhile.
        """
        if self._closed:
            raise PipeError(CLOSED)
        taken: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((data, taken))
        self._advance()
        return await taken

    def close(self) -> None:
        """Close the writing side: a write that waits is aborted, what was taken before still goes its way."""
        if self._closed:
            return
        self._closed = True
        self._refuse(INTERRUPTED)
        self._advance()

    def _refuse(self, reason: str) -> None:
        """Abort the writes that wait, the first of them for ``reason``."""
        for _, taken in self._waiting:
            if not taken.done():
                taken.set_exception(PipeError(reason))
                reason = CLOSED
        self._waiting.clear()

    def _next(self) -> bytes | None:
        """Return the data of the next write whose caller still waits, and complete that write."""
        while self._waiting:
            data, taken = self._waiting.popleft()
            if not taken.done():
                taken.set_result(len(data))
                return data
        return None

    def _advance(self) -> None:
        """Take what there is room for."""
        raise NotImplementedError


class Input(Writable):
    """Standard input: clients write, the process reads."""

    def __init__(self, ended: Callable[[], None]) -> None:
        """:param ended: called once, when the pipe is closed after all that was written, or found to be."""
        super().__init__()
        self._ended = ended
        self._fd: int | None = None
        self._watched = False
        self._data = bytearray()
        self._out = bytearray()
        """The block that is on its way into the pipe."""

    def attach(self, fd: int) -> None:
        """Take over the writing end of the process's pipe."""
        os.set_blocking(fd, False)
        self._fd = fd

    def abandon(self) -> None:
        """Let go of the process."""
        self._detach()

    def _advance(self) -> None:
        while True:
            self._admit()
            if self._fd is None:
                # Never started, or gone: the block is not taken, and what follows it waits until the stream closes.
                return
            if not self._out and (self._closed or len(self._data) >= BLOCK_BYTES):
                self._out = self._data[:BLOCK_BYTES]
                del self._data[:BLOCK_BYTES]
                if not self._out:
                    self._end()
                    return
                continue
            if not self._out:
                self._watch(False)
                return
            try:
                sent = os.write(self._fd, self._out)
            except BlockingIOError:
                self._watch(True)
                return
            except OSError:
                self._end()
                return
            del self._out[:sent]

    def _admit(self) -> None:
        while len(self._data) < BLOCK_BYTES and (data := self._next()) is not None:
            self._data += data

    def _watch(self, wanted: bool) -> None:
        if self._fd is None or wanted == self._watched:
            return
        self._watched = wanted
        if wanted:
            asyncio.get_running_loop().add_writer(self._fd, self._advance)
        else:
            asyncio.get_running_loop().remove_writer(self._fd)

    def _end(self) -> None:
        self._detach()
        self._ended()

    def _detach(self) -> None:
        if self._fd is not None:
            self._watch(False)
            os.close(self._fd)
            self._fd = None


class Message(Readable):
    """A message of a channel: one client writes it, another reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.sink = Sink(self)
        """What it is written to."""

    def close(self) -> None:
        """Close the reading side. What is written still fits into the buffer, or fails."""
        super().close()
        self.sink.drained()

    def _taken(self) -> None:
        self.sink.drained()


class Sink(Writable):
    """Where a message is written to."""

    def __init__(self, message: Message) -> None:
        super().__init__()
        self._message = message

    def drained(self) -> None:
        """The message has room, or its reader is gone."""
        self._advance()

    def _advance(self) -> None:
        while not self._message.full and (data := self._next()) is not None:
            self._message.add(data)
        if self._message.closed:
            # The real server would leave the writer waiting forever.
            self._refuse(CLOSED)
        if self._closed:
            self._message.finish()
