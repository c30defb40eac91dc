"""The checks of a run's document, their counts, and what came of the run in words: what every report begins with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from circuit_harness.report.text import check_name, count, duration

NAMED_FAILURES = 3
"""The most failed checks for which the headline names all of them."""

CAUSES = 4
"""The most failures that are shown with their reason under the headline."""

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


def checks_of(run: Mapping[str, Any]) -> list[Check]:
    """Return the checks of a document, in the run's order."""
    return [_check(number, result) for number, result in enumerate(run["results"], 1)]


def by_part(checks: Iterable[Check], declared: Declared) -> dict[str, list[Check]]:
    """Return the checks by the first part that each is about, without parts that have none."""
    found: dict[str, list[Check]] = {part: [] for part in declared.order}
    for check in checks:
        found.setdefault(check.parts[0] if check.parts else "", []).append(check)
    return {part: members for part, members in found.items() if members}


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


def verdict_of(run: Mapping[str, Any], checks: Sequence[Check], failures: list[Check]) -> Verdict:
    """Return the verdict about a run.

    :param failures: the failed checks, the most informative ones first; see :func:`failures_of`.
    """
    tally = Tally.of(checks)
    outcome = "failed" if run["outcome"] == "error" else run["outcome"]
    if outcome == "passed" and not tally.passed:
        outcome = "none"
    headline, remark = _words(run, tally, _broken_steps(run), outcome)
    names = failures if len(failures) <= NAMED_FAILURES else []
    causes = _causes(failures)
    more = 0 if names else len(failures) - len(causes)
    return Verdict(outcome, headline, remark, names, more, causes)


def failures_of(checks: Sequence[Check], declared: Declared) -> list[Check]:
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
    deploying = [step for step in broken if step["start"] < end_of_checks(run)] if tally.total else list(broken)
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


def end_of_checks(run: Mapping[str, Any]) -> float:
    """Return when the last check ended, in seconds since the run began; infinity where no check ran."""
    return max((result["start"] + result["seconds"] for result in run["results"]), default=math.inf)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
