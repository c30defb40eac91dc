"""The engine on hosts that are none: what it does in which order, and what it undoes wherever it is cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from circuit import CircuitError
from circuit_harness.engine.attach import find
from circuit_harness.engine.spec import Services
from circuit_harness.errors import Conflict, Unfit
from circuit_harness.services.mysql.running import RunningMySQL
from circuit_harness.services.program import RunningProgram
from circuit_harness.services.protocol import Service
from deploy.services import services
from tests.unit.fakes import AFTER, BEFORE, BETWEEN, DATA, FakeCircuit, FakeHost, mysql
from tests.unit.runs import CUT, begin, changing, cleared, cut, die, errors_of, lose, taken_down

MYSQL_STEPS = [
    "start tutorial-lease",
    "write the record",
    "edit option files",
    "start MySQL",
    "write the record",
    "make accounts and database",
    "load the schema",
    "write the record",
]
NODEJS_STEPS = [
    "start tutorial-lease",
    "write the record",
    "unpack the app",
    "write the record",
    "store the app's files",
    "start nodejs",
    "write the record",
]
MYSQL_UNDO = ["MySQL: drop database tutorial and its accounts", "MySQL: stop, put the configuration back"]
NODEJS_UNDO = ["Node.js: end the app", "Node.js: remove the app and its log"]


@dataclass(frozen=True)
class Actions:
    """What is done on one of the hosts, by the fake's words, each with how the record says that it is undone; "" for
    what needs no undo of its own. ``answers`` are the host's.
    """

    host: int
    does: tuple[tuple[str, str], ...]
    answers: dict[str, str] = field(default_factory=dict)


_DROP, _STOP = MYSQL_UNDO
_RESTART = "MySQL: put the configuration back, restart"
_FILL = (("make accounts and database", _DROP), ("load the schema", ""), ("write the record", ""))
# The look holds the question, too.
_NAMED = {
    "say client": mysql("stopped"),
    "schema_name": (DATA / "mysql/answering_with_names.txt").read_text(),
}
_RUNNING_OPTIONS = "option bind-address 10.0.0.1\noption port 3306\noption skip-networking FALSE\n"
_RUNS = {"say client": mysql("running"), "\noptions ": _RUNNING_OPTIONS}

ACTIONS = {
    "mysql": Actions(0, (("edit option files", _STOP), ("start MySQL", ""), *_FILL)),
    "mysql-running": Actions(0, (("edit option files", _RESTART), ("restart MySQL", ""), *_FILL), _RUNS),
    "mysql-names": Actions(
        0,
        (
            *(("edit option files", _STOP), ("start MySQL", "")),
            *(("edit option files again", ""), ("restart MySQL", ""), *_FILL),
        ),
        _NAMED,
    ),
    "nodejs": Actions(
        1,
        (
            ("unpack the app", NODEJS_UNDO[1]),
            *(("store the app's files", NODEJS_UNDO[0]), ("start nodejs", ""), ("write the record", "")),
        ),
    ),
}


def _cuts() -> Iterator[object]:
    """Each action at each of its moments, and what is to be undone then, newest first."""
    for name, actions in ACTIONS.items():
        recorded: list[str] = []
        for entry, undo in actions.does:
            # An element is started or not, and a record of no change is written or not.
            moments = (BEFORE, AFTER) if entry in ("start nodejs", "write the record") else (BEFORE, BETWEEN, AFTER)
            for moment in moments:
                undone = [undo, *recorded] if undo and moment != BEFORE else list(recorded)
                yield pytest.param(actions, entry, moment, undone, id=f"{name}-{moment}-{entry}")
            recorded = [undo, *recorded] if undo else recorded


@pytest.fixture
def both() -> list[Service]:
    """The tutorial's services."""
    return services()


def test_each_change_is_recorded_before_it_is_made(hosts: tuple[FakeHost, FakeHost], both: list[Service]) -> None:
    deployment = begin(hosts, both)
    assert errors_of(deployment) == {}
    assert changing(hosts[0]) == MYSQL_STEPS
    assert changing(hosts[1]) == NODEJS_STEPS
    assert [host.journal() for host in hosts] == [MYSQL_UNDO[::-1], NODEJS_UNDO[::-1]]
    assert taken_down(deployment, hosts) == []
    assert [host.undone() for host in hosts] == [MYSQL_UNDO, NODEJS_UNDO]
    assert [host.is_as_it_was() for host in hosts] == [True, True]


def test_what_is_looked_at_first_is_changed_by_no_look(hosts: tuple[FakeHost, FakeHost], both: list[Service]) -> None:
    hosts[1].answers["say login"] = "login ubuntu\nrefusal a password is required\n"
    deployment = begin(hosts, both)
    error = errors_of(deployment)["nodejs"]
    assert isinstance(error, Unfit)
    assert "gives ubuntu no root rights (a password is required)" in str(error)
    assert [changing(host) for host in hosts] == [["start tutorial-lease"]] * 2
    assert not deployment.changed
    assert taken_down(deployment, hosts) == []
    assert [host.is_as_it_was() for host in hosts] == [True, True]


