"""Deployments onto fake hosts: begun, over, taken down; and where they are cut."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import pytest

from circuit import CallFailed, HostLost
from circuit_harness.engine.deployment import Deployment
from circuit_harness.engine.spec import DeploymentSpec, Hosts, Identity, Services
from circuit_harness.engine.teardown import TornDown, tear_down
from circuit_harness.errors import CommandFailed
from circuit_harness.journal.lease import ANCHOR as LEASE
from circuit_harness.journal.undo import Leftover
from circuit_harness.operations.addresses import Given
from circuit_harness.plugin import coordinator as coordinators
from circuit_harness.plugin.coordinator import Coordinator
from circuit_harness.plugin.options import Options
from circuit_harness.plugin.run import Run
from circuit_harness.report.outcome import Results
from circuit_harness.services.protocol import Service
from circuit_harness.steps import Steps
from tests.unit.fakes import AFTER, BEFORE, BETWEEN, FakeCircuit, FakeHost
from tests.unit.invented import prepare

RUN = "0a1b2c3d"
_LIMIT_S = 20.0


def begin(
    hosts: Sequence[FakeHost],
    services: Iterable[Service],
    *,
    steps: Steps | None = None,
    say: Callable[[str], None] = lambda line: None,
    run: str = RUN,
    **wished: object,
) -> Deployment:
    """Begin to deploy services."""
    spec = DeploymentSpec(Services(services), **wished)  # type: ignore[arg-type]
    return Deployment(FakeCircuit(hosts), Identity(run), spec, steps or Steps(), say)


def asked(
    hosts: tuple[FakeHost, FakeHost],
    monkeypatch: pytest.MonkeyPatch,
    services: list[Service],
    say: Callable[[str], None] = lambda line: None,
    *,
    keep: Literal["never", "always"] = "never",
    replace: bool = False,
) -> Coordinator:
    """One who deploys these services onto these hosts."""
    prepare(hosts)
    monkeypatch.setattr(coordinators, "CircuitHosts", lambda client: FakeCircuit(hosts))
    monkeypatch.setattr(Coordinator, "client", lambda self, parts=frozenset(): None)
    options = Options(
        addresses=("circuit://10.0.0.1:11022/1/Q0000000000000001",),
        hmac_file=None,
        hmac_key=None,
        listen=None,
        hosts=Hosts(),
        given=Given(),
        mode="deploy",
        replace=replace,
        install=False,
        keep=keep,
        lease_wait=0,
        artifacts=None,
        report=None,
        disruptive=False,
    )
    return Coordinator(options, Services(services), Steps(), say)


def run_of(coordinator: Coordinator) -> Run:
    """Return a run of this coordinator that no pytest has begun."""
    run = Run.__new__(Run)
    run.coordinator, run._options, run._steps = coordinator, coordinator.options, coordinator._steps
    run._results, run._started, run._logs, run._left = Results((), Path()), time.time(), [], []
    run._failure, run._annotations, run._written = "", [], []
    return run


def errors_of(deployment: Deployment) -> dict[str, BaseException]:
    """What came in the way of services, by their names, once all is over."""
    errors = {name: future.exception(_LIMIT_S) for name, future in deployment.services.items()}
    deployment.stop()
    for error in errors.values():
        if isinstance(error, AssertionError):
            raise error
    return {name: error for name, error in errors.items() if error is not None}


def taken_down(deployment: Deployment, hosts: Sequence[FakeHost]) -> list[Leftover]:
    """Take down what a run has deployed, by itself."""
    return deployment.take_down(lambda more: FakeCircuit(hosts))


def cleared(hosts: Sequence[FakeHost]) -> TornDown:
    """Take down what the records of hosts tell, by another run."""
    return tear_down(FakeCircuit(hosts), Identity(), [], Steps(), lambda line: None, nullcontext())


def die(hosts: Sequence[FakeHost]) -> None:
    """End what goes with the run that made it: leases."""
    for host in hosts:
        if LEASE in host.there:
            host.there[LEASE].end()


def changing(host: FakeHost) -> list[str]:
    """What was done on a host, without looks."""
    looks = ("look", "read", "identify", "ask", "prove")
    return [entry for entry in host.log if not entry.startswith(looks)]


def cut(host: FakeHost, at: str, when: str) -> list[str]:
    """Cut an entry of a host at a moment, once; return what is filled with the entries that were."""
    made: list[str] = []

    def cutting(entry: str, moment: str) -> None:
        if (entry, moment) == (at, when) and not made:
            made.append(entry)
            raise _ERRORS[moment](host)

    host.cut = cutting
    return made


def lose(host: FakeHost, at: str, when: str) -> None:
    """Lose a host at a moment of an entry, for good."""
    made: list[str] = []

    def losing(entry: str, moment: str) -> None:
        if made or (entry, moment) == (at, when):
            made.append(entry)
            raise HostLost(f"{host.name} is lost")

    host.cut = losing


_ERRORS: dict[str, Callable[[FakeHost], Exception]] = {
    BEFORE: lambda host: CallFailed(f"/{host.name}: the call did not arrive"),
    BETWEEN: lambda host: CommandFailed(host.name, "the change", 1, b"", b"No space left on device"),
    AFTER: lambda host: CallFailed(f"/{host.name}: no answer came"),
}
CUT = {BEFORE: "the call did not arrive", BETWEEN: "No space left on device", AFTER: "no answer came"}
"""What the error says that a cut brings about, by its moment."""
