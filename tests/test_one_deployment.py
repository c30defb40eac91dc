"""One deployment, whatever happens: parallel, kept, checked again, crashed, contended for, taken down."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psutil
import pytest

import circuit
from circuit_harness.errors import CommandFailed, Lost
from circuit_harness.journal import record as records
from circuit_harness.remote.address import OPTION, PRIVATE, Addresses
from circuit_harness.remote.circuit_host import CircuitHost
from circuit_harness.remote.command import Command
from circuit_harness.remote.shell import ShellResult
from localhosts import Cluster, Host
from localhosts.privilege import as_root
from tests.jobs import (
    RUN_LIMIT_S,
    STATE,
    Watched,
    dial_cluster,
    end_waiting_commands,
    joined,
    keyed,
    named,
    not_passed,
    run,
    run_and,
    sh,
    start,
    stop_mysql,
)

if TYPE_CHECKING:
    from tests.conftest import Eventually

COUNT = """
journalctl --sync
journalctl -q --no-pager -o cat -u mariadb | grep -c '^Started '
for what in 'mkdir -p -m 700 /var/lib/tutorial-deploy' 'mkdir /var/lib/tutorial-nodejs' \\
    'rm -rf "$folder"' 'systemctl stop mariadb'
do journalctl -q --no-pager -o cat -t sudo | grep -cF "$what"; done
"""
"""How often a host started MySQL, and was told to begin and to undo MySQL's part and the API's; by its own journal."""


def counts(cluster: Cluster) -> list[int]:
    """How often either host did."""
    each = [[int(line) for line in sh(host, COUNT).split()] for host in cluster.hosts]
    return [sum(host) for host in zip(*each, strict=True)]


@contextmanager
def kept(watched: Watched, *options: str) -> Iterator[str]:
    """A deployment that was kept; taken down in the end. Gives the run's id."""
    done = run(*named(watched.cluster), "--keep=always", *options)
    assert done.returncode == 0, done.stdout
    found = re.search(r"^Kept run ([0-9a-f]{8}) of ", done.stdout, re.MULTILINE)
    assert found is not None, done.stdout
    # Others' deployments on the same circuit are none of theirs.
    for action in ("--attach", "--circuit-teardown"):
        assert re.search(
            rf"pytest --circuit-addr=\S+ --circuit-hmac=\S+ --hosts=X\w+(,X\w+)? {action}$", done.stdout, re.MULTILINE
        )
    try:
        yield found[1]
    finally:
        run(*named(watched.cluster), "--circuit-teardown", "--replace")


@contextmanager
def listening(host: Host, port: int) -> Iterator[None]:
    """A program of somebody else on a port."""
    there = f"until ss -Hltn sport = {port} | grep -q .; do sleep 0.05; done"
    sh(host, f"setsid -f python3 -m http.server {port} >/dev/null 2>&1 </dev/null; {there}")
    try:
        yield
    finally:
        sh(host, f"kill $(ss -Hltnp sport = {port} | sed 's/.*pid=\\([0-9]*\\).*/\\1/')")


def mysql_host(watched: Watched) -> Host:
    return watched.named(watched.roles[0])


def sql(host: Host, statement: str) -> str:
    return sh(host, f'mariadb -N -e "{statement}"').strip()


@pytest.mark.parametrize(
    "options",
    [
        ("-n", "0"),
        ("-n", "4"),
        ("-n", "2", "--dist", "loadfile"),
        ("-p", "xdist", "-k", "schema or http"),
        ("-n", "2", "-k", "schema or http"),
    ],
    ids=" ".join,
)
def test_deploys_once_and_takes_down_once(watched: Watched, options: tuple[str, ...]) -> None:
    before = counts(watched.cluster)
    done = run(*named(watched.cluster), *options)
    assert done.returncode == 0, done.stdout
    selection = options[options.index("-k") :] if "-k" in options else ()
    assert not_passed(done.stdout, *selection) == []
    now = counts(watched.cluster)
    assert [b - a for a, b in zip(before, now, strict=True)] == [1, 1, 1, 1, 1]
    watched.assert_unchanged()


