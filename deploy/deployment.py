"""One deployment: hosts picked, leased, looked at, and cleared of what crashed; deployed onto; kept or taken down."""

from __future__ import annotations

import getpass
import secrets
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, TypeVar

import deploy.mysql
import deploy.nodejs
from circuit import CircuitError
from circuit_harness.errors import Conflict, DeployError, Lost, NoHosts
from circuit_harness.remote.host import Circuit, Host
from circuit_harness.steps import Steps
from deploy import packages
from deploy import survey as surveys
from deploy.accounts import ANYWHERE
from deploy.addresses import Addresses, Given, canonical, refusal, routes
from deploy.bundle import build_bundle
from deploy.changes import Changes, Left, take_down
from deploy.hosts import live_hosts
from deploy.lease import Lease, take_some
from deploy.mysql import MySQL
from deploy.nodejs import NodeJS
from deploy.ports import Ports
from deploy.record import FOLDER, KEPT, Record
from deploy.survey import Found, Survey, read_records

HOSTS = 2
"""A deployment's hosts: MySQL's and the API's, which are one where the circuit has just one."""

_REGAIN_S = 15.0
"""How long a lease that was lost is waited for when it is time to undo."""

S = TypeVar("S", MySQL, NodeJS)

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
    ``replace`` has what is there taken down first. ``lease_wait`` is in seconds. ``ports`` are those that the parts are
    to listen on, ``given`` are addresses that win. ``compat`` leaves MySQL open to all, as the tutorial does.
    ``install`` has packages that are missing installed.
    """

    parts: frozenset[str]
    hosts: tuple[str, ...] = ()
    replace: bool = False
    lease_wait: float = 0.0
    ports: Ports = field(default_factory=Ports)
    given: Given = field(default_factory=Given)
    compat: bool = False
    install: bool = False


class Deployment:
    """Under way. What does not depend on each other is done side by side; each part is waited for by itself."""

    def __init__(self, circuit: Circuit[Host], identity: Identity, wishes: Wishes, steps: Steps, say: Say) -> None:
        """Begin. Nothing is changed before all hosts have been seen fit and free, which :attr:`survey` waits for."""
        self._circuit = circuit
        self._identity = identity
        self._wishes = wishes
        self._steps = steps
        self._say = say
        self._leases: list[Lease] = []
        self._watching = threading.Lock()
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

    @property
    def hosts(self) -> list[str]:
        """The names of the hosts that were changed."""
        return sorted(self._changes)

    def stop(self) -> None:
        """Have what is under way end soon, and return when it has."""
        self._steps.stop()
        futures: list[Future[Any]] = [self.survey, self.mysql, self._prepared, self.nodejs]
        wait(futures)
        self._pool.shutdown()
        self._steps.resume()

    def keep(self) -> None:
        """Leave everything standing, for others to attach to, and let go of the hosts. Call :meth:`stop` first.

        :raises DeployError, CircuitError: that cannot be; the hosts are still held.
        """
        for changes in self._changes.values():
            changes.keep()
        self._let_go()

    def take_down(self, redial: Callable[[Sequence[str]], Circuit[Host]]) -> list[Left]:
        """Undo everything, and let go of the hosts; return what could not be undone. Call :meth:`stop` first.

        Where a lease was lost meanwhile it is taken again first: without it, what is there may be another run's.

        :param redial: reaches the same circuit, for when the client that deployed has lost it, given addresses
            of more of its servers; who passes it closes what it made.
        """
        names = self.hosts
        recorded: list[tuple[Host, Record]] = []
        left: list[Left] = []
        try:
            view = self._view(redial) if names else {}
            for name in names:
                try:
                    host = self._hold(name, view)
                    recorded.append((host, self._changes[name].record))
                except (DeployError, CircuitError) as error:
                    left.append(Left(name, " ".join(str(error).split())))
            return left + take_down(recorded, self._steps, self._say, force=False)
        except CircuitError as error:
            return [Left(name, f"the circuit is lost: {error}") for name in names]
        finally:
            self._let_go()

    def _view(self, redial: Callable[[Sequence[str]], Circuit[Host]]) -> Mapping[str, Host]:
        """The live hosts, through another client if ours has lost the circuit."""
        try:
            return self._circuit.hosts()
        except CircuitError:
            self._circuit = redial([changes.host.address for changes in self._changes.values()])
            return self._circuit.hosts()

    def _hold(self, name: str, view: Mapping[str, Host]) -> Host:
        """A host of ours, once it is sure that we hold its lease."""
        if name not in view:
            raise NoHosts("the host is lost")
        lease = next((lease for lease in self._leases if lease.host.name == name), None)
        if lease is not None and lease.is_held():
            return lease.host
        if lease is not None:
            with self._watching:
                self._leases.remove(lease)
            lease.give_up()
        again = take_some([view[name]], 1, str(self._identity), self._steps, _REGAIN_S, self._say, lock=FOLDER)
        self._leases += again
        self._steps.regain(name)
        return view[name]

    def _let_go(self) -> None:
        with self._watching:
            leases, self._leases = self._leases, []
        for lease in leases:
            lease.give_up()

    def _watch(self, lease: Lease) -> None:
        """Have no further step begin on a host once its lease is lost: it may be another run's by then."""
        lease.wait()
        with self._watching:
            if lease in self._leases:
                self._say(f"  the lease on host {lease.host.name} has ended; nothing more is changed there")
                self._steps.lose(lease.host.name)

    @property
    def _wants_nodejs(self) -> bool:
        return deploy.nodejs.PART in self._wishes.parts

    def _begin(self) -> Survey:
        mysql_host, nodejs_host = self._pick()
        for host in {mysql_host.name: mysql_host, nodejs_host.name: nodejs_host}.values():
            host.sweep(self._steps)

        def look() -> Survey:
            survey = self._look(mysql_host, nodejs_host)
            survey.check_fit(install=self._wishes.install)
            if self._wishes.replace:
                survey.check_replaceable(install=self._wishes.install)
            else:
                survey.check_kept()
            survey.check_free(replace=self._wishes.replace)
            return survey

        with self._steps.step("look at the hosts"):
            survey = look()
        for remark in survey.remarks:
            self._say(f"  {remark}")
        if (survey.recorded or survey.missing) and self._bundle is not None:
            # Nothing that stands is taken down, and nothing installed, before what it is for is there.
            self._bundle.result()
        if survey.recorded:
            self._clear(survey)
            with self._steps.step("look at the hosts again"):
                survey = look()
        if survey.missing:
            self._install(survey)
            with self._steps.step("look at what was installed"):
                survey = self._look(mysql_host, nodejs_host)
                survey.check_fit(install=False)
                survey.check_free(replace=self._wishes.replace)
                # With what was installed, such as curl, the look may have found others than before.
                for name, changes in self._changes.items():
                    changes.readdress(survey.addresses[name])
        return survey

    def _look(self, mysql_host: Host, nodejs_host: Host) -> Survey:
        return surveys.look(mysql_host, nodejs_host, self._wishes.parts, self._wishes.ports, self._wishes.given)

    def _install(self, survey: Survey) -> None:
        """Install what is missing, on both hosts at once; both are done when this ends, however it does."""

        def install(host: Host) -> None:
            wanted = dict.fromkeys(lack.package for lack in survey.missing if lack.host == host.name)
            if wanted:
                packages.install(host, list(wanted), self._changes_of(host, survey), steps=self._steps)

        hosts = {host.name: host for host in (survey.mysql_host, survey.nodejs_host)}
        with ThreadPoolExecutor(len(hosts), thread_name_prefix="install") as pool:
            for done in [pool.submit(install, host) for host in hosts.values()]:
                done.result()

    def _pick(self) -> tuple[Host, Host]:
        """The hosts, in the order of their roles, with their leases taken."""
        found = read_records(live_hosts(self._circuit, self._wishes.hosts))
        n = min(HOSTS, len(found.hosts))
        candidates = preferred(found, n, replace=self._wishes.replace)
        wait_s = self._wishes.lease_wait
        self._leases = take_some(candidates, n, str(self._identity), self._steps, wait_s, self._say, lock=FOLDER)
        for lease in self._leases:
            threading.Thread(target=self._watch, args=(lease,), name="lease", daemon=True).start()
        leased = {lease.host.name for lease in self._leases}
        picked = [host for host in candidates if host.name in leased]
        return picked[0], picked[-1]

    def _clear(self, survey: Survey) -> None:
        for host, record in survey.recorded:
            fate = "was kept" if record.state == KEPT else "did not end by itself"
            self._say(f"  host {host.name}: {record}, {fate}; it is taken down first")
        left = take_down(survey.recorded, self._steps, self._say, force=self._wishes.replace)
        if left:
            raise Conflict(_listed("what an earlier run deployed cannot be taken down", left))

    def _deploy_mysql(self) -> MySQL:
        survey = self.survey.result()
        host = survey.mysql_host
        address = survey.addresses[host.name].private
        changes = self._changes_of(host, survey)
        admits = ANYWHERE if self._wishes.compat else _source(survey, address)
        return deploy.mysql.deploy(
            host,
            address,
            survey.ports.mysql,
            admits,
            survey.mysql,
            changes,
            replace=self._wishes.replace,
            steps=self._steps,
            say=self._say,
        )

    def _prepare_nodejs(self) -> None:
        survey = self.survey.result()
        if self._bundle is None or survey.nodejs is None:
            return
        with self._steps.step("Node.js: put the app together, here"):
            bundle = self._bundle.result()
        changes = self._changes_of(survey.nodejs_host, survey)
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
            survey.ports.api,
            self.mysql.result(),
            survey.nodejs,
            self._changes_of(host, survey),
            steps=self._steps,
        )

    def _changes_of(self, host: Host, survey: Survey) -> Changes:
        identity = self._identity
        addresses = survey.addresses[host.name]
        record = Record(identity.run, identity.owner, identity.started, addresses, anchor=host.name)
        # One for both parts where they share a host; setdefault is atomic.
        return self._changes.setdefault(host.name, Changes(host, record))


