"""The time limit of a whole run: at its end the run stops as at SIGTERM, and reports what was under way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from circuit_harness.steps import Steps


class RunLimit:
    """Interrupts a run once it has taken too long, unless it ends before. As a plugin it follows the checks."""

    def __init__(self, seconds: float, steps: Steps, interrupt: Callable[[str], None]) -> None:
        """Prepare; :meth:`start` begins.

        :param interrupt: stops the run for the given reason; called from another thread.
        """
        self._seconds = seconds
        self._steps = steps
        self._interrupt = interrupt
        self._checks: dict[str, float] = {}
        """The start of each check that is under way, by its name; several with xdist."""
        self._timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), self._reach)
        self._timer.daemon = True

    def start(self) -> None:
        """Count from now on."""
        self._timer.start()

    def cancel(self) -> None:
        """Let the run take as long as it needs from now on."""
        self._timer.cancel()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note a check that begins, also in a worker."""
        self._checks[nodeid] = time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Forget a check that has ended; xdist's report on a check that has ended its worker has a phase of its own."""
        if report.when not in ("setup", "call"):
            self._checks.pop(report.nodeid, None)

    def _reach(self) -> None:
        self._interrupt(
            f"stopped at the limit of {self._seconds:g} s for the run (--run-timeout); under way then: {self._doing()}"
        )

    def _doing(self) -> str:
        """Return the steps under way; else the checks, which do without any."""
        now = time.monotonic()
        doing = [
            f"{step.what}{f' [{step.host}]' if step.host else ''} ({now - step.since:.0f} s)"
            for step in self._steps.under_way()
        ]
        # Each operation on this dict is atomic, also beside the main thread's.
        doing = doing or [f"{check} ({now - start:.0f} s)" for check, start in list(self._checks.items())]
        return ", ".join(doing) or "no step and no check"
