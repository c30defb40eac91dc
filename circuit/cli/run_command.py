"""``run``: a command on a host, as if it were a local one."""

from __future__ import annotations

import argparse
import contextlib
import errno
import math
import os
import queue
import secrets
import select
import signal
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from circuit import CallFailed, CircuitError, Cmd, ExecFailed, Proc, ReadStream, Stat, TimedOut
from circuit.cli.arguments import GRACE_S
from circuit.cli.lookup import dial, split
from circuit.cli.output import OutputLost, exit_with_usage_error

_CHUNK = 1 << 19
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5


def run(options: argparse.Namespace) -> int:
    """Run a command; return its exit status.

    :raises CircuitError: the circuit failed, or the input or output.
    :raises OutputLost: an output takes no more.
    """
    names = split(options.anchor)
    if not names:
        exit_with_usage_error("run: name a host, as ls shows them, or a place below it")
    if len(names) == 1:
        names.append(f"run-{secrets.token_hex(8)}")
    with dial(options) as client:
        anchor = client.walk(*names)
        # From here on a signal must not end this process before the command.
        signals = _catch_signals()
        # The shell only searches PATH; it becomes the command.
        proc = anchor.make_proc(Cmd("/bin/sh", ["-c", 'exec "$@"', "sh", *options.argv], scrub=True))
        try:
            return _AttachedCommand(proc, signals).run()
        except BaseException:
            _kill_and_scrub(proc)
            raise


@dataclass(frozen=True)
class _OutputBroken:
    """One of our outputs takes no more."""

    error: OSError


@dataclass(frozen=True)
class _OutputEnded:
    """One of the command's outputs has ended, or was lost."""

    error: CircuitError | None = None


@dataclass(frozen=True)
class _InputEnded:
    """Our input has ended, and the command's was closed; or ours cannot be read."""

    error: CircuitError | None = None


@dataclass(frozen=True)
class _CommandEnded:
    """The command has ended, or waiting for it failed."""

    stat: Stat | None = None
    error: CircuitError | None = None


_Event = int | _OutputBroken | _OutputEnded | _InputEnded | _CommandEnded
"""What happens to a command that runs; a number is a signal that this process got."""


