"""What a deployment would do, in words, and without doing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import deploy.mysql
from circuit_harness.errors import DeployError
from circuit_harness.remote.host import Circuit, Host
from deploy import survey as surveys
from deploy.accounts import CHECK_USER, USER
from deploy.deployment import HOSTS, Wishes, preferred
from deploy.hosts import live_hosts
from deploy.lease import holder
from deploy.mysql import DATABASE, TABLE
from deploy.nodejs import ANCHOR, FOLDERS, LOG, listen_address
from deploy.ports import Listening
from deploy.record import KEPT
from deploy.survey import Found, Survey, read_records


@dataclass(frozen=True)
class Plan:
    """What would be done, a line each, and what stands against doing it now."""

    lines: list[str]
    obstacles: list[str]


def plan(circuit: Circuit[Host], wishes: Wishes) -> Plan:
    """Look at the hosts, and tell what deploying onto them would do. Changes nothing, and takes no lease.

    :raises DeployError: a host cannot even be looked at.
    """
    live = live_hosts(circuit, wishes.hosts)
    with ThreadPoolExecutor(len(live), thread_name_prefix="plan") as pool:
        holders = dict(zip((host.name for host in live), pool.map(holder, live), strict=True))
    found = read_records(live)
    # Whoever holds one anchor of a machine holds the machine.
    held = {
        anchors[0].name: next((who for anchor in anchors if (who := holders[anchor.name])), None)
        for anchors in found.machines
    }
    picked = _pick(found, held, replace=wishes.replace)
    survey = surveys.look(picked[0], picked[-1], wishes.parts, wishes.ports, wishes.given)
    obstacles = [
        f"host {host.name} is held by {held[host.name]}; a run would wait for that (--lease-wait)"
        for host in picked
        if held[host.name]
    ]
    try:
        survey.check_fit(install=wishes.install)
    except DeployError as error:
        # Nothing can be planned for a host that cannot be used at all.
        return Plan([], [*obstacles, str(error)])
    obstacles += _refusals(survey, wishes)
    if survey.missing:
        return Plan([*_clearing(survey), *_installing(survey)], obstacles)
    return Plan([*_addresses(survey), *_clearing(survey), *_mysql(survey), *_nodejs(survey)], obstacles)


def _pick(found: Found, held: Mapping[str, str | None], *, replace: bool) -> list[Host]:
    n = min(HOSTS, len(found.hosts))
    wanted = preferred(found, n, replace=replace)
    free_first = sorted(wanted, key=lambda host: held[host.name] is not None)
    return [host for host in wanted if host in free_first[:n]]


def _refusals(survey: Survey, wishes: Wishes) -> Iterator[str]:
    standing = partial(survey.check_replaceable, install=wishes.install) if wishes.replace else survey.check_kept
    looks: tuple[Callable[[], None], ...] = (standing, partial(survey.check_free, replace=wishes.replace))
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


def _mysql(survey: Survey) -> Iterator[str]:
    host, facts = survey.mysql_host.name, survey.mysql
    for edit in deploy.mysql.plan(facts, survey.addresses[host].private, survey.ports.mysql):
        yield f"{host}: MySQL: write {' / '.join(edit.text.splitlines())!r} into {edit.where}"
    yield f"{host}: MySQL: {'restart' if facts.state.active else 'start'} the service {facts.service}"
    if not survey.recorded:
        for name in (*(f"database {name}" for name in facts.databases), *(f"user {name}" for name in facts.users)):
            yield f"{host}: MySQL: drop {name} with all its data"
    yield f"{host}: MySQL: make users {USER} and {CHECK_USER}, database {DATABASE} and table {DATABASE}.{TABLE}"


def _nodejs(survey: Survey) -> Iterator[str]:
    if survey.nodejs is None:
        return
    host, app = survey.nodejs_host.name, survey.nodejs.app
    if app is not None and not survey.recorded:
        yield f"{host}: Node.js: end the app that is at {app.anchor.path}"
    yield f"{host}: Node.js: send the app into a new folder of {FOLDERS}"
    listening = Listening(listen_address(survey.addresses[host].public), survey.ports.api)
    how = f"as a user of its own, listening on {listening}, with its log in {LOG}"
    yield f"{host}: Node.js: start it at /{host}/{ANCHOR}, {how}"
