"""Two circuit servers on one machine: two anchors, one host."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from localhosts import Cluster, Host
from tests.jobs import Watched, joined, named, not_passed, run, run_and, sh

if TYPE_CHECKING:
    from tests.conftest import Eventually

PORT, OTHER_PORT = 11022, 11023
STARTED_S = 20.0
OTHER_HOST = "checks/test_http.py::test_http_answers_from_the_other_host"


@pytest.fixture(scope="module")
def cluster(eventually: Eventually) -> Iterator[Cluster]:
    """One host, with a second circuit server, which has joined the first."""
    with joined(1) as made:
        start_another(made.hosts[0])
        eventually(lambda: anchors(Watched(made)), STARTED_S)
        yield made


def start_another(host: Host) -> None:
    """Start a server like the one that runs, on another port."""
    pid = sh(host, "systemctl show -P MainPID circuit").strip()
    argv = sh(host, f"cat /proc/{pid}/cmdline").rstrip("\0").split("\0")
    argv = [argument.replace(f":{PORT}", f":{OTHER_PORT}") for argument in argv]
    for option in ("--join", "--join-file"):
        if option in argv:
            del argv[argv.index(option) : argv.index(option) + 2]
    environment = sh(host, f"cat /proc/{pid}/environ").rstrip("\0").split("\0")
    sh(
        host,
        f"systemd-run --quiet --unit=circuit2 --uid=$(stat -c %u /proc/{pid})"
        " --property=WorkingDirectory=~ --property=KillMode=process"
        f" {shlex.join(f'--setenv={entry}' for entry in environment if '=' in entry)}"
        f" -- {shlex.join([*argv, '--join', host.circuit_address])}",
    )


def anchors(watched: Watched) -> tuple[str, ...]:
    try:
        return watched.roles
    except ValueError:
        return ()


def test_both_services_are_deployed_there_once(watched: Watched) -> None:
    done = run(*named(watched.cluster), "-rs")
    assert done.returncode == 0, done.stdout
    assert not_passed(done.stdout, without={OTHER_HOST}) == []
    assert re.search(r"SKIPPED .*: MySQL and the API share host X\w+: there is no other host", done.stdout)
    used = set(re.findall(r"(?:MySQL|Node\.js): .*\[(\S+)\]", done.stdout))
    watched.assert_unchanged()
    assert used == {"mysql+nodejs"}


def test_a_live_run_is_safe_from_whoever_comes_by_another_anchor(watched: Watched) -> None:
    first, second = watched.roles
    others: list[subprocess.CompletedProcess[str]] = []

    def come(process: subprocess.Popen[str]) -> None:
        # It stands still, so that it cannot end before the others have come.
        os.killpg(process.pid, signal.SIGSTOP)
        try:
            actions = (["--circuit-teardown"], ["-k", "schema"], ["-k", "schema", "--replace"])
            others.extend(
                run(*named(watched.cluster), f"--hosts={second}", "--lease-wait=0", *action) for action in actions
            )
        finally:
            os.killpg(process.pid, signal.SIGCONT)

    status, output = run_and("test_http_put_replaces.*PASSED", come, *named(watched.cluster), f"--hosts={first}")
    for other in others:
        assert other.returncode == pytest.ExitCode.TESTS_FAILED, other.stdout
        assert re.search(rf"host {second} is held by run [0-9a-f]{{8}} of ", other.stdout + other.stderr), other.stdout
    assert status == 0, output
    watched.assert_unchanged()


def test_what_was_kept_is_found_once_by_whichever_anchor(watched: Watched) -> None:
    first, second = watched.roles
    for by, names in ((f"--hosts={second}", ()), (f"--hosts={first}", (f"--hosts={second}",))):
        done = run(*named(watched.cluster), by, "--keep=always", "-m", "mysql or nodejs")
        try:
            assert done.returncode == 0, done.stdout
            attached = run(*named(watched.cluster), "--attach", "-m", "mysql or nodejs")
            assert attached.returncode == 0, attached.stdout
            planned = run(*named(watched.cluster), "--plan", "--replace")
            assert planned.returncode == 0, planned.stdout + planned.stderr
            assert planned.stdout.count("Node.js: end the app,") == 1, planned.stdout
        finally:
            ended = run(*named(watched.cluster), "--circuit-teardown", *names)
        assert ended.returncode == 0, ended.stdout
        assert ended.stdout.count("it was all taken down") == 1, ended.stdout
        watched.assert_unchanged()
