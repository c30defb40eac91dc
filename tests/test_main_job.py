"""The main job, end to end: the harness as its users run it, on real hosts, watched from outside the circuit."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
from pathlib import Path

import pytest

import circuit
from tests.jobs import (
    ROOT,
    RUN_LIMIT_S,
    Watched,
    checks_of_its_own,
    dial_cluster,
    environment,
    harness,
    left_of_cluster_in,
    named,
    not_passed,
    run,
    run_and,
    run_until,
    sh,
    start,
    stop_mysql,
)

OF_THE_PASSWORD = {
    "checks/test_nodejs.py::test_password_is_in_a_file_of_the_app_s_user_alone",
    "checks/test_nodejs.py::test_password_stands_nowhere_else",
}
"""Checks of the app's password."""

LIMIT_S = 10
"""A limit that ends once MySQL is being deployed, also on a busy machine."""


@pytest.mark.rights
def test_makes_hosts_deploys_checks_and_removes_it_all() -> None:
    done = run()
    assert done.returncode == 0, done.stdout
    assert not_passed(done.stdout, disruptive=True) == []
    assert re.search(r"^Started MySQL on private address: [\d.]+ 3306 \(metadata\)$", done.stdout, re.MULTILINE)
    assert re.search(
        r"^Started Node.js service on public address: [\d.]+ 8080 \(metadata\)$", done.stdout, re.MULTILINE
    )
    assert left_of_cluster_in(done.stdout) == []


@pytest.mark.rights
def test_ctrl_c_removes_the_hosts() -> None:
    status, output = run_until("MySQL: start", signal.SIGINT)
    assert status == pytest.ExitCode.INTERRUPTED, output
    assert left_of_cluster_in(output) == []


def test_what_ctrl_c_prints_finishes_a_job_that_was_killed() -> None:
    def press(process: subprocess.Popen[str]) -> None:
        os.killpg(process.pid, signal.SIGINT)
        # Two at once would be one.
        threading.Event().wait(0.5)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout is not None
        for text in process.stdout:
            printed.append(text)
            if "finish the job by" in text:
                os.killpg(process.pid, signal.SIGKILL)

    printed: list[str] = []
    _, output = run_and("MySQL: start", press)
    (finish,) = re.findall(r"if this run must be killed, finish the job by: (.*)$", "".join(printed), re.MULTILINE)
    done = subprocess.run(["sh", "-c", finish], cwd=ROOT, env=environment(), timeout=RUN_LIMIT_S, check=False)
    assert done.returncode == 0
    assert left_of_cluster_in(output) == []


def test_leaves_hosts_as_they_were(watched: Watched) -> None:
    done = run(*named(watched.cluster, watched.cluster.hosts[1]))
    assert done.returncode == 0, done.stdout
    watched.assert_unchanged()


def test_puts_back_a_server_that_was_running(watched: Watched) -> None:
    for host in watched.cluster.hosts:
        sh(host, "systemctl start mariadb; mariadb -e 'CREATE DATABASE precious'")
    try:
        running = Watched(watched.cluster)
        done = run(*named(watched.cluster), "-m", "mysql")
        assert done.returncode == 0, done.stdout
        running.assert_unchanged()
    finally:
        for host in watched.cluster.hosts:
            sh(host, "mariadb -e 'DROP DATABASE precious'")
            stop_mysql(host)


