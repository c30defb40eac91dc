"""One list: what a plan prints is what a run reports as its steps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import pytest

from circuit_harness.engine.plan import outline, plan
from circuit_harness.engine.spec import DeploymentSpec, Services
from circuit_harness.services.protocol import Service
from circuit_harness.steps import Steps
from deploy.services import services
from tests.unit.fakes import DATA, FakeCircuit, FakeHost, mysql
from tests.unit.invented import page, prepare, queue, worker
from tests.unit.runs import RUN, begin, changing, errors_of, taken_down

_OPTIONS = {"\noptions ": "option bind-address 10.0.0.1\noption port 3306\noption skip-networking FALSE\n"}
_NAMES = {"schema_name": (DATA / "mysql/answering_with_names.txt").read_text()}
_TAKE_OUT = ["MySQL: remove skip-name-resolve", "MySQL: restart without skip-name-resolve"]

TUTORIAL: dict[str, tuple[dict[str, str], list[str], list[str]]] = {
    # What the first host answers; the lines under a condition; those of them that are done.
    "stopped": ({"say client": mysql("stopped")}, _TAKE_OUT, []),
    "stopped, with names": ({"say client": mysql("stopped"), **_NAMES}, _TAKE_OUT, _TAKE_OUT),
    "running": ({"say client": mysql("running"), **_OPTIONS}, [], []),
    "running, with names": ({"say client": mysql("running_with_names"), **_NAMES, **_OPTIONS}, [], []),
}
INVENTED = {
    "with jobs": ({"queue count": "3\n"}, ["Queue: mark it full"], ["Queue: mark it full"]),
    "without jobs": ({"queue count": "0\n"}, ["Queue: mark it full"], []),
}


def compared(
    hosts: tuple[FakeHost, FakeHost], declared: Sequence[Service], under_condition: list[str], done: list[str]
) -> list[str]:
    """Plan, deploy, and see that the steps are the plan's lines; return what they were called."""
    planned = plan(FakeCircuit(hosts), DeploymentSpec(Services(declared)))
    assert planned.obstacles == []
    assert [changing(host) for host in hosts] == [[], []]

    steps = Steps()
    deployment = begin(hosts, declared, steps=steps)
    assert errors_of(deployment) == {}
    reported = [step for step in steps.done if step.what != "look at the hosts"]
    assert taken_down(deployment, hosts) == []

    lines = list(outline(deployment.survey.result(), RUN))
    assert _without_runs(planned.lines[-len(lines) :]) == _without_runs(map(str, lines))
    assert [line.what for line in lines if line.guard] == under_condition
    expected = [line for line in lines if not line.guard or line.what in done]
    assert len(expected) == len(reported)
    for where in ("", *(host.name for host in hosts)):
        of_host = [step.what for step in reported if step.host == where]
        named = [line.what for line in expected if line.host == where]
        assert [_filled(what, step) for what, step in zip(named, of_host, strict=True)] == of_host
    return [step.what for step in reported]


def _filled(planned: str, reported: str) -> str:
    """A line of a plan, with what was reported in the place of its placeholders; the line where that does not fit."""
    pattern = "[^<]+".join(re.escape(part) for part in re.split(r"<\w+>", planned))
    return reported if re.fullmatch(pattern, reported) else planned


def _without_runs(lines: Iterable[str]) -> list[str]:
    return [re.sub(r"-[0-9a-f]{8}\b", "-RUN", line) for line in lines]


@pytest.mark.parametrize(("answers", "under_condition", "done"), TUTORIAL.values(), ids=TUTORIAL)
def test_the_tutorials_steps_are_its_plan(
    hosts: tuple[FakeHost, FakeHost], answers: dict[str, str], under_condition: list[str], done: list[str]
) -> None:
    hosts[0].answers |= answers
    steps = compared(hosts, services(), under_condition, done)
    assert "Node.js: send the app, 0.0 MB" in steps


@pytest.mark.parametrize(("answers", "under_condition", "done"), INVENTED.values(), ids=INVENTED)
def test_the_steps_of_others_are_their_plan(
    hosts: tuple[FakeHost, FakeHost], answers: dict[str, str], under_condition: list[str], done: list[str]
) -> None:
    prepare(hosts)
    hosts[0].answers |= answers
    steps = compared(hosts, [queue(), worker(), page()], under_condition, done)
    assert "Page: write a text" in steps


def test_a_plan_names_what_only_a_run_can_know(hosts: tuple[FakeHost, FakeHost]) -> None:
    lines = plan(FakeCircuit(hosts), DeploymentSpec(Services(services()))).lines
    assert f"{hosts[1].name}: Node.js: send the app, <bundle>" in [line.partition("\n")[0] for line in lines]
    assert [line for line in lines if "***" in line or "-aA1" in line] == []
