"""Passwords: who is let in with one and without, and that they are seen nowhere."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from circuit_harness.engine.attach import find
from circuit_harness.engine.spec import Services
from circuit_harness.remote.circuit_host import CircuitHosts
from circuit_harness.secret import Secret, generate, mask
from circuit_harness.services.mysql import RunningMySQL
from circuit_harness.services.mysql.accounts import check_user
from circuit_harness.services.program import RunningProgram
from deploy.services import USER, services
from localhosts import Cluster, Host
from tests.jobs import Watched, dial_cluster, joined, named, run, run_forced, sh
from tests.pieces import found

# Whatever stands in a command line or an environment, many times a second, while a file is not there.
_SPY = """
mkdir -p /run/spy
setsid -f sh -c '
    while [ ! -e /run/spy/stop ]; do
        cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr "\\0" "\\n" | sort -u > /run/spy/now
        sort -u -o /run/spy/seen /run/spy/now /run/spy/seen 2>/dev/null || cp /run/spy/now /run/spy/seen
        sleep 0.05
    done
    : > /run/spy/stopped' </dev/null >/dev/null 2>&1
"""
_SPIED = """
: > /run/spy/stop
tries=0; until [ -e /run/spy/stopped ] || [ $tries -ge 100 ]; do sleep 0.1; tries=$((tries + 1)); done
cat /run/spy/seen; rm -r /run/spy
"""


FORCED = ("circuit_harness.remote.shell:ShellJob._reported", "pymysql.connections:Connection._request_authentication")
"""What fails in a worker: the command that has read the password, and the connecting with it."""


@dataclass(frozen=True)
class Secured:
    """A deployment whose server has TLS, on two hosts of three; what its run wrote, and what was seen on the hosts."""

    cluster: Cluster
    mysql: RunningMySQL
    nodejs: RunningProgram
    api_host: Host
    third_host: Host
    written: str
    forced: list[str]
    spied: str
    app_password: str
    check_password: str


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with joined(3) as cluster:
        with dial_cluster(cluster) as client:
            first, second, third = sorted(client.view())
        watched = Watched(cluster)
        hosts = {name: watched.named(name) for name in (first, second, third)}
        for host in hosts.values():
            sh(host, _SPY)
        folder = tmp_path_factory.mktemp("written")
        reach = named(cluster)
        options = [*reach, f"--artifacts={folder}", f"--junitxml={folder}/junit.xml", f"--report={folder}/report.html"]
        # A check that fails has all evidence written; locals show what frames hold.
        done = run(*options, f"--hosts={first},{second}", "--keep=always", "-l", "-n", "2")
        assert done.returncode == 0, done.stdout
        broken = _broken_run(reach, hosts[first])
        forced = [_forced_run(reach, function, tmp_path_factory.mktemp("forced")) for function in FORCED]
        with dial_cluster(cluster) as client:
            deployed = find(CircuitHosts(client), Services(services())).services
            mysql, nodejs = deployed["mysql"], deployed["nodejs"]
            assert isinstance(mysql, RunningMySQL)
            assert isinstance(nodejs, RunningProgram)
            yield Secured(
                cluster=cluster,
                mysql=mysql,
                nodejs=nodejs,
                api_host=hosts[second],
                third_host=hosts[third],
                forced=forced,
                written=done.stdout + done.stderr + broken + _all_text(folder),
                spied="".join(sh(host, _SPIED) for host in hosts.values()),
                app_password=sh(hosts[second], f"cat {nodejs.secrets['mysql']}"),
                check_password=sh(hosts[first], f"cat {mysql.check_file}"),
            )


def _broken_run(reach: list[str], mysql_host: Host) -> str:
    """What a run writes whose checks fail: on connecting, and later."""
    sh(mysql_host, "systemctl stop mariadb")
    try:
        done = run(*reach, "--attach", "-l", "--tb=long")
    finally:
        sh(mysql_host, "systemctl start mariadb")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    return done.stdout + done.stderr


def _forced_run(reach: list[str], function: str, folder: Path) -> str:
    """What a run writes whose workers fail where they hold the checks' password."""
    files = [f"--artifacts={folder}", f"--junitxml={folder}/junit.xml", f"--report={folder}/report.html"]
    options = [*reach, "--attach", "-l", "-vv", "-n", "2", "-k", "user_of_the_checks_reads", *files]
    done = run_forced(function, "workers", *options)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "forced" in done.stdout
    return done.stdout + done.stderr + _all_text(folder)


