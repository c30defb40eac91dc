"""A look at hosts before anything is changed on any of them, and whether they can take a deployment."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import deploy.mysql
import deploy.nodejs
from circuit import CircuitError
from circuit_harness.errors import CommandFailed, CommandTimedOut, Conflict, DeployError, Lost, Unfit
from circuit_harness.remote.host import Host
from deploy import packages, prerequisites
from deploy import record as records
from deploy.addresses import Addresses, Given, find_addresses
from deploy.machines import group, identify
from deploy.ports import Ports
from deploy.prerequisites import Missing
from deploy.record import KEPT, Record


@dataclass(frozen=True)
class Survey:
    """What the hosts are like: ``addresses`` or why there are none (``unaddressed``), ``records`` and why one is
    ``unreadable``, by host name; what they lack, ``missing``; and each part's facts of its own host.

    ``ports`` are those that the parts are to listen on. ``nodejs`` is None where the API is not wanted, and so was not
    looked for. ``remarks`` are lines for the user.
    """

    mysql_host: Host
    nodejs_host: Host
    addresses: dict[str, Addresses]
    unaddressed: dict[str, str]
    remarks: list[str]
    records: dict[str, Record]
    unreadable: dict[str, str]
    missing: list[Missing]
    mysql: deploy.mysql.Facts
    nodejs: deploy.nodejs.Facts | None
    ports: Ports

    @property
    def recorded(self) -> list[tuple[Host, Record]]:
        """The hosts that have a record of a deployment, with it."""
        hosts = {host.name: host for host in (self.mysql_host, self.nodejs_host)}
        return [(host, self.records[name]) for name, host in hosts.items() if name in self.records]

    def check_fit(self, *, install: bool) -> None:
        """Refuse hosts that lack what a deployment needs.

        :param install: whether packages that are missing are to be installed.
        :raises Unfit: programs or rights are missing, and the message has them all; or an address of its own; or both
            parts would listen on one port.
        :raises Lost: one has a record that cannot be read.
        """
        if reason := prerequisites.refusal(self.missing, install=install):
            raise Unfit(reason)
        shared = self.nodejs is not None and self.mysql_host.name == self.nodejs_host.name
        if shared and self.ports.mysql == self.ports.api:
            raise Unfit(
                f"host {self.mysql_host.name} is to have both MySQL and the API on port {self.ports.api}: give one"
                " another (--mysql-port, --api-port)"
            )
        deploy.mysql.check_fit(self.mysql, self.mysql_host.name)
        for reason in self.unaddressed.values():
            raise Unfit(reason)
        for reason in self.unreadable.values():
            raise Lost(reason)

    def check_replaceable(self, *, install: bool) -> None:
        """Refuse hosts whose kept deployment has brought what the next one needs, and takes it along.

        :param install: whether it would be installed again.
        :raises Conflict: one has such a deployment.
        """
        for host, record in self.recorded:
            if record.state == KEPT and record.explains(packages.PART) and not install:
                raise Conflict(
                    f"host {host.name}: {record} has installed packages, which are removed with it: give --install, too"
                )

    def check_kept(self) -> None:
        """Refuse hosts that have a deployment which was left standing on purpose.

        :raises Conflict: one has.
        """
        for host, record in self.recorded:
            if record.state == KEPT:
                names = ",".join(other.name for other, of_other in self.recorded if of_other.run == record.run)
                raise Conflict(
                    f"host {host.name} has a deployment that was kept ({record}): --attach checks it, --replace takes"
                    f" it down first, --circuit-teardown --hosts={names} takes it down and no more"
                )

    def check_free(self, *, replace: bool) -> None:
        """Refuse hosts that have what a deployment would destroy or collide with, and no record of ours explains.

        :raises Conflict: one has.
        """
        if self.nodejs is not None:
            self._check_nodejs_free(self.nodejs, self.nodejs_host.name, replace=replace)
        explained = self._explained(self.mysql_host, deploy.mysql.PART)
        deploy.mysql.check_free(self.mysql, self.mysql_host.name, self.ports.mysql, replace=replace or explained)

    def _check_nodejs_free(self, facts: deploy.nodejs.Facts, host: str, *, replace: bool) -> None:
        port = self.ports.api
        if not self._explained(self.nodejs_host, deploy.nodejs.PART):
            deploy.nodejs.check_free(facts, host, port, replace=replace)
        elif self.records[host].services.get(deploy.nodejs.PART, {}).get("port", port) != port:
            # The app that stands, and goes first, has another: this one is somebody else's.
            deploy.nodejs.check_port(facts, host, port)

    def _explained(self, host: Host, part: str) -> bool:
        return host.name in self.records and self.records[host.name].explains(part)


def look(mysql_host: Host, nodejs_host: Host, parts: frozenset[str], ports: Ports, given: Given) -> Survey:
    """Look at both hosts, which may be one, side by side.

    :param given: addresses that the user gives.
    """
    hosts = {host.name: host for host in (mysql_host, nodejs_host)}
    # There is no API without MySQL.
    wanted = {name: {deploy.mysql.PART} if name == mysql_host.name else set() for name in hosts}
    if deploy.nodejs.PART in parts:
        wanted[nodejs_host.name].add(deploy.nodejs.PART)
    with ThreadPoolExecutor(8, thread_name_prefix="survey") as pool:
        fits = {name: pool.submit(prerequisites.look, host) for name, host in hosts.items()}
        mysql = pool.submit(deploy.mysql.look, mysql_host)
        nodejs = pool.submit(deploy.nodejs.look, nodejs_host) if deploy.nodejs.PART in parts else None
        addressing = pool.submit(find_addresses, list(hosts.values()), given)
        found = read_records(list(hosts.values()))
        fit = {name: future.result() for name, future in fits.items()}
        addressed = addressing.result()
        mysql_facts = mysql.result()
        return Survey(
            mysql_host=mysql_host,
            nodejs_host=nodejs_host,
            addresses=addressed.addresses,
            unaddressed=addressed.unfit,
            remarks=[*addressed.remarks, *deploy.mysql.remarks(mysql_facts, mysql_host.name)],
            records=found.records,
            unreadable=found.unreadable,
            missing=[lack for name in hosts for lack in prerequisites.missing(fit[name], name, wanted[name])],
            mysql=mysql_facts,
            nodejs=nodejs.result() if nodejs else None,
            ports=ports,
        )


@dataclass(frozen=True)
class Found:
    """What :func:`read_records` found.

    ``machines`` are the hosts, all anchors of one machine together, the one to use first. The machines' records, and
    why one cannot be read, are by the name of that; a machine that has none stands in neither.
    """

    machines: list[tuple[Host, ...]]
    records: dict[str, Record]
    unreadable: dict[str, str]

    @property
    def hosts(self) -> list[Host]:
        """One host of each machine."""
        return [anchors[0] for anchors in self.machines]


def read_records(hosts: Sequence[Host]) -> Found:
    """Read the records of hosts, side by side. One that cannot be read stands in nobody's way but its own host's."""

    def read(host: Host) -> Record | str | None:
        try:
            return records.read(host)
        except CommandFailed as error:
            return f"host {host.name}: its record cannot be read as root: {error.said}"
        except CommandTimedOut as error:
            # A pipe in its place, or a disk that does not answer.
            return f"host {host.name}: its record cannot be read as root: no end within {error.limit:g} s"
        except (DeployError, CircuitError) as error:
            return str(error)

    names = [host.name for host in hosts]
    with ThreadPoolExecutor(max(2 * len(hosts), 1), thread_name_prefix="records") as pool:
        identifying = pool.map(identify, hosts)
        read_by_name = dict(zip(names, pool.map(read, hosts), strict=True))
        identities = dict(zip(names, identifying, strict=True))
    by_name = {name: record for name, record in read_by_name.items() if isinstance(record, Record)}
    machines = group(hosts, identities, by_name)
    used = {anchors[0].name for anchors in machines}
    return Found(
        machines,
        {name: record for name, record in by_name.items() if name in used},
        {name: reason for name, reason in read_by_name.items() if isinstance(reason, str) and name in used},
    )