def test_a_worker_that_is_killed_changes_nothing(watched: Watched) -> None:
    before = counts(watched.cluster)

    def kill(process: subprocess.Popen[str]) -> None:
        workers = psutil.Process(process.pid).children()
        assert len(workers) == 2
        workers[0].kill()

    status, output = run_and("test_schema_columns", kill, *named(watched.cluster), "-n", "2")
    assert status == pytest.ExitCode.TESTS_FAILED, output
    assert "crashed while running" in output
    crashed = re.findall(r"crashed while running '(checks/.*)'", output)
    # It may have had one that is skipped, or that had passed.
    assert set(not_passed(output)) <= set(crashed), output
    now = counts(watched.cluster)
    assert [b - a for a, b in zip(before, now, strict=True)] == [1, 1, 1, 1, 1]
    watched.assert_unchanged()


def test_a_selection_of_nothing_deploys_nothing(watched: Watched) -> None:
    before = counts(watched.cluster)
    for workers in ([], ["-n", "2"]):
        done = run(*named(watched.cluster), "-k", "no_such_check", *workers)
        assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout
    assert counts(watched.cluster) == before


def test_what_was_kept_is_checked_again_and_changed_by_nobody(watched: Watched) -> None:
    with kept(watched):
        standing = Watched(watched.cluster)
        before = counts(watched.cluster)
        for options in ([], ["-k", "schema"], ["-n", "2"]):
            again = run(*named(watched.cluster), "--attach", *options)
            assert again.returncode == 0, again.stdout
            assert re.search(r"^Found MySQL on private address: [\d.]+ 3306 \(metadata\)$", again.stdout, re.MULTILINE)
        assert counts(watched.cluster) == before
        standing.assert_unchanged()
    watched.assert_unchanged()


def test_what_was_kept_is_refused_then_replaced(watched: Watched) -> None:
    with kept(watched) as first:
        standing = Watched(watched.cluster)
        refused = run(*named(watched.cluster))
        assert refused.returncode == pytest.ExitCode.TESTS_FAILED
        assert f"has a deployment that was kept (run {first} of " in refused.stdout
        assert "--replace takes it down first" in refused.stdout
        standing.assert_unchanged()

        with listening(watched.named(watched.roles[1]), 8081):
            refused = run(*named(watched.cluster), "--replace", "--api-port=8081")
        assert refused.returncode == pytest.ExitCode.TESTS_FAILED
        assert "port 8081 is in use (0.0.0.0:8081) by another program: free it" in refused.stdout
        standing.assert_unchanged()

        replaced = run(*named(watched.cluster), "--replace", "--keep=always")
        assert replaced.returncode == 0, replaced.stdout
        assert first not in sh(mysql_host(watched), "cat /var/lib/tutorial-deploy/record.json")
        # The same, but for the run's name in paths.
        assert [re.sub(r"nodejs-[0-9a-f]{8}", "", text) for text in standing.state()] == [
            re.sub(r"nodejs-[0-9a-f]{8}", "", text) for text in standing.before
        ]
    watched.assert_unchanged()


def test_a_plan_changes_nothing_and_tells_what_is_done_then(watched: Watched) -> None:
    told = run(*named(watched.cluster), "--plan")
    assert told.returncode == 0, told.stdout + told.stderr
    for words in (
        "write 'bind-address = ",
        "MySQL: start mariadb",
        "MySQL: make database tutorial and accounts, load schema.sql",
        "accounts tutorial, tutorial_check",
        "/nodejs",
    ):
        assert words in told.stdout
    watched.assert_unchanged()
    with kept(watched):
        standing = Watched(watched.cluster)
        told = run(*named(watched.cluster), "--plan")
        assert told.returncode == pytest.ExitCode.TESTS_FAILED
        assert "not now: " in told.stdout
        assert "was kept" in told.stdout
        told = run(*named(watched.cluster), "--plan", "--replace")
        assert told.returncode == 0, told.stdout
        assert "MySQL: drop database tutorial and its accounts" in told.stdout
        standing.assert_unchanged()


def test_the_record_is_root_s_and_names_who_deployed(watched: Watched) -> None:
    with kept(watched) as name:
        for host in watched.cluster.hosts:
            assert sh(host, "stat -c '%a %U' /var/lib/tutorial-deploy/record.json").strip() == "600 root"
            record = sh(host, "cat /var/lib/tutorial-deploy/record.json")
            assert f'"run": "{name}"' in record
            assert '"state": "kept"' in record


