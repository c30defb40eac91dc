"""MySQL that looks up the names of its clients: it does not, unless an account needs it."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from localhosts import Host
from tests.jobs import ROOT, Watched, environment, harness, named, run, sh, stop_mysql
from tests.resolvers import silent_resolver
from tests.run_json import read

SKIP = "skip-name-resolve"
NAME = "client.example.com"
PASSWORD = "guest's"
ALL_LIMIT_S = 500.0
"""For all checks, even where each connection waits for a name: what is wrong is to be seen, not waited out."""

BY_ADDRESS = ("%", "10.%", "10.0.0.0/255.0.0.0", "1_.0.0.1", "::1", "fd00:%", "localhost")
BY_NAME = ("\x1b[2k.example.com", "%.example.com", "ab%", "db.example.com")
SHOWN = r"\x1b[2k.example.com, %.example.com, ab% and 1 more"
"""Of these, in their order; a terminal obeys none."""

COUNT_STARTS = "journalctl --sync; journalctl -q --no-pager -o cat -u mariadb | grep -c '^Started '"


def sql(host: Host, statement: str) -> str:
    done = host.run("mariadb", "-N", "-B", input=statement.encode(), timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def mysql_host(watched: Watched) -> Host:
    return watched.named(watched.roles[0])


@contextmanager
def running(host: Host) -> Iterator[None]:
    """MySQL runs, whoever stops it or starts it anew meanwhile; in the end it does not."""
    sh(host, "systemctl start mariadb")
    try:
        yield
    finally:
        sh(host, "systemctl start mariadb")
        stop_mysql(host)


@contextmanager
def guest(watched: Watched) -> Iterator[str]:
    """An account for the API's host by its name, which MySQL's host knows; gives what it is called."""
    host, client = mysql_host(watched), watched.named(watched.roles[1])
    account = f"'guest'@'{NAME}'"
    hosts = f"{client.private_address} {NAME}"
    sh(host, f"echo {hosts} >> /etc/hosts")
    sql(host, f'CREATE USER {account} IDENTIFIED BY "{PASSWORD}"')
    try:
        yield f"guest@{NAME}"
    finally:
        sh(host, "systemctl start mariadb")
        sql(host, f"DROP USER {account}")
        sh(host, f"sed -i '/^{hosts}$/d' /etc/hosts")


@contextmanager
def kept(watched: Watched) -> Iterator[str]:
    """A deployment of MySQL that was kept, taken down in the end; gives what the run printed."""
    done = run(*named(watched.cluster), "-m", "mysql", "--keep=always")
    try:
        assert done.returncode == 0, done.stdout
        yield done.stdout
    finally:
        run(*named(watched.cluster), "--circuit-teardown", "--replace")


def outcomes(watched: Watched, folder: Path) -> Counter[str]:
    """How many of all checks came out how in a run."""
    command = harness(*named(watched.cluster), f"--artifacts={folder}")
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ALL_LIMIT_S,
    )
    results = read(folder)["results"]
    failed = [result for result in results if result["outcome"] not in ("passed", "skipped")]
    assert (done.returncode, failed) == (0, []), done.stdout
    return Counter(result["outcome"] for result in results)


def called(watched: Watched, address: str) -> str:
    """What MySQL calls the guest who comes from the API's host."""
    command = f'mariadb -h {address} -u guest -p"{PASSWORD}" -N -e "SELECT CURRENT_USER()" 2>&1'
    return sh(watched.named(watched.roles[1]), command).strip()


def remark(name: str) -> str:
    """As a pattern."""
    return rf"host X\w+: its MySQL server has accounts for host names \({re.escape(name)}\), so it looks up the name"


def starts(host: Host) -> int:
    """How often MySQL has started."""
    return int(sh(host, COUNT_STARTS))


def test_a_resolver_that_does_not_answer_costs_no_check(watched: Watched, tmp_path: Path) -> None:
    expected = outcomes(watched, tmp_path / "none")
    with silent_resolver(watched.cluster):
        assert outcomes(watched, tmp_path / "silent") == expected
    watched.assert_unchanged()


