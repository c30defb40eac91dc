"""Whether a run did what a plan had said: the same steps in the same order, for each service on each host."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_LINE = re.compile(r"(?:(X[0-9a-f]{16}): )?(?!X[0-9a-f]{16}:)([A-Z][\w.]*: .*)")
_GUARD = re.compile(r" \(where .*\)$")
_PLACEHOLDERS = {"<bundle>": r"\d+\.\d MB"}
_LATER = "what else is done is known once that is installed"


def differences(plan: str, document: Mapping[str, Any]) -> list[str]:
    """Compare what ``--plan`` printed with the steps in the ``run.json`` of the run after it; a line for each
    difference.

    Of a host where packages are to be installed first, a plan says no more than that.
    """
    if _LATER in plan:
        return []
    planned = _by_service((match[1] or "", match[2]) for line in plan.splitlines() if (match := _LINE.fullmatch(line)))
    done = _by_service(_deploying(document))
    if not planned:
        return ["nothing was planned"]
    found = [f"{key} was not planned: {done[key]}" for key in done if key not in planned]
    for key, lines in planned.items():
        found += _compare(key, lines, done.get(key, []))
    return found


def _deploying(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The steps of the services, until the checks were over."""
    end = max(result["start"] + result["seconds"] for result in document["results"])
    for step in sorted(document["steps"], key=lambda step: float(step["start"])):
        if step["start"] < end and _LINE.fullmatch(step["what"]):
            yield step["host"], step["what"]


def _by_service(lines: Iterator[tuple[str, str]]) -> dict[tuple[str, str], list[str]]:
    """Services that share a host are deployed at the same time, each in its own order."""
    sorted_out: dict[tuple[str, str], list[str]] = {}
    for host, what in lines:
        sorted_out.setdefault((host, what.partition(":")[0]), []).append(what)
    return sorted_out


def _compare(key: tuple[str, str], planned: Sequence[str], done: Sequence[str]) -> Iterator[str]:
    left = list(done)
    for line in planned:
        expected = re.escape(_GUARD.sub("", line))
        for placeholder, pattern in _PLACEHOLDERS.items():
            expected = expected.replace(re.escape(placeholder), pattern)
        if left and re.fullmatch(expected, left[0]):
            left.pop(0)
        elif not _GUARD.search(line):
            yield f"{key}: planned {line!r}, and done was {left[0] if left else 'nothing'!r}"
            return
    if left:
        yield f"{key}: not planned, but done: {left}"