def test_a_lease_that_cannot_be_had_changes_nothing(hosts: tuple[FakeHost, FakeHost], both: list[Service]) -> None:
    made = cut(hosts[1], "start tutorial-lease", BEFORE)
    deployment = begin(hosts, both)
    assert {name: str(error) for name, error in errors_of(deployment).items()} == dict.fromkeys(
        ("mysql", "nodejs"), f"/{hosts[1].name}: the call did not arrive"
    )
    assert made
    assert [changing(host) for host in hosts] == [["start tutorial-lease"], []]
    assert taken_down(deployment, hosts) == []
    assert [host.is_as_it_was() for host in hosts] == [True, True]


@pytest.mark.parametrize("by", ["the run", "another run"])
@pytest.mark.parametrize(("actions", "entry", "moment", "undone"), list(_cuts()))
def test_wherever_it_is_cut_what_was_recorded_is_undone_newest_first(
    hosts: tuple[FakeHost, FakeHost],
    both: list[Service],
    actions: Actions,
    entry: str,
    moment: str,
    undone: list[str],
    by: str,
) -> None:
    """A change that was recorded and not made is undone, too: nobody can tell."""
    host, other = hosts[actions.host], hosts[1 - actions.host]
    host.answers |= actions.answers
    made = cut(host, entry, moment)
    deployment = begin(hosts, both)
    errors = errors_of(deployment)
    assert made == [entry]
    # What uses MySQL fails with it.
    assert set(errors) == ({"mysql", "nodejs"} if host is hosts[0] else {"nodejs"})
    assert all(CUT[moment] in str(error) for error in errors.values())
    assert [host.journal()[::-1], host.undone()] == [undone, []]
    recorded = other.journal()[::-1]
    assert recorded == (MYSQL_UNDO if host is hosts[1] else NODEJS_UNDO[1:])
    if by == "the run":
        assert taken_down(deployment, hosts) == []
    else:
        die(hosts)
        assert cleared(hosts).left == []
    assert [host.undone(), other.undone()] == [undone, recorded]
    assert [one.is_as_it_was() for one in hosts] == [True, True]


@pytest.mark.parametrize(
    ("entry", "moment"),
    [
        *(("start tutorial-lease", moment) for moment in (BEFORE, AFTER)),
        *((entry, moment) for entry, _ in ACTIONS["mysql"].does for moment in (BEFORE, BETWEEN, AFTER)),
    ],
)
def test_a_host_that_is_lost_keeps_its_record_and_the_other_is_undone(
    hosts: tuple[FakeHost, FakeHost], both: list[Service], entry: str, moment: str
) -> None:
    lose(hosts[0], entry, moment)
    deployment = begin(hosts, both)
    errors = errors_of(deployment)
    assert set(errors) == {"mysql", "nodejs"}
    assert all(isinstance(error, CircuitError) for error in errors.values())
    recorded = [host.journal() for host in hosts]
    left = taken_down(deployment, hosts)
    assert {one.host for one in left} <= {hosts[0].name}
    assert hosts[1].undone() == recorded[1][::-1]
    assert hosts[1].record == b""
    assert hosts[0].journal() == recorded[0]
    # Once it is back, anybody can undo it, by what it has written down alone.
    hosts[0].cut = lambda entry, moment: None
    hosts[0].there.clear()
    assert cleared(hosts).left == []
    assert hosts[0].undone() == recorded[0][::-1]
    assert hosts[0].record == b""


def test_what_is_kept_is_found_attached_to_and_taken_down(
    hosts: tuple[FakeHost, FakeHost], both: list[Service]
) -> None:
    deployment = begin(hosts, both)
    assert errors_of(deployment) == {}
    deployment.keep()
    found = find(FakeCircuit(hosts), Services(both)).services
    mysql, nodejs = found["mysql"], found["nodejs"]
    assert isinstance(mysql, RunningMySQL)
    assert isinstance(nodejs, RunningProgram)
    assert (mysql.host.name, mysql.address) == (hosts[0].name, "10.0.0.1")
    assert (nodejs.host.name, nodejs.url) == (hosts[1].name, "http://10.0.0.2:8080")
    assert all("tutorial-lease" not in host.there for host in hosts)
    refused = begin(hosts, both)
    error = errors_of(refused)["mysql"]
    assert isinstance(error, Conflict)
    assert "has a deployment that was kept (run 0a1b2c3d" in str(error)
    assert [host.undone() for host in hosts] == [[], []]
    assert taken_down(refused, hosts) == []
    assert cleared(hosts).left == []
    assert [host.undone() for host in hosts] == [MYSQL_UNDO, NODEJS_UNDO]
    assert [host.is_as_it_was() for host in hosts] == [True, True]


def test_two_anchors_of_one_machine_are_one_host(hosts: tuple[FakeHost, FakeHost], both: list[Service]) -> None:
    for host in hosts:
        host.machine = "one"
    deployment = begin(hosts, both)
    assert errors_of(deployment) == {}
    assert changing(hosts[1]) == []
    assert hosts[0].journal() != []
    assert taken_down(deployment, hosts) == []
    assert sorted(hosts[0].undone()) == sorted([*MYSQL_UNDO, *NODEJS_UNDO])


def test_mysql_alone_touches_no_other_host(hosts: tuple[FakeHost, FakeHost], both: list[Service]) -> None:
    deployment = begin(hosts, Services(both).needed(["mysql"]).values())
    assert errors_of(deployment) == {}
    # One host is enough, and the other is not even held.
    assert changing(hosts[1]) == []
    assert taken_down(deployment, hosts) == []
    assert hosts[0].undone() == MYSQL_UNDO
