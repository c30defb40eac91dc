"""A look at hosts before anything is changed on any of them, and whether they can take a deployment."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from circuit_harness.engine.found import read_records
from circuit_harness.engine.pick import check_ports
from circuit_harness.engine.spec import DeploymentSpec
from circuit_harness.errors import Conflict, DeployError, Lost, Unfit
from circuit_harness.journal.record import KEPT, Record
from circuit_harness.operations import needs, packages
from circuit_harness.operations.addresses import find_addresses, routes
from circuit_harness.operations.needs import Missing
from circuit_harness.remedies import Remedy
from circuit_harness.remote.address import Addresses
from circuit_harness.remote.concurrently import on_each
from circuit_harness.remote.host import Host
from circuit_harness.secret import Secret
from circuit_harness.services.protocol import Peer, Running, Site

Ready = Mapping[str, Running]
"""The services that are ready, by name."""


@dataclass(frozen=True)
class Survey:
    """What the hosts are like.

    By host name: ``addresses``, or why there are none (``unaddressed``); ``records`` of this deployment, those of
    ``others``, and why one is ``unreadable``; ``shortages``, what a disk lacks that is full; ``versions`` of programs.
    ``missing`` is what the hosts lack. By service: its host (``placed``), its ``facts`` of that, and the addresses that
    those who use it connect from (``clients``). ``remarks`` are lines for the user.
    """

    spec: DeploymentSpec
    placed: Mapping[str, Host]
    addresses: dict[str, Addresses]
    unaddressed: dict[str, str]
    remarks: list[str]
    records: dict[str, Record]
    others: dict[str, list[Record]]
    unreadable: dict[str, str]
    shortages: dict[str, str]
    versions: dict[str, Mapping[str, str]]
    missing: list[Missing]
    facts: dict[str, Any]
    clients: dict[str, tuple[str, ...]]

    @property
    def hosts(self) -> dict[str, Host]:
        """The hosts, by name, in the order of their services."""
        return {host.name: host for host in self.placed.values()}

    @property
    def recorded(self) -> list[tuple[Host, Record]]:
        """The hosts that have a record of this deployment, or of another that crashed, with it: these are cleared."""
        own = [(host, self.records[name]) for name, host in self.hosts.items() if name in self.records]
        return own + [
            (host, record) for name, host in self.hosts.items() for record in self.others[name] if record.state != KEPT
        ]

    def site(self, name: str, run: str, ready: Ready, secrets: dict[str, Secret], *, planned: bool = False) -> Site:
        """What the service of that name can know.

        :param ready: filled while services become ready.
        :param secrets: filled where a service asks for one.
        :param planned: whether what is not known yet is a placeholder.
        """
        service, host = self.spec.services[name], self.placed[name].name

        def peer(used: str) -> Peer:
            other = self.spec.services[used]
            own = self.site(used, run, ready, secrets, planned=planned)
            return Peer(used, other.address(own), other.port, lambda: ready.get(used), planned)

        return Site(
            run,
            host,
            self.addresses[host],
            {used: peer(used) for used in service.uses},
            secrets,
            name=name,
            clients=self.clients.get(name, ()),
            deployment=self.spec.name,
            versions=self.versions[host],
            replace=self.spec.replace,
            recorded=self._recorded(name),
        )

    def check_fit(self, *, install: bool) -> None:
        """Refuse hosts that lack what a deployment needs.

        :param install: whether packages that are missing are to be installed.
        :raises Unfit: programs or rights are missing, and the message has them all; or an address of its own; or two
            services would listen on one port.
        :raises Lost: one has a record that cannot be read.
        """
        if reason := needs.refusal(self.missing, install=install):
            raise Unfit(reason)
        check_ports(self.spec.services, {name: host.name for name, host in self.placed.items()})
        self._check_others()
        for refusal in self._refusals(unfit=True):
            raise refusal
        for reason in self.unaddressed.values():
            raise Unfit(reason)
        for reason in self.unreadable.values():
            raise Lost(reason)

    def _check_others(self) -> None:
        """Refuse hosts where another deployment stands that would share what can be only one's."""
        for name, host in self.placed.items():
            service = self.spec.services[name]
            for record in self.others[host.name]:
                if record.state != KEPT:
                    continue
                for other, described in record.services.items():
                    if described.get("port") == service.port:
                        raise Conflict(
                            f"host {host.name}: port {service.port} is that of {other}, of {record}, which was kept:"
                            f" give {service.title} another port, or name another host"
                        )
                    if reason := service.shares(described):
                        raise Conflict(f"host {host.name}: {reason}, of {record}, which was kept: name another host")
                if record.explains(packages.PART):
                    raise Conflict(
                        f"host {host.name}: {record} has installed packages, which go with it: name another host"
                    )

    def check_replaceable(self, *, install: bool) -> None:
        """Refuse hosts whose kept deployment has brought what the next one needs, and takes it along; or whose disk has
        no room for the next one.

        :param install: whether it would be installed again.
        :raises Conflict: one has such a deployment.
        """
        for host, record in self.recorded:
            if record.state == KEPT and host.name in self.shortages:
                raise Conflict(
                    f"host {host.name}: {self.shortages[host.name]}, so {record} stays: make room first, then try again"
                )
            if record.state == KEPT and record.explains(packages.PART) and not install:
                raise Conflict(
                    f"host {host.name}: {record} has installed packages, which are removed with it: give"
                    f" {Remedy.INSTALL}, too"
                )

    def check_kept(self) -> None:
        """Refuse hosts that have a deployment which was left standing on purpose.

        :raises Conflict: one has.
        """
        for host, record in self.recorded:
            if record.state == KEPT:
                names = ",".join(other.name for other, of_other in self.recorded if of_other.run == record.run)
                raise Conflict(
                    f"host {host.name} has a deployment that was kept ({record}): {Remedy.ATTACH} checks it,"
                    f" {Remedy.REPLACE} takes it down first, {Remedy.TEAR_DOWN.on(names)} takes it down and no more"
                )

    def check_free(self) -> None:
        """Refuse hosts that have what a deployment would destroy or collide with, and no record of ours explains.

        :raises Conflict: one has.
        :raises DeployError: a service refuses it for a reason of another kind.
        """
        for refusal in self._refusals(unfit=False):
            raise refusal

    def _refusals(self, *, unfit: bool) -> Iterable[DeployError]:
        for name, facts in self.facts.items():
            # A host without an address is refused elsewhere; what uses its service could not say where that is.
            if all(self.placed[each].name in self.addresses for each in self.spec.services.needed([name])):
                for refusal in self.spec.services[name].refuse(facts, self.site(name, "", {}, {}, planned=True)):
                    if isinstance(refusal, Unfit) == unfit:
                        yield refusal

    def _recorded(self, name: str) -> Mapping[str, Any] | None:
        """What an earlier run has recorded of a service on its host, which goes first; None where there is nothing."""
        record = self.records.get(self.placed[name].name)
        return record.services.get(name, {}) if record is not None and record.explains(name) else None


