"""Parse and check the options of the command line, the environment and the ini file."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

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
    FILES,
    HMAC_KEY,
    HMAC_VARIABLE,
    HOSTS,
    LEASE_WAIT_S,
    PRIVATE,
    PUBLIC,
    RUN_TIMEOUT,
    WORKSPACE,
    Keep,
    refuse_contradictions,
    selection,
)
from circuit_harness.plugin.spelling import Verb, circuit_command, command, spell, spell_in_workspace, typed
from circuit_harness.remedies import spell_by
from circuit_harness.remote import command_log
from circuit_harness.remote.address import canonical, refusal
from circuit_harness.secret import know

if TYPE_CHECKING:
    from localhosts.workspace import Kept

Mode = Literal["deploy", "attach", "teardown", "plan", "up", "down", "status", "reset"]

_MOST_READ = 1 << 16
"""How many bytes of a key's file are read: more than any key has."""


@dataclass(frozen=True)
class Options:
    """What the user asked for. ``addresses`` is empty where hosts are to be made on this machine.

    ``mode`` is what to do: deploy and check, check what was kept (attach), take it down, or print a plan.
    ``deployment`` is the deployment's name; None where none was given, which takes down all.
    ``crashed_only`` is whether to leave alone what was kept.
    ``disruptive`` is whether checks may stop services for a while. ``given`` are addresses of hosts. ``address_source``
    is the option, variable or ini key that names the circuit. ``probe`` is whether services are probed before their
    first check and after a failed one. ``run_timeout`` is the limit of the whole run in seconds; None means none.
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
    keep: Keep
    lease_wait: float
    artifacts: Path | None
    report: Path | None
    disruptive: bool
    log_commands: Path | None = None
    address_source: str = "--circuit-addr"
    crashed_only: bool = False
    deployment: str | None = None
    run_timeout: float | None = None
    folder: Path = field(default_factory=Path)
    in_workspace: bool = False
    probe: bool = True

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
        return replace(self, hmac_file=file, hmac_key=_read_key(file, "--circuit-hmac"))

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

    def on_host(self, host: str, command: str) -> str:
        """Return the command line that runs a shell command on a host as root; without a command, it lists the hosts.

        "" where the hosts were made for this run, and go with it.
        """
        if not self.addresses:
            return ""
        if not command:
            return self.circuit_command("ls", "/")
        # Where the circuit runs as root, there may be no sudo.
        return self.circuit_command("run", f"/{host}", "--", "sh", "-c", f"$(command -v sudo) {command}")

    def circuit_command(self, verb: str, *words: str) -> str:
        """Return a command line of the ``circuit`` program for the same circuit."""
        named = [f"--addr={' '.join(self.addresses)}"]
        if self.hmac_file is not None:
            named.append(f"--hmac={self.hmac_file.absolute()}")
        if self.listen is not None:
            named.append(f"--listen={Listening(*self.listen)}")
        return circuit_command(named, verb, *words, in_workspace=self.in_workspace)


def read_options(config: pytest.Config) -> Options:
    """Parse the options and the environment. Changes nothing.

    :raises pytest.UsageError: one is not valid; the message is one line.
    """
    refuse_contradictions(config, (HOSTS,))
    addresses, source = _read_circuit(config)
    if _is_of_workspace(config, addresses, source):
        addresses, hmac_file, key_source = (), None, ""
    else:
        hmac_file, key_source = _read_key_file(config, source)
    if hmac_file is not None and not addresses:
        raise pytest.UsageError(
            f"{key_source}: hosts made on this machine get a key of their own; name a circuit by --circuit-addr"
        )
    on_named_circuit = bool(addresses)
    keep = _read_keep(config)
    mode = _read_mode(config, on_named_circuit=on_named_circuit)
    workspace = config.getoption(WORKSPACE)
    if addresses and workspace in ("check", "down", "reset"):
        raise pytest.UsageError(
            f"{WORKSPACE}={workspace} is about the hosts made on this machine, and {source} names others:"
            f" {'--attach checks' if workspace == 'check' else '--circuit-teardown takes down'} what was kept there"
        )
    listen = config.getoption("--circuit-listen")
    options = Options(
        addresses=tuple(addresses),
        hmac_file=hmac_file,
        hmac_key=None if hmac_file is None else _read_key(hmac_file, key_source),
        listen=None if listen is None else _parse_listen(listen),
        hosts=_read_hosts(config, on_named_circuit=on_named_circuit),
        given=Given(
            *(_read_addresses(config, option, on_named_circuit=on_named_circuit) for option in (PRIVATE, PUBLIC))
        ),
        mode=mode,
        replace=bool(config.getoption("--replace")),
        install=bool(config.getoption("--install")),
        keep=keep,
        lease_wait=_read_lease_wait(config),
        artifacts=_read_path(config, "--artifacts"),
        report=_read_path(config, "--report"),
        disruptive=bool(config.getoption("--disruptive")) or not addresses,
        log_commands=_read_path(config, "--log-commands"),
        address_source=source,
        deployment=_read_deployment(config),
        crashed_only=bool(config.getoption("--crashed-only")),
        run_timeout=_read_run_timeout(config),
        folder=config.rootpath,
        probe=not config.getoption("--no-probe"),
    )
    _check_outputs(config, options)
    return options


def read_for(config: pytest.Config, services: Services) -> Options:
    """Parse as :func:`read_options`, and check that hosts are named for known services; for a teardown, any can be.

    Then make the folder for artifacts, and begin the log of remote commands.

    :raises pytest.UsageError: one is not valid; the message is one line.
    """
    # From here on, messages name what the user can type.
    spell_by(spell)
    options = read_options(config)
    try:
        if options.mode != "teardown":
            options.hosts.for_services(services, services)
    except DeployError as error:
        raise pytest.UsageError(f"{HOSTS}: {error}") from None
    if not options.addresses:
        options = _in_workspace(options, disruptive=bool(config.getoption("--disruptive")))
    if options.in_workspace:
        spell_by(spell_in_workspace)
    _make_outputs(config, options)
    return options


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


def _read_circuit(config: pytest.Config) -> tuple[Sequence[str], str]:
    """Return the circuit's addresses, and the option, variable or ini key that names them.

    :raises pytest.UsageError: one is not valid.
    """
    addresses: Sequence[str] = config.getoption("--circuit-addr") or ()
    source = "--circuit-addr"
    if not addresses and (addresses := os.environ.get(ADDR_VARIABLE, "").split()):
        source = f"${ADDR_VARIABLE}"
    if not addresses and (addresses := config.getini(ADDR_KEY)):
        source = _ini_source(config, ADDR_KEY)
    for address in addresses:
        try:
            circuit.parse_address(address)
        except circuit.AddressError as error:
            raise pytest.UsageError(f"{source}: {error}") from None
    return addresses, source


def _is_of_workspace(config: pytest.Config, addresses: Sequence[str], source: str) -> bool:
    """Return whether the variables name the workspace's hosts, as a status prints them, and a verb is about these."""
    if not config.getoption(WORKSPACE) or source != f"${ADDR_VARIABLE}":
        return False
    from localhosts.workspace import Workspace

    kept = Workspace(config.rootpath).find()
    return kept is not None and list(addresses) == kept.addresses


