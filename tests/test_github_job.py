"""Runs in a job of GitHub Actions: what its runner obeys of their output, and what they write for its summary page."""

from __future__ import annotations

import html
import os
import subprocess
from pathlib import Path

import pytest

from tests.jobs import ROOT, RUN_LIMIT_S, checks_of_its_own, environment, harness
from tests.run_json import read
from tests.runner import obeyed

WORKERS = pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])

CHECKS = """
import pytest

from circuit_harness.secret import Secret

PASSWORD = Secret("sword: fish, 100 %")


@pytest.fixture
def broken():
    raise OSError("not set up")


def test_fails():
    raise OSError("refused: " + PASSWORD.reveal() + "\\x1b[31m\\x07")


@pytest.mark.parametrize("value", ["a:b,c"])
def test_compares(value):
    assert value == "100 %"


def test_not_set_up(broken):
    pass


def test_passes():
    pass


def test_skipped():
    pytest.skip("not here")
"""

HOSTILE = """
import pytest

COMMANDS = '''the host said:
::set-output name=alone::1
   ::add-mask::indented
	::error::behind a tab
a line with ##[add-mask]within it
'''


def test_outright():
    pytest.fail(COMMANDS, pytrace=False)


def test_as_a_value():
    assert COMMANDS == ""


def test_as_output():
    print(COMMANDS)
    raise OSError(COMMANDS)


@pytest.mark.mysql
def test_skipped():
    pytest.skip(COMMANDS)
"""


def in_a_job(folder: Path, checks: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run checks of its own as a runner runs them whose workspace is the folder."""
    given = {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(folder)}
    given["GITHUB_STEP_SUMMARY"] = str(folder / "summary.md")
    return subprocess.run(
        harness(*checks_of_its_own(folder, checks), *options),
        cwd=ROOT,
        env={**environment(), **given, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=RUN_LIMIT_S,
    )


@WORKERS
def test_each_failure_is_annotated_once(tmp_path: Path, workers: list[str]) -> None:
    done = in_a_job(tmp_path, CHECKS, *workers)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    file = "test_of_its_own.py"
    found = sorted(obeyed(done.stdout), key=lambda command: int(command[1]["line"]))
    assert found == [
        ("error", {"file": file, "line": "11", "title": "test_not_set_up"}, "OSError: not set up"),
        ("error", {"file": file, "line": "15", "title": "test_fails"}, "OSError: refused: ***\\x07"),
        (
            "error",
            {"file": file, "line": "20", "title": "test_compares[a:b,c]"},
            "assert 'a:b,c' == '100 %'",
        ),
    ], done.stdout


@WORKERS
def test_a_table_is_appended_to_the_summary(tmp_path: Path, workers: list[str]) -> None:
    (tmp_path / "summary.md").write_text("another's\n")
    in_a_job(tmp_path, CHECKS, *workers)
    text = (tmp_path / "summary.md").read_text()
    lines = html.unescape(text).splitlines()
    assert lines[:3] == ["another's", "", "### ✕ 3 of 5 checks failed"]
    assert "| Other checks | 1 | 3 | 1 |" in lines
    assert r"| fails |  | OSError: refused: ***\x07 |" in lines
    assert lines.count("| Checks | Passed | Failed | Skipped |") == 1


def test_elsewhere_there_is_nothing_of_it(tmp_path: Path) -> None:
    done = in_a_job(tmp_path, HOSTILE, GITHUB_ACTIONS="")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "::error file=" not in done.stdout
    assert "\n::set-output name=alone::1\n" in done.stdout
    assert not (tmp_path / "summary.md").exists()


@pytest.mark.parametrize(
    "options", [[], ["-n", "1"], ["--tb=native"], ["--tb=short", "-l", "-rA"], ["-q", "-q"]], ids=" ".join
)
def test_what_a_host_said_commands_nothing(tmp_path: Path, options: list[str]) -> None:
    done = in_a_job(tmp_path, HOSTILE, f"--artifacts={tmp_path / 'out'}", *options)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "within it" in done.stdout
    ours = [("error", "test_as_a_value"), ("error", "test_as_output"), ("error", "test_outright")]
    assert sorted((name, given.get("title")) for name, given, _ in obeyed(done.stdout)) == ours, done.stdout
    assert {result["outcome"] for result in read(tmp_path / "out")["results"]} == {"failed", "skipped"}


def test_what_a_host_said_would_command_without_this(tmp_path: Path) -> None:
    """The test above finds what it is to find."""
    done = in_a_job(tmp_path, HOSTILE, GITHUB_ACTIONS="")
    assert {name for name, _, _ in obeyed(done.stdout)} == {"set-output", "add-mask", "error"}


def test_a_summary_that_cannot_be_written_fails_the_run(tmp_path: Path) -> None:
    passing = "def test_passes():\n    pass\n"
    summary = tmp_path / "none" / "summary.md"
    done = in_a_job(tmp_path, passing, GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    words = f"cannot write {summary}: No such file or directory"
    assert f"\n{words}\n" in done.stdout
    assert obeyed(done.stdout) == [("error", {"title": "The run failed"}, words)]


def test_a_run_that_passes_commands_nothing(tmp_path: Path) -> None:
    passing = "def test_passes():\n    pass\n"
    done = in_a_job(tmp_path, passing, GITHUB_STEP_SUMMARY=os.devnull)
    assert done.returncode == 0, done.stdout
    assert obeyed(done.stdout) == []
    listed = in_a_job(tmp_path, passing, "--collect-only")
    assert listed.returncode == 0, listed.stdout
    assert not (tmp_path / "summary.md").exists()