def test_other_ports_than_the_usual_ones(watched: Watched) -> None:
    circuit_options = named(watched.cluster)
    for options in (["--mysql-port=3307", "--api-port=18080"], ["--mysql-port=18080", "--api-port=18080"]):
        selection = ("-k", "bind_address or schema_columns or listens or http_put or log_says")
        done = run(*circuit_options, *options, *selection)
        assert done.returncode == 0, done.stdout
        assert not_passed(done.stdout, *selection) == []
        mysql_port, api_port = (option.partition("=")[2] for option in options)
        mysql, api = (rf"address: [\d.]+ {port} \(metadata\)$" for port in (mysql_port, api_port))
        assert re.search(f"^Started MySQL on private {mysql}", done.stdout, re.MULTILINE)
        assert re.search(f"^Started Node.js service on public {api}", done.stdout, re.MULTILINE)
        watched.assert_unchanged()
    both = f"--hosts={watched.roles[0]}"
    one_port = ("--mysql-port=18080", "--api-port=18080")
    for options in (["-k", "log_says"], ["-n", "2"], ["--plan"]):
        refused = run(*circuit_options, both, *one_port, *options)
        assert refused.returncode == pytest.ExitCode.USAGE_ERROR, refused.stdout
        assert refused.stderr.splitlines() == [
            f"ERROR: host {watched.roles[0]} is to have both MySQL and Node.js on port 18080: give one another port",
            "",
        ]
        assert "skipped" not in refused.stdout
    # What is not deployed needs no port.
    done = run(*circuit_options, both, *one_port, "-k", "schema_columns")
    assert done.returncode == 0, done.stdout
    watched.assert_unchanged()


@pytest.mark.parametrize("running", [True, False], ids=["server running", "server stopped"])
def test_what_a_service_is_started_with_is_told_where_it_wins(watched: Watched, running: bool) -> None:
    host = watched.named(watched.roles[0])
    folder = "/run/systemd/system/mariadb.service.d"
    unit = "[Service]\\nEnvironment=MYSQLD_OPTS=--bind-address=127.0.0.5\\n"
    start = "systemctl start mariadb" if running else "true"
    sh(host, f"mkdir -p {folder}; printf '{unit}' > {folder}/options.conf; systemctl daemon-reload; {start}")
    try:
        before, process = Watched(watched.cluster), sh(host, "systemctl show -p MainPID mariadb")
        done = run(*named(watched.cluster), "-m", "mysql", "-x")
        assert done.returncode == pytest.ExitCode.TESTS_FAILED
        if running:
            assert "the server would still start with bind-address 127.0.0.5 instead of 10." in done.stdout
            assert "as it was started with --bind-address=127.0.0.5: take that out" in done.stdout
            # Those whom it serves have not noticed.
            assert sh(host, "systemctl show -p MainPID mariadb") == process
        else:
            assert "is bound to 127.0.0.5 port 3306, not to 10." in done.stdout
            assert "what starts mariadb, such as $MYSQLD_OPTS, sets it; take that out" in done.stdout
        before.assert_unchanged()
    finally:
        stop_mysql(host)
        sh(host, f"rm -r {folder}; systemctl daemon-reload")
    watched.assert_unchanged()


def test_the_tutorial_s_set_up_opens_one_user_and_nothing_else(watched: Watched) -> None:
    done = run(*named(watched.cluster), "--tutorial-compat", "--keep=always", "-rs")
    try:
        assert done.returncode == 0, done.stdout
        assert not_passed(done.stdout, without=OF_THE_PASSWORD) == []
        assert done.stdout.count(": the app has no password (--tutorial-compat)") == len(OF_THE_PASSWORD)
        found = re.search(r"^Started MySQL on private address: (\S+) 3306 \(metadata\)$", done.stdout, re.MULTILINE)
        assert found is not None, done.stdout
        server = watched.named(watched.roles[0])
        for host in watched.cluster.hosts:
            for tls in ("--ssl", "--skip-ssl"):
                client = f"mariadb -h {found[1]} {tls} -N"
                assert sh(host, f"{client} -u tutorial -e 'SELECT CURRENT_USER()'") == "tutorial@%\n"
                assert sh(host, f"{client} -u tutorial -e 'SHOW DATABASES'") == "information_schema\ntutorial\n"
                for user in ("root", "tutorial_check", "nobody"):
                    assert re.search("Access denied|not allowed", sh(host, f"{client} -u {user} -e 'SELECT 1' 2>&1"))
        sql = 'mariadb -N -e "{}"'
        others = "SELECT user, host FROM mysql.user WHERE user NOT IN ('root', 'mysql', 'mariadb.sys') ORDER BY user"
        accounts = f"tutorial\t%\ntutorial_check\t{watched.cluster.gateway}\n"
        assert sh(server, sql.format(others)) == accounts
        assert sh(server, sql.format("SELECT @@collation_database") + " tutorial") == "utf8mb4_bin\n"
        assert sh(server, "ss -Hltn sport = 3306 | awk '{ print $4 }'") == f"{found[1]}:3306\n"
    finally:
        ended = run(*named(watched.cluster), "--circuit-teardown")
    assert ended.returncode == 0, ended.stdout
    watched.assert_unchanged()


