"""Parse and check the options of the command line, the environment and the ini file."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

import circuit
from circuit_harness.engine.spec import Hosts, Services
from circuit_harness.errors import DeployError
from circuit_harness.journal import record as records
from circuit_harness.operations.addresses import Given
from circuit_harness.operations.ports import Listening
from circuit_harness.plugin.command_line import (
    ADDR_KEY,
    ADDR_VARIABLE,
    HMAC_KEY,
    HMAC_VARIABLE,
    LEASE_WAIT_S,
    PRIVATE,
    PUBLIC,
    RUN_TIMEOUT,
    WORKSPACE,
)
from circuit_harness.plugin.spelling import Verb, command, spell
from circuit_harness.remedies import spell_by
from circuit_harness.remote import command_log
from circuit_harness.remote.address import canonical, refusal
from circuit_harness.secret import know

if TYPE_CHECKING:
    from localhosts.workspace import Kept

Mode = Literal["deploy", "attach", "teardown", "plan", "up", "down", "status", "reset"]


@dataclass(frozen=True)
class Options:
    """What the user asked for. ``addresses`` is empty where hosts are to be made on this machine.

    ``mode`` is what to do: deploy and check, check what was kept (attach), take it down, or print a plan.
    ``deployment`` is the deployment's name; None where none was given, which takes down all.
    ``crashed_only`` is whether to leave alone what was kept.
    ``disruptive`` is whether checks may stop services for a while. ``given`` are addresses of hosts.
    ``run_timeout`` is the limit of the whole run in seconds; None where it has none.
    ``folder`` is what the workspace is for; ``in_workspace`` is whether the circuit is that of its hosts.
    """

    addresses: tuple[str, ...]
    hmac_file: Path | None
    hmac_key: circuit.Hidden | None
    listen: tuple[str, int] | None
    hosts: Hosts
    given: Given
    mode: Mode
    replace: bool
    install: bool
    keep: Literal["never", "on-failure", "always"]
    lease_wait: float
    artifacts: Path | None
    report: Path | None
    disruptive: bool
    crashed_only: bool = False
    deployment: str | None = None
    run_timeout: float | None = None
    folder: Path = field(default_factory=Path)
    in_workspace: bool = False

    def teardown(self, hosts: Sequence[str], *, reached: str = "") -> str:
        """Return the command line that takes down what is on these hosts; "" where none is known.

        Without hosts it would take down all deployments of the circuit.
        """
        named = hosts or self.hosts.names
        return self.command("down", reached=reached, hosts=named) if named else ""

    def within(self, kept: Kept) -> Options:
        """Return these options for the circuit of a workspace.

        :raises pytest.UsageError: its key cannot be read.
        """
        return replace(self.with_key(kept.key_file), addresses=tuple(kept.addresses), in_workspace=True)

    def with_key(self, file: Path) -> Options:
        """Return these options for a circuit whose key is in ``file``.

        :raises pytest.UsageError: it cannot be read, or has no valid key.
        """
        return replace(self, hmac_file=file, hmac_key=_read_key(file))

    def command(self, verb: Verb, *, reached: str = "", hosts: Sequence[str] = ()) -> str:
        """Return a command line that does something else with the same hosts of the same circuit.

        :param reached: the circuit's address, where that has changed.
        :param hosts: names of the hosts; by default those that the user named.
        """
        if self.in_workspace:
            return command(verb)
        named = [f"--circuit-addr={address}" for address in ([reached] if reached else self.addresses)]
        if self.hmac_file is not None:
            named.append(f"--circuit-hmac={self.hmac_file.absolute()}")
        if self.listen is not None:
            named.append(f"--circuit-listen={Listening(*self.listen)}")
        if names := hosts or self.hosts.names:
            named.append(f"--hosts={','.join(names)}")
        if self.deployment is not None:
            named.append(f"--deployment={self.deployment}")
        return command(verb, named)


def read_options(config: pytest.Config) -> Options:
    """Parse the options and the environment.

    :raises pytest.UsageError: one is not valid; the message is one line.
    """
    named = config.getoption("--circuit-addr") or os.environ.get(ADDR_VARIABLE, "").split()
    given = named or config.getini(ADDR_KEY)
    for address in given:
        try:
            circuit.parse_address(address)
        except circuit.AddressError as error:
            raise pytest.UsageError(f"--circuit-addr: {error}") from None
    hmac_file = config.getoption("--circuit-hmac") or os.environ.get(HMAC_VARIABLE) or ""
    if not named and not hmac_file:
        hmac_file = _key_of_ini(config)
    if hmac_file and not given:
        raise pytest.UsageError(
            "--circuit-hmac: hosts made on this machine get a key of their own; name a circuit by --circuit-addr"
        )
    mode = _read_mode(config, on_named_circuit=bool(given))
    workspace = config.getoption(WORKSPACE)
    if given and workspace in ("check", "down", "reset"):
        raise pytest.UsageError(
            f"{WORKSPACE}={workspace} is about the hosts made on this machine, and --circuit-addr names others:"
            f" {'--attach checks' if workspace == 'check' else '--circuit-teardown takes down'} what was kept there"
        )
    lease_wait = config.getoption("--lease-wait")
    if lease_wait is not None and not 0 <= lease_wait < math.inf:
        raise pytest.UsageError(f"--lease-wait: {lease_wait:g} is no number of seconds to wait")
    listen = config.getoption("--circuit-listen")
    _begin_log(config)
    return Options(
        addresses=tuple(given),
        hmac_file=Path(hmac_file) if hmac_file else None,
        hmac_key=_read_key(Path(hmac_file)) if hmac_file else None,
        listen=_parse_listen(listen) if listen else None,
        hosts=_read_hosts(config, on_named_circuit=bool(given)),
        given=Given(*(_read_addresses(config, option, on_named_circuit=bool(given)) for option in (PRIVATE, PUBLIC))),
        mode=mode,
        replace=bool(config.getoption("--replace")),
        install=bool(config.getoption("--install")),
        keep=config.getoption("--keep"),
        lease_wait=LEASE_WAIT_S if lease_wait is None else lease_wait,
        artifacts=_read_folder(config),
        report=_read_file(config),
        disruptive=bool(config.getoption("--disruptive")) or not given,
        deployment=_read_deployment(config),
        crashed_only=bool(config.getoption("--crashed-only")),
        run_timeout=_read_run_timeout(config),
        folder=config.rootpath,
    )


def read_for(config: pytest.Config, services: Services) -> Options:
    """Parse as :func:`read_options`, and check that hosts are named for known services; for a teardown, any can be.

    :raises pytest.UsageError: one is not valid; the message is one line.
    """
    # From here on, messages name what the user can type.
    spell_by(spell)
    options = read_options(config)
    try:
        if options.mode != "teardown":
            options.hosts.for_services(services, services)
    except DeployError as error:
        raise pytest.UsageError(f"--hosts: {error}") from None
    return options if options.addresses else _in_workspace(options, disruptive=bool(config.getoption("--disruptive")))


def _in_workspace(options: Options, *, disruptive: bool) -> Options:
    """Return these options for the workspace's circuit, where they are about that and it is up.

    :raises pytest.UsageError: it is to be checked, and is not up.
    """
    if options.mode == "deploy" and options.keep == "never":
        return options
    from localhosts.workspace import Workspace

    kept = Workspace(options.folder).find()
    if kept is not None:
        return replace(options.within(kept), disruptive=disruptive)
    if options.mode == "attach":
        raise pytest.UsageError(f"no hosts are up for {options.folder}: {command('up')} makes them, and deploys")
    return options


def _key_of_ini(config: pytest.Config) -> str:
    """Return the key's file that the ini file names; "" where it names none."""
    named: str = config.getini(HMAC_KEY)
    return str(config.inipath.parent / named) if named and config.inipath else ""


