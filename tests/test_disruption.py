"""Disruptive checks: run where they may, each alone among all workers, and skipped in words elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs import ROOT, RUN_LIMIT_S, environment

NOBODY = "circuit://127.0.0.1:9/1/Q0123456789abcdef"

CONFTEST = """
import pytest
from circuit_harness.plugin.disruption import Disruption
from circuit_harness.plugin.command_line import add_options
from circuit_harness.plugin.options import read_options

def pytest_addoption(parser):
    add_options(parser)

def pytest_configure(config):
    config.pluginmanager.register(Disruption(config, read_options(config)))
"""

# Each test tells when it began and when it ended, fixtures included, to a file that is appended to.
CHECKS = """
import os, time
import pytest

@pytest.fixture
def told(request):
    def tell(what):
        with open(os.environ["TOLD"], "a") as file:
            file.write(f"{what} {request.node.name}\\n")
    tell("begin")
    yield
    time.sleep(0.03)
    tell("end")

@pytest.mark.parametrize("number", range(24))
def test_shared(told, number):
    time.sleep(0.03)

@pytest.mark.disruptive
@pytest.mark.parametrize("number", range(4))
def test_alone(told, number):
    time.sleep(0.03)
"""


def run(folder: Path, *options: str) -> tuple[str, list[str]]:
    """Run these checks; return the output, and what they told."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    disruptive: stops services\n")
    (folder / "test_checks.py").write_text(CHECKS)
    told = folder / "told"
    told.touch()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", "-rs", *options],
        cwd=folder,
        env={**environment(), "PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT)]), "TOLD": str(told)},
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, told.read_text().splitlines()


def test_a_disruptive_check_is_alone_among_all_workers(tmp_path: Path) -> None:
    _, told = run(tmp_path, "-n", "4")
    assert len(told) == 2 * 28
    under_way: set[str] = set()
    side_by_side = 0
    for line in told:
        what, name = line.split()
        if what == "begin":
            assert not (under_way and "test_alone" in name), f"{name} began beside {under_way}"
            assert not [other for other in under_way if "test_alone" in other], f"{name} began beside {under_way}"
            side_by_side = max(side_by_side, len(under_way) + 1)
            under_way.add(name)
        else:
            under_way.remove(name)
    assert side_by_side > 1


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_disruptive_check_is_skipped_on_a_named_circuit(tmp_path: Path, workers: str) -> None:
    for options in ([], ["--attach"]):
        output, _ = run(tmp_path, f"--circuit-addr={NOBODY}", "-n", workers, *options)
        assert "24 passed, 4 skipped" in output
        assert "on hosts that were not made for this run it needs --disruptive" in output


@pytest.mark.parametrize("options", [[], ["--attach"]])
def test_a_disruptive_check_is_run_on_a_named_circuit_if_asked_for(tmp_path: Path, options: list[str]) -> None:
    assert "28 passed" in run(tmp_path, f"--circuit-addr={NOBODY}", "--disruptive", *options)[0]


def test_a_disruptive_check_is_run_on_hosts_of_its_own(tmp_path: Path) -> None:
    assert "28 passed" in run(tmp_path)[0]
