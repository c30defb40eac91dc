"""The engine on hosts that are none: what it does in which order, and what it undoes wherever it is cut."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Event

import pytest

from circuit import CircuitError, Hidden
from circuit_harness.engine.attach import find
from circuit_harness.engine.plan import plan
from circuit_harness.engine.spec import DeploymentSpec, Services
from circuit_harness.errors import Conflict, LeaseLost, Unfit
from circuit_harness.journal.lease import take
from circuit_harness.journal.record import FOLDER
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
    "make accounts, database and tables",
    "write the record",
]
NODEJS_STEPS = [
    "start tutorial-lease",
    "write the record",
    "unpack the app",
    "start nodejs",
    "write the late files",
    "write the record",
]
MYSQL_UNDO = ["MySQL: drop database tutorial and its accounts", "MySQL: stop, put the configuration back"]
NODEJS_UNDO = ["Node.js: end the app", "Node.js: remove the app and its log"]


@dataclass(frozen=True)
class Actions:
    """What is done on one of the hosts, by the fake's words, each with how the record that it writes says that it and
    what follows are undone, newest first. ``answers`` are the host's.
    """

    host: int
    does: tuple[tuple[str, tuple[str, ...]], ...]
    answers: dict[str, str] = field(default_factory=dict)


_DROP, _STOP = MYSQL_UNDO
_RESTART = "MySQL: put the configuration back, restart"
_FILL = (("make accounts, database and tables", (_DROP,)), ("write the record", ()))
# The look holds the question, too.
_NAMED = {
    "say client": mysql("stopped"),
    "schema_name": (DATA / "mysql/answering_with_names.txt").read_text(),
}
_RUNNING_OPTIONS = "option bind-address 10.0.0.1\noption port 3306\noption skip-networking FALSE\n"
_RUNS = {"say client": mysql("running"), "\noptions ": _RUNNING_OPTIONS}

ACTIONS = {
    "mysql": Actions(0, (("edit option files", (_STOP,)), ("start MySQL", ()), *_FILL)),
    "mysql-running": Actions(0, (("edit option files", (_RESTART,)), ("restart MySQL", ()), *_FILL), _RUNS),
    "mysql-names": Actions(
        0,
        (
            *(("edit option files", (_STOP,)), ("start MySQL", ())),
            *(("edit option files again", ()), ("restart MySQL", ()), *_FILL),
        ),
        _NAMED,
    ),
    "nodejs": Actions(
        1,
        (
            *(("unpack the app", tuple(NODEJS_UNDO)), ("start nodejs", ())),
            *(("write the late files", ()), ("write the record", ())),
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
                undone = [*undo, *recorded] if moment != BEFORE else list(recorded)
                # Records are the same between and after.
                for by in ("the run", "another run") if moment == AFTER else ("the run",):
                    yield pytest.param(actions, entry, moment, undone, by, id=f"{name}-{moment}-{entry}-{by}")
            recorded = [*undo, *recorded]


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


def test_hosts_that_are_all_needed_are_held_before_anything_is_read(
    hosts: tuple[FakeHost, FakeHost], both: list[Service]
) -> None:
    deployment = begin(hosts, both, lease_wait=1.0)
    assert errors_of(deployment) == {}
    for host in hosts:
        assert host.log[0] == "start tutorial-lease"
        assert host.log.count("read the record") == 1
        assert "identify the machine" not in host.log
    assert taken_down(deployment, hosts) == []


def test_hosts_of_which_one_is_held_are_waited_for(hosts: tuple[FakeHost, FakeHost], both: list[Service]) -> None:
    another = take(hosts[1], "run 7 of them@there", FOLDER)
    assert another is not None
    said: list[str] = []

    def let_go(line: str) -> None:
        said.append(line)
        another.give_up()

    deployment = begin(hosts, both, say=let_go, lease_wait=30.0)
    assert errors_of(deployment) == {}
    assert f"host {hosts[1].name} is held by run 7 of them@there" in said[0]
    assert "identify the machine" in hosts[0].log
    assert taken_down(deployment, hosts) == []


@pytest.mark.parametrize("answers", [True, False])
def test_a_server_is_asked_once_while_it_starts_or_behind_that(
    hosts: tuple[FakeHost, FakeHost], both: list[Service], answers: bool
) -> None:
    hosts[0].answers_at_start = answers
    deployment = begin(hosts, both)
    assert errors_of(deployment) == {}
    log = hosts[0].log
    asked = log[log.index("start MySQL") + 1 : log.index("make accounts, database and tables")]
    assert asked == ([] if answers else ["look at databases and accounts"]) + ["write the record"]
    assert taken_down(deployment, hosts) == []


def test_a_service_is_used_before_it_is_recorded(hosts: tuple[FakeHost, FakeHost], both: list[Service]) -> None:
    used = Event()
    in_time = []

    def using(entry: str, moment: str) -> None:
        if entry == "write the late files":
            used.set()

    def recording(entry: str, moment: str) -> None:
        if (entry, moment) == ("write the record", BEFORE):
            in_time.append(used.wait(10))

    hosts[0].cut, hosts[1].cut = recording, using
    deployment = begin(hosts, both)
    assert errors_of(deployment) == {}
    assert in_time == [True]
    assert taken_down(deployment, hosts) == []


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


@pytest.mark.parametrize(("actions", "entry", "moment", "undone", "by"), list(_cuts()))
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
    # The app starts at the same time as MySQL.
    assert recorded == (MYSQL_UNDO if host is hosts[1] else NODEJS_UNDO)
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


def test_the_app_is_admitted_from_its_hosts_address(hosts: tuple[FakeHost, FakeHost], both: list[Service]) -> None:
    for declared, admitted in (
        (both, "'tutorial'@'10.0.0.2'"),
        (both[:1], "'tutorial'@'10.0.0.1'"),
        (services(compat=True), "'tutorial'@'%'"),
    ):
        deployment = begin(hosts, declared)
        assert errors_of(deployment) == {}
        sql = next(command.stdin for command in hosts[0].commands if "load()" in command.text)
        assert isinstance(sql, Hidden)
        accounts = re.findall(r"CREATE USER ('tutorial'@'[^']+')", sql.reveal().decode())
        assert accounts == [admitted]
        assert taken_down(deployment, hosts) == []
        hosts[0].commands.clear()


def test_a_change_that_has_not_its_effect_goes_no_further(
    hosts: tuple[FakeHost, FakeHost], both: list[Service]
) -> None:
    hosts[0].answers |= {"say client": mysql("stopped"), "\noptions ": "option bind-address 127.0.0.1\n"}
    deployment = begin(hosts, both)
    error = errors_of(deployment)["mysql"]
    assert isinstance(error, Unfit)
    assert "the server would still start with bind-address 127.0.0.1 instead of 10.0.0.1" in str(error)
    assert "start MySQL" not in hosts[0].log
    assert taken_down(deployment, hosts) == []
    assert hosts[0].undone() == MYSQL_UNDO[1:]


def test_a_service_that_does_not_start_is_told_with_its_log(
    hosts: tuple[FakeHost, FakeHost], both: list[Service]
) -> None:
    hosts[0].answers["journalctl"] = "InnoDB: cannot allocate memory\n"
    cut(hosts[0], "start MySQL", BETWEEN)
    deployment = begin(hosts, both)
    error = str(errors_of(deployment)["mysql"])
    assert CUT[BETWEEN] in error
    assert "InnoDB: cannot allocate memory" in error
    assert taken_down(deployment, hosts) == []


def test_what_was_kept_is_replaced_once_it_is_known_that_the_run_can_go_on(
    hosts: tuple[FakeHost, FakeHost], both: list[Service]
) -> None:
    kept = begin(hosts, both)
    assert errors_of(kept) == {}
    kept.keep()
    hosts[1].answers["say login"] = "login root\nrights yes\n"
    refused = begin(hosts, both, run="0b", replace=True)
    assert isinstance(errors_of(refused)["mysql"], Unfit)
    assert taken_down(refused, hosts) == []
    assert [host.undone() for host in hosts] == [[], []]
    hosts[1].answers.clear()
    deployment = begin(hosts, both, run="0c", replace=True)
    assert errors_of(deployment) == {}
    assert [host.undone() for host in hosts] == [MYSQL_UNDO, NODEJS_UNDO]
    assert [
        changing(host)[-len(steps) + 1 :] for host, steps in zip(hosts, (MYSQL_STEPS, NODEJS_STEPS), strict=True)
    ] == [
        MYSQL_STEPS[1:],
        NODEJS_STEPS[1:],
    ]
    assert taken_down(deployment, hosts) == []
    assert [host.is_as_it_was() for host in hosts] == [True, True]


@pytest.mark.parametrize("actions", ACTIONS.values(), ids=ACTIONS)
def test_what_a_run_left_that_died_is_undone_by_the_next(
    hosts: tuple[FakeHost, FakeHost], both: list[Service], actions: Actions
) -> None:
    host = hosts[actions.host]
    host.answers |= actions.answers
    cut(host, actions.does[-1][0], AFTER)
    died = begin(hosts, both)
    assert errors_of(died) != {}
    recorded = [one.journal()[::-1] for one in hosts]
    die(hosts)
    host.cut = lambda entry, moment: None
    told: list[str] = []
    deployment = begin(hosts, both, run="0b", say=told.append)
    assert errors_of(deployment) == {}
    assert [one.undone() for one in hosts] == recorded
    assert [sum("did not end by itself; it is taken down first" in line for line in told)] == [2]
    assert taken_down(deployment, hosts) == []
    assert [one.is_as_it_was() for one in hosts] == [True, True]


def test_nothing_is_changed_on_a_host_whose_lease_has_ended(
    hosts: tuple[FakeHost, FakeHost], both: list[Service]
) -> None:
    ended = Event()

    def ending(entry: str, moment: str) -> None:
        if (entry, moment) == ("edit option files", AFTER):
            hosts[0].there["tutorial-lease"].end()
            assert ended.wait(10)

    hosts[0].cut = ending
    deployment = begin(hosts, both, say=lambda line: ended.set() if "the lease on host" in line else None)
    errors = errors_of(deployment)
    assert {type(error) for error in errors.values()} == {LeaseLost}
    assert changing(hosts[0])[-1] == "edit option files"
    # Taken again, it is the run's own to undo.
    assert taken_down(deployment, hosts) == []
    assert hosts[0].undone() == MYSQL_UNDO[1:]
    assert [host.is_as_it_was() for host in hosts] == [True, True]


def test_a_plan_tells_who_holds_a_host_and_takes_another(hosts: tuple[FakeHost, FakeHost], both: list[Service]) -> None:
    lease = take(hosts[0], "run 0b of somebody", FOLDER)
    assert lease is not None
    circuit = FakeCircuit(hosts)
    alone = plan(circuit, DeploymentSpec(Services(both[:1])))
    assert alone.obstacles == []
    assert alone.lines[0].startswith(f"{hosts[1].name}: private address 10.0.0.2")
    together = plan(circuit, DeploymentSpec(Services(both)))
    assert together.obstacles == [
        f"host {hosts[0].name} is held by run 0b of somebody; a run would wait for that (--lease-wait)"
    ]
    lease.give_up()
    assert [changing(host)[1:] for host in hosts] == [[], []]
