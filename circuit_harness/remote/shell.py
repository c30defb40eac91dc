"""Shell commands on hosts: input in, both outputs and the true exit status out."""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
import time
from dataclasses import dataclass

from circuit import Anchor, CircuitError, Cmd, CommunicateTimedOut, Hidden, Proc, TooMuchOutput
from circuit_harness.errors import CommandFailed, CommandTimedOut, OutputTooLong
from circuit_harness.remote import command_log
from circuit_harness.remote.script import HARNESS
from circuit_harness.steps import Steps

JOB = "shelljob"
"""Commands run at ``/HOST/shelljob-MARK``. The anchor goes away with the command; one between it and the host would
not: a Go server forgets to remove an anchor whose last sub-anchor has gone."""

SKEW_S = 600.0
"""How far the clocks of machines that use one circuit may be apart: so much is added to a command's time limit before
somebody else takes it for abandoned."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where commands find programs: folders that only root can write to. That of the circuit server may hold others."""

MAX_OUTPUT_BYTES = 64 * 1024 * 1024
"""How much a command may write to each of its outputs, unless told otherwise."""

_MARK_BYTES = 12
_MARK = re.compile(rf"[0-9a-f]{{{2 * _MARK_BYTES}}}")
# A number of seconds, and not one that is too long to be read.
_UNTIL = re.compile(r"CIRCUIT_JOB_UNTIL=([0-9]{1,12})\b")
_SETTLE_S = 2.0
_END_LIMIT_S = 10.0
_STATUS_LIMIT_S = 10.0

# What makes programs, Python, Perl, Node.js and shells load more than their own.
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
    """How a command ended: both outputs as bytes, and its exit status (128 + n for a death by signal n)."""

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

    Its environment is the circuit server's, but for ``PATH``, for HOME, USER, LOGNAME and SHELL, which are those of
    the user, and for variables that make programs load code; ``CIRCUIT_JOB`` marks it.

    ``stdin`` is fed while both outputs are read, so that no amount of either can block; a command need not read it.
    The status is certain: a server can lose the one that it hands to a waiter, so the shell reports its own, on
    standard error behind a random mark that is cut out again; where it could not (``exec``, a death by signal), the
    server is asked in the way that cannot be lost.

    :param timeout: seconds until the command is ended, with everything that it started.
    :param check: whether a status other than 0 is an error.
    :param limit: bytes of each output, beyond which the command is ended likewise.
    :param path: where the command finds programs.
    :raises CommandFailed: the status is not 0.
    :raises CommandTimedOut: the time limit was reached.
    :raises OutputTooLong: an output is longer than ``limit``.
    :raises CircuitError: the host or the circuit was lost; the command may go on there.
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
        _end(host, job.mark)
        raise
    finally:
        job.release()
    if check and status != 0:
        raise CommandFailed(host.name, command, status, stdout, stderr)
    return ShellResult(stdout, stderr, status)


def clean(path: str = PATH) -> str:
    """Shell: find programs in ``path`` alone, and have none of them load what the circuit's environment names, nor
    make files that others can write to.

    Whatever starts a process of its own on a host begins with this.
    """
    return f"PATH={shlex.quote(path)}; export PATH; umask 022; unset {_LOADERS}"


def login_path(host: Anchor) -> str:
    """Return the ``PATH`` that the circuit's user gets by logging in, as /etc/login.defs has it, without profiles."""
    return run_shell(host, HARNESS.text("login_path"), timeout=_END_LIMIT_S).text or PATH


def sweep(host: Anchor, steps: Steps) -> None:
    """Remove what commands have left on a host whose runners were killed.

    A server cannot end a command that nobody opened the input of; when it has ended by itself its element stays. Those
    are scrubbed, and commands ended that run far beyond their time limit.

    :raises Stopped: the steps were stopped.
    """
    if suspects := _ended_jobs(host):
        # One that has just ended goes by itself.
        steps.pause(_SETTLE_S)
        for name, job in _ended_jobs(host).items():
            if name in suspects and suspects[name].same(job):
                job.scrub()


def _ended_jobs(host: Anchor) -> dict[str, Proc]:
    """The commands that have ended and are still there. Those far beyond their time are ended first.

    Any client can make elements of such names: what is ended as root is told by a mark of ours, not by a word that
    stands in the command line or environment of others.
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
    """One command on its way: started, marked, and to be released."""

    def __init__(self, host: Anchor, command: str, timeout: float, path: str = PATH) -> None:
        self.mark = secrets.token_hex(_MARK_BYTES)
        self._host, self._command = host.name, command
        until = f"CIRCUIT_JOB_UNTIL={time.time() + timeout:.0f}"
        # On the command's own first line, so that the shell's messages name the right line of it.
        report = f"""trap 'printf "{self.mark}:%d;" $? >&2' EXIT"""
        begin = f"CIRCUIT_JOB={self.mark}; {until}; export CIRCUIT_JOB; {clean(path)}; {_WHO}; {report}"
        marked = f"{begin}; {command}"
        self._anchor = host.walk(f"{JOB}-{self.mark}")
        self._proc = self._anchor.make_proc(Cmd("/bin/sh", ["-c", marked], dir="/", scrub=True))

    def run(self, stdin: bytes | Hidden, timeout: float, limit: int) -> tuple[bytes, bytes, int]:
        """Return both outputs and the status, when the command has ended by itself."""
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
        stdout, stderr = self._proc.communicate(stdin, timeout, limit)
        status, stderr = self._reported(stderr)
        if status is None:
            end = self._proc.wait(max(_STATUS_LIMIT_S, deadline - time.monotonic())).exit
            assert end is not None
            status = end.returncode
        return stdout, stderr, status

    def rest(self) -> tuple[bytes, bytes]:
        """What the outputs hold, once the command was ended."""
        with contextlib.suppress(CircuitError):
            self._proc.communicate(timeout=_END_LIMIT_S)
        return self.collected()

    def collected(self) -> tuple[bytes, bytes]:
        """What the outputs held so far; no more is collected from now on."""
        self._proc.give_up()
        return bytes(self._proc.stdout.collected), self._reported(bytes(self._proc.stderr.collected))[1]

    def release(self) -> None:
        """Let go of process and anchor now, not when they are collected, and of what is still under way."""
        self._proc.give_up()
        self._proc.release()
        self._anchor.release()

    def _reported(self, stderr: bytes) -> tuple[int | None, bytes]:
        """The status that the shell wrote, and its standard error without it."""
        found = re.search(rb"%s:(\d+);" % self.mark.encode(), stderr)
        if found is None:
            return None, stderr
        return int(found[1]), stderr[: found.start()] + stderr[found.end() :]


def _end(host: Anchor, mark: str) -> str:
    """End the marked command; return what to add to the report where that failed."""
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