def test_a_selection_starts_only_what_it_needs(watched: Watched) -> None:
    done = run(*named(watched.cluster), "-k", "schema")
    assert done.returncode == 0, done.stdout
    assert "MySQL: start" in done.stdout
    assert "Node.js" not in done.stdout


def test_a_selection_of_nothing_deploys_nothing(watched: Watched) -> None:
    done = run(*named(watched.cluster), "-k", "no_such_check")
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "MySQL" not in done.stdout


def test_two_workers_make_one_deployment(watched: Watched) -> None:
    done = run(*named(watched.cluster), "-n", "2")
    assert done.returncode == 0, done.stdout
    watched.assert_unchanged()


@pytest.mark.parametrize("running", [True, False], ids=["server running", "server stopped"])
@pytest.mark.parametrize(
    ("there", "sql"),
    [
        ("database", "CREATE DATABASE tutorial; CREATE TABLE tutorial.mine AS SELECT 42 AS answer"),
        ("user", "CREATE USER tutorial IDENTIFIED BY 'theirs'"),
    ],
)
def test_what_is_there_is_refused_or_replaced(watched: Watched, there: str, sql: str, running: bool) -> None:
    host = watched.named(watched.roles[0])
    sh(host, f'systemctl start mariadb; mariadb -e "{sql}"')
    if not running:
        stop_mysql(host)
    theirs = Watched(watched.cluster)
    circuit_options = named(watched.cluster)

    refused = run(*circuit_options, "-m", "mysql")
    assert refused.returncode == pytest.ExitCode.TESTS_FAILED
    assert re.search(f"has {there} tutorial.* already: --replace drops", refused.stdout)
    theirs.assert_unchanged()
    if there == "database":
        sh(host, "systemctl start mariadb")
        assert sh(host, "mariadb -N -e 'SELECT answer FROM tutorial.mine'") == "42\n"
        if not running:
            stop_mysql(host)

    replaced = run(*circuit_options, "-m", "mysql", "--replace")
    assert replaced.returncode == 0, replaced.stdout
    stop_mysql(host)
    watched.assert_unchanged()


def test_an_app_that_runs_is_refused_before_anything_is_changed(watched: Watched) -> None:
    with dial_cluster(watched.cluster) as client:
        anchor = client.walk(watched.roles[1], "nodejs")
        theirs = anchor.make_proc(circuit.Cmd("/bin/sleep", ["1000"]))
        try:
            occupied = Watched(watched.cluster)
            done = run(*named(watched.cluster))
            assert done.returncode == pytest.ExitCode.TESTS_FAILED
            assert "nodejs app already running" in done.stdout
            assert "MySQL: bind" not in done.stdout
            assert theirs.peek().phase == "running"
            occupied.assert_unchanged()
        finally:
            theirs.signal("KILL")
            anchor.scrub()


def test_a_port_in_use_is_refused_before_anything_is_changed(watched: Watched) -> None:
    with dial_cluster(watched.cluster) as client:
        job = client.walk(watched.roles[1], "listener")
        listener = job.make_proc(circuit.Cmd("/usr/bin/python3", ["-m", "http.server", "8080"]))
        try:
            host = watched.named(watched.roles[1])
            sh(host, "for i in $(seq 100); do ss -Hltn | grep -q :8080 && break; sleep 0.1; done")
            done = run(*named(watched.cluster))
            assert done.returncode == pytest.ExitCode.TESTS_FAILED
            assert "port 8080 is in use" in done.stdout
            assert "MySQL: bind" not in done.stdout
        finally:
            listener.signal("KILL")
            job.scrub()


@pytest.mark.parametrize(
    "line",
    ["look at the hosts", "MySQL: bind", "MySQL: start", "MySQL: make database", "Node.js: send", "Node.js: start"],
)
def test_ctrl_c_while_provisioning_undoes_everything(watched: Watched, line: str) -> None:
    status, output = run_until(line, signal.SIGINT, *named(watched.cluster), "-m", "mysql or nodejs")
    assert status == pytest.ExitCode.INTERRUPTED, output
    watched.assert_unchanged()


