"""./run, where it could mislead: who runs it, from which checkout, and with which paths among its options."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from localhosts.privilege import as_root
from tests.jobs import ROOT, environment

LIMIT_S = 60
USER = 23456
"""An ordinary user, who needs no account."""

CHECKS = "def test_good(): pass\n\n\ndef test_bad(): raise ValueError\n"


@dataclass(frozen=True)
class Checkout:
    """A checkout with checks that need no deployment. It belongs to an ordinary user."""

    folder: Path
    home: Path

    def run(self, *words: str, root: bool = False, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command there, as its owner or as root."""
        given = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(self.home), **variables}
        # By env(1): sudo passes none on.
        command = ["env", *(f"{name}={value}" for name, value in given.items()), *words]
        if root:
            command = as_root(command)
        elif os.geteuid() == 0:
            # One who may read the project and Python wherever they are, and write what is its own.
            limits = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
            command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *limits, *command]
        return subprocess.run(
            command, cwd=self.folder, env=environment(), capture_output=True, text=True, timeout=LIMIT_S
        )


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path / "checkout", tmp_path / "home")
    (made.folder / "checks").mkdir(parents=True)
    made.home.mkdir()
    for name in ("run", "pytest.ini", "conftest.py", "requirements.txt", "requirements-dev.txt"):
        shutil.copy2(ROOT / name, made.folder)
    (made.folder / ".venv").symlink_to(ROOT / ".venv")
    (made.folder / "checks/test_it.py").write_text(CHECKS)
    if os.geteuid() == 0:
        for path in (made.home, made.folder, *made.folder.rglob("*")):
            os.chown(path, USER, USER, follow_symlinks=False)
    return made


def assert_only_the_check_failed(done: subprocess.CompletedProcess[str], passed: str = "1 passed") -> None:
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert re.search(r"^FAILED checks/test_it.py::test_bad - ValueError$", done.stdout, re.MULTILINE)
    assert re.search(rf"^=+ 1 failed(, {passed})? in ", done.stdout, re.MULTILINE), done.stdout
    assert ", 1 passed" in done.stdout or not passed
    assert "warning" not in done.stdout
    assert done.stderr == ""


def assert_only_what_failed_is_run(done: subprocess.CompletedProcess[str]) -> None:
    assert "run-last-failure: rerun previous 1 failure" in done.stdout
    assert_only_the_check_failed(done, passed="")


@pytest.mark.rights
@pytest.mark.parametrize("typed", [["./run", "deploy"], [".venv/bin/python", "-m", "pytest"]], ids=["run", "pytest"])
def test_after_a_run_by_sudo_others_go_on(checkout: Checkout, typed: list[str]) -> None:
    assert_only_the_check_failed(checkout.run(*typed, root=True))
    assert {path.stat().st_uid for path in checkout.folder.rglob(".pytest_cache/**/*")} == {
        checkout.folder.stat().st_uid
    }
    assert_only_what_failed_is_run(checkout.run(*typed, "--lf"))


@pytest.mark.rights
def test_a_cache_of_root_s_breaks_no_run(checkout: Checkout) -> None:
    """One that a run by sudo has left which was killed."""
    left = "mkdir -m 755 .pytest_cache && touch .pytest_cache/CACHEDIR.TAG"
    assert checkout.run("sh", "-c", left, root=True).returncode == 0
    try:
        assert_only_the_check_failed(checkout.run(".venv/bin/python", "-m", "pytest"))
    finally:
        checkout.run("rm", "-r", ".pytest_cache", root=True)


def test_a_read_only_checkout(checkout: Checkout) -> None:
    for folder in (checkout.folder / "checks", checkout.folder):
        folder.chmod(0o555)
    before = sorted(checkout.folder.rglob("*"))
    assert_only_the_check_failed(checkout.run(".venv/bin/python", "-m", "pytest"))
    assert_only_the_check_failed(checkout.run("./run", "deploy"))
    assert_only_what_failed_is_run(checkout.run("./run", "deploy", "--lf"))
    without = checkout.run("./run", "deploy", "-p", "no:cacheprovider")
    assert_only_the_check_failed(without)
    assert sorted(checkout.folder.rglob("*")) == before


def test_nightly_s_own_options_can_be_given(checkout: Checkout) -> None:
    own = checkout.folder / "own.html"
    done = checkout.run("./run", "nightly", f"--report={own}", NIGHTLY_DIR="deep/down")
    assert_only_the_check_failed(done)
    assert own.read_text().startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in (checkout.folder / "deep/down").iterdir()) == [
        "failures",
        "junit.xml",
        "run.json",
    ]


def test_the_circuit_s_help_says_what_is_typed() -> None:
    done = run("circuit", "--help")
    assert done.stdout.startswith(f"usage: {ROOT / 'run'} circuit [-h] ")
    assert f"  {ROOT / 'run'} circuit ls -l /...  " in done.stdout


