"""``run.json`` and its schema: documents of runs of all kinds are valid, and others are refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from circuit_harness.engine.evidence import Piece
from circuit_harness.engine.spec import Identity
from circuit_harness.journal.undo import Leftover
from circuit_harness.report import outcome, page
from circuit_harness.report.outcome import EVIDENCE, NOTE, Results, compose, write_artifacts
from circuit_harness.steps import Step
from tests import documents
from tests.documents import Document
from tests.run_json import SCHEMA, problems, read
from tests.unit.fakes import FakeHost
from tests.unit.invented import queue, worker
from tests.unit.runs import asked, run_of

PLACE = ("checks/test_queue.py", 41, "test_it")
DECLARED = [{"name": "queue", "title": "Queue", "uses": ["disk"], "speaks": "TCP"}]
HOST = {"name": "X1", "parts": ["queue"], "private_address": "10.0.0.1", "private_address_from": "only"}
HOST |= {"public_address": "10.0.0.1", "public_address_from": "private"}
QUEUE = {"host": "X1", "address": "10.0.0.1", "port": 5000, "found": {"jobs": ["3"]}, "is": None}


def composed(written: Path, *reports: pytest.TestReport, **more: Any) -> Document:
    """What a run writes whose checks reported this."""
    results = Results(("queue",), Path.cwd())
    results.begin(1000.0)
    for report in reports:
        results.add(report)
    nothing: dict[str, Any] = {
        "identity": asdict(Identity()),
        "seconds": 1.5,
        "mode": "deploy",
        "kept": False,
        "exit_status": 0,
        "left": [],
        "notes": results.notes,
        **dict.fromkeys(("circuit", "hosts", "declared", "steps", "logs", "commands"), ()),
        "services": {},
    }
    write_artifacts(written, compose(results=results.all(), **{**nothing, **more}))
    return read(written)


def report(when: Any = "call", outcome: Any = "passed", longrepr: Any = None, **sections: str) -> pytest.TestReport:
    """A phase of a check, as pytest reports it."""
    return pytest.TestReport(
        "checks/test_queue.py::test_it",
        PLACE,
        {"queue": 1},
        outcome,
        longrepr,
        when,
        [(title.replace("_", " "), text) for title, text in sections.items()],
        0.25,
        1001.0,
        1001.25,
    )


def test_checks_that_passed(tmp_path: Path) -> None:
    step = Step("Queue: open it", "X1", 0.1, 0.2, ok=True)
    written = composed(tmp_path, report(), hosts=[HOST], declared=DECLARED, services={"queue": QUEUE}, steps=[step])
    (result,) = written["results"]
    assert (result["outcome"], result["file"], result["line"]) == ("passed", "checks/test_queue.py", 42)
    assert written["services"]["queue"]["found"] == {"jobs": ["3"]}
    assert written["files"] == []


def test_a_check_that_failed_has_evidence_beside_it(tmp_path: Path) -> None:
    failed = report(outcome="failed", longrepr="E   OSError: no answer")
    failed.sections += [(f"{EVIDENCE}log of the queue", "full"), (NOTE, "a note")]
    written = composed(tmp_path, failed, exit_status=1, logs=[Piece("log", "full")])
    (result,) = written["results"]
    assert (result["outcome"], result["reason"]) == ("failed", "OSError: no answer")
    assert result["evidence"] == [{"title": "log of the queue", "text": "full"}]
    assert written["notes"] == ["a note"]
    assert len(written["files"]) == 3


def test_checks_that_were_skipped_or_not_set_up(tmp_path: Path) -> None:
    skipped = report("setup", "skipped", ("checks/test_queue.py", 41, "Skipped: not run: the queue is broken"))
    written = composed(tmp_path, skipped, exit_status=5)
    assert written["results"][0]["reason"] == "not run: the queue is broken"
    written = composed(tmp_path, report("setup", "failed", "E   the queue is broken"), exit_status=1)
    assert written["results"][0]["outcome"] == "error"


def test_a_check_that_was_cut_off_is_none_that_passed(tmp_path: Path) -> None:
    assert composed(tmp_path, report("setup"), exit_status=2)["results"] == []
    assert len(composed(tmp_path, report("setup"), report(), report("teardown"))["results"]) == 1


def test_what_stands_or_was_left_behind(tmp_path: Path) -> None:
    commands = [("take it down", "pytest --hosts=X1 --circuit-teardown")]
    written = composed(tmp_path, report(), kept=True, hosts=[HOST], services={"queue": QUEUE}, commands=commands)
    assert written["commands"] == [{"to": "take it down", "command": "pytest --hosts=X1 --circuit-teardown"}]
    written = composed(tmp_path, report(), left=["on host X1: Queue: close it: no answer"], exit_status=1)
    assert (written["outcome"], written["kept"]) == ("failed", False)


@pytest.mark.parametrize(
    ("status", "word"), [(0, "passed"), (1, "failed"), (2, "interrupted"), (3, "error"), (5, "error"), (77, "error")]
)
def test_no_deployment(tmp_path: Path, status: int, word: str) -> None:
    """The status can be one of a conftest.py's own, too."""
    assert composed(tmp_path, declared=DECLARED, exit_status=status)["outcome"] == word


