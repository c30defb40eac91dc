"""What a service does not deploy onto, what --replace takes the place of, and what is not there before."""

from __future__ import annotations

import pytest

from circuit import Cmd, Hidden
from circuit_harness.errors import Conflict, Unfit
from circuit_harness.operations.addresses import Given
from circuit_harness.operations.needs import Need
from circuit_harness.services.program import Program, RunningProgram
from circuit_harness.services.protocol import Local
from deploy.services import services
from tests.unit.fakes import DATA, FakeHost, mysql
from tests.unit.invented import broken, page, prepare, queue
from tests.unit.runs import begin, changing, errors_of, taken_down

ANSWERING = (DATA / "mysql/answering.txt").read_text()
PORT_3306 = "listening 0100007F:0CEA\n"

REFUSED: dict[str, tuple[dict[str, str], type[Exception], str]] = {
    # What the host of MySQL answers, and why it is refused.
    "old": (
        {"say client": mysql("stopped").replace("Ver 10.11", "Ver 5.5")},
        Unfit,
        "MariaDB 10 or MySQL 8, or newer, is needed",
    ),
    "masked": (
        {"say client": mysql("stopped").replace("enabled enabled", "enabled masked")},
        Unfit,
        "service mariadb is masked: systemctl unmask mariadb",
    ),
    "shut out": (
        {"say client": f"{mysql('running')}\nrefusal ERROR 1045: Access denied for user 'root'"},
        Unfit,
        "does not let root in (ERROR 1045: Access denied for user 'root')",
    ),
    "hangs": (
        {"say client": f"{mysql('running')}\nhangs yes"},
        Unfit,
        "runs, and does not answer within 8 s: restart it there (systemctl restart mariadb.service)",
    ),
    "replicates": (
        {"say client": f"{mysql('running')}\nreplication is a replica of another"},
        Unfit,
        "has a MySQL server that is a replica of another",
    ),
    "another program's port": (
        {"say client": f"{mysql('stopped')}\n{PORT_3306}"},
        Conflict,
        "port 3306 is in use (127.0.0.1:3306), and not by its MySQL service",
    ),
    "a database of this name": (
        {"say client": f"{mysql('running')}\ndatabase tutorial\nuser tutorial@%"},
        Conflict,
        "has database tutorial and user tutorial@% already: --replace drops them",
    ),
}
SEEN_LATE: dict[str, tuple[str, type[Exception], str]] = {
    # What a server says once it runs.
    "a database": (f"{ANSWERING}database tutorial\n", Conflict, "has database tutorial already"),
    "replication": (f"{ANSWERING}replication is a replica of another\n", Unfit, "is a replica of another"),
}


@pytest.mark.parametrize(("answers", "kind", "told"), REFUSED.values(), ids=REFUSED)
def test_a_server_that_cannot_be_used_is_left_alone(
    hosts: tuple[FakeHost, FakeHost], answers: dict[str, str], kind: type[Exception], told: str
) -> None:
    hosts[0].answers |= answers
    deployment = begin(hosts, services())
    error = errors_of(deployment)["mysql"]
    assert type(error) is kind
    assert told in str(error)
    assert [changing(host) for host in hosts] == [["start tutorial-lease"]] * 2
    assert taken_down(deployment, hosts) == []


@pytest.mark.parametrize(("answer", "kind", "told"), SEEN_LATE.values(), ids=SEEN_LATE)
def test_what_only_a_server_that_runs_tells_is_refused_before_any_data(
    hosts: tuple[FakeHost, FakeHost], answer: str, kind: type[Exception], told: str
) -> None:
    hosts[0].answers |= {"say client": mysql("stopped"), "schema_name": answer}
    deployment = begin(hosts, services())
    error = errors_of(deployment)["mysql"]
    assert type(error) is kind
    assert told in str(error)
    assert changing(hosts[0])[-1] == "start MySQL"
    assert taken_down(deployment, hosts) == []
    assert hosts[0].undone() == ["MySQL: stop, put the configuration back"]


def sql_of(host: FakeHost) -> str:
    """What makes the accounts."""
    sql = next(command.stdin for command in host.commands if "load()" in command.text)
    assert isinstance(sql, Hidden)
    return sql.reveal().decode()


def test_a_database_of_this_name_is_dropped_where_it_is_replaced(hosts: tuple[FakeHost, FakeHost]) -> None:
    there = "database tutorial\nuser tutorial@%\n"
    hosts[0].answers |= {"say client": f"{mysql('stopped')}\n{there}", "schema_name": ANSWERING + there}
    deployment = begin(hosts, services(), replace=True)
    assert errors_of(deployment) == {}
    assert "DROP DATABASE `tutorial`;" in sql_of(hosts[0])
    assert "DROP USER 'tutorial'@'%';" in sql_of(hosts[0])
    assert taken_down(deployment, hosts) == []


@pytest.mark.parametrize("judges", [False, True])
def test_a_password_is_sent_hashed_unless_the_server_judges_it(hosts: tuple[FakeHost, FakeHost], judges: bool) -> None:
    validation = "validation simple_password_check\n" if judges else ""
    hosts[0].answers |= {"say client": mysql("stopped"), "schema_name": ANSWERING + validation}
    deployment = begin(hosts, services())
    assert errors_of(deployment) == {}
    assert ("IDENTIFIED BY PASSWORD '*" in sql_of(hosts[0])) == (not judges)
    assert taken_down(deployment, hosts) == []


REDIS = Program("redis", ["redis-server"], 6379, ready="/", public=True)
PORT_6379 = "listening 00000000:18EB\n"
LOOK = "uid 60578\nprogram /usr/bin/redis-server\n"


