"""Nightly runs: what the documented command leaves, and that each recipe does what it is for, as it is written."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml

from localhosts import Cluster
from tests.conftest import Eventually
from tests.jobs import ROOT, RUN_LIMIT_S, Watched, environment, selected, variables
from tests.run_json import read

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
    assert read(folder)["outcome"] == "passed"
    # The night's own limit is replaced by one that is given.
    refused = nightly("nightly", tmp_path / "other", watched.cluster, "--run-timeout=0")
    assert refused.returncode == pytest.ExitCode.USAGE_ERROR
    assert refused.stderr.endswith("ERROR: --run-timeout: '0' is not a valid number of seconds; it is more than 0\n\n")
    watched.assert_unchanged()


Steps = tuple[str, list[str]]
"""A recipe's command that deploys and checks, and those that are run behind it even where it was killed."""


def of_workflow() -> Steps:
    (job,) = yaml.safe_load(WORKFLOW.read_text())["jobs"].values()
    first, *others = [step for step in job["steps"] if "run" in step]
    # A step runs behind one that failed if it says so.
    return first["run"], [step["run"] for step in others if step.get("if") == "always()"]


def of_cron() -> Steps:
    (command,) = re.findall(r"^ +\d[\d *]+  (cd /.*)$", DOCUMENT.read_text(), re.MULTILINE)
    return command.replace("cd /opt/circuit-harness", "cd ."), []


def of_jenkins() -> Steps:
    (recipe,) = re.findall(r"^```groovy\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    stages, post = recipe.split("post {")
    (first,) = re.findall(r"\bsh '(.*?)'", stages)
    always = post.partition("always {")[2].partition("}")[0]
    return first, re.findall(r"\bsh '(.*?)'", always)


def of_document() -> Steps:
    """The two commands at the document's beginning."""
    first, second = re.findall(r"^    (\./run nightly\S*)", DOCUMENT.read_text(), re.MULTILINE)
    return first, [second]


@pytest.mark.parametrize("recipe", [of_workflow, of_cron, of_jenkins, of_document], ids=lambda recipe: recipe.__name__)
def test_a_recipe_takes_down_what_its_killed_night_has_left(
    watched: Watched, tmp_path: Path, eventually: Eventually, recipe: Callable[[], Steps]
) -> None:
    first, others = recipe()
    (tmp_path / "run").symlink_to(ROOT / "run")
    given = {**variables(watched.cluster), "NIGHTLY_DIR": str(tmp_path / "nightly"), "OPTIONS": "-m mysql"}
    night_env = {**environment(), **given, "PYTEST_ADDOPTS": "-m mysql -v -p no:cacheprovider"}
    output = tmp_path / "nightly.log"
    with output.open("w") as log:
        # As a runner does, which goes on to the next step whatever became of this one.
        night = subprocess.Popen(
            ["bash", "-e", "-c", first], cwd=tmp_path, env=night_env, stdout=log, stderr=log, start_new_session=True
        )
    try:
        eventually(lambda: "PASSED" in output.read_text() or night.poll() is not None, RUN_LIMIT_S)
        tree = [psutil.Process(night.pid), *psutil.Process(night.pid).children(recursive=True)]
        (run,) = (process for process in tree if "--junitxml=" in " ".join(process.cmdline()) and is_python(process))
        run.kill()
        night.wait(RUN_LIMIT_S)
    finally:
        night.kill()
    night_env["PYTEST_ADDOPTS"] = ""
    said = output.read_text()
    for command in others:
        step = ["bash", "-e", "-c", command]
        done = subprocess.run(step, cwd=tmp_path, env=night_env, capture_output=True, text=True, timeout=RUN_LIMIT_S)
        assert done.returncode == 0, done.stdout + done.stderr
        said += done.stdout
    assert "(crashed): it was all taken down" in said, said
    watched.assert_unchanged()


def is_python(process: psutil.Process) -> bool:
    return Path(process.cmdline()[0]).name.startswith("python")


def test_the_workflow_runs_a_night_and_keeps_what_it_leaves(watched: Watched, tmp_path: Path) -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    (job,) = workflow["jobs"].values()
    (tmp_path / "run").symlink_to(ROOT / "run")
    # What the runner fills in.
    circuit = variables(watched.cluster)
    filled_in = {
        "vars.CIRCUIT_ADDR": circuit["CIRCUIT_ADDR"],
        "vars.CIRCUIT_HMAC_FILE": circuit.get("CIRCUIT_HMAC", ""),
        "inputs.options": "-k schema",
    }
    for step in (step for step in job["steps"] if "run" in step):
        given = {**job["env"], **step.get("env", {})}
        filled = {
            name: re.sub(r"\$\{\{ *([\w.]+) *\}\}", lambda found: filled_in.get(found[1], ""), value)
            for name, value in given.items()
        }
        filled["NIGHTLY_DIR"] = str(tmp_path / filled["NIGHTLY_DIR"])
        command = ["bash", "-e", "-c", step["run"]]
        done = subprocess.run(
            command, cwd=tmp_path, env={**environment(), **filled}, capture_output=True, text=True, timeout=RUN_LIMIT_S
        )
        assert done.returncode == 0, done.stdout + done.stderr
    (kept,) = (step["with"]["path"] for step in job["steps"] if "upload-artifact" in step.get("uses", ""))
    assert {"run.json", "junit.xml", "report.html"} <= {file.name for file in (tmp_path / kept).iterdir()}
    results = read(tmp_path / kept)["results"]
    assert {result["check"] for result in results} == selected("-k", "schema")
    watched.assert_unchanged()


def test_the_workflow_runs_one_at_a_time_every_night_and_by_hand() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    # A bare "on" is a boolean in YAML 1.1.
    assert {"schedule", "workflow_dispatch"} == set(workflow[True])
    assert workflow["concurrency"]["cancel-in-progress"] is False
    (job,) = workflow["jobs"].values()
    assert 20 <= job["timeout-minutes"] <= 60
    (upload,) = (step for step in job["steps"] if "upload-artifact" in step.get("uses", ""))
    assert upload["if"] == "always()"