def _read_key_file(config: pytest.Config, address_source: str) -> tuple[Path | None, str]:
    """Return the file with the circuit's key, and the option, variable or ini key that names it.

    :param address_source: what names the circuit: the ini file's key is only for the ini file's circuit.
    :raises pytest.UsageError: the option is empty.
    """
    named: str | None = config.getoption("--circuit-hmac")
    if named is not None:
        return Path(_not_empty("--circuit-hmac", named)), "--circuit-hmac"
    if named := os.environ.get(HMAC_VARIABLE):
        return Path(named), f"${HMAC_VARIABLE}"
    named = config.getini(HMAC_KEY)
    addresses_elsewhere = config.getoption("--circuit-addr") or address_source == f"${ADDR_VARIABLE}"
    if named and config.inipath and not addresses_elsewhere:
        return config.inipath.parent / named, _ini_source(config, HMAC_KEY)
    return None, ""


def _ini_source(config: pytest.Config, key: str) -> str:
    return f"{key} in {config.inipath}"


def _not_empty(option: str, value: str) -> str:
    """Return the value of an option for a path.

    :raises pytest.UsageError: it is empty, as where a shell variable is not set.
    """
    if not value.strip():
        raise pytest.UsageError(f"{option} is empty: write {option}={FILES[option]}")
    return value


def _read_keep(config: pytest.Config) -> Keep:
    given = config.getoption("--keep")
    kinds: dict[str, Keep] = {kind: kind for kind in get_args(Keep)}
    if given not in kinds:
        raise pytest.UsageError(f"--keep: {given!r} is not valid; it is one of {', '.join(kinds)}")
    return kinds[given]


