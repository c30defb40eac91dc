"""A command on a host that runs as if it were a local one: its streams, signals, time limit, exit status."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import queue
import select
import signal
import stat
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from circuit import Anchor, CallFailed, CircuitError, Cmd, ExecFailed, Proc, ReadStream, Stat, TimedOut
from circuit.cli.arguments import GRACE_S
from circuit.cli.output import OutputLost

_CHUNK = 1 << 19
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5
_MOMENT_S = 0.2

T = TypeVar("T")


@dataclass(frozen=True)
class OutputBroken:
    """One of our outputs takes no more."""

    error: OSError


@dataclass(frozen=True)
class OutputEnded:
    """One of the command's outputs has ended, or was lost."""

    error: CircuitError | None = None


@dataclass(frozen=True)
class InputEnded:
    """Our input has ended, and the command's was closed; or ours cannot be read."""

    error: CircuitError | None = None


@dataclass(frozen=True)
class CommandEnded:
    """The command has ended, or waiting for it failed."""

    stat: Stat | None = None
    error: CircuitError | None = None


Event = int | OutputBroken | OutputEnded | InputEnded | CommandEnded
"""What happens to a command that runs; a number is a signal that this process got."""


class AttachedCommand:
    """A command that runs as if it were a local one.

    Threads copy the streams. The thread of :meth:`run` handles what they and signals report, one event after the other.
    Subclasses with other streams override :meth:`read_input`, :meth:`write_output` and :meth:`interrupt`.
    """

    grace_s = GRACE_S
    """How long the command may take to end when it is to; and then until it is given up."""

    def __init__(
        self, proc: Proc, events: queue.SimpleQueue[Event], *, limit: float = math.inf, must_answer: bool = False
    ) -> None:
        """Attach to a process that was just started.

        :param limit: how long it may run, in seconds.
        :param must_answer: whether a host that does not answer within the client's time limit is a failure, even if
            its connection lasts.
        """
        self.proc = proc
        self.events = events
        self._limit = limit
        self._must_end = time.monotonic() + limit
        """When it has reached its time limit."""
        self._overdue = False
        self._must_answer = must_answer
        self._outputs = 2
        self._input_open = True
        """Whether the command may still get input; its outputs may be held back until that ends."""
        self._waiting = False
        self._pause = _FIRST_PAUSE_S
        self._deadline = math.inf
        """When the command must have ended, if it must."""
        self._killed = False
        self._broken: OSError | None = None
        self._status: int | None = None

    def run(self) -> int:
        """Wait until the command has ended; return the exit status.

        :raises ExecFailed: the host could not start it.
        :raises TimedOut: it reached its time limit, and was ended; or the host does not answer.
        :raises CircuitError: the circuit failed, or the input.
        :raises OutputLost: an output takes no more.
        """
        state = self.proc.peek()
        if state.exit is not None and state.exit.error is not None:
            # Its streams would never end.
            raise ExecFailed(f"{self.proc.anchor.path}: cannot start {state.cmd.path}: {state.exit.error}")
        self._start(self._feed)
        self._start(lambda: self._copy(self.proc.stdout, 1))
        self._start(lambda: self._copy(self.proc.stderr, 2))
        while self._status is None:
            try:
                self._take(next_event(self.events, self._longest_wait()))
            except queue.Empty:
                self._keep_limits()
                if self._input_open or self._must_answer:
                    self._look()
            if not (self._outputs or self._input_open or self._waiting):
                self._waiting = True
                self._start(self._wait)
        if self._overdue:
            raise TimedOut(f"{self.proc.anchor.path}: {self._no_end()}, so it was ended")
        if self._broken is not None:
            raise OutputLost(self._broken)
        return self._status

    def interrupt(self, number: int) -> None:
        """Pass a signal on; after one that ends commands, limit the time that is left."""
        # The command may have just ended, or the server may not know the signal: both are harmless.
        with contextlib.suppress(CallFailed):
            self.proc.signal(signal.Signals(number).name.removeprefix("SIG"))
        if number in (signal.SIGTERM, signal.SIGHUP):
            self.limit_time_left()

    def limit_time_left(self) -> None:
        """Kill the command if it has not ended soon."""
        self._deadline = min(self._deadline, time.monotonic() + self.grace_s)

    def close_input(self) -> None:
        """End the command's input, whatever of ours is left."""
        self._input_open = False
        self.proc.stdin.close()

    def read_input(self) -> bytes:
        """Return the next block of input; empty at its end. On a thread of its own.

        :raises OSError: it cannot be read.
        """
        return read_standard_input()

    def write_output(self, to: int, data: bytes) -> None:
        """Write a block of output, 1, or of errors, 2. On a thread for each of them.

        :raises OSError: it cannot be written.
        """
        write_all(to, data)

    def _longest_wait(self) -> float:
        wait = min(self._deadline, self._must_end) - time.monotonic()
        if self._input_open or self._must_answer:
            wait = min(wait, self._pause)
        return max(wait, 0)

    def _take(self, event: Event) -> None:
        if isinstance(event, int):
            self.interrupt(event)
        elif isinstance(event, OutputBroken):
            self._broken = self._broken or event.error
            self.interrupt(signal.SIGTERM)
        elif event.error is not None:
            raise event.error
        elif isinstance(event, InputEnded):
            self._input_open = False
        elif isinstance(event, OutputEnded):
            self._outputs -= 1
            # It may have closed its outputs and still read; but if it has ended, our input may never end.
            self._pause = _FIRST_PAUSE_S
        else:
            assert event.stat is not None
            assert event.stat.exit is not None
            self._status = event.stat.exit.returncode

    def _keep_limits(self) -> None:
        now = time.monotonic()
        if now >= self._deadline:
            self._kill_or_give_up()
        elif now >= self._must_end:
            self._must_end = math.inf
            self._overdue = True
            self.interrupt(signal.SIGTERM)

    def _kill_or_give_up(self) -> None:
        if self._killed:
            why = f"{self._no_end()}; " if self._overdue else ""
            raise CircuitError(
                f"{self.proc.anchor.path}: {why}killed, and its outputs are still open: what it started goes on"
            )
        self._killed = True
        self._deadline = time.monotonic() + self.grace_s
        self.interrupt(signal.SIGKILL)

    def _no_end(self) -> str:
        return f"no end within {self._limit:g} s"

    def _look(self) -> None:
        """Look whether it has ended: a server holds back the outputs of one that has until its input is closed."""
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_S)
        try:
            ended = self.proc.peek().phase in ("exited", "signaled")
        except TimedOut:
            # A slow answer is no reason to end a command.
            if self._must_answer:
                raise
            return
        if ended and self._input_open:
            # A slow answer is no reason to give up what it printed.
            with contextlib.suppress(TimedOut):
                self.close_input()

    # on threads of their own

    def _start(self, work: Callable[[], None]) -> None:
        # Daemon threads, since our input may never end.
        threading.Thread(target=work, daemon=True).start()

    def _feed(self) -> None:
        try:
            while data := self.read_input():
                self.proc.stdin.write(data, math.inf)
            self.proc.stdin.close()
        except CircuitError:
            # The command has ended, or closed its input; or the circuit is lost, which the outputs report.
            return
        except OSError as error:
            # The command must not take this for the end of its input.
            self.events.put(InputEnded(CircuitError(f"cannot read the input: {error.strerror}")))
        else:
            self.events.put(InputEnded())

    def _copy(self, stream: ReadStream, to: int) -> None:
        takes = True
        try:
            while data := stream.read(math.inf):
                try:
                    if takes:
                        self.write_output(to, data)
                except OSError as error:
                    # Discard the rest: unread, it would hold the command up.
                    takes = False
                    self.events.put(OutputBroken(error))
        except CircuitError as error:
            self.events.put(OutputEnded(error))
        else:
            self.events.put(OutputEnded())

    def _wait(self) -> None:
        try:
            self.proc.stdin.close()
            self.events.put(CommandEnded(self.proc.wait(math.inf)))
        except CircuitError as error:
            self.events.put(CommandEnded(error=error))