def test_only_a_failure_is_kept_where_only_failures_are_to_be(watched: Watched) -> None:
    done = run(*named(watched.cluster), "--keep=on-failure", "-k", "schema")
    assert done.returncode == 0, done.stdout
    assert "Kept" not in done.stdout
    watched.assert_unchanged()

    def break_it(process: subprocess.Popen[str]) -> None:
        # Before the checks get there.
        process.send_signal(signal.SIGSTOP)
        sql(mysql_host(watched), "DROP TABLE tutorial.NameValue")
        process.send_signal(signal.SIGCONT)

    status, output = run_and("load schema", break_it, *named(watched.cluster), "--keep=on-failure", "-m", "mysql")
    try:
        assert status == pytest.ExitCode.TESTS_FAILED, output
        assert "Kept run" in output
        assert "journal of mariadb on host" in output
    finally:
        ended = run(*named(watched.cluster), "--circuit-teardown")
    assert ended.returncode == 0, ended.stdout
    assert "(kept): it was all taken down" in ended.stdout
    watched.assert_unchanged()


def test_nothing_is_there_to_take_down(watched: Watched) -> None:
    ended = run(*named(watched.cluster), "--circuit-teardown")
    assert (ended.returncode, ended.stdout) == (0, "nothing to take down there\n")
    attached = run(*named(watched.cluster), "--attach", "-k", "schema")
    assert attached.returncode == pytest.ExitCode.TESTS_FAILED
    assert "no deployment was kept on" in attached.stdout


@pytest.mark.parametrize("line", ["MySQL: start", "MySQL: make database", "Node.js: send", "test_http_put_replaces"])
def test_a_run_that_was_killed_is_cleared_away_by_the_next(watched: Watched, line: str) -> None:
    status, _ = run_and(line, lambda process: process.kill(), *named(watched.cluster), "-m", "mysql or nodejs")
    assert status == -signal.SIGKILL
    after = run(*named(watched.cluster))
    assert after.returncode == 0, after.stdout
    assert "did not end by itself; it is taken down first" in after.stdout
    end_waiting_commands(watched.cluster)
    watched.assert_unchanged()


def test_a_run_that_was_killed_is_taken_down_by_hand(watched: Watched) -> None:
    run_and("test_http_put_replaces", lambda process: process.kill(), *named(watched.cluster))
    ended = run(*named(watched.cluster), "--circuit-teardown")
    assert ended.returncode == 0, ended.stdout
    assert "(crashed): it was all taken down" in ended.stdout
    watched.assert_unchanged()


def test_a_table_of_somebody_else_survives(watched: Watched) -> None:
    host = mysql_host(watched)
    sh(host, "systemctl start mariadb")
    sql(host, "CREATE DATABASE tutorial; CREATE TABLE tutorial.mine AS SELECT 42 AS answer")
    try:
        for options in (
            *([], ["-n", "2"], ["--keep=always"], ["--keep=on-failure"], ["--attach"], ["--circuit-teardown"]),
            *(["--plan"], ["--lease-wait=0"], ["-x"], [f"--hosts={watched.roles[0]}"]),
        ):
            run(*named(watched.cluster), "-k", "schema", *options)
            assert sql(host, "SELECT answer FROM tutorial.mine") == "42", options
    finally:
        sql(host, "DROP DATABASE tutorial")
        stop_mysql(host)
    watched.assert_unchanged()


def test_a_table_put_into_what_was_kept_survives_until_replaced(watched: Watched) -> None:
    host = mysql_host(watched)
    with kept(watched, "-m", "mysql"):
        sql(host, "CREATE TABLE tutorial.mine AS SELECT 42 AS answer")
        ended = run(*named(watched.cluster), "--circuit-teardown")
        assert ended.returncode == pytest.ExitCode.TESTS_FAILED
        assert "database tutorial has what is not of this deployment: table mine (--replace drops them)" in ended.stdout
        sh(host, "systemctl start mariadb")
        assert sql(host, "SELECT answer FROM tutorial.mine") == "42"
        ended = run(*named(watched.cluster), "--circuit-teardown", "--replace")
        assert ended.returncode == 0, ended.stdout
    watched.assert_unchanged()


