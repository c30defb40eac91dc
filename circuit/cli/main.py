"""The way of one command line, from its words to its exit status."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable

from circuit import CircuitError, ExecFailed
from circuit.cli import verbs
from circuit.cli.options import parse
from circuit.cli.report import FAILED, NOT_STARTED, STATUS_UNKNOWN, OutputLost, complain, occupy_standard_streams
from circuit.cli.run import run

_VERBS: dict[str, Callable[[argparse.Namespace], int]] = {
    "ls": verbs.ls,
    "peek": verbs.peek,
    "run": run,
    "wait": verbs.wait,
    "signal": verbs.signal,
    "scrub": verbs.scrub,
    "keygen": verbs.keygen,
}

_WITH_STATUS = ("run", "wait")
"""Verbs whose exit status is that of a command."""


def main() -> int:
    """Run the command line of this process; return the exit status."""
    # An interrupt ends it as it ends other programs, and no traceback shows; run passes it on instead.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    occupy_standard_streams()
    failed = FAILED
    try:
        options = parse(sys.argv[1:])
        failed = STATUS_UNKNOWN if options.verb in _WITH_STATUS else FAILED
        return _VERBS[options.verb](options)
    except ExecFailed as error:
        complain(str(error))
        return NOT_STARTED if failed == STATUS_UNKNOWN else FAILED
    except CircuitError as error:
        complain(str(error))
        return failed
    except OutputLost as lost:
        # Whoever has read enough is no failure to tell of.
        if isinstance(lost.error, BrokenPipeError):
            return 128 + signal.SIGPIPE
        complain(str(lost))
        return failed
