"""The interface between the harness and a host, which a circuit implements, and a fake one in unit tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, cast

from circuit import Cmd, Stat
from circuit_harness.remote.command import Command
from circuit_harness.remote.shell import MAX_OUTPUT_BYTES, ShellResult
from circuit_harness.steps import Steps

COMMAND_LIMIT_S = 60.0
"""Seconds that a command may take by default."""


class Place(Protocol):
    """The anchor of an element."""

    @property
    def path(self) -> str:
        """The path from the circuit's root, such as ``/X5f2a.../nodejs``."""

    def release(self) -> None:
        """Release this client's reference to the anchor, which disappears if it is empty."""


class Element(Protocol):
    """An element at an anchor below a host's own; ``kind`` is the server's name for its type."""

    kind: str

    @property
    def anchor(self) -> Place:
        """The anchor of the element."""

    def describe(self) -> dict[str, object]:
        """Return the state of the element, as plain values."""

    def scrub(self) -> None:
        """Remove the element from its anchor."""

    def release(self) -> None:
        """Release this client's reference to the element, which stays at its anchor."""

    def same(self, other: Any) -> bool:
        """Return whether both are the same element of the same server."""


class Input(Protocol):
    """The standard input of a process."""

    def write(self, data: bytes) -> object:
        """Write all of ``data``."""


class Output(Protocol):
    """An output of a process."""

    def read(self, timeout: float | None = None) -> bytes:
        """Read one block; return b"" at the end."""


class Process(Element, Protocol):
    """An element that is a process."""

    @property
    def stdin(self) -> Input:
        """Its standard input."""

    @property
    def stdout(self) -> Output:
        """Its standard output."""

    def peek(self) -> Stat:
        """Return the current state of the process."""

    def signal(self, name: str) -> None:
        """Send a signal, named without SIG.

        :raises CallFailed: the process has ended.
        """

    def wait(self, timeout: float | None = None) -> Stat:
        """Wait for the end of the process, and return its true exit.

        :raises TimedOut: the process still runs.
        """

    def discard_streams(self) -> None:
        """Close all three streams."""


class Host(Protocol):
    """A host of the circuit. Safe to use from many threads."""

    @property
    def name(self) -> str:
        """Its name in the circuit, which is the name of its anchor."""

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
        """Remove what the commands of killed runners have left.

        :raises Stopped: the steps were stopped.
        :raises CircuitError: the host or the circuit is lost.
        """

    def element(self, anchor: str) -> Element | None:
        """Return the element at an anchor, None where there is none. This does not make the anchor.

        :raises CircuitError: the host or the circuit is lost.
        """

    def start(self, anchor: str, cmd: Cmd) -> Process:
        """Start a process as the element of an anchor.

        :raises ElementExists: the anchor has an element. Of several concurrent clients, only one succeeds.
        :raises CircuitError: the host or the circuit is lost.
        """


H = TypeVar("H", bound=Host, covariant=True)


class Circuit(Protocol[H]):
    """All hosts of a circuit."""

    @property
    def address(self) -> str:
        """The address of the dialed server."""

    def hosts(self) -> Mapping[str, H]:
        """Return the hosts that are live now, by name.

        :raises CircuitError: the circuit is lost.
        """


def as_process(element: Element | None) -> Process | None:
    """Return the element as a process; None where it is not a process."""
    return cast(Process, element) if element is not None and element.kind == "proc" else None
