"""The seam: what the rest of the harness knows of a host. Over a circuit, or a fake one in unit tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, cast

from circuit import Cmd, Stat
from circuit_harness.remote.command import Command
from circuit_harness.remote.shell import MAX_OUTPUT_BYTES, ShellResult
from circuit_harness.steps import Steps

COMMAND_LIMIT_S = 60.0
"""How long a command may take, in seconds, unless it is given a limit of its own."""


class Place(Protocol):
    """Where an element stands."""

    @property
    def path(self) -> str:
        """The path from the circuit's root, such as ``/X5f2a.../nodejs``."""

    def release(self) -> None:
        """Let go of the place, which disappears where it holds nothing."""


class Element(Protocol):
    """What stands at an anchor below a host's own; ``kind`` is the server's name for it."""

    kind: str

    @property
    def anchor(self) -> Place:
        """Where it stands."""

    def describe(self) -> dict[str, object]:
        """The state of the element, as plain values."""

    def scrub(self) -> None:
        """Remove the element from its anchor."""

    def release(self) -> None:
        """Let go of the element, which stays where it is."""

    def same(self, other: Any) -> bool:
        """Whether both are one element of one server."""


class Input(Protocol):
    """The standard input of a process."""

    def write(self, data: bytes) -> object:
        """Write all of ``data``."""


class Output(Protocol):
    """An output of a process."""

    def read(self, timeout: float | None = None) -> bytes:
        """Read one block; empty at the end."""


class Process(Element, Protocol):
    """An element that is a process."""

    @property
    def stdin(self) -> Input:
        """Its standard input."""

    @property
    def stdout(self) -> Output:
        """Its standard output."""

    def peek(self) -> Stat:
        """How the process is right now."""

    def signal(self, name: str) -> None:
        """Send a signal, named without SIG.

        :raises CallFailed: it has ended.
        """

    def wait(self, timeout: float | None = None) -> Stat:
        """Wait for the end of the process, and return its true exit.

        :raises TimedOut: it still runs.
        """

    def discard_streams(self) -> None:
        """Close all three streams."""


class Host(Protocol):
    """A host that is deployed onto. Safe to use from many threads."""

    @property
    def name(self) -> str:
        """Its name in the circuit: that of its anchor."""

    @property
    def address(self) -> str:
        """The circuit address of its server."""

    def run(
        self,
        command: Command,
        timeout: float = COMMAND_LIMIT_S,
        *,
        check: bool = True,
        limit: int = MAX_OUTPUT_BYTES,
    ) -> ShellResult:
        """Run a command, and return both outputs and its exit status, as ``run_shell`` does.

        :raises DeployError, CircuitError: as ``run_shell`` does.
        """

    def sweep(self, steps: Steps) -> None:
        """Remove what commands have left whose runners were killed.

        :raises Stopped: the steps were stopped.
        :raises CircuitError: the host or the circuit is lost.
        """

    def element(self, anchor: str) -> Element | None:
        """Return what stands at one such anchor, which does not come to be by this.

        :raises CircuitError: the host or the circuit is lost.
        """

    def start(self, anchor: str, cmd: Cmd) -> Process:
        """Start a process as the element of an anchor.

        :raises ElementExists: the anchor has an element. Of several clients at once, just one succeeds.
        :raises CircuitError: the host or the circuit is lost.
        """


H = TypeVar("H", bound=Host, covariant=True)


class Circuit(Protocol[H]):
    """All the hosts there are."""

    @property
    def address(self) -> str:
        """The address of the dialed server."""

    def hosts(self) -> Mapping[str, H]:
        """The hosts that are live now, by name.

        :raises CircuitError: the circuit is lost.
        """


def as_process(element: Element | None) -> Process | None:
    """The element as a process; None where it is none."""
    return cast(Process, element) if element is not None and element.kind == "proc" else None
