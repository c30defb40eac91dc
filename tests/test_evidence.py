"""What a failed check tells: what the hosts show right then, in the report and in files, and no wall of failures."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from circuit_harness.plugin.harness import shown
from localhosts import Host
from tests.jobs import Watched, joined, named, run, run_and, sh
from tests.run_json import read


@pytest.fixture
def kept(watched: Watched) -> Iterator[list[str]]:
    """A deployment that was kept, and taken down in the end; the options that name its circuit."""
    circuit = named(watched.cluster)
    done = run(*circuit, "--keep=always", "-m", "nodejs")
    assert done.returncode == 0, done.stdout
    yield circuit
    run(*circuit, "--circuit-teardown", "--replace")
    watched.assert_unchanged()


def break_table(host: Host) -> None:
    sh(host, "mariadb -e 'RENAME TABLE tutorial.NameValue TO tutorial.Gone'")


def mend_table(host: Host) -> None:
    sh(host, "mariadb -e 'RENAME TABLE tutorial.Gone TO tutorial.NameValue'")


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_a_failure_carries_what_the_hosts_show(
    watched: Watched, kept: list[str], tmp_path: Path, workers: list[str]
) -> None:
    mysql = watched.named(watched.roles[0])
    break_table(mysql)
    try:
        # Without a table the API is not ready, which a probe would find first.
        checks = ("--no-probe", "-k", "put_replaces or process_is_node")
        done = run(*kept, "--attach", *checks, f"--artifacts={tmp_path / 'out'}", *workers)
    finally:
        mend_table(mysql)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    first, second = watched.roles
    # The check's own service first.
    logs = r"-+ evidence: /tmp/tutorial-nodejs.log on host (.*\n)*-+ evidence: journal of mariadb on host "
    # Behind the failure, not in place of it.
    assert re.search(rf"assert .*\n(.*\n)*{logs}", done.stdout), done.stdout
    for title in (
        f"journal of mariadb on host {first}",
        f"/tmp/tutorial-nodejs.log on host {second}",
        f"element at /{second}/nodejs",
        f"listening sockets of host {first}",
        f"listening sockets of host {second}",
    ):
        assert f" evidence: {title} " in done.stdout

    document = read(tmp_path / "out")
    assert document["outcome"] == "failed"
    assert document["mode"] == "attach"
    outcomes = {result["check"].partition("::")[2]: result["outcome"] for result in document["results"]}
    assert outcomes == {"test_http_put_replaces": "failed", "test_process_is_node_itself": "passed"}
    (failed,) = [result for result in document["results"] if result["outcome"] == "failed"]
    assert failed["parts"] == ["nodejs"]
    assert "NameValue' doesn't exist" in failed["text"] + str(failed["evidence"])
    assert failed["reason"].count("\n") == 0
    (folder,) = (tmp_path / "out" / "failures").iterdir()
    assert "test_http_put_replaces" in (folder / "01-failure.txt").read_text()
    assert len(list(folder.iterdir())) == 7
    # It cannot remove its name from the table either, which is no second failure.
    assert failed["evidence"][-1]["title"] == "the clean-up failed, too"
    assert any("Listening on" in file.read_text() for file in (tmp_path / "out" / "logs").iterdir())


def test_a_check_that_asks_a_host_tells_its_last_commands(watched: Watched, kept: list[str]) -> None:
    nodejs = watched.named(watched.roles[1])
    sh(nodejs, "echo 'Error: planted' >> /tmp/tutorial-nodejs.log")
    # What another one asked before is not told.
    done = run(*kept, "--attach", "-k", "process_is_node_itself or log_says")
    assert "test_process_is_node_itself PASSED" in done.stdout
    assert done.stdout.count("\n$ ") == 1
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert f"evidence: last commands on host {watched.roles[1]}" in done.stdout
    assert re.search(r"\$ .*tutorial-nodejs\.log.*\nexit status 0\n", done.stdout), done.stdout


def test_what_a_run_came_to_is_one_document(watched: Watched, tmp_path: Path) -> None:
    done = run(*named(watched.cluster), "-k", "schema", f"--artifacts={tmp_path}")
    assert done.returncode == 0, done.stdout
    document = read(tmp_path)
    assert document["outcome"] == "passed"
    assert (document["mode"], document["kept"], document["left"]) == ("deploy", False, [])
    # The API's host is none of what these checks need.
    (told,) = document["hosts"]
    host = watched.named(watched.roles[0])
    assert (told["name"], told["parts"]) == (watched.roles[0], ["mysql"])
    assert (told["private_address"], told["public_address"]) == (host.private_address, host.public_address)
    assert document["services"]["mysql"]["port"] == 3306
    assert "nodejs" not in document["services"]
    steps = {step["what"]: step for step in document["steps"]}
    assert steps["MySQL: start mariadb"]["ok"]
    assert steps["MySQL: stop, put the configuration back"]["host"] == watched.roles[0]
    assert all(0 <= step["start"] <= document["seconds"] for step in document["steps"])
    assert [result["outcome"] for result in document["results"]] == ["passed"] * 6


@pytest.mark.parametrize("workers", [[], ["-n", "3"]], ids=["alone", "xdist"])
def test_a_lost_host_is_one_failure(tmp_path: Path, workers: list[str]) -> None:
    with joined(2) as cluster:
        watched = Watched(cluster)
        roles = watched.roles
        staying, lost = (watched.named(role) for role in roles)
        circuit = named(cluster, staying)
        assert run(*circuit, "--keep=always", "-m", "nodejs").returncode == 0

        def lose(_: subprocess.Popen[str]) -> None:
            sh(lost, "systemctl kill --signal=KILL circuit; systemctl stop circuit")

        start = time.monotonic()
        # That one's host asks the lost one: what it then finds is a finding of its own.
        checks = ("-m", "nodejs", "-k", "not from_the_other_host", f"--artifacts={tmp_path}")
        status, output = run_and("PASSED", lose, *circuit, "--attach", "-rs", *checks, *workers)
        assert status == pytest.ExitCode.TESTS_FAILED, output
        assert time.monotonic() - start < 45
        assert f"not run: host {roles[1]} is lost" in output, output
        counts = re.findall(r"(\d+) (?:failed|errors?)\b", output.splitlines()[-1])
        assert counts == ["1"], output
        (failure,) = [each for each in read(tmp_path)["results"] if each["outcome"] in ("failed", "error")]
        assert failure["reason"].startswith(f"host {roles[1]} is lost: "), failure
        assert re.search(r"^  to look further: \S+ -m circuit ls --addr=", failure["text"], re.MULTILINE)


def test_of_a_long_value_a_failure_shows_both_ends() -> None:
    assert shown(["a", 1]) == "['a', 1]"
    assert shown("a" * 65_535) == f"'{'a' * 119} ... {'a' * 119}'"
