"""A run as Markdown, for the summary page of a job of GitHub Actions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from circuit_harness.report.text import clean, count, duration, endpoint
from circuit_harness.report.verdict import Check, Declared, Tally, by_part, checks_of, failures_of, verdict_of

MOST_FAILURES = 50
"""The most failures that are listed."""

MOST_CHARACTERS = 300
"""The most characters of a text that are shown. GitHub takes no more than 1 MiB from a step."""

_SIGNS = {"passed": "✓", "failed": "✕"}


def append_summary(document: Mapping[str, Any]) -> None:
    """Append the summary of a run to the file that ``$GITHUB_STEP_SUMMARY`` names, if it names one.

    :raises OSError: the file cannot be written.
    """
    if name := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(summarize(document))


def summarize(document: Mapping[str, Any]) -> str:
    """Return the summary of a run from the content of its ``run.json``."""
    run: dict[str, Any] = clean(dict(document))
    declared, checks = Declared.of(run), checks_of(run)
    failures = failures_of(checks, declared)
    verdict = verdict_of(run, checks, failures)
    about = [verdict.remark, f"run {run['run']} of {run['owner']}", f"took {duration(run['seconds'])}"]
    blocks = [
        [f"### {_SIGNS.get(verdict.state, '!')} {_text(verdict.headline)}"],
        [_text(", ".join(filter(None, about)))],
        _table(("Checks", "Passed", "Failed", "Skipped"), _counts(checks, declared)),
        _table(("Host", "Services", "Private address", "Public address"), _hosts(run, declared)),
        _table(("Failed check", "Service", "Reason"), _failures(failures, declared)),
        [_text(f"{count(len(failures) - MOST_FAILURES, 'more failure')}.")] if len(failures) > MOST_FAILURES else [],
        [f"**Left behind:** {count(len(run['left']), 'thing')} could not be undone."] if run["left"] else [],
        [f"- {_text(left)}" for left in run["left"]],
        ["**Kept:** the deployment was left standing."] if run["kept"] else [],
        [f"- To {_text(next_['to'])}: <code>{_whole(next_['command'])}</code>" for next_ in run["commands"]],
    ]
    return "".join("\n" + "".join(f"{line}\n" for line in block) for block in blocks if block)


def _counts(checks: Sequence[Check], declared: Declared) -> Iterator[tuple[str, ...]]:
    tallies = {declared.title(part): Tally.of(members) for part, members in by_part(checks, declared).items()}
    for title, tally in tallies.items():
        yield title, str(tally.passed), str(tally.failed), str(tally.skipped)


def _hosts(run: Mapping[str, Any], declared: Declared) -> Iterator[tuple[str, ...]]:
    for host in run["hosts"]:
        running = (
            f"{declared.title(part)} at {endpoint(service['address'], service['port'])}"
            for part, service in run["services"].items()
            if service["host"] == host["name"]
        )
        yield host["name"], ", ".join(running), host["private_address"], host["public_address"]


def _failures(failures: Sequence[Check], declared: Declared) -> Iterator[tuple[str, ...]]:
    for check in failures[:MOST_FAILURES]:
        yield check.title, ", ".join(map(declared.title, check.parts)), check.reason


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; none without rows."""
    cells = [[_text(cell) for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *cells)]
    return lines if cells else []


def _text(text: str) -> str:
    """Return the first line of a text, cut where it is long, of which nothing is Markdown or HTML."""
    line = text.partition("\n")[0]
    return _whole(line if len(line) <= MOST_CHARACTERS else f"{line[:MOST_CHARACTERS]} ...")


def _whole(text: str) -> str:
    """Return a text of which nothing is Markdown or HTML: a character that is referred to by its number is neither."""
    return re.sub(r"[^A-Za-z0-9 ]", lambda found: f"&#{ord(found[0])};", text)
