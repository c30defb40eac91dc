"""What a run does instead of running checks: its lines, its signals, and its exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from circuit import CircuitError
from circuit_harness.errors import DeployError
from circuit_harness.plugin.progress import Progress, harmless
from circuit_harness.plugin.signals import Signals
from localhosts import LocalHostsError

Work = Callable[[Progress, Signals], pytest.ExitCode]


def run(work: Work, notice: str) -> pytest.ExitCode:
    """Do the work, and return the exit status: that of the work, or of the error or the signal that ended it.

    :param notice: what to print at a signal while the work holds signals off.
    """
    progress = Progress(sys.stdout.fileno())
    signals = Signals(progress.line, lambda: notice)
    signals.install()
    try:
        return work(progress, signals)
    except (DeployError, CircuitError, LocalHostsError) as error:
        print_error(error)
        return pytest.ExitCode.TESTS_FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return pytest.ExitCode.INTERRUPTED
    finally:
        signals.restore()
        progress.close()


def print_error(error: Exception) -> None:
    """Print an error to standard error."""
    print(f"ERROR: {harmless(str(error))}", file=sys.stderr)
