"""A run as one HTML page, made from its ``run.json``; the page needs no network and no JavaScript.

``report.html.j2`` has the page's words and order, ``report.css`` its style; this module computes their values.
``python3 -m circuit_harness.report.page RUN.json PAGE.html`` makes the page of a run from its ``run.json``.
"""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from circuit_harness.report.text import clean, count, duration, endpoint, moment
from circuit_harness.report.verdict import (
    Check,
    Declared,
    Tally,
    by_part,
    checks_of,
    end_of_checks,
    failures_of,
    verdict_of,
)

FORMAT = 1
"""The supported format of ``run.json``."""

FULL_FAILURES = 100
"""The most failures that are shown with text and evidence: nobody reads more, and browsers cannot handle it."""

OPEN_CHECKS = 60
"""The most checks of a part that are shown unfolded; those that did not pass always are."""


@dataclass(frozen=True)
class Row:
    """One check, or all parameters with which a check passed."""

    checks: Sequence[Check]

    @property
    def first(self) -> Check:
        return self.checks[0]

    @property
    def seconds(self) -> float:
        return sum(check.seconds for check in self.checks)


@dataclass(frozen=True)
class Group:
    """The checks of one part: the unfolded ones, and the others, which all passed."""

    part: str
    title: str
    tally: Tally
    shown: list[Row]
    folded: list[Row]

    @property
    def folded_checks(self) -> int:
        return sum(len(row.checks) for row in self.folded)


@dataclass(frozen=True)
class Service:
    """A part on its host; without an address if it was not deployed."""

    part: str
    title: str
    speaks: str
    version: str
    endpoint: str
    facts: list[tuple[str, str]]
    state: str
    summary: str


@dataclass(frozen=True)
class Box:
    """A host in the drawing, with the arrow that leads to it, if there is one."""

    name: str
    addresses: list[tuple[str, str]]
    services: list[Service]
    arrow: tuple[str, str] | None


@dataclass(frozen=True)
class Bar:
    """A step or checks on the timeline, with its position in per cent of the width."""

    label: str
    start: float
    seconds: float
    left: float
    width: float
    kind: str
    marks: list[float] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return self.kind != "failed"


@dataclass(frozen=True)
class Lane:
    """The bars of one host, or of the runner, in the order of their starts."""

    title: str
    host: str
    bars: list[Bar]


@dataclass(frozen=True)
class Timeline:
    """All lanes, and the ticks of their common scale: per cent of the width, and label."""

    lanes: list[Lane]
    ticks: list[tuple[float, str]]
    pace: float

    @property
    def legend(self) -> list[tuple[str, str]]:
        """The meanings of the colours in use."""
        bars = [bar for lane in self.lanes for bar in lane.bars]
        kinds = {bar.kind for bar in bars} | {"failed" for bar in bars if bar.marks}
        words = (("done", "deploying"), ("checks", "checking"), ("undone", "taking down"), ("failed", "✕ failed"))
        return [(kind, meaning) for kind, meaning in words if kind in kinds]


def render(document: Mapping[str, Any]) -> str:
    """Return the page of a run from the content of its ``run.json``.

    :raises ValueError: the document is of another format than :data:`FORMAT`.
    """
    if document.get("format") != FORMAT:
        raise ValueError(f"run.json is of format {document.get('format')!r}, and only {FORMAT} is understood")
    run: dict[str, Any] = clean(dict(document))
    declared = Declared.of(run)
    checks = checks_of(run)
    failures = failures_of(checks, declared)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(duration=duration, moment=moment, part=declared.title)
    return environment.get_template("report.html.j2").render(
        run=run,
        notes=run.get("notes", []),
        verdict=verdict_of(run, checks, failures),
        tally=Tally.of(checks),
        boxes=_boxes(run, checks, declared),
        groups=_groups(checks, declared),
        failures=failures[:FULL_FAILURES],
        shown={check.node: check for check in failures[:FULL_FAILURES]},
        failures_in_short=failures[FULL_FAILURES:],
        timeline=_timeline(run, checks),
        commands=[(next_["to"], next_["command"]) for next_ in run.get("commands", [])],
        count=count,
    )


# --- the checks


def _groups(checks: Sequence[Check], declared: Declared) -> list[Group]:
    groups = []
    for part, members in by_part(checks, declared).items():
        # Checks that did not pass come first; otherwise the order is the run's.
        ordered = sorted(members, key=lambda check: (not check.failed, check.outcome == "passed"))
        troubled = sum(check.outcome != "passed" for check in members)
        rows = _rows(ordered)
        shown = max(OPEN_CHECKS, troubled)
        groups.append(Group(part, declared.title(part), Tally.of(members), rows[:shown], rows[shown:]))
    return groups


def _rows(checks: Iterable[Check]) -> list[Row]:
    """Return a row for each check, but only one for all parameters with which a check passed."""
    rows: dict[tuple[object, ...], list[Check]] = {}
    for check in checks:
        alike = check.outcome == "passed" and check.parameters
        rows.setdefault((check.name, check.parts) if alike else (check.number,), []).append(check)
    return [Row(members) for members in rows.values()]


# --- the drawing


