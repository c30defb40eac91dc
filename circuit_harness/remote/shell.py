"""Run shell commands on hosts, with their input, both outputs and the true exit status."""

from __future__ import annotations

import contextlib
import re
import shlex
import time
from dataclasses import dataclass

from circuit import Anchor, CircuitError, Cmd, CommunicateTimedOut, Hidden, Job, Proc, TooMuchOutput
from circuit_harness.errors import CommandFailed, CommandTimedOut, OutputTooLong
from circuit_harness.remote import command_log
from circuit_harness.remote.script import HARNESS
from circuit_harness.steps import Steps

JOB = "shelljob"
"""Commands run at ``/HOST/shelljob-MARK``. That anchor disappears with its command. An anchor between it and the host
would not, because a Go server forgets to remove an anchor whose last sub-anchor has gone."""

SKEW_S = 600.0
"""The most seconds by which the clocks of machines that use one circuit may differ: other runs treat a command as
abandoned this long after its time limit."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The folders in which commands find programs, which only root can write to. The circuit server's path may have
others."""

MAX_OUTPUT_BYTES = 64 * 1024 * 1024
"""The bytes that a command may write to each of its outputs by default."""

_MARK = re.compile(r"[0-9a-f]{24}")
# A number of seconds, with a limit to its length, as any client can write one.
_UNTIL = re.compile(r"CIRCUIT_JOB_UNTIL=([0-9]{1,12})\b")
_SETTLE_S = 2.0
_END_LIMIT_S = 10.0
_STATUS_LIMIT_S = 10.0

# The variables that make programs, Python, Perl, Node.js and shells load other code.
_LOADERS = (
    "LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT GCONV_PATH PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE"
    " PERLLIB PERL5LIB PERL5OPT PERL5DB NODE_PATH NODE_OPTIONS BASH_ENV ENV CDPATH"
)

_WHO = HARNESS.line("user_environment")
_END = HARNESS.text("end_job")
_END_AS_ROOT = (
    f"s={shlex.quote(_END)}; "
    'if [ "$(id -u)" != 0 ] && sudo -n true 2>/dev/null; then exec sudo -nH sh -c "$s"; else exec sh -c "$s"; fi'
)


@dataclass(frozen=True)
class ShellResult:
    """The result of a command: both outputs as bytes, and the exit status (128 + n for a death by signal n)."""

    stdout: bytes
    stderr: bytes
    exit_status: int

    @property
    def text(self) -> str:
        """Standard output as text, without white space around it."""
        return self.stdout.decode("utf-8", "replace").strip()


def run_shell(
    host: Anchor,
    command: str,
    stdin: bytes | Hidden = b"",
    timeout: float = 60.0,
    check: bool = True,
    limit: int = MAX_OUTPUT_BYTES,
    path: str = PATH,
) -> ShellResult:
    """Run ``command`` with ``/bin/sh`` in ``/`` on a host, as the user that the circuit runs as.

    Its environment is the circuit server's, except ``PATH``, except HOME, USER, LOGNAME and SHELL, which are the
    user's, and without the variables that make programs load code; ``CIRCUIT_JOB`` marks it.

    This writes ``stdin`` while it reads both outputs, so that no amount of either can block; a command need not read
    its input. The status is reliable: a server can lose the status that it sends to a waiting client, so the shell
    prints its own to standard error, behind a random mark, and this removes it there. Where the shell could not do that
    (``exec``, a death by signal), this requests the status from the server in the way that cannot lose it.

    :param timeout: seconds until the command is ended, with all processes that it started.
    :param check: whether to raise an error for a status other than 0.
    :param limit: the most bytes of each output; beyond that, the command is ended in the same way.
    :param path: the folders in which the command finds programs.
    :raises CommandFailed: the status is not 0.
    :raises CommandTimedOut: the time limit was reached.
    :raises OutputTooLong: an output is longer than ``limit``.
    :raises CircuitError: the host or the circuit was lost; the command may continue there.
    """
    job = _Job(host, command, timeout, path)
    try:
        stdout, stderr, status = job.run(stdin, timeout, limit)
    except TooMuchOutput as error:
        note = _end(host, job.mark)
        raise OutputTooLong(host.name, command, limit, str(error), *job.collected(), note) from None
    except CommunicateTimedOut:
        note = _end(host, job.mark)
        stdout, stderr = job.rest()
        raise CommandTimedOut(host.name, command, timeout, stdout, stderr, note) from None
    except KeyboardInterrupt:
        if job.mark:
            _end(host, job.mark)
        raise
    finally:
        job.release()
    if check and status != 0:
        raise CommandFailed(host.name, command, status, stdout, stderr)
    return ShellResult(stdout, stderr, status)


def clean(path: str = PATH) -> str:
    """Shell: find programs only in ``path``, let none of them load code that the circuit's environment names, and let
    them make no files that other users can write to.

    The text of every process on a host must begin with this.
    """
    return f"PATH={shlex.quote(path)}; export PATH; umask 022; unset {_LOADERS}"


def login_path(host: Anchor) -> str:
    """Return the ``PATH`` of a login of the circuit's user, according to /etc/login.defs, without profiles."""
    return run_shell(host, HARNESS.text("login_path"), timeout=_END_LIMIT_S).text or PATH