def _read_mode(config: pytest.Config, *, on_named_circuit: bool) -> Mode:
    """Return what to do.

    :raises pytest.UsageError: the options contradict each other.
    """
    verb = config.getoption(WORKSPACE)
    given = [name for name in ("--attach", "--circuit-teardown", "--plan") if config.getoption(name)]
    given += [f"{WORKSPACE}={verb}"] if verb else []
    if len(given) > 1:
        raise pytest.UsageError(f"{given[0]} and {given[1]} are different things to do: choose one")
    if config.getoption("--crashed-only") and given != ["--circuit-teardown"]:
        raise pytest.UsageError("--crashed-only tells --circuit-teardown what to take down: give both, or neither")
    if given and given[0] in ("--attach", "--circuit-teardown") and not on_named_circuit:
        raise pytest.UsageError(
            f"{given[0]}: name a circuit by --circuit-addr; for hosts made on this machine:"
            f" {command('check' if given[0] == '--attach' else 'down')}"
        )
    mode = given[0] if given else ""
    if mode in ("--circuit-teardown", "--plan") and config.option.collectonly:
        raise pytest.UsageError(f"{mode} is done instead of running checks, and so is --collect-only: choose one")
    for other in _CLASHES.get(mode, ()):
        if _is_given(config, other):
            raise pytest.UsageError(clash(mode, other))
    return _MODES[mode]


