"""What a run does with ``--circuit-teardown``: take deployments down, and run no check."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from circuit import Client
from circuit_harness.engine.spec import Identity
from circuit_harness.engine.teardown import tear_down
from circuit_harness.journal.record import KEPT
from circuit_harness.plugin import without_checks
from circuit_harness.plugin.circuits import dial_named
from circuit_harness.plugin.options import Options
from circuit_harness.plugin.progress import Progress
from circuit_harness.plugin.signals import Signals
from circuit_harness.remote.circuit_host import CircuitHosts
from circuit_harness.steps import Steps


def main(options: Options) -> pytest.ExitCode:
    """Take down what the options name, and return the exit status.

    :raises pytest.UsageError: the circuit cannot be used; the message is one line.
    """

    def take_down(progress: Progress, signals: Signals) -> pytest.ExitCode:
        steps = Steps(progress)
        with steps.waiting("connect to the circuit"):
            dialed = dial_named(options)
        with dialed as client:
            return _tear_down(client, options, signals, steps, progress.line)

    notice = "  each step has a time limit; if this must be killed, the same command finishes the job"
    return without_checks.run(take_down, notice)


def _tear_down(
    client: Client, options: Options, signals: Signals, steps: Steps, say: Callable[[str], None]
) -> pytest.ExitCode:
    outcome = tear_down(
        CircuitHosts(client),
        Identity(),
        options.hosts.names,
        steps,
        say,
        signals.held(),
        deployment=options.deployment,
        lease_wait=options.lease_wait,
        force=options.replace,
        spare_kept=options.crashed_only,
    )
    for name, record in outcome.spared:
        say(f"host {name}: {record} (kept): it is left alone")
    if not outcome.records and not outcome.left:
        say("nothing else to take down there" if outcome.spared else "nothing to take down there")
    for name, record in outcome.records:
        fate = "kept" if record.state == KEPT else "crashed"
        outcome_here = "not all of it could be" if any(left.host == name for left in outcome.left) else "it was all"
        say(f"host {name}: {record} ({fate}): {outcome_here} taken down")
    for left in outcome.left:
        say(f"left behind {left}")
    return pytest.ExitCode.TESTS_FAILED if outcome.left else pytest.ExitCode.OK