def _boxes(run: Mapping[str, Any], checks: Sequence[Check], declared: Declared) -> list[Box]:
    hosts = {host["name"]: host for host in run["hosts"]}
    parts = {name: set(host["parts"]) for name, host in hosts.items()}
    for part, service in run["services"].items():
        parts.setdefault(service["host"], set()).add(part)
    # The hosts in the order in which a request reaches them; those without services last.
    turns = {part: turn for turn, part in enumerate(declared.services)}
    order = sorted(parts, key=lambda name: min((turns[p] for p in parts[name] if p in turns), default=len(turns)))
    boxes: list[Box] = []
    for name in order:
        host = hosts.get(name, {})
        addresses = [(kind, host.get(f"{kind}_address", "")) for kind in ("private", "public")]
        services = [_service(run, part, name, checks, declared) for part in turns if part in parts[name]]
        arrow = None
        standing = [service for service in services if service.endpoint]
        if standing and not boxes:
            arrow = _arrow("The runner", standing[0])
        elif boxes:
            users = [user for user in boxes[-1].services if user.endpoint]
            pairs = [(user, used) for user in users for used in standing if used.part in declared.uses[user.part]]
            arrow = _arrow(pairs[0][0].title, pairs[0][1]) if pairs else None
        boxes.append(Box(name, [(kind, address) for kind, address in addresses if address], services, arrow))
    return boxes


def _arrow(who: str, service: Service) -> tuple[str, str]:
    return service.speaks, f"{who} speaks {service.speaks} to {service.title} at {service.endpoint}"


def _service(run: Mapping[str, Any], part: str, host: str, checks: Sequence[Check], declared: Declared) -> Service:
    tally = Tally.of(check for check in checks if part in check.parts)
    described = run["services"].get(part)
    title, speaks = declared.title(part), declared.speaks[part]
    if described is None or described["host"] != host:
        state = "failed" if run["outcome"] != "passed" else "none"
        return Service(part, title, speaks, "", "", [], state, "was not deployed")
    shown = (("service", "service"), ("config", "configured in"), ("folder", "folder"), ("log", "log"))
    facts = [(words, _named(described[key])) for key, words in shown if described.get(key)]
    if described.get("command"):
        facts.append(("command", shlex.join(described["command"])))
    where = endpoint(described["address"], described["port"])
    return Service(part, title, speaks, described.get("version", ""), where, facts, tally.state, str(tally))


def _named(value: Any) -> str:
    """Return a value as text; for a service, its name and its manager."""
    return f"{value['name']} ({value['manager']})" if isinstance(value, Mapping) else str(value)


# --- the timeline


def _timeline(run: Mapping[str, Any], checks: Sequence[Check]) -> Timeline:
    ends = [step["start"] + step["seconds"] for step in run["steps"]] + [
        check.start + check.seconds for check in checks
    ]
    total = max([float(run["seconds"]), *ends, 0.001])
    pace = _pace(total)

    def bar(label: str, start: float, end: float, kind: str, marks: Iterable[float] = ()) -> Bar:
        left = 100 * start / total
        within = [100 * (mark - start) / max(end - start, 0.001) for mark in marks]
        return Bar(label, start, end - start, left, 100 * (end - start) / total, kind, within)

    lanes: dict[str, list[Bar]] = {"": []}
    for box in run["hosts"]:
        lanes[box["name"]] = []
    checked = end_of_checks(run)
    for step in sorted(run["steps"], key=lambda step: float(step["start"])):
        kind = "failed" if not step["ok"] else "undone" if step["start"] >= checked else "done"
        lanes.setdefault(step["host"], []).append(
            bar(step["what"], step["start"], step["start"] + step["seconds"], kind)
        )
    # A check that did not run took no time, so it has no meaningful place on the timeline.
    ran = [check for check in checks if check.outcome != "skipped"]
    by_worker: dict[str, list[Check]] = {}
    for check in ran:
        by_worker.setdefault(check.worker, []).append(check)
    of_checks = []
    for worker, members in sorted(by_worker.items()):
        begin = min(check.start for check in members)
        end = max(check.start + check.seconds for check in members)
        failed = [check.start for check in members if check.failed][:FULL_FAILURES]
        label = f"{Tally.of(members)}, in worker {worker}" if worker else str(Tally.of(members))
        of_checks.append(bar(label, begin, end, "checks", failed))
    titled = [Lane("Host" if host else "Runner", host, bars) for host, bars in lanes.items() if bars]
    if of_checks:
        titled.append(Lane("Checks", "", of_checks))
    ticks = [(100 * n * pace / total, f"{n * pace:g} s") for n in range(math.floor(total / pace) + 1)]
    # The label of the last tick would be outside of the page.
    return Timeline(titled, [tick for tick in ticks if tick[0] <= 94], 100 * pace / total)


def _pace(total: float) -> float:
    """Return a round number of seconds, such that the run has at most about six ticks."""
    rough = total / 6
    magnitude = 10.0 ** math.floor(math.log10(rough))
    return next(magnitude * step for step in (1, 2, 5, 10) if magnitude * step >= rough)


def _main(arguments: Sequence[str]) -> None:
    if len(arguments) != 2:
        sys.exit("usage: python3 -m circuit_harness.report.page RUN.json PAGE.html")
    source, target = map(Path, arguments)
    target.write_text(render(json.loads(source.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    _main(sys.argv[1:])
