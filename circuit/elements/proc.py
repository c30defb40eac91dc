"""Processes: commands that run on a host, their streams, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from circuit.display import Hidden
from circuit.elements.element import Element, Place, check, expect, submit
from circuit.elements.exchange import Exchange
from circuit.elements.streams import MAX_COLLECTED_BYTES, Ongoing, ReadStream, WriteStream
from circuit.errors import CallFailed, CircuitError, Closed, ExecFailed, RemoteFault, TimedOut
from circuit.net.calls import Results
from circuit.net.held import Handle
from circuit.net.runtime import Runtime
from circuit.wire.messages import ABORTED, CmdValue, StatValue, error_text, is_error
from circuit.wire.status import Exit, parse_exit

_LOOK_S = 0.1
"""When to look whether a command was started that has not ended."""

_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.1


@dataclass(frozen=True)
class Cmd:
    """A command to run on a host.

    ``path`` is not searched for in PATH; ``args`` are without argv[0]; an empty ``env`` inherits the server's. With
    ``scrub`` the server removes the element when the process ends. It logs all of this, and shows it to every client:
    no secret belongs in it.
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


class CommunicateTimedOut(TimedOut):
    """:meth:`Proc.communicate` ran out of time; ``stdout`` and ``stderr`` hold what had arrived."""

    def __init__(self, message: str, stdout: bytes, stderr: bytes) -> None:
        super().__init__(message)
        self.stdout = stdout
        self.stderr = stderr


