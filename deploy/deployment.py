"""One deployment: hosts picked, leased, looked at, and cleared of what crashed; deployed onto; kept or taken down."""

from __future__ import annotations

import getpass
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import deploy.mysql
import deploy.nodejs
from circuit import Anchor, CircuitError, Client
from deploy import survey as surveys
from deploy.bundle import build_bundle
from deploy.changes import Changes, Left, take_down
from deploy.errors import Conflict, DeployError
from deploy.hosts import live_hosts
from deploy.lease import Lease, take_some
from deploy.mysql import MySQL
from deploy.nodejs import NodeJS
from deploy.record import KEPT, Record
from deploy.steps import Steps
from deploy.survey import Survey, read_records

HOSTS = 2
"""A deployment's hosts: MySQL's and the API's, which are one where the circuit has just one."""

Say = Callable[[str], None]
"""Tells the user a line."""


@dataclass(frozen=True)
class Identity:
    """Who deploys: ``run`` names the run on hosts, ``owner`` is user@machine, ``started`` ISO 8601 in UTC."""

    run: str = field(default_factory=lambda: secrets.token_hex(4))
    owner: str = field(default_factory=lambda: f"{_user()}@{socket.gethostname()}")
    started: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))

    def __str__(self) -> str:
        return f"run {self.run} of {self.owner}, started {self.started}"


@dataclass(frozen=True)
class Wishes:
    """What is to be deployed, and how.

    ``parts`` are names of parts; without any, hosts are only picked. ``hosts`` are names, MySQL's first; none is any.
    ``replace`` has what is there taken down first. ``lease_wait`` is in seconds.
    """

    parts: frozenset[str]
    hosts: tuple[str, ...] = ()
    replace: bool = False
    lease_wait: float = 0.0


