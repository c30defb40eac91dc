"""Run shell commands on hosts, with their input, both outputs and the true exit status."""

from __future__ import annotations

import contextlib
import re
import shlex
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from circuit import Anchor, CircuitError, Cmd, CommunicateTimedOut, Hidden, Job, Proc, TooMuchOutput, run_jobs
from circuit_harness.errors import CommandFailed, CommandTimedOut, DeployError, OutputTooLong
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
_MOST_ENDERS = 64

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
    job = ShellJob(host, command, stdin, timeout, check, limit, path)
    try:
        return job.run()
    finally:
        job.release()


def run_each(jobs: Sequence[ShellJob]) -> list[ShellResult | DeployError | CircuitError]:
    """Run commands on hosts of one client concurrently; return their results, or what :func:`run_shell` would raise.

    Only a command that must be ended, or whose status must be requested, takes a thread.
    """
    results: dict[ShellJob, ShellResult | Exception] = {}
    by_job = {job.job: job for job in jobs}

    def finish(job: ShellJob, error: Exception | None) -> None:
        try:
            results[job] = job.result(error)
        except Exception as failure:  # noqa: BLE001 - whatever it is, it must not hide the results of others
            results[job] = failure
        finally:
            job.release()

    with ThreadPoolExecutor(_MOST_ENDERS, thread_name_prefix="shell-end") as pool:

        def ended(of: Job, error: Exception | None) -> Future[None] | None:
            job = by_job[of]
            if job.may_wait(error):
                return pool.submit(finish, job, error)
            finish(job, error)
            return None

        try:
            run_jobs(list(by_job), ended)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                list(pool.map(ShellJob.end, (job for job in jobs if job not in results)))
            for job in jobs:
                job.release()
            raise
    return [_expected(results[job]) for job in jobs]


def _expected(result: ShellResult | Exception) -> ShellResult | DeployError | CircuitError:
    if isinstance(result, ShellResult | DeployError | CircuitError):
        return result
    # A defect of this program.
    raise result


def clean(path: str = PATH) -> str:
    """Shell: find programs only in ``path``, let none of them load code that the circuit's environment names, and let
    them make no files that other users can write to.

    The text of every process on a host must begin with this.
    """
    return f"PATH={shlex.quote(path)}; export PATH; umask 022; unset {_LOADERS}"


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


