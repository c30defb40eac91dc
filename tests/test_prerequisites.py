"""What hosts lack: each thing alone is told in a line, all of it in one message, and before anything is changed."""

from __future__ import annotations

import re

import pytest

from circuit_harness.engine.spec import Services
from circuit_harness.errors import Unfit
from circuit_harness.operations.needs import CURL, Facts, Missing, check_offer, missing, parse_facts, refusal
from deploy.services import services
from tests.jobs import Watched, named, run, sh

DATA = "/var/lib/mysql"
SERVICES = Services(services())
(NODE,) = (need for need in SERVICES["nodejs"].needs if need.oldest)

ALL = frozenset({"mariadbd", "mariadb", "mysql", "mysqld", "nodejs", "node", "curl", "ps", "ss", "apt-get"})
FIT = Facts(
    "ubuntu",
    programs=ALL,
    versions={"nodejs": "v18.20.4", "node": "v18.20.4"},
    data=frozenset({DATA}),
)
UNKNOWN = f"though {DATA}, which one has left: install that server, or move its data away"


def without(*programs: str, **changes: object) -> Facts:
    return Facts(**{**vars(FIT), "programs": ALL - set(programs), **changes})


def told(facts: Facts, *parts: str) -> list[str]:
    return [str(lack) for lack in lacks(facts, *parts)]


def lacks(facts: Facts, *parts: str) -> list[Missing]:
    return missing(facts, "X1", [need for name in parts or SERVICES for need in SERVICES[name].needs])


def test_facts_of_a_host() -> None:
    facts = parse_facts(f"login ubuntu\nrights yes\nprogram curl\nprogram node\nversion node v18.20.4\ndata {DATA}\n")
    assert facts == Facts("ubuntu", "", frozenset({"curl", "node"}), {"node": "v18.20.4"}, frozenset({DATA}))
    assert parse_facts("login ubuntu\nrefusal there is no sudo\n") == Facts("ubuntu", "there is no sudo")
    assert parse_facts("login ubuntu\nrefusal \n").refusal == "sudo did not say why"


def test_a_host_that_has_it_all() -> None:
    assert told(FIT) == []
    assert told(without("mysqld", "mysql", "nodejs")) == []
    assert refusal([], install=False) == refusal([], install=True) == ""


def test_a_part_needs_its_own_things() -> None:
    assert told(without("node", "nodejs"), "mysql") == []
    assert told(without("mariadbd", "mysqld", "mariadb", "mysql"), "nodejs") == []
    assert missing(without("mariadbd", "mysqld", "node", "nodejs", "ss"), "X1", ()) == []


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        (
            without("mariadbd", "mysqld", data=frozenset()),
            "no MySQL or MariaDB server (no program mariadbd or mysqld): apt-get install mariadb-server",
        ),
        (without("mariadb", "mysql"), "no MySQL client (mariadb or mysql): apt-get install mariadb-client"),
        (
            without("mariadb", "mysql", "mariadbd"),
            "no MySQL client (mariadb or mysql): apt-get install mysql-client",
        ),
        (without("node", "nodejs"), "no Node.js: apt-get install nodejs"),
        (without("curl"), "no curl: apt-get install curl"),
        (without("curl", "apt-get"), "no curl, and no apt-get to install it with: install it"),
        (
            without("mariadbd", "mysqld"),
            f"no MySQL or MariaDB server, {UNKNOWN}",
        ),
    ],
)
def test_a_thing_that_is_missing_is_one_line(facts: Facts, line: str) -> None:
    assert told(facts) == [f"host X1 has {line}"]


@pytest.mark.parametrize("version", ["v16.20.2", "v4", "", "sh: node: not found"])
def test_node_that_is_too_old_is_not_replaced(version: str) -> None:
    found = lacks(without(versions={"nodejs": version, "node": "v18.20.4"}))
    assert [lack.package for lack in found] == [""]
    assert f"has Node.js {version or 'of an unknown version'}, and 18 or newer is needed: replace it" in str(found[0])
    assert refusal(found, install=True) == str(found[0])


def test_an_archive_whose_node_is_too_old() -> None:
    check_offer("X1", NODE, "18.20.4+dfsg-1~deb12u3")
    check_offer("X1", CURL, "7.88.1-10")
    with pytest.raises(Unfit, match=r"host X1: its archives have Node\.js 12\.22\.12~dfsg-1, and 18 or newer"):
        check_offer("X1", NODE, "12.22.12~dfsg-1")


def test_what_is_missing_is_told_in_one_message() -> None:
    found = [Missing("X1", "has no curl", "apt-get install curl", "curl")]
    assert refusal(found, install=False) == (
        "host X1 has no curl: apt-get install curl (--install does that, and undoes it)"
    )
    assert refusal(found, install=True) == ""
    found.append(Missing("X2", "has no ss", "install it"))
    assert refusal(found, install=True).splitlines() == [
        "the hosts lack 2 things that are needed:",
        "  host X1 has no curl: apt-get install curl",
        "  host X2 has no ss: install it",
    ]


def hide(*paths: str) -> tuple[str, str]:
    """How things are hidden on a host, and put back."""
    there = [f"mv {path} {path}.hidden" for path in paths]
    back = [f"mv {path}.hidden {path}" for path in paths]
    return "; ".join(there), "; ".join(back)


