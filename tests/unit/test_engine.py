"""The engine on hosts that are none: what it does in which order, and what it undoes wherever it is cut."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest

import circuit_harness.services.mysql.accounts
from circuit import CircuitError, HostLost
from circuit_harness.engine import deployment as deployment_engine
from circuit_harness.engine.deployment import Deployment, Identity, Wishes, find, tear_down
from circuit_harness.errors import Conflict, DeployError, Unfit
from circuit_harness.journal.undo import Left
from circuit_harness.steps import Steps
from tests.unit.fakes import FakeCircuit, FakeHost, a_pair

PARTS = frozenset({"mysql", "nodejs"})


@pytest.fixture(autouse=True)
def nothing_real(monkeypatch: pytest.MonkeyPatch) -> None:
    """No app is put together, and no server connected to."""
    monkeypatch.setattr(deployment_engine, "build_bundle", lambda steps: b"the app")
    monkeypatch.setattr(circuit_harness.services.mysql.accounts, "seen_from", lambda *server: "10.0.0.9")


@pytest.fixture
def hosts() -> tuple[FakeHost, FakeHost]:
    first, second = a_pair()
    return first, second


def begin(hosts: tuple[FakeHost, ...], **wishes: object) -> Deployment:
    wished = Wishes(**{"parts": PARTS, **wishes})  # type: ignore[arg-type]
    return Deployment(FakeCircuit(hosts), Identity("0a1b2c3d"), wished, Steps(), lambda line: None)


def deployed(deployment: Deployment) -> Exception | None:
    """What came in the way, once all is over."""
    error = deployment.nodejs.exception(20) or deployment.mysql.exception(20)
    deployment.stop()
    if isinstance(error, AssertionError):
        raise error
    assert error is None or isinstance(error, Exception)
    return error


def taken_down(deployment: Deployment, hosts: tuple[FakeHost, ...]) -> list[Left]:
    return deployment.take_down(lambda more: FakeCircuit(hosts))


def changing(host: FakeHost) -> list[str]:
    """What was done on a host, without looks."""
    looks = ("look", "read", "identify", "ask", "prove")
    return [entry for entry in host.log if not entry.startswith(looks)]


MYSQL_STEPS = [
    "start tutorial-lease",
    "write the record",
    "edit option files",
    "start MySQL",
    "write the record",
    "store the checks' password",
    "run SQL",
    "write the record",
]
NODEJS_STEPS = [
    "start tutorial-lease",
    "write the record",
    "unpack the app",
    "write the record",
    "store the app's password",
    "start nodejs",
    "write the record",
]
MYSQL_UNDO = ["MySQL: drop database tutorial and its accounts", "MySQL: stop, put the configuration back"]
NODEJS_UNDO = ["Node.js: end the app", "Node.js: remove the app and its log"]


def test_each_change_is_recorded_before_it_is_made(hosts: tuple[FakeHost, FakeHost]) -> None:
    deployment = begin(hosts)
    assert deployed(deployment) is None
    assert changing(hosts[0]) == MYSQL_STEPS
    assert changing(hosts[1]) == NODEJS_STEPS
    assert [host.journal() for host in hosts] == [MYSQL_UNDO[::-1], NODEJS_UNDO[::-1]]
    assert taken_down(deployment, hosts) == []
    assert [host.undone() for host in hosts] == [MYSQL_UNDO, NODEJS_UNDO]
    assert [(host.record, host.there) for host in hosts] == [(b"", {}), (b"", {})]


def test_what_is_looked_at_first_is_changed_by_no_look(hosts: tuple[FakeHost, FakeHost]) -> None:
    hosts[1].answers["say login"] = "login ubuntu\nrefusal a password is required\n"
    deployment = begin(hosts)
    error = deployed(deployment)
    assert isinstance(error, Unfit)
    assert "gives ubuntu no root rights (a password is required)" in str(error)
    assert [changing(host) for host in hosts] == [["start tutorial-lease"]] * 2
    assert not deployment.changed
    assert taken_down(deployment, hosts) == []
    assert [host.there for host in hosts] == [{}, {}]


def _fail(host: FakeHost, at: int, error: Callable[[str], Exception]) -> Callable[[], list[str]]:
    """Have the n-th change of a host fail; from then on, where it is lost, everything there."""
    made: list[str] = []
    fails: list[str] = []

    def failing(entry: str) -> None:
        if entry.startswith(("look", "read", "identify", "ask", "prove", "undo", "remove")):
            if fails and isinstance(error(""), HostLost):
                raise error(entry)
            return
        if len(made) == at:
            fails.append(entry)
        if len(made) >= at and (len(made) == at or isinstance(error(""), HostLost)):
            made.append(entry)
            raise error(entry)
        made.append(entry)

    host.failing = failing
    return lambda: fails


@pytest.mark.parametrize(
    ("which", "at"),
    [*((0, at) for at in range(len(MYSQL_STEPS))), *((1, at) for at in range(len(NODEJS_STEPS)))],
)
def test_wherever_it_fails_what_was_recorded_is_undone_newest_first(
    hosts: tuple[FakeHost, FakeHost], which: int, at: int
) -> None:
    """A change that was recorded and not made is undone, too: nobody can tell."""
    steps, undo = ((MYSQL_STEPS, MYSQL_UNDO), (NODEJS_STEPS, NODEJS_UNDO))[which]
    failed = _fail(hosts[which], at, lambda entry: DeployError(f"no {entry}"))
    deployment = begin(hosts)
    error = deployed(deployment)
    assert failed() == [steps[at]]
    assert f"no {steps[at]}" in str(error)
    hosts[which].failing = lambda entry: None
    recorded = hosts[which].journal()
    # The first record of a change is written before the change is made, and no later.
    records = [place for place, step in enumerate(steps[:at]) if step == "write the record"]
    assert recorded == undo[::-1][: len(records)][: len(undo)]
    assert taken_down(deployment, hosts) == []
    assert hosts[which].undone() == recorded[::-1]
    assert [(host.record, host.there) for host in hosts] == [(b"", {}), (b"", {})]


@pytest.mark.parametrize("at", range(len(MYSQL_STEPS)))
def test_a_host_that_is_lost_keeps_its_record_and_the_other_is_undone(
    hosts: tuple[FakeHost, FakeHost], at: int
) -> None:
    _fail(hosts[0], at, lambda entry: HostLost(f"{hosts[0].name} is lost"))
    deployment = begin(hosts)
    error = deployed(deployment)
    assert isinstance(error, CircuitError)
    recorded = [host.journal() for host in hosts]
    left = taken_down(deployment, hosts)
    assert {one.host for one in left} <= {hosts[0].name}
    assert hosts[1].undone() == recorded[1][::-1]
    assert hosts[1].record == b""
    assert hosts[0].journal() == recorded[0]
    # Once it is back, anybody can undo it, by what it has written down alone.
    hosts[0].failing = lambda entry: None
    hosts[0].there.clear()
    outcome = tear_down(FakeCircuit(hosts), Identity(), Wishes(PARTS), Steps(), lambda line: None, nullcontext())
    assert outcome.left == []
    assert hosts[0].undone() == recorded[0][::-1]
    assert hosts[0].record == b""


def test_what_is_kept_is_found_attached_to_and_taken_down(hosts: tuple[FakeHost, FakeHost]) -> None:
    deployment = begin(hosts)
    assert deployed(deployment) is None
    deployment.keep()
    circuit = FakeCircuit(hosts)
    found = find(circuit)
    assert found.mysql is not None
    assert found.nodejs is not None
    assert (found.mysql.host.name, found.mysql.address) == (hosts[0].name, "10.0.0.1")
    assert (found.nodejs.host.name, found.nodejs.url) == (hosts[1].name, "http://10.0.0.2:8080")
    assert all("tutorial-lease" not in host.there for host in hosts)
    refused = begin(hosts)
    error = deployed(refused)
    assert isinstance(error, Conflict)
    assert "has a deployment that was kept (run 0a1b2c3d" in str(error)
    assert [host.undone() for host in hosts] == [[], []]
    refused.take_down(lambda more: circuit)
    outcome = tear_down(circuit, Identity(), Wishes(PARTS), Steps(), lambda line: None, nullcontext())
    assert outcome.left == []
    assert [host.undone() for host in hosts] == [MYSQL_UNDO, NODEJS_UNDO]
    assert [(host.record, host.there) for host in hosts] == [(b"", {}), (b"", {})]


def test_two_anchors_of_one_machine_are_one_host(hosts: tuple[FakeHost, FakeHost]) -> None:
    for host in hosts:
        host.machine = "one"
    deployment = begin(hosts)
    assert deployed(deployment) is None
    assert changing(hosts[1]) == []
    assert hosts[0].journal() != []
    assert taken_down(deployment, hosts) == []
    assert sorted(hosts[0].undone()) == sorted([*MYSQL_UNDO, *NODEJS_UNDO])


def test_mysql_alone_touches_no_other_host(hosts: tuple[FakeHost, FakeHost]) -> None:
    deployment = begin(hosts, parts=frozenset({"mysql"}))
    assert deployment.mysql.exception(20) is None
    deployment.stop()
    assert changing(hosts[1]) == ["start tutorial-lease"]
    assert taken_down(deployment, hosts) == []