def _source(survey: Survey, address: str) -> str:
    """The address that the API's host connects from to another."""
    host = survey.nodejs_host
    return routes(host, [address]).get(address, survey.addresses[host.name].private)


def preferred(found: Found, n: int, *, replace: bool) -> list[Host]:
    """Which hosts to try, one of a machine: where there are more than needed, a kept deployment's where it is to be
    replaced, the others where not.

    :raises Conflict: more than one could be replaced.
    """
    hosts = found.hosts
    if len(hosts) <= n:
        return hosts
    kept = _kept(found)
    if replace and kept:
        _one_of(kept)
        standing = [host for host in hosts if host.name in kept]
        others = [host for host in hosts if host.name not in kept and host.name not in found.unreadable]
        return (standing + others)[:n]
    usable = [host for host in hosts if host.name not in kept and host.name not in found.unreadable]
    return usable if len(usable) >= n else hosts


def _kept(found: Found) -> dict[str, Record]:
    return {name: record for name, record in found.records.items() if record.state == KEPT}


def _whole_kept(found: Found) -> dict[str, Record]:
    """As :func:`_kept`, without those of a run that was killed on its way to keep the other host's."""
    killed = {record.run for record in found.records.values() if record.state != KEPT}
    return {name: record for name, record in _kept(found).items() if record.run not in killed}


