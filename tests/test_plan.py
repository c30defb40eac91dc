"""A plan and the run after it are one list of steps, whatever state the hosts are in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs import Watched, left_of_cluster_in, named, run, sh, stop_mysql
from tests.planned import differences
from tests.run_json import read


@pytest.mark.parametrize(("hosts", "state"), [(2, "stopped"), (1, "stopped"), (2, "running"), (2, "names")])
def test_a_run_does_what_was_planned(watched: Watched, tmp_path: Path, hosts: int, state: str) -> None:
    host = watched.named(watched.roles[0])
    where = [*named(watched.cluster), f"--hosts={','.join(watched.roles[:hosts])}"]
    if state != "stopped":
        sh(host, "systemctl start mariadb")
    if state == "names":
        sh(host, """mariadb -e "CREATE USER 'by_name'@'runner.example'" """)
        stop_mysql(host)
    try:
        plan = run(*where, "--plan")
        done = run(*where, "-k", "schema_columns or http_answers_from_here", f"--artifacts={tmp_path}")
    finally:
        if state == "names":
            sh(host, """systemctl start mariadb; mariadb -e "DROP USER 'by_name'@'runner.example'" """)
        if state != "stopped":
            stop_mysql(host)
    assert (plan.returncode, done.returncode) == (0, 0), plan.stdout + done.stdout
    document = read(tmp_path)
    assert differences(plan.stdout, document) == []
    taken_out = any("remove skip-name-resolve" in step["what"] for step in document["steps"])
    assert taken_out == (state == "names")
    assert "(where it has accounts for host names)" in plan.stdout or state == "running"
    # The comparison sees what differs.
    assert differences(plan.stdout.replace("load schema.sql", "load other.sql"), document) != []
    watched.assert_unchanged()


@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_only_what_the_selected_checks_need_is_planned(watched: Watched, workers: list[str]) -> None:
    done = run(*named(watched.cluster), "--plan", "-m", "mysql", *workers)
    assert done.returncode == 0, done.stdout
    assert "MySQL: make database tutorial and accounts, load schema.sql" in done.stdout
    assert "Node.js: " not in done.stdout
    assert watched.roles[1] not in done.stdout
    done = run(*named(watched.cluster), "--plan", "-m", "cluster", "-k", "live", *workers)
    assert done.returncode == 0, done.stdout
    assert "nothing to deploy: no check that is selected asks for a service" in done.stdout
    watched.assert_unchanged()


@pytest.mark.rights
def test_without_a_circuit_hosts_are_made_for_the_plan_and_removed() -> None:
    done = run("--plan", "-m", "mysql")
    assert done.returncode == 0, done.stdout
    assert "make 1 host on this machine" in done.stdout
    assert "MySQL: make database tutorial and accounts, load schema.sql" in done.stdout
    assert "passed" not in done.stdout
    assert left_of_cluster_in(done.stdout) == []
