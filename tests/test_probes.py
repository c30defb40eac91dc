"""A service that is down: one failure names the cause, on one screen; no other check fails."""

from __future__ import annotations

import json
import math
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from circuit_harness.engine.attach import find
from circuit_harness.engine.spec import Services
from circuit_harness.remote.circuit_host import CircuitHosts
from circuit_harness.services.program import RunningProgram
from circuit_harness.steps import Steps
from deploy.services import services
from localhosts import Host
from tests.jobs import (
    ROOT,
    RUN_LIMIT_S,
    Watched,
    dial_cluster,
    environment,
    harness,
    joined,
    named,
    run,
    run_and,
    sh,
    stop_mysql,
)

COLUMNS = 80
SCREEN_LINES = 50
DATA = "/var/lib/mysql"


@dataclass(frozen=True)
class Kept:
    """A deployment that was kept; ``circuit`` are the options that name it, ``runner`` is this machine's address."""

    circuit: list[str]
    mysql: Host
    nodejs: Host
    roles: tuple[str, str]
    runner: str
    app: RunningProgram


@pytest.fixture(scope="module")
def kept() -> Iterator[Kept]:
    """One for all tests of this file; each leaves it as it was."""
    with joined(2) as cluster:
        watched = Watched(cluster)
        done = run(*named(cluster), "--keep=always", "-k", "record")
        assert done.returncode == 0, done.stdout
        first, second = watched.roles
        with dial_cluster(cluster) as client:
            app = find(CircuitHosts(client), Services(services())).services["nodejs"]
            assert isinstance(app, RunningProgram)
            hosts = watched.named(first), watched.named(second)
            yield Kept(named(cluster), *hosts, watched.roles, cluster.gateway, app)


@contextmanager
def mysql_stopped(kept: Kept) -> Iterator[None]:
    stop_mysql(kept.mysql)
    try:
        yield
    finally:
        sh(kept.mysql, "systemctl start mariadb")


@contextmanager
def mysql_killed(kept: Kept) -> Iterator[None]:
    """By the kernel's own signal for it; systemd's own restart is held off."""
    folder = "/run/systemd/system/mariadb.service.d"
    sh(kept.mysql, f"mkdir {folder}; printf '[Service]\\nRestart=no\\n' >{folder}/no.conf; systemctl daemon-reload")
    sh(kept.mysql, "systemctl kill --kill-whom=main -s KILL mariadb; while pgrep -x mariadbd; do sleep 0.1; done")
    try:
        yield
    finally:
        sh(
            kept.mysql,
            f"rm -r {folder}; systemctl daemon-reload; systemctl reset-failed mariadb; systemctl start mariadb",
        )


@contextmanager
def api_stopped(kept: Kept) -> Iterator[None]:
    kept.app.stop()
    try:
        yield
    finally:
        kept.app.start(Steps())


@contextmanager
def check_password_changed(kept: Kept) -> Iterator[None]:
    account = f"tutorial_check@'{kept.runner}'"
    (saved,) = re.findall(r"'(\*[0-9A-F]{40})'", sh(kept.mysql, f'mariadb -NBe "SHOW CREATE USER {account}"'))
    sh(kept.mysql, f"mariadb -e \"ALTER USER {account} IDENTIFIED BY 'another'\"")
    try:
        yield
    finally:
        sh(kept.mysql, f"mariadb -e \"ALTER USER {account} IDENTIFIED BY PASSWORD '{saved}'\"")


@contextmanager
def api_password_changed(kept: Kept) -> Iterator[None]:
    account = f"tutorial@'{kept.nodejs.private_address}'"
    (saved,) = re.findall(r"'(\*[0-9A-F]{40})'", sh(kept.mysql, f'mariadb -NBe "SHOW CREATE USER {account}"'))
    # The app's pool has connections that were let in before.
    end = "mariadb -NBe \"SELECT CONCAT('KILL ', id) FROM information_schema.processlist WHERE user = 'tutorial'\""
    sh(kept.mysql, f"mariadb -e \"ALTER USER {account} IDENTIFIED BY 'another'\"; {end} | mariadb")
    try:
        yield
    finally:
        sh(kept.mysql, f"mariadb -e \"ALTER USER {account} IDENTIFIED BY PASSWORD '{saved}'\"")
        log = "/tmp/tutorial-nodejs.log"
        sh(kept.nodejs, f"sed -n 1p {log} >/root/first; cat /root/first >{log}")


