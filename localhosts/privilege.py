"""Becoming root for one command."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

from .errors import LocalHostsError

SUDO_LIMIT = 10.0
"""Seconds that ``sudo -n true`` may take; a directory service behind it can be slow."""


def as_root(argv: Sequence[str]) -> list[str]:
    """The command line that runs ``argv`` as root: itself for root, else with ``sudo -n`` in front."""
    return list(argv) if os.geteuid() == 0 else ["sudo", "-n", "--", *argv]


def require_root() -> None:
    """Raise LocalHostsError unless commands can be run as root without a password."""
    if os.geteuid() == 0:
        return
    if shutil.which("sudo") is None:
        said = "sudo is not installed"
    else:
        try:
            tried = subprocess.run(
                as_root(["true"]), stdin=subprocess.DEVNULL, capture_output=True, timeout=SUDO_LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            said = f"`sudo -n true` did not answer within {SUDO_LIMIT:g} s"
        else:
            if tried.returncode == 0:
                return
            said = "`sudo -n true` said: " + " ".join(tried.stderr.decode(errors="replace").split())
    raise LocalHostsError(
        f"hosts on this machine need root or password-less sudo, and {said}: "
        "run as root, allow sudo without a password, or use a circuit of your own"
    )
