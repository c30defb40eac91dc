"""What GitHub Actions is given of a run: commands that annotate, texts that command nothing, a summary."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from circuit_harness.plugin.progress import harmless
from circuit_harness.report import summary
from circuit_harness.report.summary import MOST_FAILURES, append_summary, summarize
from circuit_harness.report.workflow_commands import annotations_of, disarm, error
from circuit_harness.secret import Secret
from tests import documents
from tests.documents import MYSQL_HOST, NODEJS_HOST
from tests.runner import obeyed
from tests.unit.fakes import FakeHost
from tests.unit.invented import queue
from tests.unit.runs import asked, run_of

ROOT = Path("/repository/deep")

KINDS = pytest.mark.parametrize(
    "document", [made for _, made in documents.ALL], ids=[name for name, _ in documents.ALL]
)


# --- annotations


def test_a_command_is_escaped_as_the_runner_reads_it() -> None:
    assert error("100 % of\r\na: b, c") == "::error ::100 %25 of%0D%0Aa: b, c"
    assert error("x", file="a:b,c%\n.py", line="7") == "::error file=a%3Ab%2Cc%25%0A.py,line=7::x"
    text = "%0A %25 100 %\r\n:: ##[x] , a=b"
    assert obeyed(error(text, title=text)) == [("error", {"title": text}, text)]


def test_a_command_has_no_control_characters() -> None:
    assert error("\x1b[31m\u2028\x85") == "::error ::\\x1b[31m\\u2028\\x85"


def test_each_failure_is_annotated_at_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", "/repository")
    commands = obeyed("\n".join(annotations_of(documents.failing(), ROOT)))
    assert [(name, given) for name, given, _ in commands] == [
        ("error", {"file": "deep/checks/test_mysql.py", "line": "7", "title": "test_schema_columns"}),
        ("error", {"file": "deep/checks/test_nodejs.py", "line": "7", "title": "test_http_put_is_seen_in_mysql"}),
    ]
    assert commands[0][2].startswith("assert [('name', 'varchar(64)', 'NO')")
    monkeypatch.delenv("GITHUB_WORKSPACE")
    assert "file=checks/test_mysql.py," in annotations_of(documents.failing(), ROOT)[0]


@pytest.mark.parametrize("document", [documents.passing(), documents.nothing(), documents.interrupted()])
def test_where_nothing_failed_there_is_no_annotation(document: documents.Document) -> None:
    assert annotations_of(document, ROOT) == []


def test_what_was_left_behind_is_annotated_before_failures() -> None:
    """And a check that was skipped is not."""
    left = ["on host X1: a folder", "on host X2: a file"]
    commands = obeyed("\n".join(annotations_of(documents.not_deployed() | {"left": left}, ROOT)))
    assert commands[0] == ("error", {"title": "Left behind"}, "on host X1: a folder\non host X2: a file")
    assert [given["title"] for _, given, _ in commands[1:]] == ["test_service_is_running"]


def test_a_failure_without_a_reason_has_an_annotation() -> None:
    (command,) = annotations_of(documents.nothing(results=[documents.result("x", "mysql", 0, "error")]), ROOT)
    assert command.endswith("::error")


@KINDS
def test_an_annotation_is_one_line(document: documents.Document) -> None:
    lines = annotations_of(document, ROOT)
    commands = obeyed("\n".join(lines))
    assert [name for name, _, _ in commands] == ["error"] * len(lines)
    assert {name for _, given, _ in commands for name in given} <= {"file", "line", "title"}


# --- output

COMMANDS = [
    "::set-output name=x::y",
    "  \t ::add-mask::y",
    "first\n::stop-commands::y",
    "E   ##[set-output name=x]y",
    "####[set-output name=x]y",
    ":::set-output name=x::y\n ##[add-mask]y##[add-mask]y",
    "::group::y",
]


@pytest.mark.parametrize("text", COMMANDS)
def test_output_commands_nothing(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert obeyed(text)
    assert obeyed(harmless(text)) == []
    assert harmless(harmless(text)) == harmless(text)


def test_output_shows_what_was_disarmed() -> None:
    assert disarm("a ::b\n  ::c [::1]\n##[d]") == "a ::b\n  \\x3a:c [::1]\n\\x23#[d]"


@pytest.mark.parametrize("value", [None, "", "false"])
def test_elsewhere_output_stays_as_it_is(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    if value is not None:
        monkeypatch.setenv("GITHUB_ACTIONS", value)
    assert [harmless(text) for text in COMMANDS] == COMMANDS


def test_output_is_masked_before_it_is_disarmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert harmless(f"a\n{Secret('::sword::fish').reveal()}\n") == "a\n***\n"


# --- the summary


def tables(text: str) -> dict[str, list[list[str]]]:
    """The rows of the tables in a summary, by the first word of their heads, as a reader sees them."""
    found: dict[str, list[list[str]]] = {}
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        head, rule, *rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in block.splitlines()]
        assert rule == ["---"] * len(head)
        assert {len(row) for row in rows} == {len(head)}
        found[head[0]] = [[html.unescape(cell) for cell in row] for row in rows]
    return found


def test_the_summary_counts_checks_by_service() -> None:
    text = summarize(documents.failing())
    assert html.unescape(text).startswith("\n### ✕ 2 of 31 checks failed\n\n29 passed, run 0a1b2c3d of ci@runner, took")
    found = tables(text)
    assert found["Checks"] == [
        ["Circuit and hosts", "4", "0", "0"],
        ["MySQL", "10", "1", "0"],
        ["Node.js API", "15", "1", "0"],
    ]
    assert found["Host"] == [
        [MYSQL_HOST, "MySQL at 10.213.1.11:3306", "10.213.1.11", "10.213.1.111"],
        [NODEJS_HOST, "Node.js API at 10.213.1.112:8080", "10.213.1.12", "10.213.1.112"],
    ]
    assert [row[:2] for row in found["Failed check"]] == [
        ["schema columns", "MySQL"],
        ["HTTP put is seen in MySQL", "Node.js API"],
    ]
    assert found["Failed check"][0][2].startswith("assert [('name', 'varchar(64)', 'NO')")


def test_the_summary_tells_what_was_left_behind() -> None:
    text = html.unescape(summarize(documents.not_deployed()))
    assert "### ✕ The deployment failed at “MySQL: start mariadb”" in text
    assert "\n**Left behind:** 1 thing could not be undone.\n\n- on host X5f2a6d0c11e49b83: MySQL: drop" in text
    assert f"\n- To finish taking it down: <code>pytest --hosts={MYSQL_HOST} --circuit-teardown</code>\n" in text
    assert tables(summarize(documents.not_deployed()))["Checks"][2] == ["Node.js API", "0", "0", "16"]
    assert "Kept" not in text


def test_the_summary_tells_what_was_kept() -> None:
    commands = [{"to": "take it down", "command": "pytest --hosts=X1 --circuit-teardown"}]
    text = html.unescape(summarize(documents.one_host() | {"commands": commands}))
    assert "\n**Kept:** the deployment was left standing.\n\n- To take it down: <code>pytest --hosts=X1" in text
    assert "Left behind" not in text
    assert tables(summarize(documents.one_host()))["Host"][0][1] == (
        "MySQL at 10.213.1.11:3306, Node.js API at 10.213.1.111:8080"
    )


def test_the_summary_of_nothing_has_no_tables() -> None:
    text = summarize(documents.nothing())
    assert tables(text) == {}
    assert "The run failed: no check ran" in html.unescape(text)


def test_the_summary_of_very_many_failures_is_short() -> None:
    text = summarize(documents.crowd(2000))
    assert len(tables(text)["Failed check"]) == MOST_FAILURES
    assert "\n150 more failures.\n" in html.unescape(text)
    reason = "x" * 100_000
    results = [documents.result(f"n{number}", "mysql", 0, "failed", reason=reason) for number in range(1000)]
    assert len(summarize(documents.nothing(results=results))) < 50_000


@KINDS
def test_a_summary_is_of_its_own_words_and_escaped_text(document: documents.Document) -> None:
    """What is not a letter, digit or blank is the summary's own, at its place, or written as a number."""
    cell = r"(?:[A-Za-z0-9 ]|&#\d+;)*"
    own = r"\*\*(?:Left behind:\*\* [\d,]+ things? could not be undone|Kept:\*\* the deployment was left standing)\."
    line = rf"|### [✓✕!] {cell}|{cell}|\|(?: {cell} \|)+|\|(?: --- \|)+|{own}|- {cell}|- To {cell}: <code>{cell}</code>"
    assert [each for each in summarize(document).split("\n") if not re.fullmatch(line, each)] == []


def test_what_others_wrote_is_text() -> None:
    text = summarize(documents.hostile())
    assert "<script" not in text
    assert html.unescape(text).count("<script>alert(1)</script>") > 5
    tables(text)


def test_a_summary_is_appended_to_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    (tmp_path / "summary.md").write_text("another's", "utf-8")
    append_summary(documents.passing())
    written = (tmp_path / "summary.md").read_text("utf-8")
    assert written == "another's" + summary.summarize(documents.passing())
    assert written.startswith("another's\n### ")


@pytest.mark.parametrize(("mode", "written"), [("deploy", True), ("attach", True), ("plan", False)])
def test_a_plan_has_no_summary(
    hosts: tuple[FakeHost, FakeHost], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Any, written: bool
) -> None:
    """As it checks nothing."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    run = run_of(asked(hosts, monkeypatch, [queue()]))
    run._options = replace(run._options, mode=mode)
    run._config = Mock(rootpath=tmp_path, option=Mock(collectonly=False))
    run._write(0)
    assert (tmp_path / "summary.md").exists() == written


def test_a_summary_without_a_file_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", None):
        monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
        if value is not None:
            monkeypatch.setenv("GITHUB_STEP_SUMMARY", value)
        append_summary(documents.passing())