def _all_text(folder: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


def test_no_password_is_written_anywhere(secured: Secured) -> None:
    assert len(secured.written) > 100_000
    for password in (secured.app_password, secured.check_password):
        assert len(password) > 20
        assert password not in secured.written


@pytest.mark.parametrize("number", range(len(FORCED)), ids=FORCED)
def test_no_piece_of_a_password_is_shown_by_what_fails(secured: Secured, number: int) -> None:
    for password in (secured.app_password, secured.check_password):
        assert found(password.encode(), secured.forced[number]) == []


def test_no_password_stands_in_a_command_line_or_an_environment(secured: Secured) -> None:
    assert "mysql_password_file" in secured.spied
    for password in (secured.app_password, secured.check_password):
        assert password not in secured.spied


def test_no_password_is_left_in_a_file_but_its_own(secured: Secured) -> None:
    """Logs, records, the database's own files, and whatever else there is."""
    own = {secured.nodejs.secrets["mysql"], secured.mysql.check_file}
    for host in secured.cluster.hosts:
        found = host.run(
            *("grep", "-rlaF", "-f", "-", "--exclude-dir=proc", "--exclude-dir=sys", "--exclude-dir=usr", "/"),
            input=f"{secured.app_password}\n{secured.check_password}\n".encode(),
            timeout=120,
        )
        assert set(found.stdout.decode().split()) <= own


def client(host: Host, secured: Secured, user: str, password: str, *options: str) -> subprocess.CompletedProcess[bytes]:
    """Connect from a host with a password, which is known here and nowhere else."""
    settings = f"[client]\npassword={password}\n"
    command = ["mariadb", "--defaults-extra-file=/dev/stdin", f"--user={user}", f"--host={secured.mysql.address}"]
    # The host's own user can open the pipe again by its name only where the pipe was made on the host.
    through = ["/bin/sh", "-c", 'cat | "$@"', "sh", *command, "--connect-timeout=10", *options]
    return host.run(*through, "-N", "-e", "SELECT 'in'", input=settings.encode())


def test_the_app_is_let_in_from_its_host_by_tls_alone(secured: Secured) -> None:
    let_in = client(secured.api_host, secured, USER, secured.app_password, "--ssl")
    assert let_in.stdout == b"in\n", let_in.stderr
    refused = client(secured.api_host, secured, USER, secured.app_password, "--skip-ssl")
    assert b"Access denied" in refused.stderr


@pytest.mark.parametrize("user", [USER, check_user(USER)])
def test_the_right_password_is_refused_from_a_third_host(secured: Secured, user: str) -> None:
    password = secured.app_password if user == USER else secured.check_password
    refused = client(secured.third_host, secured, user, password, "--ssl")
    assert re.search(rb"Access denied|not allowed to connect", refused.stderr), refused


@pytest.mark.parametrize("password", ["", "wrong"])
def test_the_app_s_account_is_refused_without_its_password(secured: Secured, password: str) -> None:
    for host in (secured.api_host, secured.third_host):
        refused = client(host, secured, USER, password, "--ssl")
        assert re.search(rb"Access denied|not allowed to connect", refused.stderr), refused


def test_a_secret_shows_itself_to_nobody_who_does_not_ask() -> None:
    secret = Secret("swordfish")
    assert "swordfish" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "swordfish"
    assert mask("a swordfish, and swordfish") == "a ***, and ***"


def test_generated_passwords_are_strong_and_need_no_quotes() -> None:
    made = {generate().reveal() for _ in range(100)}
    assert len(made) == 100
    for password in made:
        assert shlex.quote(password) == password
        assert all(re.search(kind, password) for kind in ("[a-z]", "[A-Z]", "[0-9]", "[^a-zA-Z0-9]"))
