"""Which line of which option file wins."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from circuit_harness.services.mysql.option_files import Options, Setting, ask, is_on, parse

GROUPS = frozenset({"mysqld", "server", "mariadb", "mariadb-10.11", "client-server"})
ROOTS = ("/etc/my.cnf", "/etc/mysql/my.cnf")

DEBIAN = {
    "/etc/mysql/my.cnf": (
        "[client-server]\nsocket = /run/mysqld/mysqld.sock\n!includedir /etc/mysql/conf.d/\n"
        "!includedir /etc/mysql/mariadb.conf.d/\n"
    ),
    "/etc/mysql/conf.d/mysql.cnf": "[mysql]\n",
    "/etc/mysql/mariadb.conf.d/50-server.cnf": "[server]\n[mysqld]\nbasedir = /usr\nbind-address      = 127.0.0.1\n",
    "/etc/mysql/mariadb.conf.d/60-galera.cnf": "[galera]\nbind-address = 0.0.0.0\n",
}


def winning(files: Mapping[str, str], option: str) -> Setting | None:
    return Options(files, ROOTS, GROUPS).winning(option)


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
    assert Options(DEBIAN, ROOTS, GROUPS).last_directory() == "/etc/mysql/mariadb.conf.d"
    assert Options({"/etc/my.cnf": "[mysqld]\n"}, ROOTS, GROUPS).last_directory() is None


def test_only_what_the_server_reads_counts() -> None:
    """Its files in its order, and its groups."""
    files = {"/b.cnf": "[mysqld]\nport = 1\n[galera]\nport = 3\n", "/a.cnf": "[mysqld]\nport = 2\n"}
    assert Options(files, ("/b.cnf", "/a.cnf"), frozenset({"mysqld"})).winning("port") == Setting("/a.cnf", 2, "2")
    assert Options(files, ("/a.cnf", "/b.cnf"), frozenset({"mysqld"})).winning("port") == Setting("/b.cnf", 2, "1")
    assert Options(files, ("/a.cnf", "/b.cnf"), frozenset({"galera"})).winning("port") == Setting("/b.cnf", 4, "3")
    assert Options(files, (), frozenset({"mysqld"})).winning("port") is None


def test_loose_options_count() -> None:
    files = {"/etc/my.cnf": "[mysqld]\nbind-address = ::1\nloose_bind_address = ::2\n"}
    assert winning(files, "bind-address") == Setting("/etc/my.cnf", 3, "::2")


def test_line_numbers_are_those_of_an_editor() -> None:
    """Which counts what Python takes for other ends of lines as part of one."""
    files = {"/etc/my.cnf": "# \x0c \x1c \u2028 one\n[mysqld]\r\nport = 1\r\n"}
    assert winning(files, "port") == Setting("/etc/my.cnf", 3, "1")


@pytest.mark.parametrize(
    ("value", "on"),
    [("", True), ("1", True), ("ON", True), ("TRUE", True), ("0", False), ("OFF", False), ("FALSE", False)],
)
def test_switches(value: str, on: bool) -> None:
    assert is_on(value) is on


def test_nothing_was_told() -> None:
    assert parse({}) == Options()


SERVER = """\
#!/bin/sh
echo "$0 $*" >> {calls}
env | sort >> {calls}
case "$*" in *broken*) echo '[ERROR] unknown variable' >&2; echo bye >&2; exit 7 ;; esac
cat <<'END'
port number is no option, and bind-address neither
Default options are read from the following files in the given order:
/etc/my.cnf /etc/mysql/my.cnf ~/.my.cnf
The following groups are read: mysqld server mysqld-9.7
Variables (--variable-name=value)
and boolean options {{FALSE|TRUE}}  Value (after reading options)
------------------------------ ---------------
bind-address                   10.0.0.7
port                           3306
port-open-timeout              0
socket                         (No default value)
END
"""


def test_the_server_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYSQL_ROOT_PASSWORD", "secret")
    program, calls = tmp_path / "mysqld", tmp_path / "calls"
    program.write_text(SERVER.format(calls=calls))
    program.chmod(0o755)
    # For a server that root runs, the user is not changed.
    own = "0:0"
    # The others would have files read, written or loaded.
    words = ["--socket=a b", "--daemonize", "--init-file=/x", "--plugin-load=x", "--plugin-dir=/mysqlx", "--port", "1"]
    command = ask(str(program), words, own)
    told = subprocess.check_output(["sh", "-c", command], text=True, timeout=10)
    assert told.splitlines() == [
        "roots /etc/my.cnf /etc/mysql/my.cnf ~/.my.cnf",
        "groups mysqld server mysqld-9.7",
        "option bind-address 10.0.0.7",
        "option port 3306",
        "option socket (No default value)",
    ]
    called = calls.read_text()
    assert called.startswith(f"{program} --socket=a b --port 1 --verbose --help\n")
    assert "secret" not in called
    command = ask(str(program), ["--port=broken"], own)
    failed = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=10)
    assert (failed.stdout, failed.stderr) == ("error [ERROR] unknown variable\n", "")


@pytest.mark.parametrize(
    "text",
    ["!include /etc/my.cnf\n" * 20, f"[mysqld]\nport = 1{' ' * 200_000}2\n", f"[mysqld]\nport{' ' * 200_000}2\n"],
    ids=["it includes itself", "a value with a gap", "a name with a gap"],
)
def test_no_file_takes_long_to_read(text: str) -> None:
    """A host that was taken over may tell of any."""
    begun = time.process_time()
    winning({"/etc/my.cnf": text}, "port")
    assert time.process_time() - begun < 2


def test_a_comment_behind_a_value_is_none_of_it() -> None:
    files = {"/etc/my.cnf": "[mysqld]\nsocket = '/run/a#b'   # not here\nport =\t3307\t#\nskip-networking\n"}
    found = [winning(files, name) for name in ("socket", "port", "skip-networking")]
    assert [setting and setting.value for setting in found] == ["/run/a#b", "3307", ""]
