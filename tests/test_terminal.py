"""The terminal: lines of a deployment and pytest's own, written by several threads; and its screen, of a real one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.jobs import ROOT, RUN_LIMIT_S, Watched, environment, harness, left_of_cluster_in, named
from tests.screens import Screen

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


WORKERS, STEPS = 3, 15
FEW = 60

DEPLOYER = f"""
import threading
import time

import pytest

from circuit_harness.plugin.terminal import Terminal
from circuit_harness.steps import Steps

threads = []


def pytest_configure(config):
    global steps
    terminal = Terminal(config)
    config.pluginmanager.register(terminal)
    steps = Steps(terminal)
    steps.placed({{f"X{{number}}": [f"service{{number}}"] for number in range({WORKERS})}})


def work(number):
    for index in range({STEPS}):
        what = f"step {{number}}.{{index}}, which has a long name and is cut on a narrow screen"
        with steps.step(what, f"X{{number}}"):
            threading.Event().wait(0.01 * (index % 4))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logstart():
    if not threads:
        threads.extend(threading.Thread(target=work, args=(number,)) for number in range({WORKERS}))
        for thread in threads:
            thread.start()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish():
    for thread in threads:
        thread.join()
    with steps.step("undo it all"):
        pass
"""

CHECKED = """
import threading

import pytest

@pytest.mark.parametrize("i", range({checks}))
def test_it(i):
    print("captured")
    threading.Event().wait(0.003)