@pytest.mark.parametrize("check", ["test_schema_columns", "test_http_put_replaces"])
def test_sigterm_while_checking_undoes_everything(watched: Watched, check: str) -> None:
    status, output = run_until(f"{check}.*PASSED", signal.SIGTERM, *named(watched.cluster))
    assert status == pytest.ExitCode.INTERRUPTED, output
    watched.assert_unchanged()


def test_a_limit_that_ends_while_provisioning_undoes_everything(watched: Watched) -> None:
    host = watched.named(watched.roles[0])
    folder, go_on = "/run/systemd/system/mariadb.service.d", "/run/go-on"
    waits = f"tries=0; until [ -e {go_on} ] || [ $tries = 600 ]; do sleep 0.1; tries=$((tries + 1)); done"
    sh(
        host,
        f"mkdir -p {folder}; printf '[Service]\\nExecStartPre=/bin/sh -c \"{waits.replace('$', '$$')}\"\\n'"
        f" > {folder}/waits.conf; systemctl daemon-reload",
    )
    try:
        status, output = run_and(
            "^stopped at",
            lambda _: sh(host, f"touch {go_on}"),
            *named(watched.cluster),
            "-m",
            "mysql",
            f"--run-timeout={LIMIT_S}",
        )
    finally:
        sh(host, f"rm -rf {folder} {go_on}; systemctl daemon-reload")
    assert status == pytest.ExitCode.INTERRUPTED, output
    doing = rf"MySQL: start mariadb \[{watched.roles[0]}\] \(\d+ s\)"
    assert re.search(
        rf"^note: stopped at the limit of {LIMIT_S} s .*; under way then: {doing}$", output, re.MULTILINE
    ), output
    watched.assert_unchanged()


def test_a_limit_that_ends_while_workers_hang_undoes_everything(watched: Watched, tmp_path: Path) -> None:
    hangs = "import threading, pytest\n\n@pytest.mark.parametrize('name', 'ab')\ndef test_hangs(mysql, name):\n"
    checks = checks_of_its_own(tmp_path, f"{hangs}    threading.Event().wait(60)\n")
    done = run(*named(watched.cluster), "-n", "2", f"--run-timeout={LIMIT_S}", f"--artifacts={tmp_path}", *checks)
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout
    (note,) = json.loads((tmp_path / "run.json").read_text())["notes"]
    under_way = r"\S*::test_hangs\[[ab]\] \(\d+ s\)"
    assert re.search(rf"; under way then: {under_way}, {under_way}$", note), note
    assert "[a]" in note
    assert "[b]" in note
    assert f"note: {note}\n" in done.stdout
    watched.assert_unchanged()


@pytest.mark.parametrize("line", ["MySQL: start", "PASSED"])
def test_a_terminal_that_goes_away_undoes_everything(watched: Watched, line: str) -> None:
    status, output = run_until(line, signal.SIGHUP, *named(watched.cluster))
    assert status == pytest.ExitCode.INTERRUPTED, output
    watched.assert_unchanged()


@pytest.mark.parametrize("line", ["look at the hosts", "MySQL: start", "PASSED"])
def test_a_reader_that_goes_away_undoes_everything(watched: Watched, line: str) -> None:
    process = start(*named(watched.cluster))
    assert process.stdout is not None
    with process.stdout:
        assert any(line in text for text in process.stdout)
    assert process.wait(RUN_LIMIT_S) != 0
    watched.assert_unchanged()


def test_a_second_ctrl_c_does_not_cut_the_teardown(watched: Watched) -> None:
    process = subprocess.Popen(
        harness(*named(watched.cluster), "-k", "test_http"),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    seen = ""
    with process.stdout:
        for text in process.stdout:
            seen += text
            if "PASSED" in text or "Node.js: end the app" in text:
                os.killpg(process.pid, signal.SIGINT)
    process.wait(RUN_LIMIT_S)
    assert "taking down what was deployed" in seen
    watched.assert_unchanged()
