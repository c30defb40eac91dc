"""What a run leaves in a server's binary log, and servers that others read it from."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from localhosts import Cluster, Host
from tests.jobs import Watched, named, run, sh

SERVER = "/usr/sbin/mariadbd"
RUNS = f"ls -l /proc/[0-9]*/exe 2>/dev/null | grep -q '{SERVER}$'"
SETTING = "/etc/mysql/mariadb.conf.d/99-setting.cnf"
LOGS = "/var/lib/mysql/binlog"
PASSWORD = "[A-Za-z0-9_-]{32}-aA1"
"""Of those that a run makes up."""


@pytest.fixture(scope="module")
def containers() -> Iterator[Cluster]:
    """One host without any service manager, so that its server does not run."""
    with Cluster(1, init="none") as made:
        yield made


@pytest.fixture
def one(containers: Cluster) -> Watched:
    """This host, and what it was like before the test."""
    return Watched(containers)


@contextmanager
def setting(host: Host, lines: str) -> Iterator[None]:
    """These lines in the server's option files."""
    sh(host, f"printf '[mysqld]\\n{lines}\\n' > {SETTING}")
    try:
        yield
    finally:
        sh(host, f"rm -f {SETTING} {LOGS}.*")


@contextmanager
def running(host: Host) -> Iterator[None]:
    """The server, started by hand."""
    done = sh(
        host,
        f"install -d -o mysql /run/mysqld; setsid -f {SERVER} --user=mysql </dev/null >/tmp/by-hand.log 2>&1; tries=0;"
        " until mariadb -e 'SELECT 1' || [ $tries -ge 100 ]; do sleep 0.1; tries=$((tries + 1)); done",
    )
    assert done, sh(host, "cat /tmp/by-hand.log")
    try:
        yield
    finally:
        sh(host, f"mariadb-admin shutdown; while {RUNS}; do sleep 0.1; done; rm -r /run/mysqld /tmp/by-hand.log")


def options(watched: Watched) -> tuple[str, ...]:
    return (*named(watched.cluster), "-m", "mysql")


def test_passwords_are_not_in_the_binary_log(one: Watched) -> None:
    """Of a server that judges passwords, and so cannot be told their hashes."""
    (host,) = one.cluster.hosts
    slow = "slow_query_log = 1\\nlong_query_time = 0\\nslow_query_log_file = /var/lib/mysql/binlog.slow"
    with setting(host, f"log_bin = {LOGS}\\nplugin_load_add = simple_password_check\\n{slow}"):
        done = run(*options(one))
        assert done.returncode == 0, done.stdout
        assert sh(host, f"grep -aoE '{PASSWORD}' {LOGS}.*") == ""
        # Accounts are not there at all, the database is, from its beginning to its end.
        assert sh(host, f"grep -aoE '(CREATE|DROP) USER|GRANT [A-Z]+ ON' {LOGS}.0*") == ""
        assert sh(host, f"grep -aohE '(CREATE|DROP) DATABASE' {LOGS}.0*").split("\n")[:-1] == [
            "CREATE DATABASE",
            "DROP DATABASE",
        ]
    one.assert_unchanged()


BECOME_REPLICA = "mariadb -e \"CHANGE MASTER TO master_host = '127.0.0.1'\""
READ_LOG = """
setsid -f mariadb-binlog -R --stop-never --stop-never-slave-server-id=77 binlog.000001 >/dev/null 2>&1
until mariadb -e 'SHOW PROCESSLIST' | grep 'Binlog Dump'; do sleep 0.1; done
"""
END_READING = """
while pkill -x mariadb-binlog; do sleep 0.1; done
while mariadb -N -e 'SHOW PROCESSLIST' | awk '/Binlog Dump/ { print "KILL", $1, ";" }' | grep KILL > /tmp/kill; do
    mariadb < /tmp/kill
    sleep 0.1
done
rm /tmp/kill
"""


def test_a_server_that_shares_its_data_is_refused(one: Watched) -> None:
    (host,) = one.cluster.hosts
    with setting(host, f"log_bin = {LOGS}\\nserver_id = 7"), running(host):
        before = Watched(one.cluster)
        for begin, end, words in (
            (BECOME_REPLICA, "mariadb -e 'RESET SLAVE ALL'", "is a replica"),
            (READ_LOG, END_READING, "has replicas"),
        ):
            sh(host, begin)
            done = run(*options(one), "-x")
            sh(host, end)
            assert f"has a MySQL server that {words}" in done.stdout
            assert done.returncode == pytest.ExitCode.TESTS_FAILED
            assert "MySQL: bind" not in done.stdout
            before.assert_unchanged()
    one.assert_unchanged()


def test_a_stopped_replica_is_looked_at_without_replicating(one: Watched) -> None:
    (host,) = one.cluster.hosts
    with setting(host, "server_id = 7"), socket.create_server((one.cluster.gateway, 0)) as source:
        source.setblocking(False)
        address, port = source.getsockname()
        with running(host):
            sh(
                host,
                f"mariadb -e \"CHANGE MASTER TO master_host = '{address}', master_port = {port}, master_user = 'x'\"",
            )
        before = Watched(one.cluster)
        done = run(*options(one), "-x")
        with pytest.raises(BlockingIOError):
            source.accept()
        assert "has a MySQL server that is a replica of another" in done.stdout
        assert done.returncode == pytest.ExitCode.TESTS_FAILED
        before.assert_unchanged()
        sh(host, f"printf 'skip-slave-start\\n' >> {SETTING}")
        with running(host):
            sh(host, "mariadb -e 'RESET SLAVE ALL'")
    one.assert_unchanged()


def test_a_stopped_member_of_a_cluster_is_not_started(one: Watched) -> None:
    (host,) = one.cluster.hosts
    with setting(host, "wsrep_on = ON"):
        before = Watched(one.cluster)
        done = run(*options(one), "-x")
        assert "has a MySQL server that is a member of a Galera cluster" in done.stdout
        assert done.returncode == pytest.ExitCode.TESTS_FAILED
        assert "MySQL: start" not in done.stdout
        before.assert_unchanged()
    one.assert_unchanged()
