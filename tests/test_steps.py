"""Steps: told when they are over, and not begun once they were stopped."""

from __future__ import annotations

import pytest

from circuit_harness.errors import DeployError, Stopped
from circuit_harness.steps import Step, Steps


def test_a_step_is_told_when_it_is_over() -> None:
    told: list[Step] = []
    steps = Steps(told.append)
    with steps.step("start", "X1"):
        assert told == []
    assert [(step.what, step.host, step.ok) for step in told] == [("start", "X1", True)]


def test_a_step_that_raises_is_told_as_failed() -> None:
    told: list[Step] = []
    steps = Steps(told.append)
    with pytest.raises(DeployError), steps.step("start", "X1"):
        raise DeployError("no luck")
    assert [(step.what, step.ok) for step in told] == [("start", False)]
    assert steps.done == told


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
