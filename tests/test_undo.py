"""Undoing: newest first, and nothing stops the rest."""

from __future__ import annotations

import pytest

from circuit import HostLost
from deploy.errors import DeployError
from deploy.steps import Step, Steps
from deploy.undo import Undo, UndoFailed


def test_newest_first() -> None:
    done: list[str] = []
    undo = Undo(Steps())
    undo.add("first", "X1", lambda: done.append("first"))
    undo.add("second", "X2", lambda: done.append("second"))
    undo.run()
    assert done == ["second", "first"]


def test_runs_once() -> None:
    done: list[str] = []
    undo = Undo(Steps())
    undo.add("it", "X1", lambda: done.append("it"))
    undo.run()
    undo.run()
    assert done == ["it"]


@pytest.mark.parametrize("error", [DeployError("no luck"), HostLost("gone")])
def test_a_failure_stops_nothing_and_is_told(error: Exception) -> None:
    def fail() -> None:
        raise error

    done: list[str] = []
    undo = Undo(Steps())
    undo.add("drop the database", "X1", lambda: done.append("dropped"))
    undo.add("end the app", "X2", fail)
    with pytest.raises(UndoFailed, match=f"on host X2: end the app: {error}"):
        undo.run()
    assert done == ["dropped"]


def test_each_is_a_step() -> None:
    told: list[Step] = []
    undo = Undo(Steps(told.append))
    undo.add("end the app", "X2", lambda: None)
    undo.run()
    assert [(step.what, step.host, step.ok) for step in told] == [("end the app", "X2", True)]


def test_a_step_that_raises_is_told_as_failed() -> None:
    told: list[Step] = []
    steps = Steps(told.append)
    with pytest.raises(DeployError), steps.step("start", "X1"):
        raise DeployError("no luck")
    assert [(step.what, step.ok) for step in told] == [("start", False)]
    assert steps.done == told