def test_a_configuration_changed_meanwhile_is_left(watched: Watched) -> None:
    host = mysql_host(watched)
    file = "/etc/mysql/mariadb.conf.d/50-server.cnf"
    with kept(watched, "-m", "mysql"):
        sh(host, f"echo '# mine' >> {file}")
        ended = run(*named(watched.cluster), "--circuit-teardown")
        assert ended.returncode == pytest.ExitCode.TESTS_FAILED
        assert f"{file} was changed since by somebody else" in ended.stdout
        assert sh(host, f"tail -n 1 {file}") == "# mine\n"
        ended = run(*named(watched.cluster), "--circuit-teardown", "--replace")
        assert ended.returncode == 0, ended.stdout
    watched.assert_unchanged()


def test_other_things_put_into_what_was_kept_survive(watched: Watched) -> None:
    host = mysql_host(watched)
    with kept(watched, "-m", "mysql"):
        sql(host, "CREATE TABLE tutorial.namevalue AS SELECT 42 AS answer; CREATE PROCEDURE tutorial.mine() SELECT 1")
        ended = run(*named(watched.cluster), "--circuit-teardown")
        assert ended.returncode == pytest.ExitCode.TESTS_FAILED
        assert "database tutorial has what is not of this deployment: table namevalue routine mine" in ended.stdout
        sh(host, "systemctl start mariadb")
        assert sql(host, "SELECT answer FROM tutorial.namevalue") == "42"
    watched.assert_unchanged()


def test_a_full_disk_harms_nothing(watched: Watched) -> None:
    """Of what holds the records and the backups; at each of some sizes another write is the first that fails."""
    host = mysql_host(watched)
    for size in ("4k", "8k", "12k"):
        sh(host, f"mkdir /var/lib/tutorial-deploy; mount -t tmpfs -o size={size} none /var/lib/tutorial-deploy")
        try:
            run(*named(watched.cluster), "-m", "mysql", "-x")
        finally:
            sh(host, "umount /var/lib/tutorial-deploy; rmdir /var/lib/tutorial-deploy; systemctl stop mariadb")
        watched.assert_unchanged()


def test_a_configuration_that_cannot_be_put_back_is_put_back_later(watched: Watched) -> None:
    host = mysql_host(watched)
    file = "/etc/mysql/mariadb.conf.d/50-server.cnf"
    with kept(watched, "-m", "mysql"):
        sh(host, f"mount --bind {file} {file}; mount -o remount,bind,ro {file}")
        try:
            ended = run(*named(watched.cluster), "--circuit-teardown")
        finally:
            sh(host, f"umount {file}")
        assert ended.returncode == pytest.ExitCode.TESTS_FAILED
        assert f"{file} could not be put back" in ended.stdout
        ended = run(*named(watched.cluster), "--circuit-teardown")
        assert ended.returncode == 0, ended.stdout
    watched.assert_unchanged()


def test_nothing_is_replaced_before_it_is_known_that_the_run_can_go_on(watched: Watched) -> None:
    with kept(watched, "-m", "mysql"), dial_cluster(watched.cluster) as client:
        job = client.walk(watched.roles[1], "listener")
        listener = job.make_proc(circuit.Cmd("/usr/bin/python3", ["-m", "http.server", "8080"]))
        try:
            sh(watched.named(watched.roles[1]), "until ss -Hltn | grep -q :8080; do sleep 0.1; done")
            standing = Watched(watched.cluster)
            for options in (["--plan", "--replace"], ["--replace", "-x"]):
                refused = run(*named(watched.cluster), *options)
                assert refused.returncode == pytest.ExitCode.TESTS_FAILED, refused.stdout
                assert "port 8080 is in use" in refused.stdout
            standing.assert_unchanged()
        finally:
            listener.signal("KILL")
            job.scrub()
    watched.assert_unchanged()


