"""``--run-timeout``, on a circuit without hosts: what is interrupted, and what the run reports."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from circuit_harness.plugin.run_limit import RunLimit
from circuit_harness.steps import Steps
from tests.circuits import Pair
from tests.conftest import LIMIT_S, Eventually
from tests.jobs import ROOT, checks_of_its_own, run

HANGS = "import threading\n\ndef test_that_hangs():\n    threading.Event().wait(60)\n"
HANGS_AT_THE_END = """
import threading

import pytest


@pytest.fixture(scope="session")
def resource():
    yield
    threading.Event().wait(60)


def test_that_is_interrupted(resource):
    raise KeyboardInterrupt
"""


def report(when: str) -> pytest.TestReport:
    return pytest.TestReport("checks/test_it.py::test_it", ("", 0, ""), {}, "passed", None, when)  # type: ignore[arg-type]


def test_what_is_under_way_is_reported(eventually: Eventually) -> None:
    reasons: list[str] = []

    def reached(limit: RunLimit) -> str:
        limit.start()
        eventually(lambda: reasons)
        return reasons.pop()

    steps = Steps()
    limits = [RunLimit(0.01, steps, reasons.append) for _ in range(4)]
    stopped = "stopped at the limit of 0.01 s for the run (--run-timeout); under way then: "
    assert reached(limits[0]) == f"{stopped}no step and no check"
    for limit in limits:
        limit.pytest_runtest_logstart("checks/test_it.py::test_it")
        limit.pytest_runtest_logreport(report("setup"))
    assert reached(limits[1]) == f"{stopped}checks/test_it.py::test_it (0 s)"
    with steps.step("look at the hosts"), steps.step("MySQL: start", "X1"):
        assert reached(limits[2]) == f"{stopped}look at the hosts (0 s), MySQL: start [X1] (0 s)"
    assert steps.under_way() == []
    limits[3].pytest_runtest_logreport(report("teardown"))
    assert reached(limits[3]) == f"{stopped}no step and no check"


def test_a_run_that_ends_before_is_not_interrupted() -> None:
    reasons: list[str] = []
    limit = RunLimit(0.05, Steps(), reasons.append)
    limit.start()
    limit.cancel()
    limit._timer.join(LIMIT_S)
    assert not limit._timer.is_alive()
    assert reasons == []


@pytest.mark.parametrize(
    ("text", "doing"),
    # After an interrupt, pytest tears the session's fixtures down at its own end.
    [(HANGS, "::test_that_hangs ("), (HANGS_AT_THE_END, "::test_that_is_interrupted (")],
    ids=["check", "tear-down of a fixture"],
)
def test_what_hangs_is_interrupted(circuit_pair: Pair, tmp_path: Path, text: str, doing: str) -> None:
    folder = tmp_path / "artifacts"
    start = time.monotonic()
    done = run(
        f"--circuit-addr={circuit_pair.first.address}",
        "--run-timeout=3",
        f"--artifacts={folder}",
        f"--report={folder}/report.html",
        *checks_of_its_own(tmp_path, text),
    )
    assert time.monotonic() - start < 30
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    reason = "stopped at the limit of 3 s for the run (--run-timeout); under way then: "
    last = done.stdout.splitlines()[-8:]
    assert any(line.startswith(f"note: {reason}") and doing in line for line in last), done.stdout
    document = json.loads((folder / "run.json").read_text())
    assert document["outcome"] == "interrupted"
    assert [note for note in document["notes"] if note.startswith(reason) and doing in note] == document["notes"] != []
    assert reason in (folder / "report.html").read_text()


def test_a_night_has_a_limit_as_documented() -> None:
    (limit,) = {
        line.partition("--run-timeout=")[2].split()[0]
        for line in (ROOT / "run").read_text().splitlines()
        if "--run-timeout=" in line
    }
    assert f"`--run-timeout={limit}`" in (ROOT / "docs" / "nightly.md").read_text()
