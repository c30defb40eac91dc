"""The protocol of a service: what the engine asks of it, and the values that it answers with.

A service is a value with parameters. The engine looks at its host, has it refuse what it cannot work with, and carries
out the stages that it plans from what was seen: actions, and between stages probes, whose results later stages take.
The same list is what a plan prints, what a run reports as its steps, and what teardown undoes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
"""What was found or made so far, by name: of probes, of things made on this machine, of elements by their anchor."""


@dataclass(frozen=True)
class Undo:
    """How an action is undone by whoever finds the record, with any version of this program.

    ``command`` is shell for root; ``proof`` prints a line for each thing that is not as it was, and nothing else. The
    undoing is ended after ``limit`` seconds.
    """

    what: str
    command: str
    proof: str = ""
    limit: float = COMMAND_LIMIT_S


@dataclass(frozen=True)
class Element:
    """A process to be started at an anchor of the host, once ``prepare`` has run.

    ``mark`` stands in its arguments, and tells it from any other.

    :raises DeployError: a secret was formatted into its arguments, which every client of the circuit can read.
    """

    anchor: str
    cmd: Cmd
    mark: str
    prepare: Command = field(default_factory=lambda: Command("true"))

    def __post_init__(self) -> None:
        if any(holds_secret(word) for word in (*self.cmd.args, *self.cmd.env)):
            raise DeployError(
                f"a secret was formatted into the arguments or variables of the process {self.anchor}: name the path"
                " of a file that holds it"
            )


@dataclass(frozen=True)
class End:
    """A process at an anchor, to be ended for good."""

    anchor: str
    process: Process


@dataclass(frozen=True)
class Guard:
    """The condition of an action, in words, and whether it holds. A plan shows the action in either case."""

    words: str
    holds: bool


@dataclass(frozen=True)
class Context:
    """Where a probe or a check looks: at its host, within the run's steps. ``say`` prints a line for the user."""

    host: Host
    steps: Steps
    say: Callable[[str], None]


@dataclass(frozen=True)
class Action:
    """One change of a host, in words.

    The undo is written into the host's record by the same command that makes the change. ``details`` are lines that
    only a plan shows. ``check`` raises where the change has not the effect that it should have; ``log`` prints why a
    command may have failed. A command is ended after ``limit`` seconds.
    """

    what: str
    do: Command | Element | End
    undo: Undo | None = None
    limit: float = COMMAND_LIMIT_S
    details: Sequence[str] = ()
    guard: Guard | None = None
    check: Callable[[Context], None] | None = None
    log: Command | None = None


@dataclass(frozen=True)
class Probe:
    """A question to the host that has no answer before the stages in front of it are done. It changes nothing.

    ``stand_in`` takes the answer's place in a plan.
    """

    name: str
    what: str
    ask: Callable[[Context], Any]
    stand_in: Any = None


@dataclass(frozen=True)
class Local:
    """Something made on this machine before any host is changed; ``stand_in`` takes its place in a plan."""

    name: str
    what: str
    make: Callable[[Steps], Any]
    stand_in: Any = None


def _none(results: Results) -> Sequence[Action]:
    return ()


@dataclass(frozen=True)
class Stage:
    """Probes, then actions, each after the one before it.

    ``after`` are services that must be ready first, of those that the service uses.
    """

    actions: Callable[[Results], Sequence[Action]] = _none
    probes: Sequence[Probe] = ()
    after: Sequence[str] = ()


class Running(Protocol):
    """A service that was deployed."""

    @property
    def host(self) -> Host:
        """Where it runs."""

    @property
    def address(self) -> str:
        """The IP address at which it is reached."""

    @property
    def port(self) -> int:
        """The TCP port at which it is reached."""

    @property
    def anchor(self) -> str:
        """The anchor below the host's at which its process stands; "" where it is no element."""

    def describe(self) -> dict[str, Any]:
        """All that it takes to find it again, as plain values without secrets; :meth:`Service.find` takes them."""

    def logs(self) -> tuple[str, str]:
        """What to call its log, and shell for root that prints its last lines."""


