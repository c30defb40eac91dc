"""Run one command line: parse its words, run its verb, return its exit status."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from importlib.util import find_spec

from circuit import CircuitError, ExecFailed
from circuit.cli import verbs
from circuit.cli.arguments import parse
from circuit.cli.output import (
    FAILED,
    NOT_STARTED,
    STATUS_UNKNOWN,
    OutputLost,
    open_missing_standard_streams,
    report_error,
)
from circuit.cli.run_command import run
from circuit.cli.shell_command import shell

_VERBS: dict[str, Callable[[argparse.Namespace], int]] = {
    "ls": verbs.ls,
    "peek": verbs.peek,
    "run": run,
    "shell": shell,
    "wait": verbs.wait,
    "signal": verbs.signal,
    "scrub": verbs.scrub,
    "keygen": verbs.keygen,
}

_WITH_STATUS = ("run", "shell", "wait")
"""Verbs whose exit status is that of a command."""


def main() -> int:
    """Run the command line of this process; return the exit status."""
    # An interrupt ends this program as it ends others, without a traceback; run and shell pass it on instead.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    open_missing_standard_streams()
    failed = FAILED
    try:
        options = parse(sys.argv[1:])
        if find_spec("Crypto") is None:
            report_error(f"{sys.executable} lacks pycryptodome: use the Python of .venv/bin, or ./run circuit")
            return failed
        failed = STATUS_UNKNOWN if options.verb in _WITH_STATUS else FAILED
        return _VERBS[options.verb](options)
    except ExecFailed as error:
        report_error(str(error))
        return NOT_STARTED if failed == STATUS_UNKNOWN else FAILED
    except CircuitError as error:
        report_error(str(error))
        return failed
    except OutputLost as lost:
        # The reader has what it wanted, which ends a local command, too: that is not a failure to report.
        if isinstance(lost.error, BrokenPipeError):
            return 128 + signal.SIGPIPE
        report_error(str(lost))
        return failed