def test_a_run_on_hosts(hosts: tuple[FakeHost, FakeHost], monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a run itself puts into a document."""
    coordinator = asked(hosts, monkeypatch, [queue(), worker()])
    run = run_of(coordinator)
    assert problems({**run.document(5), "files": []}) == []
    coordinator.ask("worker", frozenset({"worker"}))
    coordinator.ask("queue", frozenset({"worker"}))
    run._left = coordinator.close(keep=True)
    run._left.append(Leftover("X1", "its folder is not empty"))
    document = {**run.document(1), "files": []}
    assert problems(document) == []
    assert document["kept"]
    assert set(document["services"]) == {"queue", "worker"}
    assert document["steps"]
    assert [command["to"] for command in document["commands"]] == ["check it again", "take it down"]


@pytest.mark.parametrize("document", [made for _, made in documents.ALL], ids=[name for name, _ in documents.ALL])
def test_what_pages_are_tested_with_is_valid(document: Document) -> None:
    assert problems(document) == []


# --- the schema


def test_the_schema_is_one_of_the_format_that_is_written_and_read() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["format"]["const"] == outcome.FORMAT == page.FORMAT
    assert SCHEMA["$id"].endswith(f":{outcome.FORMAT}")


def test_every_field_is_required_and_no_other_is_allowed() -> None:
    """But for what services tell of themselves."""
    for name, shape in {"": SCHEMA, **SCHEMA["$defs"]}.items():
        if shape["type"] == "object":
            assert set(shape["required"]) == set(shape["properties"]), name
            assert ("additionalProperties" in shape) == (name != "service"), name


def _set(*path: Any, to: Any) -> Callable[[Document], object]:
    def change(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda document: document.pop("left"), "$: 'left' is a required property"),
        (_set("more", to=1), "$: Additional properties are not allowed ('more' was unexpected)"),
        (_set("format", to=2), "$.format: 1 was expected"),
        (_set("outcome", to="good"), "$.outcome: 'good' is not one of ['passed', 'failed', 'interrupted', 'error']"),
        (_set("mode", to="plan"), "$.mode: 'plan' is not one of ['deploy', 'attach']"),
        (_set("exit_status", to="0"), "$.exit_status: '0' is not of type 'integer'"),
        (_set("hosts", 0, "parts", to="mysql"), "$.hosts[0].parts: 'mysql' is not of type 'array'"),
        (
            _set("declared", 0, "x", to=1),
            "$.declared[0]: Additional properties are not allowed ('x' was unexpected)",
        ),
        (_set("services", "mysql", "port", to="3306"), "$.services.mysql.port: '3306' is not of type 'integer'"),
        (_set("steps", 0, "ok", to=None), "$.steps[0].ok: None is not of type 'boolean'"),
        (
            _set("results", 0, "outcome", to="xfailed"),
            "$.results[0].outcome: 'xfailed' is not one of ['passed', 'failed', 'error', 'skipped']",
        ),
        (_set("results", 0, "line", to=0), "$.results[0].line: 0 is less than the minimum of 1"),
        (
            _set("results", 10, "evidence", 0, to={"title": "log"}),
            "$.results[10].evidence[0]: 'text' is a required property",
        ),
        (_set("commands", to=["pytest"]), "$.commands[0]: 'pytest' is not of type 'object'"),
        (_set("files", to=[1]), "$.files[0]: 1 is not of type 'string'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_document_is_refused(change: Callable[[Document], object], told: str) -> None:
    document = copy.deepcopy(documents.failing())
    change(document)
    assert problems(document) == [told]
