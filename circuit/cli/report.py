"""What the command line says: its output, its complaints of one line each, and its exit statuses."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

from circuit import printable

FAILED = 1
USAGE = 2
STATUS_UNKNOWN = 125
"""Exit status of ``run`` and ``wait`` where the fault is not the command's, as of env(1) and timeout(1)."""
NOT_STARTED = 127


class OutputLost(Exception):
    """Standard output takes no more; :attr:`error` tells why."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write the output: {error.strerror}")
        self.error = error


def occupy_standard_streams() -> None:
    """Open those of the three that are closed, or a connection would take the number, and get what the stream gets."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def say(text: str) -> None:
    """Print a line, whatever the terminal's encoding.

    :raises OutputLost: it cannot be printed.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except OSError as error:
        # The interpreter flushes once more when it exits; what is left then must not be told of again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise OutputLost(error) from None


def complain(problem: str) -> None:
    """Tell what is wrong, in one line."""
    # Nobody may be left to hear of it.
    with contextlib.suppress(OSError):
        print(f"circuit: {printable(' '.join(problem.split()))}", file=sys.stderr, flush=True)


def refuse(problem: str) -> NoReturn:
    """Tell of a wrong use, and exit."""
    complain(problem)
    raise SystemExit(USAGE)
