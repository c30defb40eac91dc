"""Elements: what an anchor can hold. A process, and the streams of one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from circuit.errors import CallFailed, Closed, ExecFailed, RemoteFault, TimedOut
from circuit.messages import ABORTED, EOF, CmdValue, StatValue, error_text
from circuit.runtime import Handle, Runtime
from circuit.status import Exit, parse_exit

if TYPE_CHECKING:
    from circuit.client import Anchor

READ_BYTES = 32_000
"""How much one read asks for: the size of a server's buffer, which is the most that one read returns."""

WRITE_BYTES = 512 * 1024
"""How much of a longer input goes into one write. Fewer, larger writes save round trips; a frame has its limit."""

_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.1


@dataclass(frozen=True)
class Cmd:
    """A command to run on a host.

    ``path`` is not searched for in PATH; ``args`` are without argv[0]; an empty ``env`` inherits the server's. With
    ``scrub`` the element goes away by itself when the process ends. The server logs all of this, and shows it to every
    client: no secret belongs in it.
    """

    path: str
    args: Sequence[str] = ()
    dir: str = ""
    env: Sequence[str] = ()
    scrub: bool = False


@dataclass(frozen=True)
class Stat:
    """A process at one moment. ``exit`` is None while it runs; see :class:`circuit.Exit`.

    ``phase`` is the server's word: running, exited, stopped, signaled, continued, or unknown for a command that could
    not be started.
    """

    cmd: Cmd
    phase: str
    exit: Exit | None


class Element:
    """What an anchor holds; :attr:`kind` is the server's name for it."""

    def __init__(self, runtime: Runtime, anchor: Anchor, kind: str, handle: Handle) -> None:
        self.kind = kind
        self.anchor = anchor
        self._runtime = runtime
        self._handle = handle

    def __repr__(self) -> str:
        return f"<{self.kind} at {self.anchor.path}>"

    def scrub(self) -> None:
        """Remove the element from its anchor. A process that runs goes on running, and can no longer be found."""
        self.anchor.scrub()

    def release(self) -> None:
        """Let go of the element, which stays where it is. Done by itself when this object is collected."""
        self._handle.release()

    async def _call(self, method: str, *arguments: object) -> tuple[Any, ...]:
        return await call(self._runtime, self._handle, self.anchor.path, method, *arguments)


