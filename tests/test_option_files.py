"""Which line of which option file wins."""

from __future__ import annotations

import pytest

from deploy.option_files import Setting, last_directory, winning

DEBIAN = {
    "/etc/mysql/my.cnf": (
        "[client-server]\nsocket = /run/mysqld/mysqld.sock\n!includedir /etc/mysql/conf.d/\n"
        "!includedir /etc/mysql/mariadb.conf.d/\n"
    ),
    "/etc/mysql/conf.d/mysql.cnf": "[mysql]\n",
    "/etc/mysql/mariadb.conf.d/50-server.cnf": "[server]\n[mysqld]\nbasedir = /usr\nbind-address      = 127.0.0.1\n",
    "/etc/mysql/mariadb.conf.d/60-galera.cnf": "[galera]\nbind-address = 0.0.0.0\n",
}


def test_included_file_of_today() -> None:
    assert winning(DEBIAN, "bind-address") == Setting("/etc/mysql/mariadb.conf.d/50-server.cnf", 4, "127.0.0.1")


def test_one_file_of_old() -> None:
    files = {"/etc/mysql/my.cnf": "[client]\nport = 1\n[mysqld]\nport = 3306\nbind-address = 127.0.0.1\n"}
    assert winning(files, "bind-address") == Setting("/etc/mysql/my.cnf", 5, "127.0.0.1")


def test_last_file_in_reading_order_wins() -> None:
    files = {**DEBIAN, "/etc/mysql/mariadb.conf.d/99-local.cnf": "[mariadb-10.11]\nbind_address=10.0.0.1\n"}
    assert winning(files, "bind-address") == Setting("/etc/mysql/mariadb.conf.d/99-local.cnf", 2, "10.0.0.1")


def test_line_behind_an_include_wins_over_what_is_included() -> None:
    files = dict(DEBIAN)
    files["/etc/mysql/my.cnf"] += "[mysqld]\nbind-address = 10.0.0.2\n"
    assert winning(files, "bind-address") == Setting("/etc/mysql/my.cnf", 6, "10.0.0.2")


def test_include_of_one_file() -> None:
    files = {"/etc/my.cnf": "!include /opt/extra.ini\n", "/opt/extra.ini": "[mysqld]\nport=1\n"}
    assert winning(files, "port") == Setting("/opt/extra.ini", 2, "1")


def test_files_that_include_each_other_end() -> None:
    files = {"/etc/my.cnf": "!include /etc/my.cnf\n[mysqld]\nport = 1\n"}
    assert winning(files, "port") == Setting("/etc/my.cnf", 3, "1")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("bind-address=::1", "::1"),
        ("  bind_address = '10.0.0.1'  ", "10.0.0.1"),
        ("bind-address = 10.0.0.1 # private", "10.0.0.1"),
        ("bind-address", ""),
    ],
)
def test_ways_to_write_a_line(line: str, value: str) -> None:
    assert winning({"/etc/my.cnf": f"[mysqld]\n{line}\n"}, "bind-address") == Setting("/etc/my.cnf", 2, value)


@pytest.mark.parametrize(
    "text", ["", "[mysqld]\n#bind-address = 1\n", "[client]\nbind-address = 1\n", "bind-address = 1"]
)
def test_no_line_sets_it(text: str) -> None:
    assert winning({"/etc/my.cnf": text}, "bind-address") is None


def test_last_directory() -> None:
    assert last_directory(DEBIAN) == "/etc/mysql/mariadb.conf.d"
    assert last_directory({"/etc/my.cnf": "[mysqld]\n"}) is None
