"""Decisions about MySQL: from what a host told to what is refused and what is planned."""

from __future__ import annotations

import base64

import pytest

from deploy.errors import Conflict, Unfit
from deploy.mysql import Edit, Facts, check_fit, check_free, parse_facts, plan
from deploy.ports import Listening

SERVER_CNF = "/etc/mysql/mariadb.conf.d/50-server.cnf"
MY_CNF = "/etc/mysql/my.cnf"
FIT = Facts(
    server="/usr/sbin/mariadbd",
    client="mariadb",
    manager="systemd",
    service="mariadb",
    files={
        MY_CNF: f"!includedir {SERVER_CNF.rpartition('/')[0]}\n",
        SERVER_CNF: "[mysqld]\nbind-address = 127.0.0.1\n",
    },
)


def but(**changes: object) -> Facts:
    return Facts(**{**vars(FIT), **changes})


def test_facts_of_a_host() -> None:
    text = base64.b64encode(b"[mysqld]\n").decode()
    facts = parse_facts(
        "server /usr/sbin/mariadbd\nclient mariadb\nservice systemd mariadb\nactive yes\n"
        f"file /etc/my.cnf {text}\nfile /etc/empty.cnf \ndatadir /var/lib/mysql\n"
        "database tutorial\ndatabase tutorial\nuser tutorial@%\n"
        "version 10.11.6-MariaDB\nlistening 0100007F:0CEA\n"
    )
    assert facts == Facts(
        server="/usr/sbin/mariadbd",
        client="mariadb",
        version="10.11.6-MariaDB",
        manager="systemd",
        service="mariadb",
        active=True,
        datadir="/var/lib/mysql",
        files={"/etc/my.cnf": "[mysqld]\n", "/etc/empty.cnf": ""},
        databases=("tutorial",),
        users=("tutorial@%",),
        listening=(Listening("127.0.0.1", 3306),),
    )


def test_facts_of_a_bare_host() -> None:
    assert parse_facts("datadir /var/lib/mysql\n") == Facts(datadir="/var/lib/mysql")


def test_a_server_without_a_service_is_refused() -> None:
    with pytest.raises(Unfit, match="host X1 has /usr/sbin/mariadbd, and no service that starts it"):
        check_fit(but(service=""), "X1")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (but(databases=("tutorial",)), "host X1 has database tutorial already: --replace"),
        (but(users=("tutorial@%",)), "host X1 has user tutorial@% already: --replace"),
    ],
)
def test_what_is_there_is_refused_unless_replaced(facts: Facts, words: str) -> None:
    with pytest.raises(Conflict, match=words):
        check_free(facts, "X1", replace=False)
    check_free(facts, "X1", replace=True)


def test_a_port_of_another_program_is_refused_even_with_replace() -> None:
    facts = but(listening=(Listening("0.0.0.0", 3306),))
    with pytest.raises(Conflict, match=r"port 3306 is in use \(0\.0\.0\.0:3306\)"):
        check_free(facts, "X1", replace=True)
    check_free(but(listening=facts.listening, active=True), "X1", replace=False)


def test_plan_rewrites_the_line_that_wins() -> None:
    assert plan(FIT, "10.0.0.7") == [Edit(SERVER_CNF, 2, "bind-address = 10.0.0.7")]


def test_plan_adds_a_file_where_no_line_is() -> None:
    facts = but(files={MY_CNF: "!includedir /etc/mysql/conf.d/\n"})
    assert plan(facts, "10.0.0.7") == [
        Edit("/etc/mysql/conf.d/zz-tutorial.cnf", 0, "[mysqld]\nbind-address = 10.0.0.7")
    ]


def test_plan_has_no_place() -> None:
    with pytest.raises(Unfit, match="no option file sets bind-address"):
        plan(but(files={}), "10.0.0.7")


def test_plan_sets_the_port_where_it_is_another() -> None:
    facts = but(files={MY_CNF: "[mysqld]\nport = 3307\nbind-address = 0.0.0.0\n"})
    assert plan(facts, "10.0.0.7") == [Edit(MY_CNF, 3, "bind-address = 10.0.0.7"), Edit(MY_CNF, 2, "port = 3306")]
