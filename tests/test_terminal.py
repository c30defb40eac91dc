"""The terminal: lines of a deployment and pytest's own, written by several threads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs import ROOT

CHECKS = 300

WRITER = """
import threading

import pytest

from circuit_harness.plugin.terminal import Terminal

over = threading.Event()
writers = []


def pytest_configure(config):
    global terminal
    terminal = Terminal(config)
    config.pluginmanager.register(terminal)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logstart():
    if writers:
        return

    def write():
        while not over.is_set():
            terminal.line("a step is over")

    writers.append(threading.Thread(target=write))
    writers[0].start()


def pytest_sessionfinish():
    over.set()
    for writer in writers:
        writer.join()
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_lines_of_several_threads_stay_whole(tmp_path: Path, workers: int) -> None:
    (tmp_path / "conftest.py").write_text(WRITER)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_many.py").write_text(
        f"import pytest\n\n@pytest.mark.parametrize('i', range({CHECKS}))\ndef test_it(i):\n    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-n", str(workers), "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    name = r"test_many\.py::test_it\[\d+\]"
    at = r" *(?:\[ *\d+%\])?"
    whole = rf"\[gw\d\]{at} PASSED ({name}) *" if workers else rf"({name}) PASSED{at}"
    lines = {found[1] for line in done.stdout.splitlines() if (found := re.fullmatch(whole, line))}
    assert len(lines) == CHECKS
    others = {line for line in done.stdout.splitlines() if "a step" in line}
    assert others == {"a step is over"}