SUDOERS = "/etc/sudoers.d/ubuntu"
OLD_NODE = (
    "mv /usr/bin/node /usr/bin/node.hidden",
    "printf '#!/bin/sh\\necho v16.20.2\\n' > /usr/bin/node",
    "chmod 755 /usr/bin/node",
)
HINT = " (--install does that, and undoes it)"
SHUT_ROOT_OUT = """systemctl start mariadb; mariadb -e "ALTER USER root@localhost IDENTIFIED BY 'a'" """
LET_ROOT_IN = (
    "while pgrep -f '[d]ebian-start' >/dev/null; do sleep 0.1; done; mariadb -pa -e \"ALTER USER root@localhost"
    " IDENTIFIED VIA mysql_native_password USING 'invalid' OR unix_socket\"; systemctl stop mariadb"
)
NOT_LET_IN = (
    "has a MySQL server that does not let root in (ERROR 1045 (28000): Access denied for user 'root'@'localhost'"
    " (using password: NO)): let root connect by the socket, as packages set it up, or write a [client] password"
    " into /root/.my.cnf"
)
RIGHTS = ": run the circuit as root, or allow its user sudo without a password (NOPASSWD)"

ALONE = {
    "server": (
        0,
        hide("/usr/sbin/mariadbd", DATA),
        f"has no MySQL or MariaDB server (no program mariadbd or mysqld): apt-get install mariadb-server{HINT}",
    ),
    "server, not its data": (0, hide("/usr/sbin/mariadbd"), f"has no MySQL or MariaDB server, {UNKNOWN}"),
    "client": (
        0,
        hide("/usr/bin/mariadb"),
        f"has no MySQL client (mariadb or mysql): apt-get install mariadb-client{HINT}",
    ),
    "curl": (0, hide("/usr/bin/curl"), f"has no curl: apt-get install curl{HINT}"),
    "the API's curl": (1, hide("/usr/bin/curl"), f"has no curl: apt-get install curl{HINT}"),
    "ss": (0, hide("/usr/bin/ss"), f"has no ss: apt-get install iproute2{HINT}"),
    "the API's ss": (1, hide("/usr/bin/ss"), f"has no ss: apt-get install iproute2{HINT}"),
    "the API's ps": (1, hide("/usr/bin/ps"), f"has no ps: apt-get install procps{HINT}"),
    "node": (1, hide("/usr/bin/node"), f"has no Node.js: apt-get install nodejs{HINT}"),
    "new node": (
        1,
        ("; ".join(OLD_NODE), "mv -f /usr/bin/node.hidden /usr/bin/node"),
        "has Node.js v16.20.2, and 18 or newer is needed: replace it",
    ),
    "curl, nor apt-get": (
        1,
        hide("/usr/bin/curl", "/usr/bin/apt-get"),
        "has no curl, and no apt-get to install it with: install it",
    ),
    "sudo": (0, hide("/usr/bin/sudo"), f"gives ubuntu no root rights (there is no sudo){RIGHTS}"),
    "sudo without a password": (
        1,
        (f"cp -p {SUDOERS} /root/sudoers; sed -i s/NOPASSWD:// {SUDOERS}", f"mv /root/sudoers {SUDOERS}"),
        f"gives ubuntu no root rights (sudo: a password is required){RIGHTS}",
    ),
    "MySQL's root": (0, (SHUT_ROOT_OUT, LET_ROOT_IN), NOT_LET_IN),
}
"""What a host of ours is made to lack: which host, how that is done and undone, and the line that tells of it."""


@pytest.mark.parametrize(("role", "hiding", "words"), ALONE.values(), ids=ALONE)
def test_each_alone_is_told_before_anything_is_changed(
    watched: Watched, role: int, hiding: tuple[str, str], words: str
) -> None:
    name = watched.roles[role]
    host = watched.named(name)
    sh(host, hiding[0])
    try:
        done = run(*named(watched.cluster), "-k", "schema or http_put_replaces")
        assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
        # Where a failure is told in full, it is this line and no more.
        assert re.findall(r"^_+ ERROR at .+_\n((?:.+\n)*?)(?==)", done.stdout, re.MULTILINE) == [
            f"host {name} {words}\n"
        ]
    finally:
        sh(host, hiding[1])
    watched.assert_unchanged()


def test_all_that_is_missing_is_told_at_once(watched: Watched) -> None:
    away, back = hide("/usr/bin/curl", "/usr/bin/ss")
    for host in watched.cluster.hosts:
        sh(host, away)
    try:
        circuit = named(watched.cluster)
        done = run(*circuit)
        planned = run(*circuit, "--plan")
    finally:
        for host in watched.cluster.hosts:
            sh(host, back)
    lines = [
        f"  host {name} has no {what}: apt-get install {package}"
        for name in watched.roles
        for what, package in (("curl", "curl"), ("ss", "iproute2"))
    ]
    message = "\n".join(["the hosts lack 4 things that are needed (--install does that, and undoes it):", *lines])
    assert message in done.stdout
    assert f"\nnot now: {message}\n" in planned.stdout
    assert planned.returncode == pytest.ExitCode.TESTS_FAILED
    watched.assert_unchanged()
