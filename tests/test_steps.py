"""Steps: reported when they begin and end, and not begun once they were stopped."""

from __future__ import annotations

import pytest

from circuit_harness.errors import DeployError, Stopped
from circuit_harness.steps import Begun, Step, Steps, Watcher


class Log(Watcher):
    def __init__(self) -> None:
        self.begun: list[Begun] = []
        self.ended_of: list[tuple[Begun, Step | None]] = []

    def began(self, begun: Begun) -> None:
        self.begun.append(begun)

    def ended(self, begun: Begun, step: Step | None, *, stopped: bool = False) -> None:
        self.ended_of.append((begun, step))


def test_a_step_is_reported_when_it_begins_and_when_it_ends() -> None:
    log = Log()
    steps = Steps(log)
    with steps.step("start", "X1"):
        (begun,) = log.begun
        assert (begun.what, begun.host, log.ended_of, steps.done) == ("start", "X1", [], [])
    assert log.ended_of == [(begun, steps.done[0])]
    assert [(step.what, step.host, step.ok) for step in steps.done] == [("start", "X1", True)]


def test_a_step_that_raises_is_reported_as_failed() -> None:
    log = Log()
    steps = Steps(log)
    with pytest.raises(DeployError), steps.step("start", "X1"):
        raise DeployError("no luck")
    assert log.ended_of == [(log.begun[0], steps.done[0])]
    assert [(step.what, step.ok) for step in steps.done] == [("start", False)]


def test_a_wait_is_reported_and_is_no_step() -> None:
    log = Log()
    steps = Steps(log)
    with steps.waiting("pick hosts"):
        assert [begun.what for begun in log.begun] == ["pick hosts"]
    assert log.ended_of == [(log.begun[0], None)]
    assert steps.done == []


def test_none_begins_once_they_were_stopped() -> None:
    steps = Steps()
    done = []
    with steps.step("first"):
        steps.stop()
        done.append("first")
    with pytest.raises(Stopped), steps.step("second"):
        done.append("second")
    steps.resume()
    with steps.step("undo the first"):
        done.append("undone")
    assert done == ["first", "undone"]
