"""The protocol of a service: the methods that the engine calls, and the values that they return.

A service is a value with parameters. It reads the facts of its host, refuses a host that it cannot use, and plans
stages from the facts. The engine carries out the stages: probes, and actions that can use the results of all probes
before them. A plan prints the same list of steps, a run reports it, and teardown undoes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from circuit import Cmd
from circuit_harness.errors import DeployError
from circuit_harness.operations.needs import Need
from circuit_harness.remote.address import Addresses
from circuit_harness.remote.command import Command, holds_secret
from circuit_harness.remote.host import COMMAND_LIMIT_S, Host, Process
from circuit_harness.secret import Secret, generate
from circuit_harness.steps import Steps

Results = Mapping[str, Any]
"""The results so far: those of probes and of things made on this machine by name, elements by anchor."""


@dataclass(frozen=True)
class Undo:
    """The undo of an action, for any run that finds the record, with any version of this program.

    ``command`` is shell for root; ``proof`` prints a line for each difference from the state before the action, and
    nothing else. The run ends the command after ``limit`` seconds.
    """

    what: str
    command: str
    proof: str = ""
    limit: float = COMMAND_LIMIT_S


@dataclass(frozen=True)
class Element:
    """A process to start at an anchor of the host, after the command ``prepare``, if there is one.

    ``mark`` is a part of its arguments that no other process has.

    :raises DeployError: its arguments or variables contain a secret; every client of the circuit can read these.
    """

    anchor: str
    cmd: Cmd
    mark: str
    prepare: Command | None = None

    def __post_init__(self) -> None:
        if any(holds_secret(word) for word in (*self.cmd.args, *self.cmd.env)):
            raise DeployError(
                f"a secret was formatted into the arguments or variables of the process {self.anchor}: pass the path"
                " of a file that contains it"
            )


@dataclass(frozen=True)
class End:
    """A process at an anchor to end for good."""

    anchor: str
    process: Process


@dataclass(frozen=True)
class Guard:
    """The condition of an action, in words, and whether it holds. A plan shows the action in either case."""

    words: str
    holds: bool


@dataclass(frozen=True)
class Context:
    """What a probe or a check can use: its host, and the run's steps. ``say`` prints a line for the user."""

    host: Host
    steps: Steps
    say: Callable[[str], None]


@dataclass(frozen=True)
class Action:
    """One change of a host; ``what`` describes it in words.

    The command that makes the change also writes the undo into the host's record. That of a process without ``prepare``
    is written by the command of the action before it, if there is one in its stage. ``details`` are lines that only a
    plan shows. ``check`` gets what the command printed, and raises an error if the change does not have its effect;
    ``log`` prints why a command may have failed. The run ends a command after ``limit`` seconds.
    """

    what: str
    do: Command | Element | End
    undo: Undo | None = None
    limit: float = COMMAND_LIMIT_S
    details: Sequence[str] = ()
    guard: Guard | None = None
    check: Callable[[Context, str], None] | None = None
    log: Command | None = None


@dataclass(frozen=True)
class Probe:
    """A question that the host can answer only after the earlier stages. It changes nothing.

    In a plan, ``stand_in`` replaces the answer.
    """

    name: str
    what: str
    ask: Callable[[Context], Any]
    stand_in: Any = None


@dataclass(frozen=True)
class Local:
    """Something that the run makes on this machine before it changes any host. In a plan, ``stand_in`` replaces it."""

    name: str
    what: str
    make: Callable[[Steps], Any]
    stand_in: Any = None


def _none(results: Results) -> Sequence[Action]:
    return ()


@dataclass(frozen=True)
class Stage:
    """Probes, then actions, one after another.

    ``after`` are those of the used services that must be ready first.
    """

    actions: Callable[[Results], Sequence[Action]] = _none
    probes: Sequence[Probe] = ()
    after: Sequence[str] = ()


class Running(Protocol):
    """A deployed service."""

    @property
    def host(self) -> Host:
        """The host that it runs on."""

    @property
    def address(self) -> str:
        """The IP address at which clients reach it."""

    @property
    def port(self) -> int:
        """The TCP port at which clients reach it."""

    @property
    def anchor(self) -> str:
        """The anchor of its process, below the host's; "" if the process is not an element."""

    def describe(self) -> dict[str, Any]:
        """Return the values that :meth:`Service.find` needs to find it again: plain values, without secrets."""

    def logs(self) -> tuple[str, str]:
        """Return the name of its log, and shell for root that prints the log's last lines."""


@runtime_checkable
class Probed(Protocol):
    """A service that was deployed, and can report that it is down. :class:`Running` does not require it."""

    def down(self) -> str:
        """Return "" where the service works, otherwise lines: what is wrong, then since when, and what ended it.

        A line that begins with ``$ `` is a shell command for the host's root that shows more; with ``! ``, one that
        starts the service again; with ``? ``, one that shows what fills a disk that is full. The answer takes one
        command on the host, with a short limit.

        :raises DeployError, CircuitError: as :meth:`Host.run` does.
        """