class Deployment:
    """Under way. What does not depend on each other is done side by side; each part is waited for by itself."""

    def __init__(self, client: Client, identity: Identity, wishes: Wishes, steps: Steps, say: Say) -> None:
        """Begin. Nothing is changed before all hosts have been seen fit and free, which :attr:`survey` waits for."""
        self._client = client
        self._identity = identity
        self._wishes = wishes
        self._steps = steps
        self._say = say
        self._leases: list[Lease] = []
        self._changes: dict[str, Changes] = {}
        self._pool = ThreadPoolExecutor(thread_name_prefix="deployment")
        self._bundle = self._pool.submit(build_bundle, steps) if self._wants_nodejs else None
        self.survey: Future[Survey] = self._pool.submit(self._begin)
        self.mysql: Future[MySQL] = self._pool.submit(self._deploy_mysql)
        self._prepared: Future[None] = self._pool.submit(self._prepare_nodejs)
        self.nodejs: Future[NodeJS] = self._pool.submit(self._deploy_nodejs)

    @property
    def changed(self) -> bool:
        """Whether anything was changed on a host."""
        return bool(self._changes)

    def stop(self) -> None:
        """Have what is under way end soon, and return when it has."""
        self._steps.stop()
        futures: list[Future[Any]] = [self.survey, self.mysql, self._prepared, self.nodejs]
        wait(futures)
        self._pool.shutdown()
        self._steps.resume()

    def keep(self) -> None:
        """Leave everything standing, for others to attach to, and let go of the hosts. Call :meth:`stop` first."""
        try:
            for changes in self._changes.values():
                changes.keep()
        finally:
            self._let_go()

    def take_down(self, redial: Callable[[], Client]) -> list[Left]:
        """Undo everything, and let go of the hosts; return what could not be undone. Call :meth:`stop` first.

        :param redial: makes a client of the same circuit, for when the one that deployed has lost it; who passes it
            closes what it made.
        """
        recorded = {name: (changes.host, changes.record) for name, changes in self._changes.items()}
        left: list[Left] = []
        if recorded and not self._is_connected():
            try:
                recorded, left = _found_again(redial(), recorded)
            except (DeployError, CircuitError) as error:
                return [Left(name, f"the circuit was lost: {error}") for name in recorded]
        try:
            return left + take_down(list(recorded.values()), self._steps, force=False)
        finally:
            self._let_go()

    def _is_connected(self) -> bool:
        try:
            self._client.view()
        except CircuitError:
            return False
        return True

    def _let_go(self) -> None:
        for lease in self._leases:
            lease.give_up()
        self._leases.clear()

    @property
    def _wants_nodejs(self) -> bool:
        return deploy.nodejs.PART in self._wishes.parts

    def _begin(self) -> Survey:
        mysql_host, nodejs_host = self._pick()
        with self._steps.step("look at the hosts"):
            survey = surveys.look(mysql_host, nodejs_host, self._wishes.parts)
            survey.check_fit()
            if not self._wishes.replace:
                survey.check_kept()
            if not survey.recorded:
                survey.check_free(replace=self._wishes.replace)
        if survey.recorded:
            if self._bundle is not None:
                # Nothing that stands is taken down before what replaces it is there.
                self._bundle.result()
            self._clear(survey)
            with self._steps.step("look at the hosts again"):
                survey = surveys.look(mysql_host, nodejs_host, self._wishes.parts)
                survey.check_free(replace=self._wishes.replace)
        return survey

    def _pick(self) -> tuple[Anchor, Anchor]:
        """The hosts, in the order of their roles, with their leases taken."""
        candidates = live_hosts(self._client, self._wishes.hosts)
        n = min(HOSTS, len(candidates))
        if len(candidates) > n:
            candidates = preferred(candidates, n, replace=self._wishes.replace)
        wait_s = self._wishes.lease_wait
        self._leases = take_some(candidates, n, str(self._identity), self._steps, wait_s, self._say)
        leased = {lease.host.name for lease in self._leases}
        picked = [host for host in candidates if host.name in leased]
        return picked[0], picked[-1]

    def _clear(self, survey: Survey) -> None:
        for host, record in survey.recorded:
            fate = "was kept" if record.state == KEPT else "did not end by itself"
            self._say(f"  host {host.name}: {record}, {fate}; it is taken down first")
        left = take_down(survey.recorded, self._steps, force=self._wishes.replace)
        if left:
            raise Conflict(_listed("what an earlier run deployed cannot be taken down", left))

    def _deploy_mysql(self) -> MySQL:
        survey = self.survey.result()
        host = survey.mysql_host
        address = survey.addresses[host.name].private
        changes = self._changes_of(host)
        return deploy.mysql.deploy(
            host, address, survey.mysql, changes, replace=self._wishes.replace, steps=self._steps
        )

    def _prepare_nodejs(self) -> None:
        survey = self.survey.result()
        if self._bundle is None or survey.nodejs is None:
            return
        with self._steps.step("Node.js: put the app together, here"):
            bundle = self._bundle.result()
        changes = self._changes_of(survey.nodejs_host)
        deploy.nodejs.prepare(survey.nodejs_host, survey.nodejs, bundle, changes, steps=self._steps)

    def _deploy_nodejs(self) -> NodeJS:
        survey = self.survey.result()
        if survey.nodejs is None:
            raise DeployError("the Node.js API was not asked for when this deployment began")
        self._prepared.result()
        host = survey.nodejs_host
        return deploy.nodejs.start(
            host,
            survey.addresses[host.name].public,
            self.mysql.result(),
            survey.nodejs,
            self._changes_of(host),
            steps=self._steps,
        )

    def _changes_of(self, host: Anchor) -> Changes:
        record = Record(self._identity.run, self._identity.owner, self._identity.started)
        # One for both parts where they share a host; setdefault is atomic.
        return self._changes.setdefault(host.name, Changes(host, record))