class _AttachedCommand:
    """A command that runs as if it were a local one.

    Threads copy the streams. The main thread handles what they and signals report, one event after the other.
    """

    def __init__(self, proc: Proc, events: queue.SimpleQueue[_Event]) -> None:
        self._proc = proc
        self._events = events
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
        """Wait until the command has ended; return the exit status."""
        state = self._proc.peek()
        if state.exit is not None and state.exit.error is not None:
            # Its streams would never end.
            raise ExecFailed(f"{self._proc.anchor.path}: cannot start {state.cmd.path}: {state.exit.error}")
        self._start(self._feed)
        self._start(lambda: self._copy(self._proc.stdout, 1))
        self._start(lambda: self._copy(self._proc.stderr, 2))
        while self._status is None:
            until_deadline = self._deadline - time.monotonic()
            limit = min(self._pause, until_deadline) if self._input_open else until_deadline
            try:
                self._take(self._events.get(timeout=max(limit, 0) if limit < math.inf else None))
            except queue.Empty:
                if time.monotonic() >= self._deadline:
                    self._kill_or_give_up()
                if self._input_open:
                    self._close_input_of_ended()
                    self._pause = min(2 * self._pause, _LONGEST_PAUSE_S)
            if not (self._outputs or self._input_open or self._waiting):
                self._waiting = True
                self._start(self._wait)
        if isinstance(self._broken, BrokenPipeError):
            # A reader that had enough ended it, as it would have ended a local command.
            return 128 + signal.SIGPIPE
        if self._broken is not None:
            raise OutputLost(self._broken)
        return self._status

    def _take(self, event: _Event) -> None:
        if isinstance(event, int):
            self._send(signal.Signals(event).name.removeprefix("SIG"))
            if event in (signal.SIGTERM, signal.SIGHUP):
                self._limit_time_left()
        elif isinstance(event, _OutputBroken):
            self._broken = self._broken or event.error
            self._send("TERM")
            self._limit_time_left()
        elif event.error is not None:
            raise event.error
        elif isinstance(event, _InputEnded):
            self._input_open = False
        elif isinstance(event, _OutputEnded):
            self._outputs -= 1
            # It may have closed its outputs and still read; but if it has ended, our input may never end.
            self._pause = _FIRST_PAUSE_S
        else:
            assert event.stat is not None
            assert event.stat.exit is not None
            self._status = event.stat.exit.returncode

    def _limit_time_left(self) -> None:
        self._deadline = min(self._deadline, time.monotonic() + GRACE_S)

    def _kill_or_give_up(self) -> None:
        if self._killed:
            raise CircuitError(
                f"{self._proc.anchor.path}: killed, and its outputs are still open: what it started goes on"
            )
        self._killed = True
        self._deadline = time.monotonic() + GRACE_S
        self._send("KILL")

    def _send(self, name: str) -> None:
        # The command may have just ended, or the server may not know the signal: both are harmless.
        with contextlib.suppress(CallFailed):
            self._proc.signal(name)

    def _close_input_of_ended(self) -> None:
        """A server holds back the outputs of a command that has ended until its input is closed."""
        # A slow answer is no reason to end it.
        with contextlib.suppress(TimedOut):
            if self._proc.peek().phase in ("exited", "signaled"):
                self._input_open = False
                self._proc.stdin.close()

    # on threads of their own

    def _start(self, work: Callable[[], None]) -> None:
        # Daemon threads, since our input may never end.
        threading.Thread(target=work, daemon=True).start()

    def _feed(self) -> None:
        try:
            while data := _read_input():
                self._proc.stdin.write(data, math.inf)
            self._proc.stdin.close()
        except CircuitError:
            # The command has ended, or closed its input; or the circuit is lost, which the outputs report.
            return
        except OSError as error:
            # The command must not take this for the end of its input.
            self._events.put(_InputEnded(CircuitError(f"cannot read the input: {error.strerror}")))
        else:
            self._events.put(_InputEnded())

    def _copy(self, stream: ReadStream, to: int) -> None:
        takes = True
        try:
            while data := stream.read(math.inf):
                try:
                    if takes:
                        _write(to, data)
                except OSError as error:
                    # Discard the rest: unread, it would hold the command up.
                    takes = False
                    self._events.put(_OutputBroken(error))
        except CircuitError as error:
            self._events.put(_OutputEnded(error))
        else:
            self._events.put(_OutputEnded())

    def _wait(self) -> None:
        try:
            self._proc.stdin.close()
            self._events.put(_CommandEnded(self._proc.wait(math.inf)))
        except CircuitError as error:
            self._events.put(_CommandEnded(error=error))


def _read_input() -> bytes:
    """Return the next block of standard input; empty at its end.

    :raises OSError: it cannot be read.
    """
    while True:
        try:
            return os.read(0, _CHUNK)
        except BlockingIOError:
            # Another process that has the file open made it non-blocking.
            select.select([0], [], [])
        except OSError as error:
            # A terminal that is gone, and what nohup puts in its place.
            if error.errno == errno.EBADF or (error.errno == errno.EIO and stat.S_ISCHR(os.fstat(0).st_mode)):
                return b""
            raise


def _write(to: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(to, left) :]
        except BlockingIOError:
            select.select([], [to], [])


def _catch_signals() -> queue.SimpleQueue[_Event]:
    """Put the signals that this process gets into a queue, for the command."""
    # A handler may run while the main thread is inside the queue: SimpleQueue allows that.
    events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        # A signal that nohup, or a shell that runs this in the background, set to be ignored is not passed on either.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, frame: events.put(number))
    return events


def _kill_and_scrub(proc: Proc) -> None:
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
