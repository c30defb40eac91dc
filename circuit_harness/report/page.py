"""A run as one HTML page, made from its ``run.json``; the page needs no network and no JavaScript.

``report.html.j2`` has the page's words and order, ``report.css`` its style; this module computes their values.
``python3 -m circuit_harness.report.page RUN.json PAGE.html`` makes the page of a run from its ``run.json``.
"""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from circuit_harness.report.text import check_name, clean, count, duration, endpoint, moment

FORMAT = 1
"""The supported format of ``run.json``."""

FULL_FAILURES = 100
"""The most failures that are shown with text and evidence: nobody reads more, and browsers cannot handle it."""

NAMED_FAILURES = 3
"""The most failed checks for which the headline names all of them."""

CAUSES = 4
"""The most failures that are shown with their reason under the headline."""

OPEN_CHECKS = 60
"""The most checks of a part that are shown unfolded; those that did not pass always are."""

_CLUSTER = "cluster"
"""The part of the checks about the circuit and its hosts."""


@dataclass(frozen=True)
class Check:
    """One check that ran, or was skipped for a reason. ``number`` is its position in the run, from 1."""

    number: int
    node: str
    name: str
    parameters: str
    parts: tuple[str, ...]
    outcome: str
    seconds: float
    start: float
    worker: str
    reason: str
    text: str
    evidence: Sequence[Mapping[str, str]]
    elsewhere: Sequence[str]

    @property
    def failed(self) -> bool:
        return self.outcome in ("failed", "error")

    @property
    def title(self) -> str:
        return f"{self.name} [{self.parameters}]" if self.parameters else self.name

    @property
    def lines(self) -> list[tuple[bool, str]]:
        """The lines of the text, each with whether pytest marks it as the error itself."""
        return [(line.startswith("E  ") or line == "E", line) for line in self.text.splitlines()]


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
class Tally:
    """The numbers of checks by outcome."""

    total: int
    passed: int
    failed: int
    skipped: int

    @classmethod
    def of(cls, checks: Iterable[Check]) -> Tally:
        outcomes = Counter("failed" if check.failed else check.outcome for check in checks)
        return cls(sum(outcomes.values()), outcomes["passed"], outcomes["failed"], outcomes["skipped"])

    @property
    def state(self) -> str:
        return "failed" if self.failed else "passed" if self.passed else "skipped" if self.total else "none"

    def __str__(self) -> str:
        if not self.total:
            return "no check ran"
        if self.failed:
            words = [f"{self.failed:,} of {count(self.total, 'check')} failed"]
        else:
            words = [f"{count(self.passed, 'check')} passed"] if self.passed else []
        if self.skipped:
            words.append(f"{self.skipped:,} skipped" if words else f"{count(self.skipped, 'check')} skipped")
        return ", ".join(words)


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
class Verdict:
    """The run's results in words.

    ``names`` are failed checks for the headline, ``causes`` the most informative ones; ``more`` is the number of the
    others.
    """

    state: str
    headline: str
    remark: str = ""
    names: list[Check] = field(default_factory=list)
    more: int = 0
    causes: list[Check] = field(default_factory=list)


@dataclass(frozen=True)
class Declared:
    """The services of the run: their titles by name, the services that each uses, and the protocols of their clients.

    ``order`` are all parts, each behind those that it depends on: if both failed, the first failure is more
    informative.
    """

    titles: Mapping[str, str]
    uses: Mapping[str, Sequence[str]]
    speaks: Mapping[str, str]

    @classmethod
    def of(cls, run: Mapping[str, Any]) -> Declared:
        """Return the services in the document; for a document of an older version, the deployed parts by name."""
        declared = run.get("declared") or [{"name": name} for name in run["services"]]
        return cls(
            {_CLUSTER: "Circuit and hosts", **{each["name"]: each.get("title", each["name"]) for each in declared}},
            {each["name"]: each.get("uses", ()) for each in declared},
            {each["name"]: each.get("speaks", "TCP") for each in declared},
        )

    @property
    def order(self) -> list[str]:
        return list(self.titles)

    @property
    def services(self) -> list[str]:
        """The services in the order in which a request goes through them."""
        return list(self.uses)[::-1]

    def title(self, part: str) -> str:
        return self.titles.get(part, part or "Other checks")


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
    checks = [_check(number, result) for number, result in enumerate(run["results"], 1)]
    failures = _failures(checks, declared)
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
        verdict=_verdict(run, checks, failures),
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