class Peer:
    """A service that another one uses: its ``address`` and ``port`` are known at once, all else when it is ready.

    In a plan, a placeholder such as ``<tls>`` stands for each value that is not known yet.
    """

    def __init__(self, name: str, address: str, port: int, ready: Callable[[], Running | None], planned: bool) -> None:
        self.address = address
        self.port = port
        self._name = name
        self._ready = ready
        self._planned = planned

    def __getattr__(self, name: str) -> Any:
        running = self._ready()
        if running is not None:
            return getattr(running, name)
        if self._planned:
            return f"<{name}>"
        raise DeployError(f"{name} of {self._name} is not known before {self._name} is ready")


class Site:
    """The place of one service of a run, and what the service can know of the others before they run.

    ``run`` is the name of the run, ``deployment`` that of the deployment, "" if it has none, and ``host`` that of the
    host, with its ``addresses``. ``clients`` are the addresses from which the services that use this one connect.
    ``versions`` are the versions of the host's programs, by their names, where a need has an ``oldest`` one.
    ``replace`` is whether the run may take down what exists. ``recorded`` describes the service as an earlier run has
    recorded it on the host, and the run takes that down first; None without such a record.
    """

    def __init__(
        self,
        run: str,
        host: str,
        addresses: Addresses,
        peers: Mapping[str, Peer],
        secrets: dict[str, Secret],
        *,
        name: str,
        clients: Sequence[str] = (),
        deployment: str = "",
        versions: Mapping[str, str] | None = None,
        replace: bool = False,
        recorded: Mapping[str, Any] | None = None,
    ) -> None:
        self.run = run
        self.host = host
        self.addresses = addresses
        self.clients = tuple(clients)
        self.deployment = deployment
        self.versions = versions or {}
        self.replace = replace
        self.recorded = recorded
        self._name = name
        self._peers = peers
        self._secrets = secrets

    def __getitem__(self, name: str) -> Peer:
        """Return a service that this one uses.

        :raises DeployError: its ``uses`` does not contain the name.
        """
        if name not in self._peers:
            raise DeployError(f"{self._name} does not use {name}: name it in uses")
        return self._peers[name]

    @property
    def secret(self) -> Secret:
        """The password of this service."""
        return self.secret_of(self._name)

    def secret_of(self, name: str) -> Secret:
        """Return the password of this service or of one that it uses.

        :raises DeployError: the name is that of another service.
        """
        if name != self._name:
            _ = self[name]
        return self._secrets.setdefault(name, generate())


class Service(Protocol):
    """A service that the harness can deploy.

    ``name`` is also the name of its session fixture and of its marker, its key in records and reports, and the role
    that a host can be named for. ``title`` is its name in messages; ``announced`` is the text that the run prints in
    front of its address when it is ready. ``place`` is the service whose host it shares; "" for a host of its own.
    ``uses`` are the services whose addresses and secrets it needs. ``port`` is the port that it listens on, and
    ``speaks`` the protocol of its clients, such as "HTTP". ``needs`` are the programs that its host must have. ``here``
    are the things that the run makes on this machine first.
    """

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def announced(self) -> str: ...
    @property
    def place(self) -> str: ...
    @property
    def uses(self) -> Sequence[str]: ...
    @property
    def port(self) -> int: ...
    @property
    def speaks(self) -> str: ...
    @property
    def needs(self) -> Sequence[Need]: ...
    @property
    def here(self) -> Sequence[Local]: ...

    def look(self, host: Host, deployment: str) -> Any:
        """Read the facts of the host that matter to this service; change nothing.

        :param deployment: the deployment's name, which is a part of the names of anchors.
        """

    def shares(self, described: Mapping[str, Any]) -> str:
        """Return why the host cannot have both services, as in "its MySQL server is in use"; "" if it can.

        :param described: a service of another deployment on the same host, as it described itself.
        """

    def remarks(self, facts: Any, host: str) -> Sequence[str]:
        """Return lines for the user about the facts."""

    def refuse(self, facts: Any, site: Site) -> Iterable[DeployError]:
        """Return the reasons against a deployment on this host, from the facts alone.

        :class:`~circuit_harness.errors.Unfit` is for a host that cannot be used as it is,
        :class:`~circuit_harness.errors.Conflict` for existing things that the deployment would destroy or collide with.
        """

    def address(self, site: Site) -> str:
        """Return the address at which clients will reach it."""

    def plan(self, facts: Any, site: Site) -> Sequence[Stage]:
        """Return the stages of its deployment, from the facts alone."""

    def result(self, host: Host, facts: Any, site: Site, results: Results) -> Running:
        """Return the running service, after all stages."""

    def find(self, host: Host, described: Mapping[str, Any]) -> Running:
        """Return the service that :meth:`Running.describe` described.

        :raises LookupError, TypeError, ValueError: the values do not describe such a service.
        """