def read_standard_input(size: int = _CHUNK) -> bytes:
    """Return the next block of standard input; empty at its end.

    :raises OSError: it cannot be read.
    """
    while True:
        try:
            return os.read(0, size)
        except BlockingIOError:
            # Another process that has the file open made it non-blocking.
            select.select([0], [], [])
        except OSError as error:
            # A terminal that is gone, and what nohup puts in its place.
            if error.errno == errno.EBADF or (error.errno == errno.EIO and stat.S_ISCHR(os.fstat(0).st_mode)):
                return b""
            raise


def write_all(to: int, data: bytes) -> None:
    """Write all of ``data``, whether the file blocks or not."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(to, left) :]
        except BlockingIOError:
            select.select([], [to], [])


def start_command(anchor: Anchor, argv: Sequence[str]) -> Proc:
    """Start a command, which the host searches for in PATH."""
    # The shell only searches; it becomes the command.
    return anchor.make_proc(Cmd("/bin/sh", ["-c", 'exec "$@"', "sh", *argv], scrub=True))


def catch_signals(put: Callable[[int], None]) -> None:
    """Pass the signals that end processes to ``put``, of a SimpleQueue, from now on."""
    # A handler may run while the main thread is inside the queue: SimpleQueue allows that.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        # A signal that nohup, or a shell that runs this in the background, set to be ignored is not passed on either.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, frame: put(number))


def next_event(events: queue.SimpleQueue[T], timeout: float = math.inf) -> T:
    """Return the next event.

    :param timeout: seconds.
    :raises queue.Empty: there was none in time.
    """
    # A signal that comes just before the main thread blocks does not wake it, so that it blocks for moments only.
    until = time.monotonic() + timeout
    while True:
        left = until - time.monotonic()
        try:
            return events.get(timeout=max(min(left, _MOMENT_S), 0))
        except queue.Empty:
            if left <= _MOMENT_S:
                raise


def kill_and_scrub(proc: Proc) -> None:
    """Kill the process and remove its element, as far as the host can be reached."""
    try:
        proc.signal("KILL")
    except TimedOut:
        # The next call would take as long.
        return
    except CircuitError:
        pass
    with contextlib.suppress(CircuitError):
        proc.scrub()
