"""Each check fails when what it checks is broken, and only then: a deployment is broken in many ways, one by one."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from circuit_harness.engine.attach import find
from circuit_harness.engine.spec import Services
from circuit_harness.remote.circuit_host import CircuitHosts
from circuit_harness.services.mysql import RunningMySQL
from circuit_harness.services.program import RunningProgram
from deploy.services import services
from localhosts import Cluster
from tests.breakages import BREAKAGES, Breakage, Standing, root
from tests.conftest import Eventually
from tests.jobs import Watched, dial_cluster, joined, named, run, sh

FOUND_BY_A_LOST_HOST = {
    "test_hosts_are_live",
    "test_hosts_have_the_documented_anchors",
    "test_host_runs_shell_commands_and_tells_their_status",
}
"""Checks of the circuit itself."""


@pytest.fixture(scope="module")
def standing() -> Iterator[Standing]:
    """A deployment that was kept, for all tests of this file: each leaves it as it was."""
    with joined(2) as cluster:
        watched = Watched(cluster)
        done = run(*named(cluster), "--keep=always", "--disruptive")
        assert done.returncode == 0, done.stdout
        with dial_cluster(cluster) as client:
            deployed = find(CircuitHosts(client), Services(services())).services
            mysql, nodejs = deployed["mysql"], deployed["nodejs"]
            assert isinstance(mysql, RunningMySQL)
            assert isinstance(nodejs, RunningProgram)
            yield Standing(
                circuit=named(cluster),
                client=client,
                mysql=mysql,
                nodejs=nodejs,
                mysql_host=watched.named(mysql.host.name),
                api_host=watched.named(nodejs.host.name),
                runner=cluster.gateway,
            )


@pytest.fixture(scope="module")
def checks() -> set[str]:
    """The names of all checks."""
    listed = run("--collect-only", "-qq").stdout
    names = set(re.findall(r"^checks/\w+\.py::(.*)$", listed, re.MULTILINE))
    assert names, listed
    return names


def not_passed(report: Path, *options: str) -> set[str]:
    """Check what stands, and return the names of the checks that did not pass. Each runs, also where a service is down.

    Those that were not allowed to run do not count; those that were not run because of what another one found do.
    """
    found = set()
    for case in cases(report, "--no-probe", *options):
        skipped = case.find("skipped")
        forbidden = skipped is not None and "--disruptive" in skipped.get("message", "")
        if len(case) and not forbidden:
            found.add(case.attrib["name"])
    return found


def cases(report: Path, *options: str) -> list[ET.Element]:
    """Check what stands, and return the checks as JUnit's XML has them."""
    # What takes its time and is no use here: a plugin of this project's tests, and failures told at length.
    done = run("--attach", f"--junitxml={report}", "-p", "no:hypothesispytest", "--tb=line", *options)
    assert done.returncode in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), done.stdout + done.stderr
    return list(ET.parse(report).iter("testcase"))


def told(report: Path, *options: str) -> list[str]:
    """Check what stands, and return the first line of each failure."""
    failures = [each for case in cases(report, *options) for each in case if each.tag in ("failure", "error")]
    return [failure.get("message", "").splitlines()[0] for failure in failures]


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.name)
def test_a_breakage_is_found_by_the_right_checks_alone(standing: Standing, breakage: Breakage, tmp_path: Path) -> None:
    allowed = ["--disruptive"] if breakage.disruptive else []
    with standing.log_cut_back(), breakage.broken(standing):
        found = not_passed(tmp_path / "report.xml", *standing.circuit, *allowed)
        failures = told(tmp_path / "report.xml", *standing.circuit) if breakage.down else []
    assert found == breakage.found_by
    if breakage.down:
        (failure,) = failures
        assert re.search(rf" on host X[0-9a-f]+: {breakage.down}$", failure), failure


def test_the_api_is_ready_only_with_a_new_connection(standing: Standing) -> None:
    """Old ones live on where no new one is let in, as after a change of the password."""

    def connections() -> int:
        said = root(standing.mysql_host, """mariadb -N -B -e "SHOW GLOBAL STATUS LIKE 'Connections'" """)
        return int(said.split()[1])

    before = connections()
    for _ in range(5):
        root(standing.api_host, f"curl -sSf --noproxy '*' --max-time 10 http://127.0.0.1:{standing.nodejs.port}/ready")
    # The last one is that of the second question.
    assert connections() - before >= 5 + 1


def test_what_was_broken_and_undone_passes(standing: Standing, tmp_path: Path) -> None:
    assert not_passed(tmp_path / "report.xml", *standing.circuit, "--disruptive") == set()
    assert told(tmp_path / "report.xml", *standing.circuit, "--disruptive") == []


def test_a_lost_host_is_found_by_all_checks(checks: set[str], eventually: Eventually, tmp_path: Path) -> None:
    with Cluster(2) as cluster:
        watched = Watched(cluster)
        done = run(*named(cluster), "--keep=always", "-k", "record")
        assert done.returncode == 0, done.stdout
        mysql_host = watched.named(watched.roles[0])
        (other,) = (host for host in cluster.hosts if host != mysql_host)
        sh(mysql_host, "systemctl kill --signal=KILL circuit; systemctl stop circuit")
        with dial_cluster(cluster, other) as client:
            eventually(lambda: len(client.view()) == 1, 30)
        assert not_passed(tmp_path / "report.xml", *named(cluster, other), "--disruptive") == checks


def test_every_check_has_a_breakage_that_it_finds(checks: set[str]) -> None:
    found = set().union(*(breakage.found_by for breakage in BREAKAGES)) | FOUND_BY_A_LOST_HOST
    assert found == checks


def test_there_are_many_of_both(checks: set[str]) -> None:
    assert len(checks) >= 40
    assert len(BREAKAGES) >= 15
