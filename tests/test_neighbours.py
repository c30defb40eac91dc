"""Several deployments on one circuit: what one run prints, or cleans up, leaves the others alone."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from localhosts import Cluster, Host
from tests.jobs import (
    ROOT,
    RUN_LIMIT_S,
    Watched,
    dial_cluster,
    environment,
    joined,
    named,
    run,
    run_and,
    sh,
    start,
    variables,
)

RECORD = "/var/lib/tutorial-deploy/record.json"
OPTION_FILE = "/etc/mysql/mariadb.conf.d/50-server.cnf"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with joined(4) as made:
        yield made


@pytest.fixture
def watched(cluster: Cluster) -> Watched:
    return Watched(cluster)


def names(watched: Watched) -> list[str]:
    with dial_cluster(watched.cluster) as client:
        return sorted(client.view())


@pytest.fixture
def theirs(watched: Watched) -> Iterator[Host]:
    """MySQL's host of a deployment of somebody else, kept on two of the hosts."""
    hosts = f"--hosts={','.join(names(watched)[2:])}"
    done = run(*named(watched.cluster), hosts, "--keep=always", "-m", "nodejs", "-k", "listens")
    assert done.returncode == 0, done.stdout
    yield watched.named(names(watched)[2])
    ended = run(*named(watched.cluster), "--circuit-teardown", "--replace")
    assert ended.returncode == 0, ended.stdout
    watched.assert_unchanged()


STANDING = ["kept", "NameValue"]


def found_at(theirs: Host) -> list[str]:
    """What there is of that deployment: the state of its record, and its table."""
    state = f'sed -n \'s/.*"state": *"\\([a-z]*\\)".*/\\1/p\' {RECORD}'
    return sh(theirs, f"{state}; mariadb -N -e 'SHOW TABLES IN tutorial'").split()


def ours(watched: Watched) -> Watched:
    """The two hosts that a run takes, which names none."""
    return Watched(watched.cluster, [watched.named(name) for name in names(watched)[:2]])


def do(command: str) -> subprocess.CompletedProcess[str]:
    """Do what was printed."""
    words = shlex.split(command)
    program, options = words[:6], words[6:]
    assert program == ["cd", str(ROOT), "&&", sys.executable, "-m", "pytest"]
    assert "--circuit-teardown" in options
    return run(*options)


def of_page(page: Path) -> list[str]:
    """The command lines of a report that take something down."""
    soup = BeautifulSoup(page.read_text(), "html.parser")
    commands = [" ".join(found.get_text().split()) for found in soup.select(".command")]
    return [command for command in commands if command.endswith("--circuit-teardown")]


def test_what_is_printed_at_a_signal_takes_down_its_own_run(watched: Watched, theirs: Host) -> None:
    process = start(*named(watched.cluster), "-m", "mysql")
    output = ""
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            output += line
            # The first ends the run, and those that come while it takes down are answered.
            if "PASSED" in line or "MySQL: drop database" in line:
                os.killpg(process.pid, signal.SIGINT)
    assert process.wait(RUN_LIMIT_S) == pytest.ExitCode.INTERRUPTED, output
    found = re.search(r"finish the job by: (.* -m pytest .*)", output)
    assert found is not None, output
    done = do(found[1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert found_at(theirs) == STANDING, f"another's deployment was taken down by {found[1]}: {done.stdout}"


def test_what_is_printed_where_something_is_left_takes_down_its_own_run(
    watched: Watched, theirs: Host, tmp_path: Path
) -> None:
    host, before = watched.named(names(watched)[0]), ours(watched)
    status, output = run_and(
        *("test_service_is_running.*PASSED", lambda _: sh(host, f"echo '# mine' >> {OPTION_FILE}")),
        *(*named(watched.cluster), "-m", "mysql", f"--report={tmp_path / 'page.html'}"),
    )
    assert status == pytest.ExitCode.TESTS_FAILED, output
    found = re.search(r"to finish the job: (.* -m pytest .*)", output)
    assert found is not None, output
    assert set(of_page(tmp_path / "page.html")) == {found[1]}
    sh(host, f"sed -i '$d' {OPTION_FILE}")
    done = do(found[1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert found_at(theirs) == STANDING, f"another's deployment was taken down by {found[1]}: {done.stdout}"
    before.assert_unchanged()


def test_what_a_page_tells_of_a_kept_run_takes_down_that_run(watched: Watched, theirs: Host, tmp_path: Path) -> None:
    before, page = ours(watched), tmp_path / "page.html"
    done = run(*named(watched.cluster), "-m", "mysql", "-k", "schema", "--keep=always", f"--report={page}")
    assert done.returncode == 0, done.stdout
    (command,) = of_page(page)
    done = do(command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(kept): it was all taken down" in done.stdout
    assert found_at(theirs) == STANDING, f"another's deployment was taken down by {command}: {done.stdout}"
    before.assert_unchanged()


def test_a_nightly_clean_takes_down_what_crashed_and_nothing_that_was_kept(watched: Watched, theirs: Host) -> None:
    before = ours(watched)
    status, output = run_and(
        "test_service_is_running.*PASSED", subprocess.Popen.kill, *named(watched.cluster), "-m", "mysql"
    )
    assert status == -signal.SIGKILL, output
    assert RECORD in sh(before.hosts[0], f"ls {RECORD}")
    done = subprocess.run(
        [ROOT / "run", "nightly-clean"],
        env={**environment(), **variables(watched.cluster)},
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert found_at(theirs) == STANDING, f"another's deployment was taken down: {done.stdout}"
    assert done.stdout.count("(crashed): it was all taken down") == 1
    assert done.stdout.count("(kept): it is left alone") == 2
    before.assert_unchanged()
