"""What a run loads before it does anything, and what that costs it later."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def loaded_by(*names: str) -> set[str]:
    """The modules that a new Python has loaded once it has imported these."""
    code = f"import sys, {', '.join(names)}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=60, check=True
    )
    loaded = set(done.stdout.split())
    assert set(names) <= loaded
    return loaded


# Each of xdist's workers pays for what it loads, and so does each run for what it does not use.
PLUGIN = ("hooks", "options", "declared", "fixtures", "disruption", "harness")
WORKER = ("conftest", "fixtures.connections", "fixtures.services", *(f"circuit_harness.plugin.{n}" for n in PLUGIN))


def test_a_worker_loads_nothing_that_deploys_or_reports() -> None:
    deploying = {"circuit_harness.engine.deployment", "circuit_harness.plugin.run", "localhosts", "jinja2"}
    assert loaded_by(*WORKER) & deploying == set()


def test_a_run_on_a_named_circuit_loads_nothing_that_makes_hosts_or_asks_a_controller() -> None:
    loaded = loaded_by(*WORKER, "circuit_harness.plugin.set_up", "circuit_harness.plugin.run")
    assert {name for name in loaded if name.partition(".")[0] == "localhosts"} == {"localhosts", "localhosts.errors"}
    assert loaded & {"circuit_harness.plugin.local_circuit", "circuit_harness.plugin.rpc", "multiprocessing"} == set()


CONFTEST = """
import gc
while_loading = gc.isenabled()

def pytest_collection_finish():
    print("collects:", while_loading, gc.isenabled(), gc.get_freeze_count() > 10_000)
"""

DECLARES = """
from circuit_harness import Program

def pytest_circuit_services():
    return [Program("one", ["sleep", "60"], 1234)]
"""


@pytest.mark.parametrize(("more", "frozen"), [("", False), (DECLARES, True)])
def test_garbage_is_not_looked_for_among_what_was_loaded(tmp_path: Path, more: str, frozen: bool) -> None:
    """As far as a run declares services: what others load and how they collect is theirs."""
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\naddopts = -p circuit_harness.plugin.hooks\n")
    (tmp_path / "conftest.py").write_text(CONFTEST + more)
    (tmp_path / "test_one.py").write_text("def test_one(): pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", "--collect-only"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert f"collects: False True {frozen}" in done.stdout, done.stdout