@pytest.mark.rights
def test_a_run_that_lost_its_lease_leaves_the_next_one_s_alone(watched: Watched) -> None:
    second: list[subprocess.CompletedProcess[str]] = []

    def rob(process: subprocess.Popen[str]) -> None:
        """As a laptop's sleep does: the leases end, another run comes, and then the first wakes up."""
        os.killpg(process.pid, signal.SIGSTOP)
        try:
            for host in watched.cluster.hosts:
                cut = as_root(["ss", "-K", "dst", host.private_address])
                subprocess.run(cut, check=True, capture_output=True)
            second.append(run(*named(watched.cluster), "--keep=always", "--lease-wait=20"))
        finally:
            os.killpg(process.pid, signal.SIGCONT)

    try:
        status, output = run_and("test_service_is_running.*PASSED", rob, *named(watched.cluster))
        assert second[0].returncode == 0, second[0].stdout
        assert status == pytest.ExitCode.TESTS_FAILED, output
        assert "the lease on host" in output
        assert "has lost its lease there, and was taken down by run" in output
        again = run(*named(watched.cluster), "--attach")
        assert again.returncode == 0, again.stdout
    finally:
        run(*named(watched.cluster), "--circuit-teardown", "--replace")
    watched.assert_unchanged()


def test_a_record_that_is_cut_short_does_not_replace_a_whole_one(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = Addresses("10.0.0.7", OPTION, "10.0.0.7", PRIVATE)
    whole = records.Record("0a1b2c3d", "me@here", "2026-01-02T03:04:05+00:00", addresses)
    with dial_cluster(watched.cluster) as client:
        host = CircuitHost(client.walk(watched.roles[0]))
        whole_run = CircuitHost.run
        records.write(host, whole)

        def cut_short(host: CircuitHost, command: Command, *arguments: Any, **options: Any) -> ShellResult:
            return whole_run(host, replace(command, stdin=command.stdin[:100]), *arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(CircuitHost, "run", cut_short)
            with pytest.raises(CommandFailed):
                records.write(host, replace(whole, state="kept"))
        assert records.read(host) == whole
        with pytest.raises(Lost, match="another has taken the host over"):
            records.write(host, replace(whole, run="ffffffff"))
        with pytest.raises(Lost, match="another has taken the host over"):
            records.remove(host, replace(whole, run="ffffffff"))
        records.remove(host, whole)
    watched.assert_unchanged()


def test_a_host_whose_record_cannot_be_read_stands_in_no_other_s_way(watched: Watched) -> None:
    other = watched.named(watched.roles[1])
    with kept(watched, "-m", "mysql"):
        for harm, mend, words in (
            ("mkdir -p /var/lib/tutorial-deploy; echo '{' > /var/lib/tutorial-deploy/record.json",
             "rm -r /var/lib/tutorial-deploy", "no record that this program understands"),
            ("mv /etc/sudoers.d/ubuntu /root", "mv /root/ubuntu /etc/sudoers.d", "cannot be read as root"),
        ):  # fmt: skip
            sh(other, harm)
            try:
                attached = run(*named(watched.cluster), "--attach", "-k", "schema")
                assert attached.returncode == 0, attached.stdout
                refused = run(*named(watched.cluster), "--replace", "-x")
                assert refused.returncode == pytest.ExitCode.TESTS_FAILED
            finally:
                sh(other, mend)
            assert words in refused.stdout or "password" in refused.stdout, refused.stdout
        sh(other, "mkdir -p /var/lib/tutorial-deploy; echo '{' > /var/lib/tutorial-deploy/record.json")
        try:
            ended = run(*named(watched.cluster), "--circuit-teardown")
        finally:
            sh(other, "rm -r /var/lib/tutorial-deploy")
        assert ended.returncode == pytest.ExitCode.TESTS_FAILED
        assert "it was all taken down" in ended.stdout
        assert "left behind on host " in ended.stdout
    watched.assert_unchanged()


def test_two_runs_at_once_take_turns(watched: Watched) -> None:
    runs = [start(*named(watched.cluster), "-k", "schema or put") for _ in range(2)]
    outputs = [process.communicate(timeout=RUN_LIMIT_S)[0] for process in runs]
    assert [process.returncode for process in runs] == [0, 0], outputs
    watched.assert_unchanged()


def test_who_does_not_wait_is_told_who_holds_the_host(watched: Watched) -> None:
    with dial_cluster(watched.cluster) as client:
        script = "exec sleep 100"
        lease = client.walk(watched.roles[1], "tutorial-lease").make_proc(
            circuit.Cmd("/bin/sh", ["-c", script, "run 7 of them@there"], scrub=True)
        )
        lease.discard_streams()
        try:
            start_s = time.monotonic()
            done = run(*named(watched.cluster), "--lease-wait=0")
            assert time.monotonic() - start_s < 30
            assert done.returncode == pytest.ExitCode.TESTS_FAILED
            assert f"host {watched.roles[1]} is held by run 7 of them@there" in done.stdout
            # One failure; the rest is said not to have been run.
            assert re.search(r"= [4-9]\d skipped, 1 error in ", done.stdout), done.stdout

            waits = r"waiting up to 600 s \(--lease-wait\): host "
            both = ("-k", "schema or http_put_replaces")
            status, output = run_and(waits, lambda _: lease.signal("KILL"), *named(watched.cluster), *both)
            assert status == 0, output
        finally:
            if watched.roles[1] in client.view():
                end(lease)
    watched.assert_unchanged()


def end(proc: circuit.Proc) -> None:
    """End a process whose streams are closed, if it runs."""
    try:
        proc.signal("KILL")
    except circuit.CallFailed:
        return
    proc.wait()


def test_hosts_are_picked_by_hand(watched: Watched) -> None:
    first, second = watched.roles
    done = run(*named(watched.cluster), f"--hosts={second},{first}", "-k", "schema or element")
    assert done.returncode == 0, done.stdout
    assert re.search(r"MySQL: start mariadb \[mysql\]", done.stdout)
    assert f"  mysql: {second}  nodejs: {first}\n" in done.stdout
    assert re.search(rf"Node.js: start it at /{first}/nodejs", done.stdout)
    alone = run(*named(watched.cluster), f"--hosts={second}")
    assert alone.returncode == 0, alone.stdout
    assert f"[{first}]" not in alone.stdout
    watched.assert_unchanged()


def test_a_deployment_that_fails_is_told_once(watched: Watched) -> None:
    """MySQL cannot start; nothing stays."""
    host = mysql_host(watched)
    sh(
        host,
        "mkdir -p /etc/systemd/system/mariadb.service.d; "
        "printf '[Service]\\nExecStartPre=/bin/false\\n' > /etc/systemd/system/mariadb.service.d/broken.conf; "
        "systemctl daemon-reload",
    )
    try:
        broken = Watched(watched.cluster)
        for workers in ([], ["-n", "2"]):
            done = run(*named(watched.cluster), *workers)
            assert done.returncode == pytest.ExitCode.TESTS_FAILED
            assert re.search(r"\b1 error\b", done.stdout), done.stdout
            assert "not run: command on host" in run(*named(watched.cluster), "-rs").stdout
            sh(host, "systemctl reset-failed mariadb")
            broken.assert_unchanged()
    finally:
        sh(host, "rm -r /etc/systemd/system/mariadb.service.d; systemctl daemon-reload")
    watched.assert_unchanged()


def test_a_second_ctrl_c_tells_how_to_finish(watched: Watched) -> None:
    """While the teardown is held up, by a server that takes its time to stop."""
    host = mysql_host(watched)
    sh(
        host,
        "mkdir -p /run/systemd/system/mariadb.service.d; "
        "printf '[Service]\\nExecStopPost=/bin/sleep 4\\n' > /run/systemd/system/mariadb.service.d/slow.conf; "
        "systemctl daemon-reload",
    )
    try:

        def press(process: subprocess.Popen[str]) -> None:
            os.killpg(process.pid, signal.SIGINT)
            for pause in (1.0, 1.0):
                threading.Event().wait(pause)
                os.killpg(process.pid, signal.SIGINT)

        status, output = run_and("test_schema_columns.*PASSED", press, *named(watched.cluster), "-m", "mysql")
        assert status == pytest.ExitCode.INTERRUPTED, output
        hosts = r"--circuit-addr=\S+ (--circuit-hmac=\S+ )?--hosts=X\w+ --circuit-teardown"
        finish = f"if this run must be killed, finish the job by: cd \\S+ && \\S+ -m pytest {hosts}"
        assert re.search(f"taking down what was deployed; .*{finish}", output)
    finally:
        sh(host, "rm -r /run/systemd/system/mariadb.service.d; systemctl daemon-reload")
    watched.assert_unchanged()


def test_four_hosts_take_two_runs_at_once() -> None:
    with joined(4) as cluster:
        watched = Watched(cluster)
        runs = [start(*named(cluster)) for _ in range(2)]
        outputs = [process.communicate(timeout=RUN_LIMIT_S)[0] for process in runs]
        assert [process.returncode for process in runs] == [0, 0], outputs
        used = [set(re.findall(r"\b(?:mysql|nodejs): (X[0-9a-f]{16})\b", output)) for output in outputs]
        assert [len(hosts) for hosts in used] == [2, 2]
        assert not used[0] & used[1]
        assert not any("waiting" in output for output in outputs)
        watched.assert_unchanged()


@pytest.mark.parametrize("dialed", [True, False], ids=["the dialed one", "the other"])
def test_a_host_that_is_lost_while_all_is_undone_stops_the_undoing_on_itself_alone(dialed: bool) -> None:
    """It dies while the other, which runs MySQL, still has most of its undoing before it."""
    with joined(2) as cluster:
        watched = Watched(cluster)
        index = 0 if dialed else 1
        lost, other = cluster.hosts[index], cluster.hosts[1 - index]
        names = {watched.named(name).name: name for name in watched.roles}
        sh(
            other,
            "mkdir -p /run/systemd/system/mariadb.service.d; "
            "printf '[Service]\\nExecStopPost=/bin/sleep 8\\n' > /run/systemd/system/mariadb.service.d/slow.conf; "
            "systemctl daemon-reload",
        )

        def kill(_: object) -> None:
            # Its first process, and so all of them.
            subprocess.run(as_root(["kill", "-KILL", str(lost._init())]), check=True)

        roles = f"--hosts={names[other.name]},{names[lost.name]}"
        status, output = run_and(r"s  Node\.js: end the app \[", kill, *named(cluster), roles)
        assert status == pytest.ExitCode.TESTS_FAILED, output
        index_of = cluster.hosts.index(other)
        there = sh(other, STATE)
        assert there == watched.before[index_of], output
        assert re.search(rf"left behind on host {names[lost.name]}: ", output), output
        assert not re.search(rf"left behind on host {names[other.name]}: ", output), output


def test_what_was_changed_is_undone_though_the_record_is_gone(watched: Watched) -> None:
    def remove(_: object) -> None:
        for host in watched.cluster.hosts:
            sh(host, "rm /var/lib/tutorial-deploy/record.json")

    status, output = run_and("test_http_put_replaces.*PASSED", remove, *named(watched.cluster), "-m", "nodejs")
    watched.assert_unchanged()
    assert status == 0, output


@pytest.mark.parametrize("dialed", [True, False], ids=["the dialed one", "the other"])
def test_a_host_that_is_lost_does_not_keep_the_other_from_being_undone(dialed: bool, eventually: Eventually) -> None:
    with joined(2) as cluster:
        watched = Watched(cluster)
        index = 0 if dialed else 1
        lost, other = cluster.hosts[index], cluster.hosts[1 - index]

        def lose(_: object) -> None:
            sh(lost, "systemctl kill --signal=KILL circuit; systemctl stop circuit")

        status, output = run_and("test_http_answers_from_here", lose, *named(cluster))
        assert status == pytest.ExitCode.TESTS_FAILED, output
        assert re.search(r"left behind on host X[0-9a-f]{16}: ", output), output
        options = r"--circuit-addr=(\S+) (--circuit-hmac=\S+ )?--hosts=X\w+ --circuit-teardown"
        finish = re.search(rf"to finish the job: cd \S+ && \S+ -m pytest {options}", output)
        assert finish is not None, output
        assert finish[1] == other.circuit_address
        there = watched.state()
        assert there[1 - index] == watched.before[1 - index]
        assert there[index] != watched.before[index]
        # It has another address now, and joins the other if that was the first of the circuit.
        sh(lost, "systemctl start circuit")
        printed = "grep -o '^circuit://[^ ]*' /var/log/circuit.log | tail -n 1"
        now = eventually(lambda: {sh(lost, printed).strip()} - {"", lost.circuit_address}, 30).pop()
        ended = run(f"--circuit-addr={now}", *keyed(cluster), "--circuit-teardown")
        assert ended.returncode == 0, ended.stdout
        watched.assert_unchanged()