@runtime_checkable
class Probed(Protocol):
    """A service that was deployed, and can report that it is down. :class:`Running` does not require it."""

    def down(self) -> str:
        """Return "" where the service works, otherwise lines: what is wrong, then since when, and what ended it.

        A line that begins with ``$ `` is a shell command for the host's root that shows more. The answer takes one
        command on the host, with a short limit.

        :raises DeployError, CircuitError: as :meth:`Host.run` does.
        """


class Peer:
    """A service that another one uses: ``address`` and ``port`` at once; the rest of it once it is ready.

    In a plan, what is not known yet is a placeholder, such as ``<tls>``.
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
    """Where one service of a run is to come, and what it can know of the others before they run.

    ``run`` names the run, ``deployment`` the deployment, if it has a name, ``host`` the host, whose ``addresses`` these
    are. ``clients`` are the addresses that services which use this one connect from. ``replace`` is whether what is
    there already may be taken down. ``recorded`` is what an earlier run has recorded of this service on the host, which
    is taken down first; None where there is none.
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
        replace: bool = False,
        recorded: Mapping[str, Any] | None = None,
    ) -> None:
        self.run = run
        self.host = host
        self.addresses = addresses
        self.clients = tuple(clients)
        self.deployment = deployment
        self.replace = replace
        self.recorded = recorded
        self._name = name
        self._peers = peers
        self._secrets = secrets

    def __getitem__(self, name: str) -> Peer:
        """A service that this one uses.

        :raises DeployError: it does not say so.
        """
        if name not in self._peers:
            raise DeployError(f"{self._name} does not use {name}: name it in uses")
        return self._peers[name]

    @property
    def secret(self) -> Secret:
        """The password of this service."""
        return self.secret_of(self._name)

    def secret_of(self, name: str) -> Secret:
        """The password of a service, this one or one that it uses.

        :raises DeployError: it is neither.
        """
        if name != self._name:
            _ = self[name]
        return self._secrets.setdefault(name, generate())


class Service(Protocol):
    """What can be deployed.

    ``name`` is that of its session fixture, its marker, its key in records and reports, and the role that a
    host can be named for.
    ``title`` is what messages call it; ``announced`` what the run prints in front of its address once it is ready.
    ``place`` is the service whose host it shares; "" for a host of its own.
    ``uses`` are services whose addresses and secrets it takes. ``port`` is where it is to listen, and ``speaks`` what
    its clients speak there, as in "HTTP". ``needs`` are the
    programs that its host must have. ``here`` is what is made on this machine first.
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
        """Read the facts of the host that matter here. Change nothing.

        :param deployment: the deployment's name, which stands in names of anchors.
        """

    def shares(self, described: Mapping[str, Any]) -> str:
        """Say what both would have that can be only one's, as in "its MySQL server"; "" where there is nothing.

        :param described: a service of another deployment that stands on the same host, as it described itself.
        """

    def remarks(self, facts: Any, host: str) -> Sequence[str]:
        """Lines for the user on what was seen."""

    def refuse(self, facts: Any, site: Site) -> Iterable[DeployError]:
        """Say what stands against deploying there, from the facts alone.

        :class:`~circuit_harness.errors.Unfit` is for a host that cannot be used as it is,
        :class:`~circuit_harness.errors.Conflict` for what is there and would be destroyed or collided with.
        """

    def address(self, site: Site) -> str:
        """The address at which it will be reached."""

    def plan(self, facts: Any, site: Site) -> Sequence[Stage]:
        """What is to be done, from the facts alone."""

    def result(self, host: Host, facts: Any, site: Site, results: Results) -> Running:
        """What came to run, once all stages are done."""

    def find(self, host: Host, described: Mapping[str, Any]) -> Running:
        """What :meth:`Running.describe` told of.

        :raises LookupError, TypeError, ValueError: it tells of no such service.
        """