def look(placed: Mapping[str, Host], spec: DeploymentSpec, with_rights: Container[str] = ()) -> Survey:
    """Look at the hosts of services, concurrently.

    :param with_rights: the names of hosts where root is known to be able to act.
    """
    hosts = list({host.name: host for host in placed.values()}.values())
    on_host = {
        host.name: [spec.services[name] for name, where in placed.items() if where.name == host.name] for host in hosts
    }
    needed = {name: [need for service in services for need in service.needs] for name, services in on_host.items()}
    with ThreadPoolExecutor(2 * len(hosts) + len(placed) + 1, thread_name_prefix="survey") as pool:
        fits = {
            host.name: pool.submit(needs.look, host, needed[host.name], rights=host.name in with_rights)
            for host in hosts
        }
        looks = {name: pool.submit(spec.services[name].look, host, spec.name) for name, host in placed.items()}
        addressing = pool.submit(find_addresses, hosts, spec.given)
        found = read_records(hosts, spec.name, apart=True)
        addressed = addressing.result()
        clients = _clients(placed, spec, addressed.addresses)
        fit = {name: future.result() for name, future in fits.items()}
        facts = {name: future.result() for name, future in looks.items()}
    remarks = [line for name, seen in facts.items() for line in spec.services[name].remarks(seen, placed[name].name)]
    return Survey(
        spec=spec,
        placed=placed,
        addresses=addressed.addresses,
        unaddressed=addressed.unfit,
        remarks=[*addressed.remarks, *remarks],
        records=found.records,
        others={host.name: found.others(host.name) for host in hosts},
        unreadable=found.unreadable,
        shortages={name: facts.shortage for name, facts in fit.items() if facts.shortage},
        versions={name: facts.versions for name, facts in fit.items()},
        missing=[lack for name in fit for lack in needs.missing(fit[name], name, needed[name])],
        facts=facts,
        clients=clients,
    )


def _clients(
    placed: Mapping[str, Host], spec: DeploymentSpec, addresses: Mapping[str, Addresses]
) -> dict[str, tuple[str, ...]]:
    """The addresses from which services are used by others: those that the users' hosts have on the way there."""
    pairs = [
        (used, placed[name])
        for name in placed
        for used in spec.services[name].uses
        if placed[name].name in addresses and placed[used].name in addresses
    ]

    def source(pair: tuple[str, Host]) -> str:
        used, client = pair
        own, target = addresses[client.name].private, addresses[placed[used].name].private
        return own if target == own else routes(client, [target]).get(target, own)

    sources = on_each(source, pairs, "clients")
    clients: dict[str, tuple[str, ...]] = {}
    for (used, _), address in zip(pairs, sources, strict=True):
        clients[used] = tuple(dict.fromkeys((*clients.get(used, ()), address)))
    return clients