def _check(number: int, result: Mapping[str, Any]) -> Check:
    name, parameters = check_name(result["check"])
    return Check(
        number=number,
        node=result["check"],
        name=name,
        parameters=parameters,
        parts=tuple(result["parts"]),
        outcome=result["outcome"],
        seconds=float(result["seconds"]),
        start=float(result["start"]),
        worker=result["worker"],
        reason=result["reason"],
        text=result["text"],
        evidence=result["evidence"],
        # Older versions collected evidence for each of the first failures.
        elsewhere=result.get("elsewhere", ()),
    )


# --- the results


def _verdict(run: Mapping[str, Any], checks: Sequence[Check], failures: list[Check]) -> Verdict:
    tally = Tally.of(checks)
    outcome = "failed" if run["outcome"] == "error" else run["outcome"]
    if outcome == "passed" and not tally.passed:
        outcome = "none"
    headline, remark = _words(run, tally, _broken_steps(run), outcome)
    names = failures if len(failures) <= NAMED_FAILURES else []
    causes = _causes(failures)
    more = 0 if names else len(failures) - len(causes)
    return Verdict(outcome, headline, remark, names, more, causes)


def _failures(checks: Sequence[Check], declared: Declared) -> list[Check]:
    """Return the failed checks: those of parts that others depend on first, otherwise in the run's order."""
    order = {part: number for number, part in enumerate(declared.order)}
    failed = [check for check in checks if check.failed]
    return sorted(failed, key=lambda check: order.get(check.parts[0], len(order)) if check.parts else len(order))


def _causes(failures: Sequence[Check]) -> list[Check]:
    """Return the first failures that differ in both the check, regardless of its parameters, and the reason."""
    causes: list[Check] = []
    for check in failures:
        if not any(check.name == other.name or check.reason == other.reason for other in causes):
            causes.append(check)
    return causes[:CAUSES]


def _words(run: Mapping[str, Any], tally: Tally, broken: Sequence[Mapping[str, Any]], outcome: str) -> tuple[str, str]:
    """Return the headline, and a remark for it."""
    if outcome == "interrupted":
        return f"Interrupted after {duration(run['seconds'])}: {tally}", ""
    if outcome == "none":
        return "No check ran", f"{count(tally.skipped, 'check')} skipped" if tally.skipped else ""
    if outcome == "passed":
        return str(tally), ""
    deploying = [step for step in broken if step["start"] < _end_of_checks(run)] if tally.total else list(broken)
    if deploying:
        step = deploying[0]
        where = f"on host {step['host']}" if step["host"] else "on the runner"
        return f"The deployment failed at “{step['what']}”", f"{where}, {duration(step['start'])} into the run; {tally}"
    if tally.failed:
        rest = [
            f"{number:,} {word}" for number, word in ((tally.passed, "passed"), (tally.skipped, "skipped")) if number
        ]
        return f"{tally.failed:,} of {count(tally.total, 'check')} failed", ", ".join(rest)
    if run["left"]:
        return f"{_capital(str(tally))}, but not everything could be undone", ""
    if broken:
        return f"{_capital(str(tally))}, but “{broken[0]['what']}” failed", ""
    return f"The run failed: {tally}", f"exit status {run['exit_status']}"


def _broken_steps(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return sorted((step for step in run["steps"] if not step["ok"]), key=lambda step: float(step["start"]))


def _end_of_checks(run: Mapping[str, Any]) -> float:
    return max((result["start"] + result["seconds"] for result in run["results"]), default=math.inf)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# --- the checks


def _groups(checks: Sequence[Check], declared: Declared) -> list[Group]:
    by_part: dict[str, list[Check]] = {part: [] for part in declared.order}
    for check in checks:
        by_part.setdefault(check.parts[0] if check.parts else "", []).append(check)
    groups = []
    for part, members in by_part.items():
        if not members:
            continue
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
    told = (("service", "service"), ("config", "configured in"), ("folder", "folder"), ("log", "log"))
    facts = [(words, _named(described[key])) for key, words in told if described.get(key)]
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
    end_of_checks = _end_of_checks(run)
    for step in sorted(run["steps"], key=lambda step: float(step["start"])):
        kind = "failed" if not step["ok"] else "undone" if step["start"] >= end_of_checks else "done"
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
