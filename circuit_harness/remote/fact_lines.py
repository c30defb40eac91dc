"""The output format of the scripts that look at a host: one line for each fact, its name, a blank, its value.

A name may occur several times. A fact that the host does not have has no line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from circuit_harness.remote.script import HARNESS

MOST_BYTES = 4 << 20
"""The most bytes that a look may print, mainly for option files. Parsed, they can take thirty times as much memory."""

SAY = HARNESS.text("say")
"""Shell: ``say NAME VALUE`` prints one."""


def parse(text: str) -> dict[str, list[str]]:
    """Return the values of each name, in the order of their lines."""
    values: dict[str, list[str]] = {}
    for line in text.split("\n"):
        name, _, value = line.partition(" ")
        values.setdefault(name, []).append(value)
    return values


def first(values: Mapping[str, Sequence[str]], name: str) -> str:
    """Return the first value of a name; "" where there is none."""
    return values.get(name, ("",))[0]