def test_a_check_that_is_skipped_or_left_out_says_why(checkout: Checkout) -> None:
    text = "import pytest\n\n\n@pytest.mark.skip('no moon')\ndef test_it(): pass\n\n\n"
    own = "@pytest.mark.selfcheck\ndef test_own(): pass\n"
    (checkout.folder / "checks/test_it.py").write_text(text + own)
    done = checkout.run("./run", "deploy")
    assert "SKIPPED [1] checks/test_it.py:4: no moon\n" in done.stdout
    assert "left out" not in done.stdout
    done = checkout.run(".venv/bin/python", "-m", "pytest")
    assert "checks of the harness's own work left out: 1; --selfcheck runs them\n" in done.stdout


@pytest.mark.parametrize(
    ("verb", "option", "what"),
    [("deploy", "--report", "FILE.html"), ("nightly", "--artifacts", "DIR"), ("check", "--circuit-hmac", "FILE")],
)
def test_a_path_behind_a_blank_chooses_no_other_settings(verb: str, option: str, what: str, tmp_path: Path) -> None:
    """Pytest took it for tests of that other project."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --collect-only\n")
    path = tmp_path / "there"
    path.touch()
    done = run(verb, option, str(path), NIGHTLY_DIR=str(tmp_path / "nightly"))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    (line,) = filter(None, done.stderr.splitlines())
    assert line == f"ERROR: {option}: write {option}={what}; behind a blank, pytest takes a path for one with tests"


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "run", *words],
        env={**environment(), **variables},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


def test_a_check_that_does_not_exist_is_named(tmp_path: Path) -> None:
    """Where nothing is installed that tests alone need: pytest loads tests/conftest.py then, too."""
    needed = ("hypothesis", "psutil", "bs4", "xmlschema")
    (tmp_path / "without.py").write_text("".join(f"import sys; sys.modules[{name!r}] = None\n" for name in needed))
    plugins = ("-p", "without", "-p", "no:hypothesispytest", "-p", "no:cacheprovider")
    for argument in (("checks/nosuch.py",), ("--mysql-port", "3307", "checks/nosuch.py")):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *plugins, *argument],
            cwd=ROOT,
            env={**environment(), "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert done.returncode == pytest.ExitCode.USAGE_ERROR
        assert done.stderr.splitlines() == ["ERROR: file or directory not found: checks/nosuch.py", ""]


def test_the_headings_that_help_names_are_there() -> None:
    named = re.findall(r'"([^"]+)"', re.sub(r"\s+", " ", run("help").stdout))
    assert named
    options = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    ).stdout
    assert set(named) <= set(re.findall(r"^(\S.*):$", options, re.MULTILINE))


CASES = (ROOT / "run").read_text().rpartition("case $verb in")[2]
VERBS = set(re.findall(r"[a-z-]+", " ".join(re.findall(r"^([a-z].*)\)$", CASES, re.MULTILINE))))
OF_OTHER_PROGRAMS = {"deploy", "check", "circuit", "fuzz"}
"""Verbs with a help of their own."""


@pytest.mark.parametrize("verb", sorted(VERBS - OF_OTHER_PROGRAMS))
def test_help_of_a_verb_does_nothing(tmp_path: Path, verb: str) -> None:
    """In a checkout with nothing installed."""
    shutil.copy2(ROOT / "run", tmp_path)
    for option in ("-h", "--help"):
        done = subprocess.run(
            [tmp_path / "run", verb, option], env=environment(), capture_output=True, text=True, timeout=LIMIT_S
        )
        assert (done.returncode, done.stderr, done.stdout) == (0, "", run("help").stdout)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_help_names_every_verb_and_fits_a_terminal() -> None:
    lines = run("help").stdout.splitlines()
    assert [line for line in lines if len(line) > 79] == []
    assert {line.split()[1] for line in lines if line.startswith("./run ")} == VERBS - {"help", "-h", "--help"}


def test_clean_removes_bundles_with_images_alone(tmp_path: Path) -> None:
    cache = tmp_path / "cache/circuit-harness"
    cache.mkdir(parents=True)
    bundle, other = cache / "app-0123456789abcdef.tar.gz", cache / "other"
    bundle.touch()
    other.touch()
    # In place of what sweeps this machine.
    (tmp_path / "python3").write_text("#!/bin/sh\n")
    (tmp_path / "python3").chmod(0o755)
    here = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert run("clean", **here).returncode == 0
    assert bundle.exists()
    done = run("clean", "--images", **here)
    assert done.stdout == f"removed bundle {bundle.name}\n"
    assert list(cache.iterdir()) == [other]
    other.unlink()
    assert run("clean", "--images", **here).stdout == ""
    assert list(cache.parent.iterdir()) == []


def test_a_verb_that_is_none_has_no_help() -> None:
    for words in (["nosuch"], ["nosuch", "--help"]):
        done = run(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "run: unknown verb: nosuch; ./run help explains\n"


def test_without_hosts_the_circuit_program_names_what_makes_some(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    done = run("circuit", "ls")
    typed = ROOT / "run"
    told = f"no hosts are up for this folder: {typed} up makes some; or give --addr or set $CIRCUIT_ADDR"
    assert (done.returncode, done.stderr) == (2, f"run: {told}\n")
    assert run("circuit", "keygen").returncode == 0
    assert "usage: " in run("circuit", "ls", "--help").stdout


def test_the_circuit_program_without_a_verb_prints_its_help() -> None:
    done = run("circuit")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")