class Proc(Element):
    """A process on a host.

    Its streams are opened when they are first used, and all of them end when the client closes. For a command whose
    output is wanted whole, :meth:`communicate` does the least round trips.
    """

    def __init__(self, runtime: Runtime, anchor: Anchor, handle: Handle) -> None:
        super().__init__(runtime, anchor, "proc", handle)
        self.stdin = WriteStream(self, "Stdin")
        self.stdout = ReadStream(self, "Stdout")
        self.stderr = ReadStream(self, "Stderr")
        self._exchange: asyncio.Task[None] | None = None

    def peek(self) -> Stat:
        """How the process is right now."""
        return self._runtime.run(self._peek(), f"peek {self.anchor.path}")

    def signal(self, name: str) -> None:
        """Send a signal, named without SIG, to the process that was started; not to its children.

        :raises CallFailed: it has ended, or there is no such signal.
        """
        self._runtime.run(self._signal(name), f"signal {name} to {self.anchor.path}")

    def wait(self, timeout: float | None = None) -> Stat:
        """Wait for the end of the process, and return its true exit.

        A server answers only once the process's stdin is closed and whatever inherited its outputs has ended, and it
        holds the process up when its outputs are not read: close and drain the streams first. A server can also lose
        the status on the way to a waiter; such an answer is not believed, but asked for again where it is certain.

        :param timeout: seconds; the client's own limit where None.
        :raises ExecFailed: the command could not be started.
        :raises TimedOut: it still runs.
        """
        return self._runtime.run(self._wait(), f"wait for {self.anchor.path}", timeout)

    def communicate(self, stdin: bytes = b"", timeout: float | None = None) -> tuple[bytes, bytes]:
        """Send ``stdin`` and close it, and read both outputs to their ends, all at once.

        After a time-out the exchange goes on: call again, without ``stdin``, to wait on. What came so far is in the
        error's ``stdout`` and ``stderr``.

        :raises ExecFailed: the command could not be started.
        :raises CommunicateTimedOut: an output did not end in time.
        """
        try:
            self._runtime.run(self._communicate(stdin), f"run {self.anchor.path}", timeout)
        except TimedOut as error:
            raise CommunicateTimedOut(str(error), bytes(self.stdout.collected), bytes(self.stderr.collected)) from None
        return bytes(self.stdout.collected), bytes(self.stderr.collected)

    def discard_streams(self) -> None:
        """Close all three streams: no input, and nobody to read the outputs.

        For a process that prints nothing, or to a file: one that prints more than a pipe holds may be held up.
        """
        self._runtime.run(self._discard_streams(), f"close the streams of {self.anchor.path}")

    # on the loop

    async def _peek(self) -> Stat:
        return _stat(await self._call("Peek"))

    async def _signal(self, name: str) -> None:
        _raise((await self._call("Signal", name))[-1], f"signal {name} to {self.anchor.path}")

    async def _wait(self) -> Stat:
        stat: Stat | None = None
        results = await self._call("Wait")
        if results[-1] is None:
            stat = _stat(results)
        elif error_text(results[-1]) != ABORTED:
            _raise(results[-1], f"wait for {self.anchor.path}")
        if stat is None or stat.exit is None or stat.exit == Exit(status=0):
            stat = await self._proven()
        return _started(stat, self.anchor.path)

    async def _proven(self) -> Stat:
        """The status once it is certain.

        A server takes the status from the process in a waiter of its own, so that another waiter can see the end
        before the status is stored, or be aborted. But it scrubs a process made with Scrub only after it stored the
        status: when the anchor is empty, Peek on the handle tells the truth.
        """
        stat = await self._peek()
        if not stat.cmd.scrub:
            # Nothing marks the moment here. A round trip later the status has been there in every case seen.
            return stat if _certain(stat) else await self._peek()
        pause = _FIRST_PAUSE_S
        while await self.anchor.holds(self):
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)
        stat = await self._peek()
        if stat.exit is None:
            raise CallFailed(f"wait for {self.anchor.path}: its element was scrubbed while the process ran")
        return stat

    async def _communicate(self, data: bytes) -> None:
        if self._exchange is None:
            self._exchange = asyncio.get_running_loop().create_task(self._converse(data))
            self._exchange.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(self._exchange)

    async def _converse(self, data: bytes) -> None:
        # The peek rides along: a command that did not start has streams that never end.
        stat, _, _, _ = await asyncio.gather(self._peek(), self.stdin.open(), self.stdout.open(), self.stderr.open())
        _started(stat, self.anchor.path)
        feed = asyncio.ensure_future(self.stdin.feed(data))
        try:
            await asyncio.gather(self.stdout.drain(), self.stderr.drain())
        finally:
            # A command that ended without reading its input leaves a write unanswered for ever; closing aborts it.
            if not feed.done():
                await self.stdin.shut()
            await asyncio.gather(feed, return_exceptions=True)
            for stream in (self.stdin, self.stdout, self.stderr):
                stream.release()

    async def _discard_streams(self) -> None:
        streams = (self.stdin, self.stdout, self.stderr)
        await asyncio.gather(*(s.open() for s in streams))
        await asyncio.gather(*(s.shut() for s in streams))


class CommunicateTimedOut(TimedOut):
    """:meth:`Proc.communicate` ran out of time; ``stdout`` and ``stderr`` hold what had come."""

    def __init__(self, message: str, stdout: bytes, stderr: bytes) -> None:
        super().__init__(message)
        self.stdout = stdout
        self.stderr = stderr


class _Stream:
    """One standard stream of a process.

    Requests on one stream that are under way together are served in any order, so they go one after the other.
    """

    def __init__(self, proc: Proc, name: str) -> None:
        self._proc = proc
        self._runtime = proc._runtime
        self._name = name
        self._opening: asyncio.Task[Handle] | None = None
        self._turn = asyncio.Lock()
        self.closed = False
        """Whether it was closed on this side."""

    def close(self) -> None:
        """Close the stream; closing again does nothing. Of an output, the rest is thrown away."""
        self._runtime.run(self.shut(), self._what("close"))

    def release(self) -> None:
        """Let go of the server's stream, which then closes it."""
        if self._opening is not None and self._opening.done() and not self._opening.cancelled():
            self._opening.result().release()
        self.closed = True

    async def open(self) -> Handle:
        """Fetch the server's stream, once."""
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._fetch())
            self._opening.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._opening)

    async def shut(self) -> None:
        """Close it. Not in turn: a close is what ends a request that would never be answered."""
        if self.closed:
            return
        await self.open()
        self.closed = True
        await self._call("Close")

    async def _fetch(self) -> Handle:
        handle = (await self._proc._call(self._name))[0]
        if not isinstance(handle, Handle):
            raise RemoteFault(f"{self._what('open')}: no stream but {handle!r}")
        return handle

    async def _call(self, method: str, *arguments: object) -> tuple[Any, ...]:
        handle = await self.open()
        return await call(self._runtime, handle, self._what(method.lower()), method, *arguments)

    def _what(self, verb: str) -> str:
        return f"{verb} {self._name.lower()} of {self._proc.anchor.path}"