def _read_lease_wait(config: pytest.Config) -> float:
    given: str | None = config.getoption("--lease-wait")
    if given is None:
        return LEASE_WAIT_S
    with suppress(ValueError):
        seconds = float(given)
        if 0 <= seconds < math.inf:
            return seconds
    raise pytest.UsageError(f"--lease-wait: {given!r} is not a valid number of seconds; it is 0 or more")


def _read_mode(config: pytest.Config, *, on_named_circuit: bool) -> Mode:
    """Return what to do.

    :raises pytest.UsageError: the options contradict each other.
    """
    verb = config.getoption(WORKSPACE)
    given = [name for name in ("--attach", "--circuit-teardown", "--plan") if config.getoption(name)]
    if verb is not None and f"{WORKSPACE}={verb}" not in _MODES:
        verbs = (mode.partition("=")[2] for mode in _MODES if mode.startswith(WORKSPACE))
        raise pytest.UsageError(f"{WORKSPACE}: {verb!r} is not valid; it is one of {', '.join(verbs)}")
    given += [f"{WORKSPACE}={verb}"] if verb else []
    if len(given) > 1:
        raise pytest.UsageError(f"{given[0]} and {given[1]} are different things to do: choose one")
    if config.getoption("--crashed-only") and given != ["--circuit-teardown"]:
        raise pytest.UsageError("--crashed-only limits --circuit-teardown: give both, or neither")
    if given and given[0] in ("--attach", "--circuit-teardown") and not on_named_circuit:
        raise pytest.UsageError(
            f"{given[0]}: name a circuit by --circuit-addr; for hosts made on this machine:"
            f" {command('check' if given[0] == '--attach' else 'down')}"
        )
    mode = given[0] if given else ""
    if _MODES[mode] not in ("deploy", "attach") and config.option.collectonly:
        instead = f"{typed(mode)} is done instead of running checks"
        raise pytest.UsageError(f"{instead}, and so is --collect-only: choose one")
    for other in _CLASHES.get(mode, ()):
        if _is_given(config, other):
            raise pytest.UsageError(clash(mode, other))
    if _MODES[mode] not in ("deploy", "attach", "plan") and (chosen := selection(config)):
        raise pytest.UsageError(clash(mode, chosen))
    if _MODES[mode] in ("up", "down", "status", "reset") and config.args_source == config.ArgsSource.ARGS:
        raise pytest.UsageError(f"{typed(mode)} runs no checks, so {shlex.join(config.args)} makes no sense with it")
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
    *("--replace", "--install", "--keep", "--lease-wait", "--disruptive", "--no-probe", "--artifacts", "--report"),
    *(PRIVATE, PUBLIC, RUN_TIMEOUT),
)

