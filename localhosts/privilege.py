"""Run single commands as root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence

from .errors import LocalHostsError

SUDO_LIMIT = 10.0
"""Seconds that ``sudo -n true`` may take; a directory service behind it can be slow."""


def as_root(argv: Sequence[str]) -> list[str]:
    """Return the command line that runs ``argv`` as root: ``argv`` itself for root, else ``sudo -n`` with it."""
    return list(argv) if os.geteuid() == 0 else ["sudo", "-n", "--", *argv]


def require_root() -> None:
    """Raise LocalHostsError unless commands can be run as root without a password."""
    if os.geteuid() == 0:
        return
    remedy = ""
    if shutil.which("sudo") is None:
        reason = "sudo is not installed"
    else:
        remedy = "give sudo your password first by `sudo -v`, "
        try:
            tried = subprocess.run(
                as_root(["true"]), stdin=subprocess.DEVNULL, capture_output=True, timeout=SUDO_LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            reason = f"`sudo -n true` was not done after {SUDO_LIMIT:g} s"
        else:
            if tried.returncode == 0:
                return
            reason = "`sudo -n true` printed: " + " ".join(tried.stderr.decode(errors="replace").split())
    raise LocalHostsError(
        f"hosts on this machine need root or password-less sudo, and {reason}: "
        f"{remedy}run as root, allow sudo without a password, or use a circuit of your own"
    )


def sudo_works_in_new_session() -> bool:
    """Return whether a process in a session of its own can run commands as root.

    A password that sudo was given, as by ``sudo -v``, counts only in the session of that terminal.
    """
    if os.geteuid() == 0:
        return True
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        tried = subprocess.run(
            as_root(["true"]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            start_new_session=True,
            timeout=SUDO_LIMIT,
            check=False,
        )
        return tried.returncode == 0
    return False
