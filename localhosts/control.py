"""The run's side of the protocol with a supervisor: start it, read its events, end it."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from . import protocol
from .errors import LocalHostsError
from .preflight import NAMESPACES, search_path
from .privilege import as_root, sudo_works_in_new_session
from .protocol import Event, Failed, Gone, Ready, Request, Started, Step

END_LIMIT = 20.0
"""Seconds that a supervisor may take to tear everything down."""

SLACK = 10.0
"""Seconds beyond the limit that the supervisor announces for a step. It enforces its limits itself, and its error
messages are more precise than the run's could be."""

# Prints its own process id, which stays that of unshare(1), and keeps the runner's network open for the supervisor.
_START = 'echo "{\\"event\\": \\"Started\\", \\"pid\\": $$}"; exec unshare "$@" 3</proc/self/ns/net'
_SHOWN_BYTES = 2000


class Supervisor:
    """One supervisor's process, from its start to its end."""

    def __init__(self, request: Request, say: Callable[[str], None]) -> None:
        """Start it with ``request``. ``say`` is called with a line for each step. Raises LocalHostsError."""
        self._say = say
        self._pid = 0
        self._gone: Gone | None = None
        self._pending = b""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by ``end``)
        own_session = sudo_works_in_new_session()
        command = ["sh", "-c", _START, "sh", *NAMESPACES, "--kill-child=KILL", "--"]
        try:
            self._process = subprocess.Popen(
                as_root([*command, sys.executable, "-B", "-m", f"{__package__}.supervisor"]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                cwd=Path(__file__).parent.parent,
                env={**os.environ, "PATH": search_path()},
                # Ctrl-C on the terminal must reach the run only; the supervisor notices the end of its input.
                start_new_session=own_session,
                preexec_fn=None if own_session else os.setpgrp,
            )
        except OSError as error:
            self._errors.close()
            raise LocalHostsError(f"could not start the supervisor of the hosts: {error}") from error
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(request.encode())
            self._process.stdin.flush()

    def wait_until_ready(self) -> Ready | None:
        """Wait for all hosts; return None when the request is for an image only. Raises LocalHostsError.

        After an error the supervisor tears down by itself; the caller must still call ``end``.
        """
        limit, doing = SLACK, "starting"
        while (event := self._next(limit + SLACK, doing)) is not None:
            if isinstance(event, Step):
                self._say(event.text)
                limit, doing = event.limit, event.text
            elif isinstance(event, Ready):
                return event
            elif isinstance(event, Failed):
                raise LocalHostsError(event.text)
            elif isinstance(event, Gone):
                return None
        raise LocalHostsError(f"the supervisor of the hosts ended while {doing}: {self._last_output()}")

    def end(self) -> list[str]:
        """Let the supervisor tear everything down; return what is left. Raises LocalHostsError if it fails."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # The descriptor is closed even when this raises BrokenPipeError.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        deadline = time.monotonic() + END_LIMIT
        try:
            while self._next(deadline - time.monotonic(), "tearing down") is not None:
                pass
            self._process.wait(max(deadline - time.monotonic(), 1.0))
            reason = self._last_output()
        except (LocalHostsError, subprocess.TimeoutExpired) as error:
            reason = str(error)
            self._kill()
        finally:
            self._errors.close()
            self._process.stdout.close()
        if self._gone is None:
            raise LocalHostsError(
                f"the supervisor of the hosts ended before it had torn them down: {reason}; the next run removes what "
                "it left; to remove it now: `python3 -m localhosts clean`"
            )
        return list(self._gone.left)

    def release(self) -> tuple[int, int]:
        """Leave the supervisor to another process: return its input and its output, which keep it as they stay open."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        given = os.dup(self._process.stdin.fileno()), os.dup(self._process.stdout.fileno())
        self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()
        # Another's to wait for, so that no warning says that it still runs.
        self._process.returncode = 0
        return given

    def _next(self, limit: float, doing: str) -> Event | None:
        """Return the next event, or None at the end of the output. Raises LocalHostsError after ``limit`` seconds."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + limit
        while b"\n" not in self._pending:
            ready, _, _ = select.select([self._process.stdout], [], [], max(deadline - time.monotonic(), 0.0))
            if not ready:
                raise LocalHostsError(f"the supervisor of the hosts reported nothing for {limit:.0f} s while {doing}")
            read = os.read(self._process.stdout.fileno(), 65536)
            if not read:
                return None
            self._pending += read
        line, _, self._pending = self._pending.partition(b"\n")
        event = protocol.decode(line)
        if isinstance(event, Started):
            self._pid = event.pid
        elif isinstance(event, Gone):
            self._gone = event
        return event

    def _kill(self) -> None:
        """Kill unshare(1); the kernel then kills its child, the supervisor, and all processes in its namespaces."""
        if self._pid and self._process.poll() is None:
            subprocess.run(
                # The shell's own kill: not every machine has the program.
                as_root(["sh", "-c", f"kill -KILL {self._pid}"]),
                capture_output=True,
                timeout=END_LIMIT,
                check=False,
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_LIMIT)

    def _last_output(self) -> str:
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(size - _SHOWN_BYTES, 0))
        printed = self._errors.read().decode(errors="replace").strip()
        return printed or f"status {self._process.poll()}, and it printed nothing"
