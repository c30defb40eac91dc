"""Waiting ends with success, or with the limit and the last thing seen."""

from __future__ import annotations

import threading
import time

import pytest

from circuit_harness.errors import NotReady, Stopped
from circuit_harness.remote.waiting import wait_until
from circuit_harness.steps import Steps


def test_returns_once_the_probe_has_nothing_to_say() -> None:
    answers = iter(["starting", "starting", ""])
    wait_until(lambda: next(answers), "the server", 5, Steps())
    assert next(answers, None) is None


def test_says_what_it_waited_for_and_saw() -> None:
    start = time.monotonic()
    with pytest.raises(NotReady, match=r"waited 0\.2 s for the server to answer; last seen: connection refused"):
        wait_until(lambda: "connection refused", "the server to answer", 0.2, Steps())
    assert time.monotonic() - start < 1


def test_ends_when_the_steps_are_stopped() -> None:
    steps = Steps()
    threading.Timer(0.1, steps.stop).start()
    start = time.monotonic()
    with pytest.raises(Stopped):
        wait_until(lambda: "connection refused", "the server to answer", 20, steps)
    assert time.monotonic() - start < 5
