"""What a run does with ``--workspace``: deploy to keep, print what stands, remove it; and run no check."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from circuit import CircuitError
from circuit_harness.engine.attach import Deployed, find
from circuit_harness.engine.spec import Services
from circuit_harness.errors import Conflict, DeployError
from circuit_harness.plugin.circuits import dial
from circuit_harness.plugin.command_line import ADDR_VARIABLE, HMAC_VARIABLE
from circuit_harness.plugin.coordinator import Coordinator
from circuit_harness.plugin.local_circuit import LocalCircuit, check_local
from circuit_harness.plugin.options import Options
from circuit_harness.plugin.questions import Unavailable
from circuit_harness.plugin.signals import Signals
from circuit_harness.plugin.spelling import clean_command, command
from circuit_harness.plugin.terminal import harmless, say, step_line
from circuit_harness.remote.circuit_host import CircuitHosts
from circuit_harness.steps import Steps
from localhosts import LocalHostsError
from localhosts.workspace import Kept, Workspace


def main(options: Options, services: Services) -> pytest.ExitCode:
    """Do what the options say, and return the exit status.

    :raises pytest.UsageError: a circuit or the hosts cannot be used; the message is one line.
    """
    signals = Signals(say, lambda: f"  to finish this by another command: {clean_command()}")
    signals.install()
    try:
        if options.mode == "up":
            return _up(options, services, signals)
        if options.mode == "status":
            return _status(options, services)
        return _reset(options, services) if options.mode == "reset" else _down(options)
    except (DeployError, CircuitError, LocalHostsError) as error:
        print(f"ERROR: {harmless(str(error))}", file=sys.stderr)
        return pytest.ExitCode.TESTS_FAILED
    except KeyboardInterrupt:
        return pytest.ExitCode.INTERRUPTED
    finally:
        signals.restore()


def _up(options: Options, services: Services, signals: Signals) -> pytest.ExitCode:
    """Deploy every service, and keep it. What is up already in the workspace stays as it is."""
    if options.in_workspace and not options.replace and _deployed(options, services) is not None:
        return _status(options, services)
    if not options.addresses:
        check_local()
    steps = Steps(lambda step: say(step_line(step)))
    coordinator = Coordinator(replace(options, mode="deploy", keep="always"), services, steps, say)
    deployed = False
    try:
        for name in services.in_order():
            coordinator.ask(name, frozenset(services))
        deployed = True
    except Unavailable as error:
        print(f"ERROR: {harmless(str(error))}", file=sys.stderr)
    finally:
        with signals.held():
            left = coordinator.close(keep=deployed)
            for one in left:
                say(f"left behind {one}")
    if not deployed or left:
        return pytest.ExitCode.TESTS_FAILED
    for line in _description(coordinator.options, services):
        say(line)
    for name, running in coordinator.services.items():
        say(f"Started {services[name].announced}: {running.address} {running.port}")
    return pytest.ExitCode.OK


def _status(options: Options, services: Services) -> pytest.ExitCode:
    if not options.addresses:
        say(f"nothing is up for {options.folder}: {command('up')} makes hosts, and deploys")
        return pytest.ExitCode.OK
    for line in _description(options, services):
        say(line)
    return pytest.ExitCode.OK


def _down(options: Options) -> pytest.ExitCode:
    workspace = Workspace(options.folder)
    with workspace.locked():
        kept = workspace.find()
        workspace.end()
    say(f"removed {_hosts(kept)}" if kept else f"nothing is up for {options.folder}")
    return pytest.ExitCode.OK


def _reset(options: Options, services: Services) -> pytest.ExitCode:
    workspace = Workspace(options.folder)
    kept = workspace.find()
    if kept is None:
        say(f"nothing is up for {options.folder}: {command('up')} makes hosts, and deploys")
        return pytest.ExitCode.TESTS_FAILED
    with workspace.locked():
        workspace.end()
    local = LocalCircuit(services, say, Steps(lambda step: say(step_line(step))), size=len(kept.ready.hosts))
    try:
        again = local.keep(options.folder)
    finally:
        local.close()
    say(f"{_hosts(again)} as their image has them, and nothing is deployed there: {command('up')} deploys")
    return pytest.ExitCode.OK


def _deployed(options: Options, services: Services) -> Deployed | None:
    """Return what is deployed there, None where nothing is.

    :raises DeployError, CircuitError: its hosts do not answer, or have what cannot be attached to.
    """
    with dial(options, options.addresses) as client:
        try:
            return find(CircuitHosts(client), services, options.hosts.names, options.deployment or "")
        except Conflict:
            return None


def _description(options: Options, services: Services) -> Iterator[str]:
    """Yield lines on what stands, and on what can be done with it."""
    kept = Workspace(options.folder).find() if options.in_workspace else None
    if kept is not None:
        yield f"{_hosts(kept)} for {options.folder}, made {kept.made}"
        if not kept.is_current():
            yield f"  they run older code than this folder has: {command('reset')} makes them new"
    deployed = _deployed(options, services)
    if deployed is None:
        yield f"  nothing is deployed there: {options.command('up')} deploys"
    else:
        for name, running in deployed.services.items():
            where = getattr(running, "url", "") or f"{running.address} port {running.port}"
            yield f"  {services[name].title} on host {running.host.name}: {where}"
        for running in deployed.services.values():
            if attempt := getattr(running, "attempt", ""):
                yield f"  to try it: {attempt}"
        yield f"  to check it: {options.command('check', hosts=[host.name for host in deployed.hosts])}"
        yield f"  to take it down: {options.command('down', hosts=[host.name for host in deployed.hosts])}"
    variables = {ADDR_VARIABLE: options.addresses[0], HMAC_VARIABLE: str(options.hmac_file or "")}
    words = [f"{name}={shlex.quote(value)}" for name, value in variables.items() if value]
    yield f"  to use its circuit: export {' '.join(words)}"


def _hosts(kept: Kept) -> str:
    size = len(kept.ready.hosts)
    return f"{size} host{'s' * (size != 1)}"
