"""How the scripts that look at a host tell what they found: a line a fact, its name, a blank, its value.

A name may come several times. What the host lacks has no line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from circuit_harness.remote.script import HARNESS

MOST_BYTES = 4 << 20
"""How much a look may print, of which option files are the most: as values it can take thirty times as much memory."""

SAY = HARNESS.text("say")
"""Shell: ``say NAME VALUE`` prints one."""


def parse(text: str) -> dict[str, list[str]]:
    """The values of each name, in the order in which they were told."""
    values: dict[str, list[str]] = {}
    for line in text.split("\n"):
        name, _, value = line.partition(" ")
        values.setdefault(name, []).append(value)
    return values


def first(values: Mapping[str, Sequence[str]], name: str) -> str:
    """The first value of a name; "" where there is none."""
    return values.get(name, ("",))[0]