class WriteStream(_Stream):
    """The standard input of a process."""

    def write(self, data: bytes, timeout: float | None = None) -> None:
        """Write all of ``data``. The server buffers: the process may see it only when the stream is closed.

        :raises TimedOut: the process did not take it in time; how much it took is unknown.
        :raises Closed: the stream was closed on this side.
        """
        self._runtime.run(self._write(data), self._what("write"), timeout)

    async def feed(self, data: bytes) -> None:
        """Write ``data``, then close. A process that does not want it all is no error."""
        try:
            if data:
                await self._write(data)
        except (CallFailed, Closed):
            pass
        await self.shut()

    async def _write(self, data: bytes) -> None:
        async with self._turn:
            for start in range(0, len(data), WRITE_BYTES):
                if self.closed:
                    raise Closed(f"{self._what('write')}: it was closed")
                results = await self._call("Write", data[start : start + WRITE_BYTES])
                _raise(results[-1], self._what("write"))


class ReadStream(_Stream):
    """The standard output or error of a process."""

    def __init__(self, proc: Proc, name: str) -> None:
        super().__init__(proc, name)
        self.collected = bytearray()
        """What :meth:`Proc.communicate` has read so far."""
        self._ended = False
        self._reading: asyncio.Task[bytes] | None = None

    def read(self, timeout: float | None = None) -> bytes:
        """Read the next block, of at most 32,000 bytes; empty at the end.

        The server buffers: nothing arrives before 32,000 bytes are there or the process has ended. The end comes once
        the process has ended and its stdin is closed.

        :raises TimedOut: nothing came in time; the next read gets what comes later.
        :raises Closed: the stream was closed on this side.
        """
        return self._runtime.run(self._next(), self._what("read"), timeout)

    async def drain(self) -> None:
        """Read to the end into :attr:`collected`."""
        while block := await self._next():
            self.collected += block

    async def _next(self) -> bytes:
        # In turn, lest two readers get the same block.
        async with self._turn:
            if self._reading is None:
                self._reading = asyncio.get_running_loop().create_task(self._read())
                self._reading.add_done_callback(lambda done: done.cancelled() or done.exception())
            # A read that is given up is still under way at the server: whoever reads next gets its block.
            block = await asyncio.shield(self._reading)
            self._reading = None
            return block

    async def _read(self) -> bytes:
        while not self._ended:
            if self.closed:
                raise Closed(f"{self._what('read')}: it was closed")
            data, error = (await self._call("Read", READ_BYTES))[-2:]
            if error is not None and error_text(error) == EOF:
                self._ended = True
            else:
                _raise(error, self._what("read"))
            if data:
                return bytes(data)
        return b""


async def call(runtime: Runtime, handle: Handle, what: str, method: str, *arguments: object) -> tuple[Any, ...]:
    """Call a method through a handle.

    :raises Closed: the handle was released.
    """
    if handle.released:
        raise Closed(f"{method} of {what}: it was released")
    return await runtime.call(handle.pointer, method, *arguments)


def to_value(cmd: Cmd) -> CmdValue:
    """The wire's form of a command."""
    return CmdValue(tuple(cmd.env), cmd.dir, cmd.path, tuple(cmd.args), cmd.scrub)


def _stat(results: tuple[Any, ...]) -> Stat:
    value = results[0] if results else None
    if not isinstance(value, StatValue):
        raise RemoteFault(f"no process status but {value!r}"[:300])
    cmd = value.cmd
    ended = value.phase in ("exited", "signaled")
    end = Exit(status=0) if ended else None
    if value.exit is not None:
        end = parse_exit(error_text(value.exit))
    return Stat(Cmd(cmd.path, cmd.args, cmd.dir, cmd.env, cmd.scrub), value.phase, end)


def _certain(stat: Stat) -> bool:
    """Whether the status cannot be one that was not stored yet, which reads as success."""
    return stat.exit is not None and stat.exit != Exit(status=0)


def _started(stat: Stat, path: str) -> Stat:
    if stat.exit is not None and stat.exit.error is not None:
        raise ExecFailed(f"{path}: cannot start {stat.cmd.path}: {stat.exit.error}")
    return stat


def _raise(error: object, what: str) -> None:
    if error is not None:
        raise CallFailed(f"{what}: {error_text(error)}")