def test_an_account_by_name_goes_on_working(watched: Watched) -> None:
    host = mysql_host(watched)
    with running(host), guest(watched) as account:
        stop_mysql(host)
        stopped, before = Watched(watched.cluster), starts(host)
        with kept(watched) as printed:
            assert re.search(remark(NAME), printed), printed
            assert starts(host) - before == 2
            address = re.search(r"MySQL: bind to ([\d.]+):", printed)
            assert address is not None, printed
            assert called(watched, address[1]) == account
            assert sql(host, "SELECT @@skip_name_resolve, @@bind_address") == f"0\t{address[1]}"
            assert sh(host, f"grep -r ^{SKIP} /etc/mysql") == ""
        stopped.assert_unchanged()
    watched.assert_unchanged()


def test_a_running_server_stops_looking_up_names_and_does_so_again(watched: Watched) -> None:
    host = mysql_host(watched)
    with running(host):
        before = Watched(watched.cluster), starts(host)
        with kept(watched) as printed:
            assert sql(host, "SELECT @@skip_name_resolve") == "1"
            assert starts(host) - before[1] == 1
            assert "accounts for host names" not in printed
        before[0].assert_unchanged()
        assert sql(host, "SELECT @@skip_name_resolve") == "0"
    watched.assert_unchanged()


def test_a_running_server_with_an_account_by_name_is_restarted_once(watched: Watched) -> None:
    host = mysql_host(watched)
    with running(host), guest(watched) as account:
        before = starts(host)
        with kept(watched) as printed:
            assert re.search(remark(NAME), printed), printed
            assert starts(host) - before == 1
            address = sql(host, "SELECT @@bind_address")
            assert called(watched, address) == account
    watched.assert_unchanged()


def plan(watched: Watched) -> str:
    told = run(*named(watched.cluster), "--plan")
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


@pytest.mark.parametrize("table", ["user", "db", "proxies_priv"])
def test_a_plan_tells_which_accounts_need_names(watched: Watched, table: str) -> None:
    """Those of each table alone; none is for a name that is not."""
    host = mysql_host(watched)
    insert, delete = {
        "user": ("CREATE USER guest@'{}'", "DROP USER guest@'{}'"),
        "db": (
            "INSERT INTO mysql.db (host, db, user) VALUES ('{}', 'a', 'guest')",
            "DELETE FROM mysql.db WHERE db = 'a'",
        ),
        "proxies_priv": (
            "INSERT INTO mysql.proxies_priv VALUES ('{}', 'guest', '', '', 0, '', NOW())",
            "DELETE FROM mysql.proxies_priv WHERE user = 'guest'",
        ),
    }[table]
    with running(host):
        added: list[str] = []
        try:
            for name in BY_ADDRESS:
                added.append(name)
                sql(host, insert.format(name))
            printed = plan(watched)
            assert f"{SKIP} = 1" in printed
            assert "accounts for host names" not in printed
            added += BY_NAME
            sql(host, ";".join(insert.format(name) for name in BY_NAME))
            printed = plan(watched)
            assert re.search(remark(SHOWN), printed), printed
            assert f"{SKIP} = 1" not in printed
        finally:
            sql(host, ";".join(delete.format(name) for name in added))
    watched.assert_unchanged()


def test_a_server_that_looks_up_no_names_is_left_so(watched: Watched) -> None:
    host = mysql_host(watched)
    file = "/etc/mysql/conf.d/own.cnf"
    sh(host, f"printf '[mysqld]\\n{SKIP}\\n' > {file}")
    try:
        assert SKIP not in plan(watched)
        sh(host, "systemctl start mariadb")
    finally:
        sh(host, f"rm {file}")
    # It runs with what stood there.
    with running(host):
        assert SKIP not in plan(watched)
    watched.assert_unchanged()
