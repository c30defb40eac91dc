"""What a run does with ``--workspace``: deploy to keep, print what stands, remove it; and run no check."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace

import pytest

from circuit import CircuitError, Client
from circuit_harness.engine.attach import Deployed, find
from circuit_harness.engine.spec import Services
from circuit_harness.errors import Conflict, NoHosts
from circuit_harness.plugin import without_checks
from circuit_harness.plugin.circuits import dial
from circuit_harness.plugin.command_line import ADDR_VARIABLE, HMAC_VARIABLE
from circuit_harness.plugin.coordinator import Coordinator
from circuit_harness.plugin.local_circuit import LocalCircuit, check_local, counted, lost_hosts
from circuit_harness.plugin.options import Options
from circuit_harness.plugin.probing import FILLED, down_lines
from circuit_harness.plugin.progress import Progress
from circuit_harness.plugin.questions import Unavailable
from circuit_harness.plugin.signals import Signals
from circuit_harness.plugin.spelling import clean_command, command
from circuit_harness.remote.circuit_host import CircuitHosts
from circuit_harness.steps import Steps
from localhosts.workspace import Kept, Workspace, standing


def main(options: Options, services: Services) -> pytest.ExitCode:
    """Do what the options say, and return the exit status.

    :raises pytest.UsageError: a circuit or the hosts cannot be used; the message is one line.
    """

    def work(progress: Progress, signals: Signals) -> pytest.ExitCode:
        if options.mode == "up":
            return _up(options, services, signals, progress)
        if options.mode == "status":
            return _status(options, services, progress.line)
        if options.mode == "reset":
            return _reset(options, services, progress)
        return _down(options, progress.line)

    return without_checks.run(work, f"  to finish this by another command: {clean_command()}")


def _up(options: Options, services: Services, signals: Signals, progress: Progress) -> pytest.ExitCode:
    """Deploy every service, and keep it. What is up already in the workspace stays as it is."""
    say = progress.line
    if options.in_workspace:
        with _dial(options) as client:
            if lost := lost_hosts(client, Workspace(options.folder).find()):
                raise NoHosts(lost)
            there = isinstance(_deployed(client, options, services), Deployed)
        if there and not options.replace:
            say("already up, so nothing was done; with --replace, it is taken down first")
            return _status(options, services, say)
    if not options.addresses:
        check_local()
    coordinator = Coordinator(replace(options, mode="deploy", keep="always"), services, Steps(progress), say)
    deployed = False
    try:
        for name in services.in_order():
            coordinator.ask(name, frozenset(services))
        deployed = True
    except Unavailable as error:
        without_checks.print_error(error)
    finally:
        with signals.held():
            left = coordinator.close(keep=deployed)
            for line in (*(f"left behind {one}" for one in left), *([] if deployed else coordinator.epilogue)):
                say(line)
    if not deployed or left:
        return pytest.ExitCode.TESTS_FAILED
    _describe(coordinator.options, services, say)
    for name, running in coordinator.services.items():
        say(f"Started {services[name].announced}: {running.address} {running.port}")
    return pytest.ExitCode.OK


def _status(options: Options, services: Services, say: Callable[[str], None]) -> pytest.ExitCode:
    if not options.addresses:
        say(f"{_nothing(options)}: {command('up')} makes hosts, and deploys")
        return pytest.ExitCode.OK
    return pytest.ExitCode.OK if _describe(options, services, say) else pytest.ExitCode.TESTS_FAILED


def _down(options: Options, say: Callable[[str], None]) -> pytest.ExitCode:
    workspace = Workspace(options.folder)
    with workspace.locked():
        kept = workspace.find()
        workspace.end()
    say(f"removed {_hosts(kept)}" if kept else _nothing(options))
    return pytest.ExitCode.OK


def _reset(options: Options, services: Services, progress: Progress) -> pytest.ExitCode:
    say = progress.line
    workspace = Workspace(options.folder)
    kept = workspace.find()
    if kept is None:
        say(f"{_nothing(options)}: {command('up')} makes hosts, and deploys")
        return pytest.ExitCode.TESTS_FAILED
    with workspace.locked():
        workspace.end()
    local = LocalCircuit(services, say, Steps(progress), size=len(kept.ready.hosts))
    try:
        again = local.keep(options.folder)
    finally:
        local.close()
    say(f"{_hosts(again)} as their image has them, and nothing is deployed there: {command('up')} deploys")
    return pytest.ExitCode.OK


def _dial(options: Options) -> Client:
    """Connect to the circuit of what is up.

    :raises DeployError, CircuitError: that cannot be.
    """
    try:
        return dial(options, options.addresses)
    except CircuitError as error:
        if not options.in_workspace:
            raise
        raise NoHosts(f"{error}; {command('reset')} makes the hosts new") from None


def _deployed(client: Client, options: Options, services: Services) -> Deployed | str:
    """Return what is deployed there, or why nothing is.

    :raises DeployError, CircuitError: its hosts do not answer, or have what cannot be attached to.
    """
    try:
        return find(CircuitHosts(client), services, options.hosts.names, options.deployment or "")
    except Conflict as error:
        return str(error)


def _describe(options: Options, services: Services, say: Callable[[str], None]) -> bool:
    """Print what is up, and what can be done with it; return whether no service is down."""
    kept = Workspace(options.folder).find() if options.in_workspace else None
    if kept is not None:
        say(f"{_hosts(kept)} for {options.folder}, made {kept.made}")
        if not kept.is_current():
            say(f"  they run older code than this folder has: {command('reset')} makes them new")
    with _dial(options) as client:
        works = not (lost := lost_hosts(client, kept))
        if lost:
            say(f"  LOST: {lost}")
        deployed = _deployed(client, options, services)
        if isinstance(deployed, str):
            say(f"  {deployed}")
            if kept is not None:
                say(f"  to take it down: {command('down')}")
        else:
            works = _describe_services(deployed, options, services, say) and works
    variables = {ADDR_VARIABLE: " ".join(options.addresses), HMAC_VARIABLE: str(options.hmac_file or "")}
    words = [f"{name}={shlex.quote(value)}" for name, value in variables.items() if value]
    say(f"  to use its circuit: export {' '.join(words)}")
    return works


def _describe_services(deployed: Deployed, options: Options, services: Services, say: Callable[[str], None]) -> bool:
    for name, running in deployed.services.items():
        over_http = services[name].speaks == "HTTP"
        url = getattr(running, "url", "") if over_http else ""
        where = url or f"{running.address} port {running.port}"
        say(f"  {services[name].title} on host {running.host.name}: {where}")
    for name in services:
        if name not in deployed.services:
            say(f"  {services[name].title}: no live host has it")
    hosts = [host.name for host in deployed.hosts]
    inside, works, full = hosts[0], True, False
    for name, running in deployed.services.items():
        if lines := down_lines(running, options.on_host):
            inside = running.host.name if works else inside
            works, full = False, full or any(FILLED in line for line in lines)
            say(f"  DOWN: {services[name].title}: {lines[0]}")
            for line in lines[1:]:
                say(f"  {line}")
        elif attempt := getattr(running, "attempt", ""):
            say(f"  to try it: {attempt}")
    if full and options.in_workspace:
        say("  hosts made on this machine share its disk")
    say(f"  to look inside: {options.circuit_command('shell', f'/{inside}')}")
    if not works and not full:
        say(f"  to deploy all again, with new data: {options.command('up', hosts=hosts)} --replace")
    say(f"  to check it: {options.command('check', hosts=hosts)}")
    say(f"  to take it down: {options.command('down', hosts=hosts)}")
    return works


def _nothing(options: Options) -> str:
    """Return that nothing is up for this folder, and for which others hosts are: this may be the wrong one."""
    others = [kept.folder for kept in standing()]
    elsewhere = f", but for {', '.join(others)}, where the same command is about those" if others else ""
    return f"nothing is up for {options.folder}{elsewhere}"


def _hosts(kept: Kept) -> str:
    return counted(len(kept.ready.hosts))
