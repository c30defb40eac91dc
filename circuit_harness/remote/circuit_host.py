"""Hosts of a circuit."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from circuit import Anchor, Client, Cmd, Element, Proc
from circuit_harness.remote import command_log, shell
from circuit_harness.remote.command import Command
from circuit_harness.remote.host import COMMAND_LIMIT_S
from circuit_harness.remote.shell import MAX_OUTPUT_BYTES, ShellResult
from circuit_harness.steps import Steps


@dataclass(frozen=True)
class CircuitHost:
    """The host behind ``anchor``; see :class:`circuit_harness.remote.host.Host`."""

    anchor: Anchor

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """The name of its anchor."""
        return self.anchor.name

    @property
    def address(self) -> str:
        """The circuit address of its server."""
        return self.anchor.address

    def run(
        self,
        command: Command,
        timeout: float = COMMAND_LIMIT_S,
        *,
        check: bool = True,
        limit: int = MAX_OUTPUT_BYTES,
    ) -> ShellResult:
        """Run a command as an element of the host."""
        return shell.run_shell(self.anchor, command.line, command.stdin, timeout, check, limit)

    def sweep(self, steps: Steps) -> None:
        """Remove what the commands of killed runners have left."""
        shell.sweep(self.anchor, steps)

    def element(self, anchor: str) -> Element | None:
        """Return the element at an anchor, None where there is none."""
        # View instead of walk, because to walk to an anchor makes it.
        found = self.anchor.view().get(anchor)
        return None if found is None else found.get()

    def start(self, anchor: str, cmd: Cmd) -> Proc:
        """Start a process as the element of an anchor."""
        place = self.anchor.walk(anchor)
        if command_log.is_on():
            line = shlex.join([cmd.path, *cmd.args])
            command_log.write(command_log.Entry(self.name, command_log.now(), 0.0, None, line, anchor=place.path))
        try:
            return place.make_proc(cmd)
        except BaseException:
            # An anchor without an element does not disappear while a client has a reference to it.
            place.release()
            raise


@dataclass(frozen=True)
class CircuitHosts:
    """All hosts that ``client`` sees; see :class:`circuit_harness.remote.host.Circuit`."""

    client: Client

    @property
    def address(self) -> str:
        """The address of the dialed server."""
        return self.client.address

    def hosts(self) -> dict[str, CircuitHost]:
        """Return the hosts that are live now, by name."""
        return {name: CircuitHost(anchor) for name, anchor in self.client.view().items()}