@contextmanager
def disk_full(kept: Kept) -> Iterator[None]:
    """The folder of MySQL's data is on a file system of its own, which is full."""
    stop_mysql(kept.mysql)
    sh(
        kept.mysql,
        f"set -e; mkdir /small; mount -t tmpfs -o mode=755 tmpfs /small; cp -a {DATA}/. /small; chown mysql: /small;"
        f" mount --bind /small {DATA}; umount /small; rmdir /small; systemctl start mariadb;"
        f" set -- $(stat -f -c '%b %f %S' {DATA}); mount -o remount,size=$((($1 - $2) * $3)) tmpfs {DATA}",
    )
    try:
        yield
    finally:
        sh(
            kept.mysql,
            f"set -e; mount -o remount,size=4g tmpfs {DATA}; systemctl stop mariadb; umount {DATA};"
            " systemctl start mariadb",
        )


CASES = {
    "MySQL stopped": (mysql_stopped, "MySQL", r"mariadb is inactive$"),
    "MySQL killed": (mysql_killed, "MySQL", r"mariadb is failed$"),
    "API stopped": (api_stopped, "Node.js", r"its process at /X[0-9a-f]+/nodejs has ended$"),
    "wrong password of the checks": (
        check_password_changed,
        "MySQL",
        r".* refuses user tutorial_check: Access denied ",
    ),
    "wrong password of the API": (api_password_changed, "Node.js", r".*Access denied for user 'tutorial'@"),
    "full disk": (disk_full, "MySQL", rf"the disk of {DATA} is full \(\d+ KiB of \d+ MiB are free\)"),
}
DETAILS = {
    "API stopped": r"^  wrote to its log last at 20\S+ \S+ UTC$",
    "MySQL stopped": r"^  down since 20\S+ \S+ UTC\n  it ended: Stopped mariadb\.service",
    "MySQL killed": r"^  down since 20\S+ \S+ UTC\n  it ended: signal KILL$",
}


@dataclass(frozen=True)
class Result:
    """What a run came to: its output in a terminal of 80 columns, its document, and the page."""

    output: str
    results: list[dict[str, Any]]
    page: str

    @property
    def failures(self) -> list[dict[str, Any]]:
        return [result for result in self.results if result["outcome"] in ("failed", "error")]


def attach(kept: Kept, folder: Path, *options: str) -> Result:
    """Check what was kept, as its users do."""
    page = folder / "page.html"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--selfcheck"),
            *(*kept.circuit, "--attach", f"--artifacts={folder}", f"--report={page}", *options),
        ],
        cwd=ROOT,
        env={**environment(), "COLUMNS": str(COLUMNS)},
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    return Result(done.stdout, json.loads((folder / "run.json").read_text())["results"], page.read_text())


def counts(output: str) -> dict[str, int]:
    """What the terminal's last line counts; errors are failures."""
    numbers = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", output.splitlines()[-1])}
    failed = sum(numbers.get(word, 0) for word in ("failed", "error", "errors"))
    return {"failed": failed, "passed": numbers.get("passed", 0), "skipped": numbers.get("skipped", 0)}


