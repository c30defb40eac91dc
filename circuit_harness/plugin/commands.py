"""What the harness can do instead of running checks: take a deployment down, or tell a plan."""

from __future__ import annotations

import sys
from contextlib import suppress

import pytest

from circuit import CircuitError, Client
from circuit_harness.engine.plan import plan
from circuit_harness.engine.spec import Identity, Services
from circuit_harness.engine.teardown import tear_down
from circuit_harness.errors import DeployError
from circuit_harness.journal.record import KEPT
from circuit_harness.plugin.circuits import dial_named
from circuit_harness.plugin.coordinator import spec_of
from circuit_harness.plugin.options import Options
from circuit_harness.plugin.signals import Signals
from circuit_harness.plugin.terminal import harmless, step_line
from circuit_harness.remote.circuit_host import CircuitHosts
from circuit_harness.steps import Steps


def main(options: Options, services: Services) -> pytest.ExitCode:
    """Do what the options say, and return the exit status.

    :raises pytest.UsageError: the circuit cannot be used; said in one line.
    """
    notice = "  each step has a time limit; if this must be killed, the same command finishes the job"
    signals = Signals(_say, lambda: notice)
    signals.install()
    try:
        with dial_named(options) as client:
            if options.mode == "plan":
                return _plan(client, options, services)
            return _tear_down(client, options, signals)
    except (DeployError, CircuitError) as error:
        print(f"ERROR: {harmless(str(error))}", file=sys.stderr)
        return pytest.ExitCode.TESTS_FAILED
    except KeyboardInterrupt:
        return pytest.ExitCode.INTERRUPTED
    finally:
        signals.restore()


def _plan(client: Client, options: Options, services: Services) -> pytest.ExitCode:
    told = plan(CircuitHosts(client), spec_of(options, services, services))
    for line in told.lines:
        _say(line)
    for obstacle in told.obstacles:
        _say(f"not now: {obstacle}")
    return pytest.ExitCode.TESTS_FAILED if told.obstacles else pytest.ExitCode.OK


def _tear_down(client: Client, options: Options, signals: Signals) -> pytest.ExitCode:
    steps = Steps(lambda step: _say(step_line(step)))
    outcome = tear_down(
        CircuitHosts(client),
        Identity(),
        options.hosts.names,
        steps,
        _say,
        signals.held(),
        lease_wait=options.lease_wait,
        force=options.replace,
        spare_kept=options.crashed_only,
    )
    for name, record in outcome.spared.items():
        _say(f"host {name}: {record} (kept): it is left alone")
    if not outcome.records and not outcome.left:
        _say("nothing else to take down there" if outcome.spared else "nothing to take down there")
    for name, record in outcome.records.items():
        fate = "kept" if record.state == KEPT else "crashed"
        outcome_here = "not all of it could be" if any(left.host == name for left in outcome.left) else "it was all"
        _say(f"host {name}: {record} ({fate}): {outcome_here} taken down")
    for left in outcome.left:
        _say(f"left behind {left}")
    return pytest.ExitCode.TESTS_FAILED if outcome.left else pytest.ExitCode.OK


def _say(text: str) -> None:
    # Without anybody who reads, it is done all the same.
    with suppress(OSError):
        print(harmless(text), flush=True)
