"""Run the supervisor's commands, each with a time limit and an error that reports the command's output."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal

from .errors import LocalHostsError


async def run(*argv: str, stdin: str = "", timeout: float = 10.0) -> str:
    """Run a command to its end and return its standard output.

    ``timeout`` is in seconds. At the timeout, or when the caller is cancelled, the command's process group is killed.
    Raises LocalHostsError when the command cannot be started, fails or takes too long.
    """
    shown = shlex.join(argv)
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise LocalHostsError(f"could not start `{shown}`: {error.strerror}") from error
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), timeout)
    except asyncio.TimeoutError:
        raise LocalHostsError(f"`{shown}` was not done after {timeout:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode != 0:
        printed = " ".join(err.decode(errors="replace").split()) or "nothing"
        raise LocalHostsError(f"`{shown}` ended with status {process.returncode} and printed: {printed}")
    return out.decode(errors="replace")
