"""The progress of a run, on a terminal and into a pipe: which lines are on the screen while steps run, and at last."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from circuit_harness.errors import DeployError
from circuit_harness.plugin import progress as progresses
from circuit_harness.plugin.progress import Progress, columns_of, cut
from circuit_harness.steps import Steps
from tests.screens import Screen

LIMIT_S = 10.0


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def screen() -> Iterator[Screen]:
    made = Screen()
    yield made
    made.go_away()


def timeless(text: str) -> str:
    return re.sub(r"^ *[\d.]+ s  ", "T  ", text, flags=re.MULTILINE)


def test_a_step_is_shown_when_it_begins_and_completed_in_place(screen: Screen) -> None:
    progress = Progress(screen.slave)
    with Steps(progress).step("MySQL: start", "X1"):
        assert screen.text() == "       0 s  MySQL: start [X1] ..."
    progress.close()
    assert re.fullmatch(r"    \d\.\d\d s  MySQL: start \[X1\]", screen.text())


def test_concurrent_steps_are_completed_one_by_one(screen: Screen) -> None:
    progress = Progress(screen.slave)
    steps = Steps(progress)
    progress.line("first")
    slow = steps.step("slow")
    slow.__enter__()
    with steps.step("quick"):
        assert timeless(screen.text()) == "first\nT  slow ...\nT  quick ..."
        progress.line("said meanwhile")
        assert timeless(screen.text()) == "first\nsaid meanwhile\nT  slow ...\nT  quick ..."
    assert timeless(screen.text()) == "first\nsaid meanwhile\nT  quick\nT  slow ..."
    slow.__exit__(None, None, None)
    progress.close()
    assert timeless(screen.text()) == "first\nsaid meanwhile\nT  quick\nT  slow"


def test_a_step_that_fails_says_so_and_a_wait_leaves_nothing(screen: Screen) -> None:
    progress = Progress(screen.slave)
    steps = Steps(progress)
    with pytest.raises(DeployError), steps.step("start", "X1"):
        raise DeployError("no luck")
    with steps.waiting("pick hosts"):
        assert timeless(screen.text()) == "T  start [X1]  FAILED\nT  pick hosts ..."
    with pytest.raises(KeyboardInterrupt), steps.step("wait", "X1"):
        raise KeyboardInterrupt
    progress.close()
    assert timeless(screen.text()) == "T  start [X1]  FAILED\nT  wait [X1]  stopped"


def test_what_a_long_wait_sees_instead_is_below_it(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    progress = Progress(screen.slave)
    steps = Steps(progress)
    with steps.step("wait for port 80"):
        steps.see("nothing listens there")
        assert timeless(screen.text()) == "T  wait for port 80 ..."
        monkeypatch.setattr(progresses, "LONG_S", 0.0)
        steps.see("only on 127.0.0.1")
        assert timeless(screen.text()) == "T  wait for port 80 ...\n            only on 127.0.0.1"
    steps.see("it is over")
    progress.close()
    assert timeless(screen.text()) == "T  wait for port 80"


def test_hosts_have_roles_once_they_are_known(screen: Screen) -> None:
    progress = Progress(screen.slave)
    steps = Steps(progress)
    with steps.step("before", "X1"):
        pass
    steps.placed({"X1": ["mysql", "nodejs"], "X2": ["worker"], "X3": []})
    for host in ("X1", "X2", "X3"):
        with steps.step("after", host):
            pass
    progress.close()
    legend = "  mysql+nodejs: X1  worker: X2"
    after = "T  after [mysql+nodejs]\nT  after [worker]\nT  after [X3]"
    assert timeless(screen.text()) == f"T  before [X1]\n{legend}\n{after}"
    # Records keep the name.
    assert [step.host for step in steps.done] == ["X1", "X1", "X2", "X3"]


def test_hosts_with_the_same_role_keep_their_names(screen: Screen) -> None:
    progress = Progress(screen.slave)
    progress.placed({"X1": ["mysql"], "X2": ["mysql"], "X3": ["nodejs"]})
    with Steps(progress).step("end it", "X2"):
        pass
    progress.close()
    assert timeless(screen.text()) == "  nodejs: X3\nT  end it [X2]"


def test_the_seconds_of_a_step_go_on(screen: Screen) -> None:
    progress = Progress(screen.slave)
    with Steps(progress).step("slow"):
        ticked = threading.Event()

        def look() -> None:
            while "       1 s  slow ..." not in screen.text():
                pass
            ticked.set()

        threading.Thread(target=look, daemon=True).start()
        assert ticked.wait(LIMIT_S)
    progress.close()
    assert len(screen.text().splitlines()) == 1


@pytest.mark.parametrize("columns", [120, 80, 40, 5])
def test_running_steps_are_cut_where_the_terminal_is_narrow(columns: int) -> None:
    screen = Screen(columns)
    progress = Progress(screen.slave)
    steps = Steps(progress)
    what = "bind to 10.213.3.11:3306 in /etc/mysql/mariadb.conf.d/50-server.cnf 表表表表表表表表表表表表表表表"
    progress.line("first")
    with steps.step(what, "X1"), steps.step("short"):
        shown = screen.text().splitlines()
        assert shown[0] == "first"
        assert len(shown) == 3
        assert all(columns_of(line) <= min(columns, 80) - 3 for line in shown[1:])
        assert shown[1].replace("0 s", "").strip().strip(".") in f"  {what}"
        assert all(line.endswith("."[: columns - 3]) for line in shown[1:])
    progress.close()
    # A finished line is complete, on as many rows as it needs.
    assert re.fullmatch(
        rf"first[\d.]+sshort[\d.]+s{re.escape(what.replace(' ', ''))}\[X1\]",
        "".join(screen.lines()).replace(" ", ""),
    )
    screen.go_away()


def test_more_steps_than_rows_are_counted() -> None:
    screen = Screen(rows=6)
    progress = Progress(screen.slave)
    steps = Steps(progress)
    running = [steps.step(f"step {number}") for number in range(9)]
    for step in running:
        step.__enter__()
    assert timeless(screen.text()) == "T  step 0 ...\nT  step 1 ...\nT  step 2 ...\n          ... and 6 more"
    for step in running:
        step.__exit__(None, None, None)
    progress.close()
    assert timeless(screen.text()) == "\n".join(f"T  step {number}" for number in range(9))
    screen.go_away()


@pytest.mark.parametrize("columns", [100, 60])
def test_a_resize_does_not_harm_finished_lines(screen: Screen, columns: int) -> None:
    progress = Progress(screen.slave)
    steps = Steps(progress)
    progress.line("first")
    with steps.step("slow", "X1"), steps.step("quick"):
        screen.resize(columns, 24)
        progress.line("second")
    progress.close()
    assert timeless(screen.text()) == "first\nsecond\nT  quick\nT  slow [X1]"


@pytest.mark.parametrize("term", ["dumb", None])
def test_a_dumb_terminal_gets_whole_lines(screen: Screen, monkeypatch: pytest.MonkeyPatch, term: str | None) -> None:
    if term is None:
        monkeypatch.delenv("TERM")
    else:
        monkeypatch.setenv("TERM", term)
    progress = Progress(screen.slave)
    with Steps(progress).step("start"):
        assert screen.text() == ""
    progress.close()
    assert timeless(screen.text()) == "T  start"
    assert b"\x1b" not in screen.written


def test_in_a_pipe_a_step_is_one_line_and_a_long_one_is_announced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progresses, "LONG_S", 0.3)
    monkeypatch.setattr(progresses, "TICK_S", 0.05)
    announced = threading.Event()
    many = threading.Event()

    class Told(Progress):
        def line(self, text: str, **markup: bool) -> None:
            super().line(text, **markup)
            (many if announced.is_set() else announced).set()

    out = tmp_path / "out"
    with out.open("wb") as file:
        progress = Told(file.fileno())
        steps = Steps(progress)
        with steps.step("long", "X1"):
            assert out.read_text() == ""
            steps.see("not yet")
            assert announced.wait(LIMIT_S)
            assert not many.wait(0.5)
        with steps.step("short"):
            pass
        progress.close()
    assert timeless(out.read_text()) == "            long [X1] ...\n            not yet\nT  long [X1]\nT  short\n"


def test_a_terminal_that_goes_away_stops_nothing(screen: Screen) -> None:
    progress = Progress(screen.slave)
    steps = Steps(progress)
    with steps.step("start"):
        screen.go_away()
        progress.line("nobody reads this")
    with steps.step("undo"):
        pass
    progress.close()
    assert [step.what for step in steps.done] == ["start", "undo"]


def test_lines_of_many_threads_are_whole(screen: Screen) -> None:
    progress = Progress(screen.slave)
    steps = Steps(progress)

    def work(number: int) -> None:
        for round_ in range(40):
            with steps.step(f"step {number}.{round_}", f"X{number}"):
                progress.line(f"within {number}.{round_}")

    workers = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(LIMIT_S)
    progress.close()
    shown = timeless(screen.text()).splitlines()
    expected = [f"T  step {n}.{r} [X{n}]" for n in range(6) for r in range(40)]
    expected += [f"within {n}.{r}" for n in range(6) for r in range(40)]
    assert sorted(shown) == sorted(expected)


def test_a_closed_one_drops_lines(screen: Screen) -> None:
    progress = Progress(screen.slave)
    progress.close()
    progress.line("too late")
    assert screen.text() == ""
    os.fstat(screen.slave)


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("short", 5, "short"),
        ("longer", 5, "lo..."),
        ("longer", 2, ".."),
        ("two\nlines", 20, "two lines"),
        ("表表表", 5, "表..."),
        ("é" * 3, 3, "é" * 3),
    ],
)
def test_a_text_is_cut_by_columns(text: str, width: int, expected: str) -> None:
    assert cut(text, width) == expected