_CLASHES = {
    "--attach": ("--replace", "--install", "--keep", "--lease-wait", PRIVATE, PUBLIC),
    "--circuit-teardown": (
        *("--install", "--keep", "--disruptive", "--no-probe", "--artifacts", "--report", PRIVATE, PUBLIC),
        RUN_TIMEOUT,
    ),
    "--plan": ("--keep", "--lease-wait", "--disruptive", "--no-probe", "--artifacts", "--report"),
    f"{WORKSPACE}=up": ("--keep", "--disruptive", "--no-probe", "--artifacts", "--report", RUN_TIMEOUT),
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
    return f"{typed(mode)} {_WHY[mode]}, so {other} makes no sense with it"


def _is_given(config: pytest.Config, name: str) -> bool:
    value = config.getoption(name)
    return value is not None and value is not False and value != [] and (name, value) != ("--keep", "never")


def _read_path(config: pytest.Config, option: str) -> Path | None:
    """Return the path that an option names.

    :raises pytest.UsageError: it is empty.
    """
    given: str | None = config.getoption(option)
    return None if given is None else config.invocation_params.dir / _not_empty(option, given)


def _check_outputs(config: pytest.Config, options: Options) -> None:
    """Check that what the user wants to have written can be.

    :raises pytest.UsageError: a folder is missing or not writable, or two options name one file.
    """
    folder = options.artifacts
    files = {"--report": options.report, "--log-commands": options.log_commands}
    option, path = "--artifacts", folder
    try:
        if folder is not None:
            _check_folder(option, folder)
        for option, path in files.items():
            if path is not None:
                _check_file(option, path, made=folder)
    except OSError as error:
        raise pytest.UsageError(f"{option}: cannot use {path}: {error.strerror}") from None
    junit = getattr(config.option, "xmlpath", None)
    others = {
        "--circuit-hmac": options.hmac_file,
        "--junitxml": config.invocation_params.dir / junit if junit else None,
        "--artifacts": folder,
        **files,
    }
    seen: dict[Path, str] = {}
    for option, path in others.items():
        if path is not None and (other := seen.setdefault(path.resolve(), option)) != option:
            raise pytest.UsageError(f"{other} and {option} name one file, {path}: choose another for one of them")


def _check_folder(option: str, folder: Path) -> None:
    if folder.exists():
        if not folder.is_dir():
            raise pytest.UsageError(f"{option}: {folder} is not a folder; name another")
        _check_access(option, folder)
    else:
        _check_parent(option, folder)


def _check_file(option: str, file: Path, *, made: Path | None) -> None:
    """Check a file that is to be written.

    :param made: the folder that is made if it is missing.
    """
    if file.is_dir():
        raise pytest.UsageError(f"{option}: {file} is a folder; name a file in it, such as {_EXAMPLES[option]}")
    if file.exists():
        _check_access(option, file)
    elif made is None or file.parent.resolve() != made.resolve():
        _check_parent(option, file)


def _check_parent(option: str, path: Path) -> None:
    if path.parent.exists() and not path.parent.is_dir():
        raise pytest.UsageError(f"{option}: {path.parent} is not a folder; name another")
    if not path.parent.exists():
        made = shlex.quote(str(path.parent))
        raise pytest.UsageError(f"{option}: there is no folder {path.parent}; make it first: mkdir -p {made}")
    _check_access(option, path.parent)


def _check_access(option: str, path: Path) -> None:
    rights = os.W_OK | os.X_OK if path.is_dir() else os.W_OK
    if not os.access(path, rights, effective_ids=os.access in os.supports_effective_ids):
        raise pytest.UsageError(f"{option}: cannot write {path}: this user may not, or its file system is read-only")


_EXAMPLES = {"--report": "report.html", "--log-commands": "commands.jsonl"}
"""File names for messages."""


def _make_outputs(config: pytest.Config, options: Options) -> None:
    """Make the folder for artifacts, and begin the log of remote commands, if the user wants them."""
    if options.log_commands is not None:
        try:
            command_log.begin(options.log_commands, fresh=not hasattr(config, "workerinput"))
        except OSError as error:
            raise pytest.UsageError(f"--log-commands: cannot write {options.log_commands}: {error.strerror}") from None
    if options.artifacts is not None:
        try:
            options.artifacts.mkdir(exist_ok=True)
        except OSError as error:
            raise pytest.UsageError(f"--artifacts: cannot make {options.artifacts}: {error.strerror}") from None


def _read_deployment(config: pytest.Config) -> str | None:
    given: str | None = config.getoption("--deployment")
    if given is not None and not records.NAME.fullmatch(given):
        raise pytest.UsageError(f"--deployment: {given!r} is not a name of up to 24 lowercase letters, digits and -")
    return given


def _read_run_timeout(config: pytest.Config) -> float | None:
    given: str | None = config.getoption(RUN_TIMEOUT)
    if given is None:
        return None
    with suppress(ValueError):
        seconds = float(given)
        if 0 < seconds < math.inf:
            return seconds
    raise pytest.UsageError(f"{RUN_TIMEOUT}: {given!r} is not a valid number of seconds; it is more than 0")


def _read_hosts(config: pytest.Config, *, on_named_circuit: bool) -> Hosts:
    """Return the hosts that the user named. The option itself is testinfra's."""
    given: str | None = config.getoption(HOSTS, None)
    if given is None:
        return Hosts()
    entries = [entry.strip() for entry in given.split(",") if entry.strip()]
    if not entries:
        raise pytest.UsageError(f"--hosts: {given!r} names no host")
    if not on_named_circuit:
        raise pytest.UsageError("--hosts: name the circuit, too, by --circuit-addr")
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


def _read_key(path: Path, source: str) -> circuit.Hidden:
    """Read the key of a circuit.

    :param source: the option, variable or ini key that names the file, for messages.
    """
    try:
        with path.open("rb") as file:
            # No more, as the path may be that of a device.
            key = circuit.decode_key(file.read(_MOST_READ))
    except OSError as error:
        remedy = ""
        if source == f"${HMAC_VARIABLE}" and isinstance(error, FileNotFoundError):
            remedy = f"; if its hosts were removed: unset {ADDR_VARIABLE} {HMAC_VARIABLE}"
        raise pytest.UsageError(f"{source}: cannot read {path}: {error.strerror}{remedy}") from None
    except ValueError as error:
        raise pytest.UsageError(f"{source}: {path} {error}") from None
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
