"""Decisions about MySQL: from what a host told to what is refused and what is planned."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from circuit_harness.errors import Conflict, Unfit
from circuit_harness.operations.edits import Append, NewFile, ReplaceLine
from circuit_harness.operations.ports import Listening
from circuit_harness.services.mysql.configuration import plan
from circuit_harness.services.mysql.facts import Facts, looking_again, parse_facts
from circuit_harness.services.mysql.fit import check_fit, check_free
from circuit_harness.services.mysql.manager import State, Systemd
from circuit_harness.services.mysql.option_files import Options

SERVER_CNF = "/etc/mysql/mariadb.conf.d/50-server.cnf"
MY_CNF = "/etc/mysql/my.cnf"
OPTIONS = Options(
    files={
        MY_CNF: f"!includedir {SERVER_CNF.rpartition('/')[0]}\n",
        SERVER_CNF: "[mysqld]\nbind-address = 127.0.0.1\n",
    },
    roots=("/etc/my.cnf", MY_CNF),
    groups=frozenset({"mysqld", "server"}),
    values={"bind-address": "127.0.0.1", "port": "3306", "skip-networking": "FALSE"},
)
FIT = Facts(
    client="mariadb",
    flavor="mariadb",
    version="10.11.6-MariaDB",
    service=Systemd("mariadb", "/usr/sbin/mariadbd", "/var/lib/mysql", "/run/mysqld/mysqld.sock"),
    options=OPTIONS,
)


def but(**changes: object) -> Facts:
    return Facts(**{**vars(FIT), **changes})


def with_files(files: dict[str, str], **values: str) -> Facts:
    """Facts of a host with these option files, whose server would work with these values besides."""
    told = {**OPTIONS.values, **{name.replace("_", "-"): value for name, value in values.items()}}
    return but(options=replace(OPTIONS, files=files, values=told))


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("flavor", "version", "sources", "replicas"),
    [
        ("mariadb", "10.11.6-MariaDB", "SHOW ALL SLAVES STATUS", "SHOW SLAVE HOSTS"),
        ("mysql", "8.0.21", "SHOW SLAVE STATUS", "SHOW SLAVE HOSTS"),
        ("mysql", "8.0.22", "SHOW REPLICA STATUS", "SHOW REPLICAS"),
        ("mysql", "9.7.0", "SHOW REPLICA STATUS", "SHOW REPLICAS"),
        ("mysql", "", "SHOW REPLICA STATUS", "SHOW REPLICAS"),
    ],
)
def test_a_server_is_asked_about_replication_in_its_own_words(
    flavor: str, version: str, sources: str, replicas: str
) -> None:
    assert FIT.service is not None
    asked = looking_again(FIT.service, but(flavor=flavor, version=version), "tutorial", ["tutorial"])
    assert f"# sources'\"'\"'; {sources}; " in asked
    assert f"# replicas'\"'\"'; {replicas}; " in asked


def test_facts_of_a_host() -> None:
    facts = parse_facts(
        "about /usr/sbin/mariadbd  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)\n"
        "program /usr/sbin/mariadbd\nenabled disabled\nservice systemd mariadb\nactive yes\n"
        f"arguments {base64_of('--port=3307' + chr(0))}\n"
        "roots /etc/my.cnf /etc/mysql/my.cnf ~/.my.cnf \ngroups mysqld server\n"
        "option bind-address 127.0.0.1\noption datadir /var/lib/mysql/\noption socket /run/mysqld/mysqld.sock\n"
        "option skip-networking FALSE\noption log-bin (No default value)\n"
        "empty /etc/empty.cnf\nfile /etc/my.cnf\nfile /etc/x.cnf\n"
        "line 1 [mysqld]\nline 1 log_error = host.err\nline 2 [other]\nline 2 \nline 2 a = b c\n"
        "database tutorial\ndatabase tutorial\nclient mariadb\nuser tutorial@%\n"
        "version 10.11.6-MariaDB\nown 0100007F:0CEA\nlistening 0100007F:0CEA\n"
    )
    assert facts == Facts(
        client="mariadb",
        flavor="mariadb",
        version="10.11.6-MariaDB-0+deb12u1",
        service=Systemd(
            name="mariadb",
            program="/usr/sbin/mariadbd",
            datadir="/var/lib/mysql",
            socket="/run/mysqld/mysqld.sock",
            logs=("/var/lib/mysql/host.err",),
        ),
        state=State(active=True, enabled="disabled"),
        options=Options(
            files={
                "/etc/empty.cnf": "",
                "/etc/my.cnf": "[mysqld]\nlog_error = host.err",
                "/etc/x.cnf": "[other]\n\na = b c",
            },
            roots=("/etc/my.cnf", "/etc/mysql/my.cnf"),
            groups=frozenset({"mysqld", "server"}),
            values={
                "bind-address": "127.0.0.1",
                "datadir": "/var/lib/mysql/",
                "socket": "/run/mysqld/mysqld.sock",
                "skip-networking": "FALSE",
                "log-bin": "(No default value)",
            },
            arguments=("--port=3307",),
        ),
        databases=("tutorial",),
        users=("tutorial@%",),
        listening=(Listening("127.0.0.1", 3306),),
        own=(Listening("127.0.0.1", 3306),),
    )


@pytest.mark.parametrize(
    ("about", "flavor", "version"),
    [
        ("/usr/sbin/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))", "mysql", "9.7.4-2"),
        ("mysqld  Ver 8.0.42-0ubuntu0.24.04.1 for Linux on x86_64 ((Ubuntu))", "mysql", "8.0.42-0ubuntu0.24.04.1"),
        ("mariadbd  Ver 11.8.2-MariaDB-1 for debian-linux-gnu on x86_64 (Debian)", "mariadb", "11.8.2-MariaDB-1"),
    ],
)
def test_flavor_and_version(about: str, flavor: str, version: str) -> None:
    facts = parse_facts(f"about {about}\n")
    assert (facts.flavor, facts.version) == (flavor, version)


def test_facts_of_a_bare_host() -> None:
    assert parse_facts("") == Facts()


def test_a_server_that_answers_nobody_is_no_refusal() -> None:
    denied = "ERROR 1045 (28000): Access denied for user 'root'@'localhost' (using password: NO)"
    assert parse_facts(f"refusal {denied}\n").refusal == denied
    assert parse_facts("refusal ERROR 2002 (HY000): Can't connect to local server\n").refusal == ""


def test_a_server_that_judges_passwords() -> None:
    assert parse_facts("validation simple_password_check\n").validates


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (but(version="5.5.68-MariaDB"), r"has /usr/sbin/mariadbd 5\.5\.68-MariaDB: MariaDB 10 or MySQL 8, or newer"),
        (but(flavor="mysql", version="5.7.44"), r"5\.7\.44: MariaDB 10 or MySQL 8, or newer"),
        (
            but(options=Options()),
            r"cannot start with its option files, as /usr/sbin/mariadbd --verbose --help reports: nothing at all",
        ),
        (but(state=State(enabled="masked")), "service mariadb is masked: systemctl unmask mariadb"),
        (but(state=State(several="12 34")), r"several MySQL servers \(processes 12 34\)"),
        (but(state=State(active=True, keeper="1 mariadbd")), r"first process \(mariadbd\) .* would end the host"),
        (but(refusal="Access denied"), r"X1 has a MySQL server that does not let root in \(Access denied\): let root"),
        (but(state=State(active=True, keeper="7 supervisord")), r"started by process 7 \(supervisord\)"),
    ],
)
def test_a_host_that_is_not_fit(facts: Facts, words: str) -> None:
    with pytest.raises(Unfit, match=words):
        check_fit(facts, "X1")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (but(databases=("tutorial",)), "host X1 has database tutorial already: --replace"),
        (but(users=("tutorial@%",)), "host X1 has user tutorial@% already: --replace"),
    ],
)
def test_what_is_there_is_refused_unless_replaced(facts: Facts, words: str) -> None:
    with pytest.raises(Conflict, match=words):
        check_free(facts, "X1", 3306, replace=False)
    check_free(facts, "X1", 3306, replace=True)


def test_a_port_of_another_program_is_refused_even_with_replace() -> None:
    facts = but(listening=(Listening("0.0.0.0", 3306),))
    with pytest.raises(Conflict, match=r"port 3306 is in use \(0\.0\.0\.0:3306\)"):
        check_free(facts, "X1", 3306, replace=True)
    check_free(facts, "X1", 3307, replace=False)
    check_free(but(listening=facts.listening, own=facts.listening), "X1", 3306, replace=False)


def test_a_proxy_in_front_of_the_server_is_refused() -> None:
    own, proxy = Listening("127.0.0.1", 3306), Listening("10.0.0.7", 3306)
    with pytest.raises(Conflict, match=r"port 3306 is in use \(10\.0\.0\.7:3306\)"):
        check_free(but(state=State(active=True), listening=(own, proxy), own=(own,)), "X1", 3306, replace=False)


def test_plan_rewrites_the_line_that_wins() -> None:
    assert plan(FIT, "10.0.0.7", 3306) == [ReplaceLine(SERVER_CNF, "bind-address = 10.0.0.7", 2)]
    assert plan(FIT, "fd00::7", 3306) == [ReplaceLine(SERVER_CNF, "bind-address = fd00::7", 2)]


def test_plan_sets_what_has_no_line_behind_the_address() -> None:
    assert plan(FIT, "10.0.0.7", 3307) == [ReplaceLine(SERVER_CNF, "bind-address = 10.0.0.7\nport = 3307", 2)]


def test_plan_adds_a_file_where_no_line_is() -> None:
    facts = with_files({MY_CNF: "!includedir /etc/mysql/conf.d/\n"})
    assert plan(facts, "10.0.0.7", 3307) == [
        NewFile("/etc/mysql/conf.d/zz-tutorial.cnf", "[mysqld]\nbind-address = 10.0.0.7\nport = 3307")
    ]


def test_plan_adds_to_what_is_there() -> None:
    ours = "/etc/mysql/conf.d/zz-tutorial.cnf"
    facts = with_files({MY_CNF: "!includedir /etc/mysql/conf.d/\n", ours: "[mysqld]\n"})
    assert plan(facts, "10.0.0.7", 3306) == [Append(ours, "[mysqld]\nbind-address = 10.0.0.7")]
    facts = with_files({MY_CNF: "[client]\n"})
    assert plan(facts, "10.0.0.7", 3306) == [Append(MY_CNF, "[mysqld]\nbind-address = 10.0.0.7")]


def test_plan_makes_the_first_file_where_there_is_none() -> None:
    assert plan(with_files({}), "10.0.0.7", 3306) == [NewFile("/etc/my.cnf", "[mysqld]\nbind-address = 10.0.0.7")]


def test_plan_sets_the_port_where_it_is_another() -> None:
    facts = with_files({MY_CNF: "[mysqld]\nport = 3307\nbind-address = 0.0.0.0\n"}, port="3307")
    assert plan(facts, "10.0.0.7", 3306) == [
        ReplaceLine(MY_CNF, "bind-address = 10.0.0.7", 3),
        ReplaceLine(MY_CNF, "port = 3306", 2),
    ]
    assert plan(facts, "10.0.0.7", 3307) == [ReplaceLine(MY_CNF, "bind-address = 10.0.0.7", 3)]


SKIP = "skip-name-resolve = 1"
TOLD = {"skip_name_resolve": "FALSE"}


def test_plan_has_no_names_looked_up() -> None:
    facts = with_files({MY_CNF: "[mysqld]\nbind-address = *\n"}, **TOLD)
    assert plan(facts, "10.0.0.7", 3306) == [ReplaceLine(MY_CNF, f"bind-address = 10.0.0.7\n{SKIP}", 2)]
    facts = with_files({MY_CNF: "[mysqld]\nskip_name_resolve = 0\nbind-address = *\n"}, **TOLD)
    assert plan(facts, "10.0.0.7", 3306) == [
        ReplaceLine(MY_CNF, "bind-address = 10.0.0.7", 3),
        ReplaceLine(MY_CNF, SKIP, 2),
    ]
    facts = with_files({}, **TOLD)
    assert plan(facts, "10.0.0.7", 3306) == [NewFile("/etc/my.cnf", f"[mysqld]\nbind-address = 10.0.0.7\n{SKIP}")]


@pytest.mark.parametrize(
    ("seen", "skipped"), [("", False), ("named \n", True), ("named db.example.com %.example.org\n", False)]
)
def test_plan_has_a_running_server_look_up_names_unless_its_accounts_need_none(seen: str, skipped: bool) -> None:
    about = "about mariadbd  Ver 10.11.6-MariaDB\nservice systemd mariadb\nactive yes\nroots /etc/my.cnf\n"
    facts = parse_facts(f"{about}option skip-name-resolve FALSE\n{seen}")
    (edit,) = plan(facts, "10.0.0.7", 3306)
    assert (SKIP in edit.text.splitlines()) == skipped


@pytest.mark.parametrize("told", ["TRUE", "ON", "1"])
def test_plan_leaves_a_server_that_looks_up_no_names(told: str) -> None:
    facts = with_files({MY_CNF: "[mysqld]\nbind-address = *\n"}, skip_name_resolve=told)
    assert plan(facts, "10.0.0.7", 3306) == [ReplaceLine(MY_CNF, "bind-address = 10.0.0.7", 2)]


def test_what_the_running_server_tells_wins() -> None:
    facts = parse_facts("roots /etc/my.cnf\noption skip-name-resolve FALSE\nnamed \noption skip-name-resolve TRUE\n")
    assert plan(facts, "10.0.0.7", 3306)[0].text == "[mysqld]\nbind-address = 10.0.0.7"


def test_plan_allows_networking() -> None:
    facts = with_files({MY_CNF: "[mysqld]\nskip-networking\nbind-address = 0.0.0.0\n"}, skip_networking="TRUE")
    assert plan(facts, "10.0.0.7", 3306) == [
        ReplaceLine(MY_CNF, "bind-address = 10.0.0.7", 3),
        ReplaceLine(MY_CNF, "skip-networking = 0", 2),
    ]


@pytest.mark.parametrize(
    ("flavor", "mysqlx", "address", "closed"),
    [
        ("mysql", "ON", "*", True),
        ("mysql", "ON", "::", True),
        ("mysql", "ON", "127.0.0.1,203.0.113.9", True),
        ("mysql", "FORCE", "0.0.0.0", True),
        ("mysql", "ON", "127.0.0.1,::1", False),
        ("mysql", "ON", "localhost", False),
        ("mysql", "ON", "10.0.0.7", False),
        ("mysql", "OFF", "*", False),
        ("mariadb", "", "", False),
    ],
)
def test_plan_keeps_the_x_protocol_to_the_host(flavor: str, mysqlx: str, address: str, closed: bool) -> None:
    values = {"mysqlx": mysqlx, "mysqlx_bind_address": address} if mysqlx else {}
    there = with_files({MY_CNF: "[mysqld]\nbind-address = *\nmysqlx_bind_address = x\n"}, **values)
    not_there = with_files({MY_CNF: "[mysqld]\nbind-address = *\n"}, **values)
    bind, line = "bind-address = 10.0.0.7", "loose-mysqlx-bind-address = 127.0.0.1"
    assert plan(replace(there, flavor=flavor), "10.0.0.7", 3306) == [
        ReplaceLine(MY_CNF, bind, 2),
        *([ReplaceLine(MY_CNF, line, 3)] if closed else []),
    ]
    assert plan(replace(not_there, flavor=flavor), "10.0.0.7", 3306) == [
        ReplaceLine(MY_CNF, f"{bind}\n{line}" if closed else bind, 2)
    ]