class Proc(Element):
    """A process on a host.

    Its streams are opened when they are first used, and all of them end when the client closes. To get a
    command's whole output, :meth:`communicate` needs the fewest round trips.
    """

    def __init__(self, runtime: Runtime, anchor: Place, handle: Handle) -> None:
        super().__init__(runtime, anchor, "proc", handle)
        self.stdin = WriteStream(runtime, f"stdin of {anchor.path}", handle, "Stdin")
        self.stdout = ReadStream(runtime, f"stdout of {anchor.path}", handle, "Stdout")
        self.stderr = ReadStream(runtime, f"stderr of {anchor.path}", handle, "Stderr")
        self._exchange: Exchange | None = None
        self._waiting = Ongoing(self._wait, repeatable=True)

    def peek(self) -> Stat:
        """Return the state of the process right now."""
        return self._runtime.run(self._peek(), f"peek {self.anchor.path}")

    def describe(self) -> dict[str, object]:
        """Return the state of the process right now, as plain values."""
        stat = self.peek()
        return {
            "kind": self.kind,
            "cmd": asdict(stat.cmd),
            "phase": stat.phase,
            "exit": None if stat.exit is None else str(stat.exit),
        }

    def signal(self, name: str) -> None:
        """Send a signal, named without SIG, to the process that was started; not to its children.

        :raises CallFailed: it has ended, or the signal does not exist.
        """
        self._runtime.run(self._signal(name), f"signal {name} to {self.anchor.path}")

    def wait(self, timeout: float | None = None) -> Stat:
        """Wait for the end of the process, and return its true exit.

        A server answers only once the process's stdin is closed and whatever inherited its outputs has ended, and it
        holds the process up when its outputs are not read: close and drain the streams first. A server can also lose
        the status on the way to a waiter: an answer that may be such a loss is checked against one that is certain.

        :param timeout: seconds; None for the client's own limit, infinite for no limit.
        :raises ExecFailed: the command could not be started.
        :raises CallFailed: its element was scrubbed while it ran.
        :raises TimedOut: it still runs.
        """
        return self._runtime.run(self._waiting.result(), f"wait for {self.anchor.path}", timeout)

    def communicate(
        self, stdin: bytes | Hidden = b"", timeout: float | None = None, limit: int = MAX_COLLECTED_BYTES
    ) -> tuple[bytes, bytes]:
        """Send ``stdin`` and close it, and read both outputs to their ends, concurrently.

        After a time-out the exchange continues, up to ``limit``: call again, without ``stdin``, to wait on, or
        :meth:`give_up`. What arrived so far is in the error's ``stdout`` and ``stderr``.

        :param limit: how many bytes of each output are collected; it holds from the first call on.
        :raises ExecFailed: the command could not be started.
        :raises CommunicateTimedOut: an output did not end in time.
        :raises TooMuchOutput: an output is longer than ``limit``. The streams are closed; the process may go on.
        """
        try:
            self._runtime.run(self.exchange(stdin, limit), f"run {self.anchor.path}", timeout)
        except TimedOut as error:
            raise CommunicateTimedOut(str(error), bytes(self.stdout.collected), bytes(self.stderr.collected)) from None
        return bytes(self.stdout.collected), bytes(self.stderr.collected)

    def give_up(self) -> None:
        """End a running :meth:`communicate`: nothing more is sent or collected."""
        if self._exchange is None or self._exchange.end.is_settled:
            return
        # A closed client has already ended it.
        with contextlib.suppress(CircuitError):
            self._runtime.run(self._give_up(), f"let go of the streams of {self.anchor.path}")

    def discard_streams(self) -> None:
        """Close all three streams: no input, and no reader of the outputs.

        For a process that prints nothing, or to a file: one that prints more than a pipe holds may be held up.
        """
        self._runtime.run(self._discard_streams(), f"close the streams of {self.anchor.path}")

    # on the loop

    async def _peek(self) -> Stat:
        return _stat((await self._call("Peek"))[0], f"peek {self.anchor.path}")

    async def _signal(self, name: str) -> None:
        check((await self._call("Signal", name))[0], f"signal {name} to {self.anchor.path}")

    async def _wait(self) -> Stat:
        value, error = await self._call("Wait")
        stat: Stat | None = None
        if error is None:
            stat = _stat(value, f"wait for {self.anchor.path}")
        elif error_text(error) != ABORTED:
            check(error, f"wait for {self.anchor.path}")
        if stat is None or not _certain(stat):
            stat = await self._proven()
        return _started(stat, self.anchor.path)

    async def _proven(self) -> Stat:
        """The status once it is certain.

        A server takes the status from the process in a waiter of its own, so that another waiter can see the end
        before the status is stored, or be aborted. But it scrubs a process made with Scrub only after it stored the
        status: when the anchor is empty, Peek on the handle is right.
        """
        stat = await self._peek()
        if stat.cmd.scrub:
            pause = _FIRST_PAUSE_S
            while await self.anchor.holds(self):
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            stat = await self._peek()
        elif not _certain(stat):
            # Nothing marks the moment here. In every case seen, the status was there one round trip later.
            stat = await self._peek()
        if stat.exit is None:
            raise CallFailed(f"wait for {self.anchor.path}: its element was scrubbed while the process ran")
        return stat

    async def exchange(self, data: bytes | Hidden, limit: int, beside: Callable[[], None] | None = None) -> None:
        """Send ``data`` and collect both outputs; on the loop. See :meth:`communicate` and :meth:`Exchange.start`."""
        address = self._handle.pointer.address
        if self._exchange is None:
            outputs = (self.stdout, self.stderr)
            self._exchange = exchange = Exchange(self._runtime, address, self.stdin, outputs, data, limit)
            look = asyncio.get_running_loop().call_later(_LOOK_S, self._look, exchange)
            exchange.end.then(lambda _, error: look.cancel())
            exchange.start(beside)
        await self._runtime.diagnosed(address, self._exchange.end.get())
        await self._exchange.check_whole()

    def _look(self, exchange: Exchange) -> None:
        """Look whether the command was started: the streams of one that was not never end."""

        def looked(results: Results | None, error: Exception | None) -> None:
            if results is not None:
                try:
                    _started(_stat(results[0], f"peek {self.anchor.path}"), self.anchor.path)
                except CircuitError as failure:
                    exchange.fail(failure)

        submit(self._runtime, self._handle, self.anchor.path, "Peek", (), looked)

    async def _give_up(self) -> None:
        assert self._exchange is not None
        self._exchange.fail(Closed(f"run {self.anchor.path}: it was given up"))

    async def _discard_streams(self) -> None:
        streams = (self.stdin, self.stdout, self.stderr)
        await asyncio.gather(*(stream.open() for stream in streams))
        await asyncio.gather(*(stream.shut() for stream in streams))


def to_value(cmd: Cmd) -> CmdValue:
    """Return the wire's form of a command."""
    return CmdValue(tuple(cmd.env), cmd.dir, cmd.path, tuple(cmd.args), cmd.scrub)


def _stat(answer: object, what: str) -> Stat:
    value = expect(answer, StatValue, what)
    cmd = value.cmd
    end = Exit(status=0) if value.phase in ("exited", "signaled") else None
    if value.exit is not None:
        if not is_error(value.exit):
            raise RemoteFault(f"{what} was answered with the exit {value.exit!r}"[:300])
        end = parse_exit(error_text(value.exit))
    return Stat(Cmd(cmd.path, cmd.args, cmd.dir, cmd.env, cmd.scrub), value.phase, end)


def _certain(stat: Stat) -> bool:
    """Whether the status cannot be one that was not stored yet, which reads as success."""
    return stat.exit is not None and stat.exit != Exit(status=0)


def _started(stat: Stat, path: str) -> Stat:
    if stat.exit is not None and stat.exit.error is not None:
        raise ExecFailed(f"{path}: cannot start {stat.cmd.path}: {stat.exit.error}")
    return stat
