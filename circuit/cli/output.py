"""What the command line prints: output, errors of one line each; and its exit statuses."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

from circuit import printable

FAILED = 1
USAGE = 2
STATUS_UNKNOWN = 125
"""Exit status of ``run``, ``shell`` and ``wait`` if something else than the command failed, as in env(1)."""
NOT_STARTED = 127


class OutputLost(Exception):
    """Standard output takes no more; :attr:`error` is the reason."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write the output: {error.strerror}")
        self.error = error


def open_missing_standard_streams() -> None:
    """Open those of the three that are closed: a connection would get the number, and what is written to the stream."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def print_line(text: str) -> None:
    """Print a line, whatever the terminal's encoding.

    :raises OutputLost: it cannot be printed.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except OSError as error:
        # The interpreter flushes once more when it exits, and must not report the rest again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise OutputLost(error) from None


def report_error(problem: str) -> None:
    """Print an error as one line on standard error."""
    # Standard error may be closed, too.
    with contextlib.suppress(OSError):
        print(f"circuit: {printable(' '.join(problem.split()))}", file=sys.stderr, flush=True)


def exit_with_usage_error(problem: str) -> NoReturn:
    """Print an error, and exit with :data:`USAGE`."""
    report_error(problem)
    raise SystemExit(USAGE)