"""


def project(folder: Path, checks: str = CHECKED) -> Path:
    """Make a folder with checks, whose conftest.py reports steps of several threads meanwhile."""
    (folder / "conftest.py").write_text(DEPLOYER)
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_many.py").write_text(checks.replace("{checks}", str(FEW)))
    return folder


@contextmanager
def on_screen(command: list[str], folder: Path, screen: Screen, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command on a terminal, which is not its controlling one."""
    other = ("NO_COLOR", "COLUMNS", "LINES", "CI", "PYTHONUNBUFFERED")
    clean = {name: value for name, value in environment().items() if name not in other}
    env = {**clean, "PYTHONPATH": str(ROOT), "TERM": "xterm", **variables}
    process = subprocess.Popen(
        command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=screen.slave, stderr=screen.slave
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def pytest_with(*options: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]


def steps_in(text: str) -> list[str]:
    """The steps whose lines are complete on a screen that may have wrapped them."""
    return re.findall(r"\ds(step\d\.\d+),whichhasalongnameandiscutonanarrowscreen\[service\d\]", "".join(text.split()))


EVERY_STEP = sorted(f"step{number}.{index}" for number in range(WORKERS) for index in range(STEPS))


@pytest.mark.parametrize("columns", [80, 40])
@pytest.mark.parametrize("options", [[], ["-v"], ["-q"], ["-n", "2"], ["-v", "-n", "2"]], ids=" ".join)
def test_the_screen_has_each_step_once_and_all_of_pytest_s_lines(
    tmp_path: Path, columns: int, options: list[str]
) -> None:
    screen = Screen(columns)
    with on_screen(pytest_with(*options), project(tmp_path), screen) as process:
        assert process.wait(60) == 0, screen.text()
    text = screen.text()
    assert sorted(steps_in(text)) == EVERY_STEP, text
    assert re.findall(r"^ +[\d.]+ s  undo it all$", text, re.MULTILINE) != []
    # No line of what was running is left, and nothing else is in the way of pytest's.
    assert "..." not in re.sub(r"^test_many.py .*$|^collecting .*$|^\.+ .*$|^\.+$", "", text, flags=re.MULTILINE), text
    if "-v" in options:
        name = r"test_many\.py::test_it\[(\d+)\]"
        passed = re.findall(f"PASSED{name}" if "-n" in options else f"{name}PASSED", "".join(text.split()))
        assert sorted(map(int, passed)) == list(range(FEW)), text
    else:
        lines = re.findall(r"^(?:test_many.py )?(\.+)(?: *\[ *\d+%\])?$", text, re.MULTILINE)
        assert sum(map(len, lines)) == FEW, text
    assert f"{FEW} passed" in text
    screen.go_away()


ONE_STEP = """
import threading

import pytest

from circuit_harness.plugin.terminal import Terminal
from circuit_harness.steps import Steps


def pytest_configure(config):
    global step
    terminal = Terminal(config)
    config.pluginmanager.register(terminal)
    step = Steps(terminal).step("run all the while")


def pytest_collection_finish(session):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    reporter.write("the beginning of a line, ")
    step.__enter__()
    reporter.write("the middle ")
    threading.Event().wait(1.2)
    reporter.write("and its end\\n")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish():
    step.__exit__(None, None, None)
"""


@pytest.mark.parametrize("columns", [80, 40])
@pytest.mark.parametrize("verbose", [False, True])
def test_a_running_step_leaves_pytest_s_lines_where_they_are(tmp_path: Path, columns: int, verbose: bool) -> None:
    screen = Screen(columns)
    project(tmp_path)
    (tmp_path / "conftest.py").write_text(ONE_STEP)
    with on_screen(pytest_with(*["-v"] * verbose), tmp_path, screen) as process:
        assert process.wait(60) == 0, screen.text()
    text = screen.text()
    assert b"run all the while ..." in screen.written
    words = "the beginning of a line, the middle and its end"
    assert "\n".join(words[start : start + columns].rstrip() for start in range(0, len(words), columns)) in text
    if verbose:
        assert re.findall(r"^test_many\.py::test_it\[(\d+)\] PASSED", text, re.MULTILINE) == list(map(str, range(FEW)))
    else:
        rows = re.findall(r"^(?:test_many\.py )?(\.+) +\[ *\d+%\]$", text, re.MULTILINE)
        assert (len(rows), sum(map(len, rows))) == ({80: 2, 40: 3}[columns], FEW), text
    assert text.count("run all the while") == 1
    screen.go_away()


@pytest.mark.parametrize(
    ("options", "variables"),
    [([], {"NO_COLOR": "1"}), ([], {"TERM": "dumb"}), (["-s"], {}), (["--color=no"], {})],
    ids=["NO_COLOR", "dumb", "-s", "--color=no"],
)
def test_terminals_without_colours_or_in_place_of_others(
    tmp_path: Path, options: list[str], variables: dict[str, str]
) -> None:
    screen = Screen(120)
    with on_screen(pytest_with(*options), project(tmp_path), screen, **variables) as process:
        assert process.wait(60) == 0, screen.text()
    assert sorted(steps_in(screen.text())) == EVERY_STEP
    # Those that are redrawn are so without colours, and those that others write to are not redrawn.
    redrawn = "TERM" not in variables and "-s" not in options
    assert (b"\x1b[J" in screen.written) == redrawn
    assert (re.search(rb"\x1b\[\d*m", screen.written) is not None) == ("-s" in options)
    screen.go_away()


def test_a_check_that_takes_long_is_shown(tmp_path: Path) -> None:
    checks = "import threading\n\n\ndef test_slow():\n    threading.Event().wait(3.2)\n"
    screen = Screen()
    with on_screen(pytest_with(), project(tmp_path, checks), screen) as process:
        while not re.search(rb"[23] s  test_many.py::test_slow \.\.\.", screen.written):
            assert process.poll() is None, screen.text()
            screen.settle()
        assert process.wait(60) == 0, screen.text()
    assert "test_slow" not in screen.text()
    assert re.search(r"^(test_many\.py )?\. +\[100%\]$", screen.text(), re.MULTILINE), screen.text()
    screen.go_away()


@pytest.mark.parametrize("options", [[], ["-n", "2"]], ids=" ".join)
def test_a_run_goes_on_without_its_terminal(tmp_path: Path, options: list[str]) -> None:
    screen = Screen()
    junit = tmp_path / "junit.xml"
    with on_screen(pytest_with(*options, f"--junitxml={junit}"), project(tmp_path), screen) as process:
        while b"step 1.1," not in screen.written:
            assert process.poll() is None, screen.text()
            screen.settle()
        screen.go_away()
        process.wait(60)
    assert f'tests="{FEW}"' in junit.read_text()


def test_a_deployment_on_a_screen_of_80_columns() -> None:
    screen = Screen()
    with on_screen([part for part in harness("-k", "schema or put") if part != "-v"], ROOT, screen) as process:
        assert process.wait(RUN_LIMIT_S) == 0, screen.text()
    text = screen.text()
    legend = re.search(r"^  mysql: (X[0-9a-f]{16})  nodejs: (X[0-9a-f]{16})$", text, re.MULTILINE)
    assert legend is not None, text
    # After that, the anchor's name stands in paths alone.
    assert f"[{legend[1]}]" not in text
    assert not re.search(r"\d s  .*\.\.\.$", text, re.MULTILINE)
    joined = text.replace("\n", "")
    for step in (
        *("make 2 hosts on this machine", "look at the hosts", "remove the 2 hosts"),
        *("MySQL: start mariadb [mysql]", "MySQL: make database tutorial and accounts, load schema.sql [mysql]"),
        *("Node.js: end the app [nodejs]", "verify the clean-up [nodejs]", "verify the clean-up [mysql]"),
    ):
        assert len(re.findall(rf" \d+\.\d\d s  {re.escape(step)}", joined)) == 1, f"{step}\n{text}"
    started = [text.index(f"Started {what} address: ") for what in ("MySQL on private", "Node.js service on public")]
    assert max(started) < text.index("MySQL: drop database")
    last = text.splitlines()[-2:]
    assert last[0] == "Everything that this run deployed was taken down, and its hosts were removed."
    assert re.fullmatch(r"=+ \d+ passed, .* =+", last[1]), text
    assert left_of_cluster_in(text) == []
    screen.go_away()


def test_a_kept_deployment_and_its_end_on_a_screen(watched: Watched, tmp_path: Path) -> None:
    screen = Screen()
    options = [*named(watched.cluster), "-k", "schema or put"]
    files = [f"--artifacts={tmp_path}", f"--report={tmp_path}/report.html"]
    with on_screen(harness(*options, "--keep=always", *files), ROOT, screen) as process:
        assert process.wait(RUN_LIMIT_S) == 0, screen.text()
    joined = screen.text().replace("\n", "")
    mysql, nodejs = (rf"address: [\d.]+ {port} \(metadata\)" for port in (3306, 8080))
    running = rf"which still runs:  MySQL on private {mysql}  Node\.js service on public {nodejs}"
    files_named = rf"Results: {tmp_path}/run\.jsonReport: {tmp_path}/report\.html===="
    assert re.search(rf"Kept run .*{running}.*{files_named}".replace(" ", ""), joined.replace(" ", "")), joined
    screen.go_away()

    screen = Screen()
    with on_screen(harness(*named(watched.cluster), "--circuit-teardown"), ROOT, screen) as process:
        assert process.wait(RUN_LIMIT_S) == 0, screen.text()
    text = screen.text()
    first, second = watched.roles
    assert text.startswith(f"  mysql: {first}  nodejs: {second}\n")
    assert b"MySQL: drop database tutorial and its accounts [mysql] ..." in screen.written
    drop = r"^ +\d+\.\d\d s  MySQL: drop database tutorial and its accounts \[mysql\]$"
    assert len(re.findall(drop, text, re.MULTILINE)) == 1, text
    assert "..." not in text
    watched.assert_unchanged()
    screen.go_away()


def test_a_deployment_is_undone_without_its_terminal(watched: Watched) -> None:
    screen = Screen()
    with on_screen(harness(*named(watched.cluster)), ROOT, screen) as process:
        while b"MySQL: start" not in screen.written:
            assert process.poll() is None, screen.text()
            screen.settle()
        screen.go_away()
        process.wait(RUN_LIMIT_S)
    watched.assert_unchanged()