_MODES: dict[str, Mode] = {
    "": "deploy",
    "--attach": "attach",
    "--circuit-teardown": "teardown",
    "--plan": "plan",
    f"{WORKSPACE}=up": "up",
    f"{WORKSPACE}=check": "attach",
    f"{WORKSPACE}=down": "down",
    f"{WORKSPACE}=status": "status",
    f"{WORKSPACE}=reset": "reset",
}


_ABOUT_CHECKS = (
    *("--replace", "--install", "--keep", "--lease-wait", "--disruptive", "--artifacts", "--report", PRIVATE, PUBLIC),
    RUN_TIMEOUT,
)

_CLASHES = {
    "--attach": ("--replace", "--install", "--keep", "--lease-wait", PRIVATE, PUBLIC),
    "--circuit-teardown": (
        "--install",
        "--keep",
        "--disruptive",
        "--artifacts",
        "--report",
        PRIVATE,
        PUBLIC,
        RUN_TIMEOUT,
    ),
    "--plan": ("--keep", "--lease-wait", "--disruptive", "--artifacts", "--report"),
    f"{WORKSPACE}=up": ("--keep", "--disruptive", "--artifacts", "--report", RUN_TIMEOUT),
    f"{WORKSPACE}=check": ("--replace", "--install", "--keep", "--lease-wait", PRIVATE, PUBLIC),
    **{f"{WORKSPACE}={verb}": _ABOUT_CHECKS for verb in ("down", "status", "reset")},
}
"""Options that contradict one that does something else than deploying."""

_WHY = {
    "--attach": "changes nothing on the hosts, and waits for nobody",
    "--circuit-teardown": "takes down what is there, and checks nothing",
    "--plan": "changes and checks nothing, and waits for nobody",
    f"{WORKSPACE}=up": "deploys, keeps and checks nothing",
    f"{WORKSPACE}=check": "changes nothing on the hosts, and waits for nobody",
    f"{WORKSPACE}=down": "removes the hosts",
    f"{WORKSPACE}=status": "prints what is up",
    f"{WORKSPACE}=reset": "makes the hosts new",
}


def clash(mode: str, other: str) -> str:
    """Return the message that an option makes no sense with the one that says what to do."""
    return f"{mode} {_WHY[mode]}, so {other} makes no sense with it"


def _is_given(config: pytest.Config, name: str) -> bool:
    value = config.getoption(name)
    return value is not None and value is not False and value != [] and (name, value) != ("--keep", "never")


def _read_folder(config: pytest.Config) -> Path | None:
    """Make the folder for artifacts, and return it."""
    given = config.getoption("--artifacts")
    if not given:
        return None
    folder: Path = config.invocation_params.dir / given
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise pytest.UsageError(f"--artifacts: cannot make {folder}: {error.strerror}") from None
    return folder