def counted(results: list[dict[str, Any]]) -> dict[str, int]:
    """The same of a document."""
    outcomes = ["failed" if result["outcome"] == "error" else result["outcome"] for result in results]
    return {outcome: outcomes.count(outcome) for outcome in ("failed", "passed", "skipped")}


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
@pytest.mark.parametrize("case", CASES)
def test_a_service_that_is_down_is_one_failure(kept: Kept, tmp_path: Path, case: str, workers: list[str]) -> None:
    broken, title, cause = CASES[case]
    host = kept.roles[title == "Node.js"]
    with broken(kept):
        result = attach(kept, tmp_path, *workers)
        (failure,) = result.failures
        assert re.match(rf"{re.escape(title)} on host {host}: {cause}", failure["reason"]), failure["reason"]
        assert re.search(DETAILS.get(case, ""), failure["text"], re.MULTILINE), failure["text"]
        (line,) = re.findall(r"^  to (?:look further|find what fills the disk): (.*)$", failure["text"], re.MULTILINE)
        command = shlex.split(line)
        further = subprocess.run([sys.executable, *command[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert further.returncode == 0, further
        shown = "ibdata1" if case == "full disk" else "mariadbd" if title == "MySQL" else "Listening"
        assert shown in further.stdout
    assert failure["text"] in result.output
    reasons = {each["reason"] for each in result.results if each["outcome"] == "skipped"}
    assert f"not run: {failure['reason']}" in reasons
    needless = ("not run: ", "it stops what others", "the server, ", "checks read through")
    assert all(reason.startswith(needless) for reason in reasons), reasons
    assert counts(result.output) == counted(result.results)
    assert "Nothing was deployed here" not in result.page
    assert f">1 of {len(result.results)} checks failed" in re.sub(r"\s*\n\s*", "", result.page)
    lines = sum(max(1, math.ceil(len(text) / COLUMNS)) for text in result.output.splitlines())
    assert lines <= SCREEN_LINES, result.output


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_a_service_that_is_stopped_meanwhile_is_one_failure(kept: Kept, tmp_path: Path, workers: list[str]) -> None:
    def stop(_: subprocess.Popen[str]) -> None:
        stop_mysql(kept.mysql)

    try:
        # Those that go on without it are few, and what fails first has failed by itself.
        status, output = run_and(
            "PASSED.*test_http|test_http.*PASSED",
            stop,
            *(*kept.circuit, "--attach", "-m", "nodejs", "-k", "http", f"--artifacts={tmp_path}", *workers),
        )
    finally:
        sh(kept.mysql, "systemctl start mariadb")
    assert status == pytest.ExitCode.TESTS_FAILED, output
    results = json.loads((tmp_path / "run.json").read_text())["results"]
    (failure,) = [result for result in results if result["outcome"] in ("failed", "error")]
    stopped = rf"MySQL on host {kept.roles[0]}: mariadb is (inactive|deactivating)"
    assert re.fullmatch(stopped, failure["reason"]), failure["reason"]
    assert [piece["title"] for piece in failure["evidence"]][:1] == ["the check's own failure"]
    assert counts(output) == counted(results)


def test_a_failure_of_a_check_alone_is_told_with_evidence_once(kept: Kept, tmp_path: Path) -> None:
    sh(kept.mysql, "mariadb -e 'ALTER TABLE tutorial.NameValue MODIFY value VARCHAR(2000)'")
    try:
        result = attach(kept, tmp_path, "-k", "schema_columns or fills_the_column")
    finally:
        sh(kept.mysql, "mariadb -e 'DELETE FROM tutorial.NameValue; ALTER TABLE tutorial.NameValue MODIFY value TEXT'")
    first, second, third = result.failures
    titles = [[piece["title"] for piece in failure["evidence"]] for failure in (first, second, third)]
    assert sum("journal of mariadb" in title for each in titles for title in each) == 1
    assert [failure["elsewhere"] for failure in (first, second, third)] == [[], [first["check"]], [first["check"]]]
    for parts in ("nodejs, mysql", "mysql"):
        words = f" evidence is not collected again: {parts}, see the failure of -+\n{re.escape(first['check'])}\n"
        assert re.search(words, result.output), result.output
    links = re.findall(r'behind the failure <a href="#check-(\d+)">', result.page)
    assert links == [str(1 + result.results.index(first))] * 2
    assert first["reason"].startswith("the API answered 500 ")
    assert counts(result.output) == counted(result.results) == {"failed": 3, "passed": 1, "skipped": 0}


def harness_conftest(body: str) -> str:
    """A folder's conftest.py that declares a service nobody deploys."""
    return f"from deploy.services import services\n\ndef pytest_circuit_services():\n    return services()\n{body}"


@pytest.mark.parametrize(
    ("options", "style"),
    [([], "short"), (["--tb=long"], "long"), (["--tb=auto"], "auto")],
    ids=["none", "long", "auto"],
)
def test_tracebacks_are_short_unless_the_user_says_otherwise(tmp_path: Path, options: list[str], style: str) -> None:
    (tmp_path / "conftest.py").write_text(
        harness_conftest("\ndef pytest_report_header(config):\n    return f'style {config.option.tbstyle}'\n")
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [*harness()[:-1], "-p", "circuit_harness.plugin.hooks", *options],
        cwd=tmp_path,
        env={**environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
    )
    assert f"style {style}\n" in done.stdout, done.stdout + done.stderr


CLEAN_UP = """
import pytest

@pytest.fixture
def thing():
    yield
    assert False, "the clean-up"

def test_fails(thing):
    assert False, "the check"

def test_passes(thing):
    pass
"""


def test_the_clean_up_of_a_failed_check_fails_nothing_more(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(harness_conftest(""))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text(CLEAN_UP)
    done = subprocess.run(
        [*harness()[:-1], "-p", "circuit_harness.plugin.hooks", f"--artifacts={tmp_path / 'out'}"],
        cwd=tmp_path,
        env={**environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
    )
    results = json.loads((tmp_path / "out/run.json").read_text())["results"]
    assert [(result["outcome"], result["reason"]) for result in results] == [
        ("failed", "the check"),
        ("error", "the clean-up"),
    ]
    (piece,) = results[0]["evidence"]
    assert piece["title"] == "the clean-up failed, too"
    assert "the clean-up" in piece["text"]
    # A check counts once: in the terminal as in the report.
    assert counts(done.stdout) == {"failed": 2, "passed": 0, "skipped": 0}