def _one_of(kept: Mapping[str, Record]) -> Record:
    """The record of the only deployment among those that were kept.

    :raises Conflict: there is more than one.
    """
    runs = {record.run: record for record in kept.values()}
    if len(runs) > 1:
        listed = "; ".join(f"host {name} has {record}" for name, record in kept.items())
        raise Conflict(f"more than one deployment was kept ({listed}): name the hosts of one (--hosts)")
    return next(iter(runs.values()))


@dataclass(frozen=True)
class Deployed:
    """A deployment that was found standing: its record, the addresses by host name, and the parts where there are."""

    record: Record
    hosts: tuple[Host, ...]
    addresses: dict[str, Addresses]
    mysql: MySQL | None
    nodejs: NodeJS | None


def find(circuit: Circuit[Host], names: Sequence[str] = ()) -> Deployed:
    """Find the deployment that was kept on a circuit, by the records on its hosts. Changes nothing.

    :param names: hosts to look at; all where none is named.
    :raises Conflict: there is none, or more than one, or it lacks MySQL's host.
    :raises Lost: what a record tells of cannot be checked.
    """
    found = read_records(live_hosts(circuit, names))
    hosts = found.hosts
    kept = _kept(found)
    if not kept:
        others = [
            f"host {name} has {record}, which was not kept (--circuit-teardown --crashed-only takes it down)"
            for name, record in found.records.items()
        ]
        others += found.unreadable.values()
        told = f" ({'; '.join(others)})" if others else ""
        raise Conflict(
            f"no deployment was kept on {', '.join(host.name for host in hosts)}{told}: make one with --keep=always"
        )
    record = _one_of(kept)
    mysql = nodejs = None
    for host in hosts:
        services = kept[host.name].services if host.name in kept else {}
        if deploy.mysql.PART in services:
            mysql = _told(MySQL.at, host, services[deploy.mysql.PART])
        if deploy.nodejs.PART in services:
            nodejs = _told(NodeJS.at, host, services[deploy.nodejs.PART])
    if nodejs is not None and mysql is None:
        raise Conflict(f"the host of MySQL is lost: no live one has that part of {record}")
    addresses = {name: of_host.addresses for name, of_host in kept.items()}
    return Deployed(record, tuple(host for host in hosts if host.name in kept), addresses, mysql, nodejs)


