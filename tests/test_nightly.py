"""Nightly runs: what the documented command leaves, and that the workflow and the document use just it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

from localhosts import Cluster
from tests.jobs import ROOT, RUN_LIMIT_S, Watched, environment, named, run_and, variables

WORKFLOW = ROOT / ".github" / "workflows" / "nightly.yml"
DOCUMENT = ROOT / "docs" / "nightly.md"


def nightly(verb: str, folder: Path, cluster: Cluster, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "run", verb, *options],
        cwd=folder.parent,
        env={**environment(), **variables(cluster), "NIGHTLY_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=2 * RUN_LIMIT_S,
    )


def test_a_night_leaves_its_outcome_and_nothing_else(watched: Watched, tmp_path: Path) -> None:
    folder = tmp_path / "outcome"
    (folder / "logs").mkdir(parents=True)
    (folder / "run.json").write_text(
        '{"format": 1, "run": "0123abcd", "outcome": "failed", "results": [], "files": ["logs/01-older.txt"]}'
    )
    (folder / "logs" / "01-older.txt").touch()
    (folder / "mine.txt").touch()
    done = nightly("nightly", folder, watched.cluster, "-k", "schema", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(file.name for file in folder.iterdir()) == ["junit.xml", "mine.txt", "report.html", "run.json"]
    assert json.loads((folder / "run.json").read_text())["outcome"] == "passed"
    watched.assert_unchanged()


def test_what_a_killed_night_leaves_is_taken_down(watched: Watched, tmp_path: Path) -> None:
    status, _ = run_and("test_schema_columns.*PASSED", subprocess.Popen.kill, *named(watched.cluster), "-m", "mysql")
    assert status == -signal.SIGKILL
    done = nightly("nightly-clean", tmp_path / "none", watched.cluster)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(crashed): it was all taken down" in done.stdout
    watched.assert_unchanged()


def test_workflow_and_document_use_these_commands() -> None:
    verbs = set(re.findall(r"^([a-z-]+)\)$", (ROOT / "run").read_text(), re.MULTILINE))
    for file in (WORKFLOW, DOCUMENT):
        used = re.findall(r"\./run ([a-z-]+)", file.read_text())
        assert {"nightly", "nightly-clean"} <= set(used) <= verbs
    assert os.access(ROOT / "run", os.X_OK)


def test_the_workflow_runs_one_at_a_time_and_always_cleans() -> None:
    text = WORKFLOW.read_text()
    assert "cancel-in-progress: false" in text
    assert "timeout-minutes:" in text
    assert "workflow_dispatch:" in text
    assert "schedule:" in text
    assert re.search(r"if: always\(\)\n +run: \./run nightly-clean", text)
    assert re.search(r"if: always\(\)\n +uses: actions/upload-artifact", text)
