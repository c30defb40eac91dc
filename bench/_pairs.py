"""Two ways to do one thing, measured in turns: machines are shared, and only a ratio of one run means anything."""

from __future__ import annotations

import statistics
from collections.abc import Callable


def head(what: str, theirs: str, rounds: int) -> str:
    """Return the line above the rows of :func:`compare`."""
    return f"{what:32} {theirs:>8} {'ours':>8} {'ratio':>6}   least to most, in {rounds} rounds"


def compare(name: str, theirs: Callable[[], float], ours: Callable[[], float], rounds: int) -> None:
    """Measure both in turns, after one round that does not count; print the medians in ms, and the ratios.

    :param theirs, ours: return how many seconds each took.
    """
    theirs(), ours()
    pairs = [(theirs(), ours()) for _ in range(rounds)]
    their, our = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratios = sorted(mine / other for other, mine in pairs)
    middle = statistics.median(ratios)
    print(
        f"{name:32} {their * 1000:8.2f} {our * 1000:8.2f} {middle:6.2f}   {ratios[0]:.2f} to {ratios[-1]:.2f}",
        flush=True,
    )