def _told(at: Callable[[Host, Mapping[str, Any]], S], host: Host, described: Mapping[str, Any]) -> S:
    """The part that a host's record tells of. Checks connect to it, so it must be where others than we can be.

    :raises Lost: it is not, or the record tells of no such part.
    """
    try:
        service = at(host, described)
        address, port = service.address, service.port
        wrong = refusal(canonical(address)) or ("no port" if type(port) is not int or not 0 < port < 1 << 16 else "")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Lost(f"host {host.name}: its record tells of no part that can be checked ({error!r})"[:300]) from None
    if wrong:
        raise Lost(f"host {host.name}: its record tells of a part at {address} port {port}, which is {wrong}"[:300])
    return service


@dataclass(frozen=True)
class TornDown:
    """What :func:`tear_down` found by host name, could not undo, and was not to touch."""

    records: Mapping[str, Record]
    left: list[Left]
    spared: Mapping[str, Record] = field(default_factory=dict)


def tear_down(
    circuit: Circuit[Host],
    identity: Identity,
    wishes: Wishes,
    steps: Steps,
    say: Say,
    guard: AbstractContextManager[object],
    *,
    spare_kept: bool = False,
) -> TornDown:
    """Take down whatever deployments of ours are on the hosts: kept, or left by a run that crashed.

    :param wishes: ``hosts`` are those to look at, ``replace`` whether others' data in our database goes, too.
    :param guard: entered before the first change, and left after the last.
    :param spare_kept: leave alone what was kept.
    :raises Occupied: a run that is under way holds one of them.
    """
    found = read_records(live_hosts(circuit, wishes.hosts))
    unknown = "it is not known whether anything of ours is there"
    left = [Left(name, f"{unknown}: {reason}") for name, reason in found.unreadable.items()]
    spared = _whole_kept(found) if spare_kept else {}
    concerned = [host for host in found.hosts if host.name in found.records and host.name not in spared]
    if not concerned:
        return TornDown({}, left, spared)
    leases = take_some(concerned, len(concerned), str(identity), steps, wishes.lease_wait, say, lock=FOLDER)
    try:
        # Read again, as the run that held a lease may have ended well meanwhile.
        again = read_records(concerned)
        left += [Left(name, reason) for name, reason in again.unreadable.items()]
        if spare_kept:
            spared |= _whole_kept(again)
        records = {name: record for name, record in again.records.items() if name not in spared}
        recorded = [(host, records[host.name]) for host in concerned if host.name in records]
        for host in concerned:
            host.sweep(steps)
        with guard:
            return TornDown(records, [*left, *take_down(recorded, steps, say, force=wishes.replace)], spared)
    finally:
        for lease in leases:
            lease.give_up()


def _listed(what: str, left: Sequence[Left]) -> str:
    return "\n".join([f"{what}:", *(f"  {entry}" for entry in left)])


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"
