"""Parse and check the options of the command line, the environment and the ini file."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

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
)
from circuit_harness.plugin.spelling import spell
from circuit_harness.remedies import spell_by
from circuit_harness.remote import command_log
from circuit_harness.remote.address import canonical, refusal
from circuit_harness.secret import know


@dataclass(frozen=True)
class Options:
    """What the user asked for. ``addresses`` is empty where hosts are to be made on this machine.

    ``mode`` is what to do: deploy and check, check what was kept (attach), take it down, or print a plan.
    ``deployment`` is the deployment's name; None where none was given, which takes down all.
    ``crashed_only`` is whether to leave alone what was kept.
    ``disruptive`` is whether checks may stop services for a while. ``given`` are addresses of hosts. ``probe`` is
    whether services are probed before their first check and after a failed one.
    """

    addresses: tuple[str, ...]
    hmac_file: Path | None
    hmac_key: circuit.Hidden | None
    listen: tuple[str, int] | None
    hosts: Hosts
    given: Given
    mode: Literal["deploy", "attach", "teardown", "plan"]
    replace: bool
    install: bool
    keep: Literal["never", "on-failure", "always"]
    lease_wait: float
    artifacts: Path | None
    report: Path | None
    disruptive: bool
    crashed_only: bool = False
    deployment: str | None = None
    probe: bool = True

    def teardown(self, hosts: Sequence[str], *, reached: str = "") -> str:
        """Return the command line that takes down what is on these hosts; "" where none is known.

        Without hosts it would take down all deployments of the circuit.
        """
        named = hosts or self.hosts.names
        return self.command("--circuit-teardown", reached=reached, hosts=named) if named else ""

    def with_key(self, file: Path) -> Options:
        """Return these options for a circuit whose key is in ``file``.

        :raises pytest.UsageError: it cannot be read, or has no valid key.
        """
        return replace(self, hmac_file=file, hmac_key=_read_key(file))

    def command(self, *options: str, reached: str = "", hosts: Sequence[str] = ()) -> str:
        """Return a command line with other options for the same hosts of the same circuit.

        :param reached: the circuit's address, where that has changed.
        :param hosts: names of the hosts; by default those that the user named.
        """
        named = [f"--circuit-addr={address}" for address in ([reached] if reached else self.addresses)]
        if self.hmac_file is not None:
            named.append(f"--circuit-hmac={self.hmac_file.absolute()}")
        if self.listen is not None:
            named.append(f"--circuit-listen={Listening(*self.listen)}")
        if names := hosts or self.hosts.names:
            named.append(f"--hosts={','.join(names)}")
        if self.deployment is not None:
            named.append(f"--deployment={self.deployment}")
        return shlex.join(["pytest", *named, *options])

    def on_host(self, host: str, command: str) -> str:
        """Return the command line that runs a shell command on a host as root; without a command, it lists the hosts.

        "" where the hosts were made for this run, and go with it.
        """
        if not self.addresses:
            return ""
        named = [f"--addr={' '.join(self.addresses)}"]
        if self.hmac_file is not None:
            named.append(f"--hmac={self.hmac_file.absolute()}")
        if self.listen is not None:
            named.append(f"--listen={Listening(*self.listen)}")
        # Where the circuit runs as root, there may be no sudo.
        words = [f"/{host}", "--", "sh", "-c", f"$(command -v sudo) {command}"] if command else ["/"]
        return shlex.join(["python3", "-m", "circuit", "run" if command else "ls", *named, *words])


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
        probe=not config.getoption("--no-probe"),
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
    return options


def _key_of_ini(config: pytest.Config) -> str:
    """Return the key's file that the ini file names; "" where it names none."""
    named: str = config.getini(HMAC_KEY)
    return str(config.inipath.parent / named) if named and config.inipath else ""


def _read_mode(config: pytest.Config, *, on_named_circuit: bool) -> Literal["deploy", "attach", "teardown", "plan"]:
    """Return what to do.

    :raises pytest.UsageError: the options contradict each other.
    """
    given = [name for name in ("--attach", "--circuit-teardown", "--plan") if config.getoption(name)]
    keep = "--keep" if config.getoption("--keep") != "never" else ""
    if len(given) > 1:
        raise pytest.UsageError(f"{given[0]} and {given[1]} are different things to do: choose one")
    if config.getoption("--crashed-only") and given != ["--circuit-teardown"]:
        raise pytest.UsageError("--crashed-only tells --circuit-teardown what to take down: give both, or neither")
    stays = [name for name in (*given, keep) if name not in ("", "--plan")]
    if stays and not on_named_circuit:
        raise pytest.UsageError(
            f"{stays[0]}: hosts that a run makes on this machine go with it; name a circuit by"
            " --circuit-addr (python3 -m localhosts up makes one that stays)"
        )
    mode = given[0] if given else ""
    if mode in ("--circuit-teardown", "--plan") and config.option.collectonly:
        raise pytest.UsageError(f"{mode} is done instead of running checks, and so is --collect-only: choose one")
    for other in _CLASHES.get(mode, ()):
        if _is_given(config, other):
            raise pytest.UsageError(clash(mode, other))
    modes: dict[str, Literal["attach", "teardown", "plan"]] = {
        "--attach": "attach",
        "--circuit-teardown": "teardown",
        "--plan": "plan",
    }
    return modes[mode] if mode else "deploy"


_CLASHES = {
    "--attach": ("--replace", "--install", "--keep", "--lease-wait", PRIVATE, PUBLIC),
    "--circuit-teardown": (
        *("--install", "--keep", "--disruptive", "--no-probe", "--artifacts", "--report", PRIVATE, PUBLIC),
    ),
    "--plan": ("--keep", "--lease-wait", "--disruptive", "--no-probe", "--artifacts", "--report"),
}
"""Options that contradict one that does something else than deploying."""

_WHY = {
    "--attach": "changes nothing on the hosts, and waits for nobody",
    "--circuit-teardown": "takes down what is there, and checks nothing",
    "--plan": "changes and checks nothing, and waits for nobody",
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
        raise pytest.UsageError(f"--deployment: {given!r} is not a name of up to 24 small letters, digits and -")
    return given


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