def test_an_app_that_is_there_is_replaced_or_refused(hosts: tuple[FakeHost, FakeHost]) -> None:
    other = hosts[0].start("redis", Cmd("/bin/sh", ["-c", "redis of somebody"]))
    hosts[0].answers['say uid "$nobody"'] = LOOK + PORT_6379
    refused = begin(hosts, [REDIS])
    assert f"redis app already running: /{hosts[0].name}/redis has a proc element; --replace ends it" in str(
        errors_of(refused)["redis"]
    )
    assert taken_down(refused, hosts) == []
    assert hosts[0].there == {"redis": other}
    deployment = begin(hosts, [REDIS], replace=True)
    assert errors_of(deployment) == {}
    ended = hosts[0].log.index("signal TERM to redis")
    assert hosts[0].log[ended + 1 :].index("start redis") >= 0
    assert taken_down(deployment, hosts) == []
    assert hosts[0].is_as_it_was()


def test_a_port_that_another_program_has_is_refused(hosts: tuple[FakeHost, FakeHost]) -> None:
    hosts[0].answers['say uid "$nobody"'] = LOOK + PORT_6379
    deployment = begin(hosts, [REDIS], replace=True)
    error = errors_of(deployment)["redis"]
    assert isinstance(error, Conflict)
    assert "port 6379 is in use (0.0.0.0:6379) by another program" in str(error)
    assert taken_down(deployment, hosts) == []


ADDRESSES: dict[str, tuple[bool, str, str, str]] = {
    # Whether it is public, the public address; where it is reached, and where it listens.
    "private": (False, "192.0.2.7", "10.0.0.1", "10.0.0.1"),
    "public": (True, "192.0.2.7", "192.0.2.7", "0.0.0.0"),
    "public, IPv6": (True, "2001:db8::7", "2001:db8::7", "::"),
}


@pytest.mark.parametrize(("public", "given", "address", "listen"), ADDRESSES.values(), ids=ADDRESSES)
def test_where_an_app_is_reached(
    hosts: tuple[FakeHost, FakeHost], public: bool, given: str, address: str, listen: str
) -> None:
    declared = Program("redis", ["redis-server"], 6379, ready="/", public=public)
    deployment = begin(hosts, [declared], given=Given(public={hosts[0].name: given}))
    assert errors_of(deployment) == {}
    running = deployment.services["redis"].result()
    assert isinstance(running, RunningProgram)
    assert (running.address, running.listen) == (address, listen)
    assert taken_down(deployment, hosts) == []


@pytest.mark.parametrize(("log", "aside"), [("", False), ("/tmp/redis.log", True)])
def test_a_log_in_the_folder_of_others_is_set_aside_first(
    hosts: tuple[FakeHost, FakeHost], log: str, aside: bool
) -> None:
    deployment = begin(hosts, [Program("redis", ["redis-server"], 6379, ready="/", log=log)])
    assert errors_of(deployment) == {}
    made = next(command.text for command in hosts[0].commands if "; mkdir /var/lib/tutorial-" in command.text)
    assert ("log=/tmp/redis.log" in made) == aside
    assert taken_down(deployment, hosts) == []


def test_nothing_that_stands_goes_before_what_it_is_for_is_there(hosts: tuple[FakeHost, FakeHost]) -> None:
    prepare(hosts)
    kept = begin(hosts, [page()])
    assert errors_of(kept) == {}
    kept.keep()
    failing = page(here=(Local("text", "Page: make its text, here", broken),))
    deployment = begin(hosts, [failing], run="0b", replace=True)
    assert "the queue is broken" in str(errors_of(deployment)["page"])
    assert taken_down(deployment, hosts) == []
    assert hosts[0].undone() == []
    assert hosts[0].journal() == ["Page: remove it"]


def test_packages_that_the_next_one_needs_are_not_removed_without_install(hosts: tuple[FakeHost, FakeHost]) -> None:
    prepare(hosts)
    need = Need("a queue server", ("queued",), "queue-server")
    lacking, having = (f"login root\nrights yes\nprogram apt-get\n{more}" for more in ("", "program queued\n"))
    hosts[0].answers |= {
        "say login": lambda command: having if "install packages" in hosts[0].log else lacking,
        "--download-only": "queue-server 1\n",
    }
    kept = begin(hosts, [queue(needs=(need,))], install=True)
    assert errors_of(kept) == {}
    kept.keep()
    refused = begin(hosts, [queue(needs=(need,))], run="0b", replace=True)
    error = errors_of(refused)["queue"]
    assert isinstance(error, Conflict)
    assert "has installed packages, which are removed with it: give --install, too" in str(error)
    assert taken_down(refused, hosts) == []
    assert hosts[0].undone() == []


def test_what_stands_on_a_full_disk_is_not_taken_down_for_what_would_not_fit(hosts: tuple[FakeHost, FakeHost]) -> None:
    prepare(hosts)
    kept = begin(hosts, [page()])
    assert errors_of(kept) == {}
    kept.keep()
    hosts[0].answers["say login"] = "login root\nrights yes\ndisk 3 262144 4096 500 1000\n"
    refused = begin(hosts, [page()], run="0b", replace=True)
    error = errors_of(refused)["page"]
    assert isinstance(error, Conflict)
    assert "the disk of /var/lib is full (12 KiB of 1024 MiB are free), so run 0a1b2c3d" in str(error)
    assert str(error).endswith(" stays: make room first, then try again")
    assert taken_down(refused, hosts) == []
    assert hosts[0].undone() == []


def test_what_commands_of_others_left_is_swept_away_first(hosts: tuple[FakeHost, FakeHost]) -> None:
    deployment = begin(hosts, services())
    assert errors_of(deployment) == {}
    assert [host.swept for host in hosts] == [1, 1]
    assert taken_down(deployment, hosts) == []