class ShellJob:
    """One command: to be started, in progress, or ended and to be released."""

    def __init__(
        self,
        host: Anchor,
        command: str,
        stdin: bytes | Hidden = b"",
        timeout: float = 60.0,
        check: bool = True,
        limit: int = MAX_OUTPUT_BYTES,
        path: str = PATH,
    ) -> None:
        """Describe it, with the parameters of :func:`run_shell`; nothing is sent."""
        self.job = Job(host, JOB, self._marked, stdin, timeout, limit)
        self._host = host
        self._command = command
        self._timeout = timeout
        self._check = check
        self._limit = limit
        self._path = path
        self._mark = ""
        """What marks its processes; empty before it is started."""

    def run(self) -> ShellResult:
        """Run it, as :func:`run_shell` does."""
        return self.result(self._attempt())

    def may_wait(self, error: Exception | None) -> bool:
        """Return whether :meth:`result` may have to wait for the host."""
        if error is None:
            return self._reported(self.job.outputs()[1])[0] is None
        return not isinstance(error, CircuitError) or isinstance(error, TooMuchOutput | CommunicateTimedOut)

    def result(self, error: BaseException | None) -> ShellResult:
        """Return the result of the job, or raise its failure; first end a command that has not ended.

        :param error: why the job failed; None where it has ended.
        """
        host = self._host.name
        try:
            stdout, stderr, status = self._logged(error)
        except TooMuchOutput as fault:
            note = self.end()
            raise OutputTooLong(host, self._command, self._limit, str(fault), *self._collected(), note) from None
        except CommunicateTimedOut:
            note = self.end()
            stdout, stderr = self._rest()
            raise CommandTimedOut(host, self._command, self._timeout, stdout, stderr, note) from None
        except KeyboardInterrupt:
            self.end()
            raise
        if self._check and status != 0:
            raise CommandFailed(host, self._command, status, stdout, stderr)
        return ShellResult(stdout, stderr, status)

    def end(self) -> str:
        """End it on its host, if it was started; return a note for the error message if that failed, else ""."""
        return _end(self._host, self._mark) if self._mark else ""

    def release(self) -> None:
        """Release process and anchor now instead of at garbage collection, and give up pending calls."""
        self.job.release()

    def _marked(self, name: str) -> Cmd:
        """Return the whole command, which is marked with the random part of its anchor's name."""
        self._mark = mark = name.removeprefix(f"{JOB}-")
        until = f"CIRCUIT_JOB_UNTIL={time.time() + self._timeout:.0f}"
        # In front of the command's first line, so that the line numbers in the shell's messages are the command's.
        report = f"""trap 'printf "{mark}:%d;" $? >&2' EXIT"""
        begin = f"CIRCUIT_JOB={mark}; {until}; export CIRCUIT_JOB; {clean(self._path)}; {_WHO}; {report}"
        return Cmd("/bin/sh", ["-c", f"{begin}; {self._command}"], dir="/", scrub=True)

    def finish(self) -> int:
        """Wait for it to end by itself; return its status."""
        return self._logged(self._attempt())[2]

    def _attempt(self) -> BaseException | None:
        try:
            self.job.run()
        except BaseException as error:  # noqa: BLE001 - raised again by _logged()
            return error
        return None

    def _logged(self, error: BaseException | None) -> tuple[bytes, bytes, int]:
        """Return both outputs and the status, or raise the error; log which."""
        status: int | None = None
        words = ""
        try:
            if error is not None:
                raise error
            stdout, stderr = self.job.outputs()
            status, stderr = self._reported(stderr)
            if status is None:
                status = self._requested_status()
        except BaseException as raised:
            words = f"{type(raised).__name__}: {raised}"
            raise
        finally:
            if command_log.is_on():
                seconds = time.monotonic() - self.job.began
                began = command_log.now(seconds)
                command_log.write(
                    command_log.Entry(self._host.name, began, round(seconds, 6), status, self._command, words)
                )
        return stdout, stderr, status

    def _requested_status(self) -> int:
        assert self.job.proc is not None
        left = self.job.began + self._timeout - time.monotonic()
        end = self.job.proc.wait(max(_STATUS_LIMIT_S, left)).exit
        assert end is not None
        return end.returncode

    def _reported(self, stderr: bytes) -> tuple[int | None, bytes]:
        """Return the status that the shell printed, and its standard error without that."""
        before, mark, rest = stderr.partition(f"{self._mark}:".encode())
        status, end, after = rest.partition(b";")
        if not (mark and end and status.isdigit()):
            return None, stderr
        return int(status), before + after

    def _rest(self) -> tuple[bytes, bytes]:
        """Return the complete outputs of a command that was ended."""
        assert self.job.proc is not None
        with contextlib.suppress(CircuitError):
            self.job.proc.communicate(timeout=_END_LIMIT_S)
        return self._collected()

    def _collected(self) -> tuple[bytes, bytes]:
        """Return the output read so far, and stop reading."""
        assert self.job.proc is not None
        self.job.proc.give_up()
        stdout, stderr = self.job.outputs()
        return stdout, self._reported(stderr)[1]


def _end(host: Anchor, mark: str) -> str:
    """End the marked command; return a note for the error message if that failed, else ""."""
    left = f" - which failed, so that processes with CIRCUIT_JOB={mark} in their environment may be left"
    ender = ShellJob(host, _END_AS_ROOT, mark.encode() + b"\n", _END_LIMIT_S)
    try:
        return left if ender.finish() else ""
    except CircuitError as error:
        return f"{left}: {error}"
    finally:
        ender.release()