def preferred(hosts: Sequence[Anchor], n: int, *, replace: bool) -> list[Anchor]:
    """Which of more hosts than needed to try: a kept deployment's where it is to be replaced, the others where not."""
    found = read_records(hosts)
    kept = [host for host in hosts if host.name in found and found[host.name].state == KEPT]
    others = [host for host in hosts if host not in kept]
    if replace and kept:
        return (kept + others)[:n]
    return others if len(others) >= n else list(hosts)


@dataclass(frozen=True)
class Deployed:
    """A deployment that was found standing: its record, and its parts where they were deployed."""

    record: Record
    hosts: tuple[Anchor, ...]
    mysql: MySQL | None
    nodejs: NodeJS | None


def find(client: Client, names: Sequence[str] = ()) -> Deployed:
    """Find the deployment that was kept on a circuit, by the records on its hosts. Changes nothing.

    :param names: hosts to look at; all where none is named.
    :raises Conflict: there is none, or more than one, or it lacks MySQL's host.
    """
    hosts = live_hosts(client, names)
    found = read_records(hosts)
    kept = {name: record for name, record in found.items() if record.state == KEPT}
    runs = {record.run: record for record in kept.values()}
    if not runs:
        others = "; ".join(f"host {name} has {record}, which was not kept" for name, record in found.items())
        raise Conflict(
            f"no deployment was kept on {', '.join(host.name for host in hosts)}"
            f"{f' ({others})' if others else ''}: make one with --keep=always"
        )
    if len(runs) > 1:
        listed = "; ".join(f"host {name} has {record}" for name, record in kept.items())
        raise Conflict(f"more than one deployment was kept ({listed}): name the hosts of one (--hosts)")
    (record,) = runs.values()
    mysql = nodejs = None
    for host in hosts:
        services = kept[host.name].services if host.name in kept else {}
        if deploy.mysql.PART in services:
            mysql = MySQL.at(host, services[deploy.mysql.PART])
        if deploy.nodejs.PART in services:
            nodejs = NodeJS.at(host, services[deploy.nodejs.PART])
    if nodejs is not None and mysql is None:
        raise Conflict(f"the host of MySQL is lost: no live one has that part of {record}")
    return Deployed(record, tuple(host for host in hosts if host.name in kept), mysql, nodejs)


@dataclass(frozen=True)
class TornDown:
    """What :func:`tear_down` found by host name, and could not undo."""

    records: Mapping[str, Record]
    left: list[Left]


def tear_down(
    client: Client,
    identity: Identity,
    wishes: Wishes,
    steps: Steps,
    say: Say,
    guard: AbstractContextManager[object],
) -> TornDown:
    """Take down whatever deployments of ours are on the hosts: kept, or left by a run that crashed.

    :param wishes: ``hosts`` are those to look at, ``replace`` whether others' data in our database goes, too.
    :param guard: entered before the first change, and left after the last.
    :raises Occupied: a run that is under way holds one of them.
    """
    hosts = live_hosts(client, wishes.hosts)
    found = read_records(hosts)
    concerned = [host for host in hosts if host.name in found]
    if not concerned:
        return TornDown({}, [])
    leases = take_some(concerned, len(concerned), str(identity), steps, wishes.lease_wait, say)
    try:
        # Read again, as the run that held a lease may have ended well meanwhile.
        found = read_records(concerned)
        recorded = [(host, found[host.name]) for host in concerned if host.name in found]
        with guard:
            return TornDown(found, take_down(recorded, steps, force=wishes.replace))
    finally:
        for lease in leases:
            lease.give_up()


def _found_again(
    client: Client, recorded: Mapping[str, tuple[Anchor, Record]]
) -> tuple[dict[str, tuple[Anchor, Record]], list[Left]]:
    """The same hosts through another client, and those that are gone."""
    view = client.view()
    again = {name: (view[name], record) for name, (_, record) in recorded.items() if name in view}
    return again, [Left(name, "the host is lost") for name in recorded if name not in view]


def _listed(what: str, left: Sequence[Left]) -> str:
    return "\n".join([f"{what}:", *(f"  {entry}" for entry in left)])


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"
