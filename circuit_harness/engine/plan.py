"""What a deployment would do, in words, and without doing it: the steps that a run reports, before it is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from circuit_harness.engine import survey as surveys
from circuit_harness.engine.found import read_records
from circuit_harness.engine.hosts import live_hosts
from circuit_harness.engine.pick import choose
from circuit_harness.engine.spec import DeploymentSpec, Identity
from circuit_harness.engine.survey import Survey
from circuit_harness.errors import DeployError
from circuit_harness.journal.lease import holder
from circuit_harness.journal.record import KEPT
from circuit_harness.remedies import Remedy
from circuit_harness.remote.concurrently import on_each
from circuit_harness.remote.host import Circuit, Host
from circuit_harness.services.protocol import Element


@dataclass(frozen=True)
class Line:
    """A step that a run would report: on which host ("" for this machine), what, and what more there is to say.

    ``guard`` is the condition of a step that may be needless; "" where it is done in any case.
    """

    host: str
    what: str
    details: tuple[str, ...] = ()
    guard: str = ""

    def __str__(self) -> str:
        where = f"{self.host}: " if self.host else ""
        condition = f" ({self.guard})" if self.guard else ""
        return "\n".join([f"{where}{self.what}{condition}", *(f"    {detail}" for detail in self.details)])


@dataclass(frozen=True)
class Plan:
    """What would be done, a line each, and what stands against doing it now."""

    lines: list[str]
    obstacles: list[str]


def plan(circuit: Circuit[Host], spec: DeploymentSpec) -> Plan:
    """Look at the hosts, and return what deploying onto them would do. Changes nothing, and takes no lease.

    :raises DeployError: a host cannot even be looked at.
    """
    live = live_hosts(circuit, spec.hosts.names)
    holders = dict(zip((host.name for host in live), on_each(holder, live, "plan"), strict=True))
    found = read_records(live, spec.name)
    # Whoever holds one anchor of a machine holds the machine.
    held = {
        anchors[0].name: next((who for anchor in anchors if (who := holders[anchor.name])), None)
        for anchors in found.machines
    }
    choice = choose(found, spec)
    free_first = sorted(choice.candidates, key=lambda host: held[host.name] is not None)[: choice.n]
    picked = [host for host in choice.candidates if host in free_first]
    survey = surveys.look(choice.place(spec, picked), spec)
    obstacles = [
        f"host {host.name} is held by {held[host.name]}; a run would wait for that ({Remedy.WAIT})"
        for host in picked
        if held[host.name]
    ]
    try:
        survey.check_fit(install=spec.install)
    except DeployError as error:
        # Nothing can be planned for a host that cannot be used at all.
        return Plan([], [*obstacles, str(error)])
    obstacles += _refusals(survey)
    if survey.missing:
        return Plan([*_clearing(survey), *_installing(survey)], obstacles)
    return Plan([*_addresses(survey), *_clearing(survey), *map(str, outline(survey, Identity().run))], obstacles)


def outline(survey: Survey, run: str) -> Iterator[Line]:
    """The steps of all services, each service's in their order; what only a probe can find is a placeholder."""
    for name in survey.spec.services.in_order():
        service, host = survey.spec.services[name], survey.placed[name].name
        results: dict[str, Any] = {}
        ready: Mapping[str, Any] = {}
        for made in service.here:
            yield Line("", made.what)
            results[made.name] = made.stand_in
        for stage in service.plan(survey.facts[name], survey.site(name, run, ready, {}, planned=True)):
            for probe in stage.probes:
                yield Line(host, probe.what)
                results[probe.name] = probe.stand_in
            for action in stage.actions(results):
                yield Line(host, action.what, tuple(action.details), action.guard.words if action.guard else "")
                if isinstance(action.do, Element):
                    results[action.do.anchor] = None


def _refusals(survey: Survey) -> Iterator[str]:
    install = survey.spec.install
    standing = partial(survey.check_replaceable, install=install) if survey.spec.replace else survey.check_kept
    looks: tuple[Callable[[], None], ...] = (standing, survey.check_free)
    for look in looks:
        try:
            look()
        except DeployError as error:
            yield str(error)


def _addresses(survey: Survey) -> Iterator[str]:
    for name, addresses in survey.addresses.items():
        yield f"{name}: {addresses}"
    yield from survey.remarks


def _clearing(survey: Survey) -> Iterator[str]:
    for host, record in survey.recorded:
        fate = "kept" if record.state == KEPT else "crashed"
        for change in reversed(record.changes):
            yield f"{host.name}: {change.what}, of {record} ({fate})"


def _installing(survey: Survey) -> Iterator[str]:
    for name in dict.fromkeys(lack.host for lack in survey.missing):
        wanted = dict.fromkeys(lack.package for lack in survey.missing if lack.host == name)
        yield f"{name}: install {', '.join(wanted)}, and what they depend on; all of it is removed with the deployment"
    yield "what else is done is known once that is installed"
