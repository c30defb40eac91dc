"""A circuit of hosts made on this machine, for runs that name no circuit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from circuit import Client
from circuit_harness.engine.spec import Services
from circuit_harness.plugin.circuits import one_line
from circuit_harness.plugin.spelling import command
from circuit_harness.remote.circuit_host import CircuitHosts
from circuit_harness.remote.waiting import wait_until
from circuit_harness.steps import Steps
from localhosts import Cluster, LocalHostsError
from localhosts.preflight import look_from_outside
from localhosts.workspace import Kept, Workspace

_JOIN_LIMIT_S = 20.0


def check_local() -> None:
    """Check that hosts can be made on this machine.

    :raises pytest.UsageError: they cannot; the message is one line.
    """
    try:
        look_from_outside()
    except LocalHostsError as error:
        raise pytest.UsageError(f"no --circuit-addr, and {one_line(error)}") from None


class LocalCircuit:
    """A circuit of hosts made on this machine; closing it removes them."""

    def __init__(self, services: Services, say: Callable[[str], None], steps: Steps, *, size: int = 0) -> None:
        """Make the hosts for these services, with the packages that they need.

        :param size: how many; by default as many as the services have places.
        """
        size = size or len(services.places())
        self._steps = steps
        self._size = size
        self._kept = False
        packages = {need.package for service in services.values() for need in service.needs}
        self._cluster = Cluster(size, packages=packages, say=say)
        with steps.step(f"make {counted(size)} on this machine"):
            self._cluster.start()

    @property
    def addresses(self) -> list[str]:
        """The circuit addresses of the servers."""
        return [host.circuit_address for host in self._cluster.hosts]

    @property
    def key_file(self) -> Path:
        """The file with the circuit's key."""
        assert self._cluster.key_file is not None
        return self._cluster.key_file

    def wait_joined(self, client: Client) -> None:
        """Wait until the circuit shows all hosts."""
        with self._steps.waiting("wait for all hosts to join the circuit"):
            wait_until(lambda: self._missing(client), "all hosts to join the circuit", _JOIN_LIMIT_S, self._steps)

    def keep(self, folder: Path) -> Kept:
        """Leave the hosts in the workspace of a folder. :meth:`close` does nothing then.

        :raises LocalHostsError: the workspace has hosts already, or another command is changing it.
        """
        workspace = Workspace(folder)
        with workspace.locked():
            if workspace.find() is not None:
                raise LocalHostsError(f"the workspace of {folder} has other hosts by now")
            self._kept = True
            return workspace.keep(self._cluster)

    def close(self) -> None:
        """Remove the hosts, unless they are kept."""
        if self._kept:
            return
        with self._steps.step(f"remove the {counted(self._size) if self._size > 1 else 'host'}"):
            self._cluster.close()

    @property
    def hosts(self) -> str:
        """The hosts as a subject, with its verb in the past."""
        return "hosts were" if self._size > 1 else "host was"

    def _missing(self, client: Client) -> str:
        live = len(client.view())
        return "" if live >= self._size else f"{live} of {counted(self._size)}"


def lost_hosts(client: Client, kept: Kept | None) -> str:
    """Return which hosts of the workspace the circuit has lost, and what mends that; "" where it has all."""
    if kept is None:
        return ""
    live = {host.address for host in CircuitHosts(client).hosts().values()}
    lost = [host.private_address for host in kept.hosts if host.circuit_address not in live]
    hosts = f"host{'s' * (len(lost) > 1)} {', '.join(lost)}"
    return f"the circuit has lost {hosts}: {command('reset')} makes the hosts new, and empty" if lost else ""


def counted(size: int) -> str:
    """Return a number of hosts in words."""
    return f"{size} host{'s' * (size != 1)}"
