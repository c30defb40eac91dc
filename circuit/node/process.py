"""Processes that behave like the real server's: what may hold one up, and the words for how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from circuit.node.anchors import Element
from circuit.node.pipes import Input, Output
from circuit.wire.messages import CmdValue, Error, StatValue
from circuit.wire.status import Exit

_NAMES = (
    "ABRT",
    "ALRM",
    "BUS",
    "CHLD",
    "CONT",
    "FPE",
    "HUP",
    "ILL",
    "INT",
    "IO",
    "IOT",
    "KILL",
    "PIPE",
    "PROF",
    "QUIT",
    "SEGV",
    "STOP",
    "SYS",
    "TERM",
    "TRAP",
    "TSTP",
    "TTIN",
    "TTOU",
    "URG",
    "USR1",
    "USR2",
    "VTALRM",
    "WINCH",
    "XCPU",
    "XFSZ",
)
SIGNALS = {name: int(getattr(signal, f"SIG{name}")) for name in _NAMES}
"""The signals that clients can send, by the names that the real server knows."""

FINISHED = "os: process already finished"
NOT_RECOGNIZED = "signal name not recognized"
NOT_STARTED = "no running process to signal"

_PARTS = 4
"""What must end before Wait is answered: the process itself, and the copying of its three streams."""


class Process(Element):
    """A process that was started once, or could not be."""

    type_name = "proc.XProc"
    kind = "proc"

    def __init__(self, cmd: CmdValue, over: Callable[[Process], None]) -> None:
        """Start ``cmd``. A failure to start is not an error here; it becomes the exit.

        :param over: called once, later, when the exit is stored or the waits were aborted.
        """
        path = cmd.path.strip()
        # The real server, too, shows a command without its directory.
        self.cmd = CmdValue(env=cmd.env, path=path, args=cmd.args, scrub=cmd.scrub)
        self.stdin = Input(self._part_ended)
        self.stdout = Output(self._part_ended)
        self.stderr = Output(self._part_ended)
        self._over: Callable[[Process], None] | None = over
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done when the exit is stored."""
        self._aborted: asyncio.Future[None] = self._loop.create_future()
        self._exit = ""
        self._status: int | None = None
        self._left = _PARTS
        self._pid: int | None = None
        if failure := self._start(cmd, path):
            self._exit = str(Exit(error=failure))
            self._store()

    @property
    def phase(self) -> str:
        """The real server's word for the state of the process."""
        if self._pid is None:
            return "unknown"
        if self._status is None:
            return "running"
        return "signaled" if os.WIFSIGNALED(self._status) else "exited"

    @property
    def done(self) -> bool:
        """What IsDone answers: the waits were aborted, or a Scrub=true process has ended."""
        return self._aborted.done() or (self.phase != "running" and self.cmd.scrub)

    def peek(self) -> StatValue:
        """Return the state of the process. The exit is stored once everything has ended that :meth:`wait` waits for."""
        known = self.ended.done() and self._exit
        return StatValue(self.cmd, Error(body=self._exit) if known else None, self.phase)

    async def wait(self) -> StatValue | None:
        """Wait until the exit is stored; None if the waits were aborted before.

        It is stored when the process and whatever inherited its outputs have ended, the outputs are read except for
        one buffer, and its input is closed, or was found to be.
        """
        if not self.ended.done() and not self._aborted.done():
            await asyncio.wait((self.ended, self._aborted), return_when=asyncio.FIRST_COMPLETED)
        return self.peek() if self.ended.done() else None

    def signal(self, name: str) -> str:
        """Send a signal to the process, not to its children; return why it could not be sent, or an empty text."""
        if self._pid is None:
            return NOT_STARTED
        number = SIGNALS.get(name.upper().strip())
        if number is None:
            return NOT_RECOGNIZED
        if self._status is not None:
            return FINISHED
        try:
            os.kill(self._pid, number)
        except OSError as error:
            return os.strerror(error.errno or errno.EINVAL).lower()
        return ""

    def scrub(self) -> None:
        """Abort the waits. The process keeps running."""
        if not self._aborted.done():
            self._aborted.set_result(None)
            self._notify()

    def abandon(self) -> None:
        """Let go of the process, which keeps running, and of its pipes."""
        self._over = None
        for stream in (self.stdin, self.stdout, self.stderr):
            stream.abandon()

    def _start(self, cmd: CmdValue, path: str) -> str:
        """Start the command, or return why not, in Go's words."""
        if not path:
            return "exec: no command"
        doing = f"chdir {cmd.dir}"
        try:
            if cmd.dir:
                Path(cmd.dir).stat()
            doing = f"fork/exec {path}"
            self._spawn(cmd, path)
        except (OSError, ValueError) as error:
            # A ValueError means that a string holds a NUL.
            number = error.errno if isinstance(error, OSError) else None
            return f"{doing}: {os.strerror(number or errno.EINVAL).lower()}"
        return ""

    def _spawn(self, cmd: CmdValue, path: str) -> None:
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            ends = []
            for child_reads in (True, False, False):
                reader, writer = os.pipe()
                child, own = (reader, writer) if child_reads else (writer, reader)
                theirs.callback(os.close, child)
                ours.callback(os.close, own)
                ends.append((child, own))
            popen = subprocess.Popen(
                [_bytes(path), *map(_bytes, cmd.args)],
                # With a slash, or it would be searched for in PATH.
                executable=_bytes(path if "/" in path else f"./{path}"),
                stdin=ends[0][0],
                stdout=ends[1][0],
                stderr=ends[2][0],
                cwd=_bytes(cmd.dir) if cmd.dir else None,
                env=_environment(cmd),
            )
            ours.pop_all()
        # From here on the process is reaped below, for the core-dump flag; to Popen it is over.
        popen.returncode = 0
        self._pid = popen.pid
        self.stdin.attach(ends[0][1])
        self.stdout.attach(ends[1][1])
        self.stderr.attach(ends[2][1])
        threading.Thread(target=self._watch, args=(popen.pid,), name=f"wait {popen.pid}", daemon=True).start()

    def _watch(self, pid: int) -> None:
        """Wait for the end of the process, without reaping it: until then no other process can get its number."""
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        try:
            self._loop.call_soon_threadsafe(self._reap, pid)
        except RuntimeError:
            # The loop is gone.
            os.waitpid(pid, 0)

    def _reap(self, pid: int) -> None:
        self._status = os.waitpid(pid, 0)[1]
        code = os.waitstatus_to_exitcode(self._status)
        if code < 0:
            self._exit = str(Exit(signal=-code))
            if os.WCOREDUMP(self._status):
                self._exit += " (core dumped)"
        elif code:
            self._exit = str(Exit(status=code))
        self.stdout.writer_ended()
        self.stderr.writer_ended()
        self._part_ended()

    def _part_ended(self) -> None:
        self._left -= 1
        if not self._left:
            self._store()
            # Only now do readers get what is left, and the end.
            self.stdout.finish()
            self.stderr.finish()

    def _store(self) -> None:
        self.ended.set_result(None)
        self._notify()

    def _notify(self) -> None:
        if self._over is not None:
            self._loop.call_soon(self._over, self)
            self._over = None


def _bytes(text: str) -> bytes:
    """Return the bytes that the client sent, unchanged."""
    return text.encode("utf-8", "surrogateescape")


def _environment(cmd: CmdValue) -> dict[bytes, bytes]:
    if not cmd.env:
        inherited = dict(os.environb)
        if cmd.dir:
            inherited[b"PWD"] = bytes(Path(cmd.dir).absolute())
        return inherited
    return {name: value for name, equals, value in (_bytes(entry).partition(b"=") for entry in cmd.env) if equals}
