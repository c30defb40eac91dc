"""circuit.net.pointers: when a server is told to drop a pointer."""

from __future__ import annotations

import pytest

from circuit.net.pointers import PointerCounts

SCENARIOS: dict[str, tuple[list[tuple[str, int, tuple[int, ...]]], bool]] = {
    "used once": ([("take", 1, ()), ("release", 1, (1,))], False),
    "used twice": ([("take", 1, ()), ("take", 1, ()), ("release", 1, ()), ("release", 1, (1,))], False),
    "still in use": ([("take", 1, ()), ("take", 2, ()), ("release", 1, (1,))], True),
    "released during a call": ([("take", 1, ()), ("begin", 0, ()), ("release", 1, ()), ("end", 0, (1,))], False),
    "returned again by the call": (
        [("take", 1, ()), ("begin", 0, ()), ("release", 1, ()), ("take", 1, ()), ("end", 0, ()), ("release", 1, (1,))],
        False,
    ),
    "released during two calls": (
        [("take", 1, ()), ("begin", 0, ()), ("begin", 0, ()), ("release", 1, ()), ("end", 0, ()), ("end", 0, (1,))],
        False,
    ),
    "several released during a call": (
        [
            ("take", 1, ()),
            ("take", 2, ()),
            ("begin", 0, ()),
            ("release", 2, ()),
            ("release", 1, ()),
            ("end", 0, (1, 2)),
        ],
        False,
    ),
    "a call that returns nothing": ([("begin", 0, ()), ("end", 0, ())], False),
    "handed out anew after its drop": (
        [("take", 1, ()), ("release", 1, (1,)), ("take", 1, ()), ("release", 1, (1,))],
        False,
    ),
    "a call after the last drop": (
        [("take", 1, ()), ("release", 1, (1,)), ("begin", 0, ()), ("take", 2, ()), ("end", 0, ())],
        True,
    ),
}
"""What happens, each with the pointers that are dropped then; and whether the client holds any in the end."""


@pytest.mark.parametrize(("steps", "in_use"), list(SCENARIOS.values()), ids=list(SCENARIOS))
def test_a_pointer_is_dropped_once_and_after_its_last_use(
    steps: list[tuple[str, int, tuple[int, ...]]], in_use: bool
) -> None:
    counts = PointerCounts()
    # What another server handed out under the same numbers does not count.
    for number in (1, 2):
        counts.take("other", number)
    counts.begin_call("other")
    for step, number, drops in steps:
        dropped: tuple[int, ...] = ()
        if step == "take":
            counts.take("here", number)
        elif step == "release":
            dropped = counts.release("here", number)
        elif step == "begin":
            counts.begin_call("here")
        else:
            dropped = counts.end_call("here")
        assert dropped == drops, step
    assert counts.in_use("here") == in_use
    assert counts.in_use("other")


def test_a_server_that_was_let_go_of_takes_no_memory() -> None:
    counts = PointerCounts()
    for number in range(1000):
        counts.begin_call(f"Q{number}")
        counts.take(f"Q{number}", 1)
        counts.end_call(f"Q{number}")
        counts.release(f"Q{number}", 1)
    assert not counts._servers


def test_a_drop_that_was_sent_is_remembered_for_a_while() -> None:
    counts = PointerCounts()
    counts.drop_sent("here", 1)
    assert counts.is_being_dropped("here", 1)
    assert not counts.is_being_dropped("there", 1)
    assert not counts.is_being_dropped("here", 2)
    for number in range(2, 1000):
        counts.drop_sent("here", number)
    assert not counts.is_being_dropped("here", 1)
    assert counts.is_being_dropped("here", 999)