def _read_file(config: pytest.Config) -> Path | None:
    """Make the folder of the report's file, and return the file."""
    given = config.getoption("--report")
    if not given:
        return None
    file: Path = config.invocation_params.dir / given
    if file.is_dir():
        raise pytest.UsageError(f"--report: {file} is a folder; name a file in it, such as report.html")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise pytest.UsageError(f"--report: cannot make {file.parent}: {error.strerror}") from None
    return file


def _begin_log(config: pytest.Config) -> None:
    """Begin the log of remote commands, if the user wants one."""
    given = config.getoption("--log-commands")
    if not given:
        return
    file: Path = config.invocation_params.dir / given
    try:
        command_log.begin(file, fresh=not hasattr(config, "workerinput"))
    except OSError as error:
        raise pytest.UsageError(f"--log-commands: cannot write {file}: {error.strerror}") from None


def _read_deployment(config: pytest.Config) -> str | None:
    given: str | None = config.getoption("--deployment")
    if given is not None and not records.NAME.fullmatch(given):
        raise pytest.UsageError(f"--deployment: {given!r} is not a name of up to 24 lowercase letters, digits and -")
    return given


def _read_run_timeout(config: pytest.Config) -> float | None:
    given: str | None = config.getoption(RUN_TIMEOUT)
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise pytest.UsageError(f"{RUN_TIMEOUT}: {given!r} is not a number of seconds greater than 0")
    return seconds


def _read_hosts(config: pytest.Config, *, on_named_circuit: bool) -> Hosts:
    """Return the hosts that the user named. The option itself is testinfra's."""
    given = config.getoption("--hosts", None)
    if not given:
        return Hosts()
    if not on_named_circuit:
        raise pytest.UsageError("--hosts: name the circuit, too, by --circuit-addr")
    entries = [entry.strip() for entry in given.split(",") if entry.strip()]
    roles: dict[str, str] = {}
    for role, equals, name in (entry.partition("=") for entry in entries):
        if equals and (not role or not name):
            raise pytest.UsageError(f"--hosts: {role}={name} is not SERVICE=HOST, such as mysql=X5f2a6d0c11e49b83")
        if equals and role in roles:
            raise pytest.UsageError(f"--hosts: {role} is given twice, {roles[role]} and {name}")
        if equals:
            roles[role] = name
    names = tuple(dict.fromkeys(entry for entry in entries if "=" not in entry))
    if roles and names:
        raise pytest.UsageError(
            "--hosts: name hosts by the services they are for, or in their order, and not both ways"
        )
    if not roles and not names:
        raise pytest.UsageError(f"--hosts: {given!r} names no host")
    return Hosts(names, roles)


def _read_addresses(config: pytest.Config, option: str, *, on_named_circuit: bool) -> dict[str, str]:
    """Return the addresses that an option gives, in canonical form, by the host's name."""
    addresses: dict[str, str] = {}
    for text in config.getoption(option) or ():
        name, _, address = text.partition("=")
        ip = canonical(address)
        if not on_named_circuit:
            raise pytest.UsageError(f"{option}: name the circuit, too, by --circuit-addr")
        if not name or not ip:
            raise pytest.UsageError(f"{option}: {text!r} is not NAME=IP, such as X5f2a6d0c11e49b83=10.0.0.7")
        if wrong := refusal(ip):
            raise pytest.UsageError(f"{option}: {ip} is {wrong}: no other host can reach it there")
        if name in addresses:
            raise pytest.UsageError(f"{option}: host {name} is given twice, with {addresses[name]} and with {ip}")
        addresses[name] = ip
    return addresses


def _read_key(path: Path) -> circuit.Hidden:
    try:
        key = circuit.decode_key(path.read_bytes())
    except OSError as error:
        raise pytest.UsageError(f"--circuit-hmac: cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise pytest.UsageError(f"--circuit-hmac: {path} {error}") from None
    # From here on, reports mask it.
    know(key)
    return key


def _parse_listen(text: str) -> tuple[str, int]:
    try:
        return circuit.parse_endpoint(text)
    except ValueError:
        raise pytest.UsageError(
            f"--circuit-listen: {text!r} is not IP:PORT, such as 10.0.0.5:7000 or [fd00::5]:7000"
        ) from None
