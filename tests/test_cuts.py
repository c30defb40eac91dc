"""A run that is cut at one of its changes: what it has recorded is undone by the next one, on real hosts."""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from enum import Enum

from circuit import Cmd, HostLost, Proc
from circuit_harness.engine.deployment import Deployment
from circuit_harness.engine.spec import DeploymentSpec, Identity, Services
from circuit_harness.engine.teardown import tear_down
from circuit_harness.journal.record import PATH
from circuit_harness.remote.circuit_host import CircuitHost, CircuitHosts
from circuit_harness.remote.command import Command, root
from circuit_harness.remote.host import COMMAND_LIMIT_S
from circuit_harness.remote.shell import MAX_OUTPUT_BYTES, ShellResult
from circuit_harness.steps import Steps
from deploy.services import services
from localhosts import Cluster
from tests.jobs import Watched, dial_cluster

DRAWS = 10
LIMIT_S = 60.0


class Moment(Enum):
    """When a change is cut: nothing of it arrives; the host has its undo in the record, and no more; or it is made, and
    nobody hears of it.
    """

    BEFORE = "before its undo is recorded"
    RECORDED = "once its undo is recorded"
    MADE = "once it is made"


@dataclass
class Cut:
    """The change that is cut, by its number among those of both hosts, from 0 on; and those that were sent."""

    at: int
    moment: Moment
    sent: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def is_here(self, what: str) -> bool:
        """Count a change; return whether it is the one."""
        with self.lock:
            self.sent.append(what)
            return len(self.sent) - 1 == self.at


@dataclass(frozen=True)
class CutHost(CircuitHost):
    """A host that is lost to its run at one of the changes. Until then, and for others, it is there."""

    cut: Cut

    def run(
        self,
        command: Command,
        timeout: float = COMMAND_LIMIT_S,
        *,
        check: bool = True,
        limit: int = MAX_OUTPUT_BYTES,
    ) -> ShellResult:
        """Run a command, if it is not to be cut."""
        record, changes, change = command.text.partition("exit $s; }\n")
        if not (changes and change != "true" and self.cut.is_here(change)):
            return super().run(command, timeout, check=check, limit=limit)
        if self.cut.moment is Moment.RECORDED:
            super().run(root(f"{record}{changes}true", command.stdin), timeout)
        elif self.cut.moment is Moment.MADE:
            super().run(command, timeout, check=check, limit=limit)
        raise HostLost(f"cut {self.cut.moment.value}")

    def start(self, anchor: str, cmd: Cmd) -> Proc:
        """Start a process, if it is not to be cut. Its undo is in the record by now."""
        # The lease is no change.
        if anchor == "tutorial-lease" or not self.cut.is_here(f"start {anchor}"):
            return super().start(anchor, cmd)
        if self.cut.moment is Moment.MADE:
            super().start(anchor, cmd)
        raise HostLost(f"cut {self.cut.moment.value}")


@dataclass(frozen=True)
class CutCircuit:
    """The hosts of a circuit, for a run that is cut."""

    circuit: CircuitHosts
    cut: Cut

    @property
    def address(self) -> str:
        """The address of the dialed server."""
        return self.circuit.address

    def hosts(self) -> Mapping[str, CutHost]:
        """The hosts that are live now."""
        return {name: CutHost(host.anchor, self.cut) for name, host in self.circuit.hosts().items()}


def _deploy(cluster: Cluster, cut: Cut) -> BaseException | None:
    """Deploy until the cut, and leave everything as a run does that is killed there; return what stopped it."""
    spec = DeploymentSpec(Services(services()))
    # Its leases end with its client.
    with dial_cluster(cluster) as client:
        circuit = CutCircuit(CircuitHosts(client), cut)
        deployment = Deployment(circuit, Identity(), spec, Steps(), lambda line: None)
        errors = [future.exception(LIMIT_S) for future in deployment.services.values()]
        deployment.stop()
    return next((error for error in errors if error is not None), None)


def _left(cluster: Cluster) -> list[str]:
    """What the next run cannot undo, and hosts that have a record after it."""
    with dial_cluster(cluster) as client:
        circuit = CircuitHosts(client)
        outcome = tear_down(circuit, Identity(), (), Steps(), lambda line: None, nullcontext(), lease_wait=20)
        records = root(f"[ ! -e {PATH} ] || echo {PATH}")
        return [
            *map(str, outcome.left),
            *(text for host in circuit.hosts().values() if (text := host.run(records).text)),
        ]


def test_the_next_run_undoes_what_a_run_had_recorded(watched: Watched) -> None:
    cluster = watched.cluster
    whole = Cut(1000, Moment.BEFORE)
    assert _deploy(cluster, whole) is None
    assert _left(cluster) == []
    watched.assert_unchanged()
    # MySQL's option files, its database, the app with its files, and the process that is started.
    assert len(whole.sent) == 4
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    drawn = random.Random(seed)
    for _ in range(DRAWS):
        cut = Cut(drawn.randrange(len(whole.sent)), drawn.choice(list(Moment)))
        print(f"change {cut.at}, {cut.moment.value}")
        assert isinstance(_deploy(cluster, cut), HostLost)
        assert _left(cluster) == []
        watched.assert_unchanged()