def sweep(host: Anchor, steps: Steps) -> None:
    """Remove what the commands of killed runners have left on a host.

    A server cannot end a command whose input no client has opened, and the element of such a command stays when the
    command has ended by itself. This scrubs these elements, and ends commands that are far beyond their time limit.

    :raises Stopped: the steps were stopped.
    """
    if suspects := _ended_jobs(host):
        # The element of a command that has just ended disappears by itself.
        steps.pause(_SETTLE_S)
        for name, job in _ended_jobs(host).items():
            if name in suspects and suspects[name].same(job):
                job.scrub()


def _ended_jobs(host: Anchor) -> dict[str, Proc]:
    """Return the commands that have ended and whose elements still exist. First end those far beyond their time limit.

    Any client can make elements with such names, and this ends processes as root. So it ends only those with a mark
    that a run can have made, not with just any word that other processes have in their command line or environment.
    """
    found = {}
    for name, anchor in host.view().items():
        job = anchor.get() if name.startswith(f"{JOB}-") else None
        if isinstance(job, Proc):
            stat = job.peek()
            mark = name.removeprefix(f"{JOB}-")
            until = _UNTIL.search(" ".join(stat.cmd.args)) if _MARK.fullmatch(mark) else None
            if stat.exit is None and until is not None and time.time() > int(until[1]) + SKEW_S:
                _end(host, mark)
                stat = job.peek()
            if stat.exit is not None:
                found[name] = job
    return found


class _Job:
    """One command in progress: started, marked, and to be released."""

    def __init__(self, host: Anchor, command: str, timeout: float, path: str = PATH) -> None:
        self.mark = ""
        """What marks its processes; empty before it is started."""
        self._host, self._command, self._timeout, self._path = host.name, command, timeout, path
        self._job = Job(host, JOB, self._marked)

    def _marked(self, name: str) -> Cmd:
        """Return the whole command, which is marked with the random part of its anchor's name."""
        self.mark = mark = name.removeprefix(f"{JOB}-")
        until = f"CIRCUIT_JOB_UNTIL={time.time() + self._timeout:.0f}"
        # In front of the command's first line, so that the line numbers in the shell's messages are the command's.
        report = f"""trap 'printf "{mark}:%d;" $? >&2' EXIT"""
        begin = f"CIRCUIT_JOB={mark}; {until}; export CIRCUIT_JOB; {clean(self._path)}; {_WHO}; {report}"
        return Cmd("/bin/sh", ["-c", f"{begin}; {self._command}"], dir="/", scrub=True)

    def run(self, stdin: bytes | Hidden, timeout: float, limit: int) -> tuple[bytes, bytes, int]:
        """Wait for the command to end by itself; return both outputs and the status."""
        began, at = time.monotonic(), command_log.now() if command_log.is_on() else ""
        status: int | None = None
        error = ""
        try:
            stdout, stderr, status = self._run(stdin, timeout, limit)
        except BaseException as raised:
            error = f"{type(raised).__name__}: {raised}"
            raise
        finally:
            if at:
                seconds = round(time.monotonic() - began, 6)
                command_log.write(command_log.Entry(self._host, at, seconds, status, self._command, error))
        return stdout, stderr, status

    def _run(self, stdin: bytes | Hidden, timeout: float, limit: int) -> tuple[bytes, bytes, int]:
        deadline = time.monotonic() + timeout
        stdout, stderr = self._job.run(stdin, timeout, limit)
        status, stderr = self._reported(stderr)
        if status is None:
            assert self._job.proc is not None
            end = self._job.proc.wait(max(_STATUS_LIMIT_S, deadline - time.monotonic())).exit
            assert end is not None
            status = end.returncode
        return stdout, stderr, status

    def rest(self) -> tuple[bytes, bytes]:
        """Return the complete outputs of a command that was ended."""
        assert self._job.proc is not None
        with contextlib.suppress(CircuitError):
            self._job.proc.communicate(timeout=_END_LIMIT_S)
        return self.collected()

    def collected(self) -> tuple[bytes, bytes]:
        """Return the output read so far, and stop reading."""
        proc = self._job.proc
        assert proc is not None
        proc.give_up()
        return bytes(proc.stdout.collected), self._reported(bytes(proc.stderr.collected))[1]

    def release(self) -> None:
        """Release process and anchor now instead of at garbage collection, and give up pending calls."""
        self._job.release()

    def _reported(self, stderr: bytes) -> tuple[int | None, bytes]:
        """Return the status that the shell printed, and its standard error without that."""
        before, mark, rest = stderr.partition(f"{self.mark}:".encode())
        status, end, after = rest.partition(b";")
        if not (mark and end and status.isdigit()):
            return None, stderr
        return int(status), before + after


def _end(host: Anchor, mark: str) -> str:
    """End the marked command; return a note for the error message if that failed, else ""."""
    left = f" - which failed, so that processes with CIRCUIT_JOB={mark} in their environment may be left"
    try:
        ender = _Job(host, _END_AS_ROOT, _END_LIMIT_S)
        try:
            status = ender.run(mark.encode() + b"\n", _END_LIMIT_S, MAX_OUTPUT_BYTES)[2]
        finally:
            ender.release()
    except CircuitError as error:
        return f"{left}: {error}"
    return left if status else ""
