"""A look at hosts before anything is changed on any of them, and whether they can take a deployment."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import deploy.mysql
import deploy.nodejs
from circuit import Anchor
from deploy import record as records
from deploy.addresses import Addresses, find_addresses
from deploy.errors import CommandFailed, Conflict
from deploy.record import KEPT, Record


@dataclass(frozen=True)
class Survey:
    """What the hosts are like: ``addresses`` and ``records`` by host name, and each part's facts of its own host.

    ``nodejs`` is None where the API is not wanted, and so was not looked for.
    """

    mysql_host: Anchor
    nodejs_host: Anchor
    addresses: dict[str, Addresses]
    records: dict[str, Record]
    mysql: deploy.mysql.Facts
    nodejs: deploy.nodejs.Facts | None

    @property
    def recorded(self) -> list[tuple[Anchor, Record]]:
        """The hosts that have a record of a deployment, with it."""
        hosts = {host.name: host for host in (self.mysql_host, self.nodejs_host)}
        return [(host, self.records[name]) for name, host in hosts.items() if name in self.records]

    def check_fit(self) -> None:
        """Refuse hosts that lack what a deployment needs.

        :raises Unfit: a program or a right is missing on one.
        """
        deploy.mysql.check_fit(self.mysql, self.mysql_host.name)
        if self.nodejs is not None:
            deploy.nodejs.check_fit(self.nodejs, self.nodejs_host.name)

    def check_kept(self) -> None:
        """Refuse hosts that have a deployment which was left standing on purpose.

        :raises Conflict: one has.
        """
        for host, record in self.recorded:
            if record.state == KEPT:
                raise Conflict(
                    f"host {host.name} has a deployment that was kept ({record}): --attach checks it, --replace takes"
                    " it down first, --circuit-teardown takes it down and no more"
                )

    def check_free(self, *, replace: bool) -> None:
        """Refuse hosts that have what a deployment would destroy or collide with, and no record of ours explains.

        :raises Conflict: one has.
        """
        if self.nodejs is not None:
            deploy.nodejs.check_free(self.nodejs, self.nodejs_host.name, replace=replace)
        deploy.mysql.check_free(self.mysql, self.mysql_host.name, replace=replace)


def look(mysql_host: Anchor, nodejs_host: Anchor, parts: frozenset[str]) -> Survey:
    """Look at both hosts, which may be one, side by side."""
    hosts = {host.name: host for host in (mysql_host, nodejs_host)}
    with ThreadPoolExecutor(6, thread_name_prefix="survey") as pool:
        mysql = pool.submit(deploy.mysql.look, mysql_host)
        nodejs = pool.submit(deploy.nodejs.look, nodejs_host) if deploy.nodejs.PART in parts else None
        addresses = {name: pool.submit(find_addresses, host) for name, host in hosts.items()}
        found = read_records(list(hosts.values()))
        return Survey(
            mysql_host=mysql_host,
            nodejs_host=nodejs_host,
            addresses={name: future.result() for name, future in addresses.items()},
            records=found,
            mysql=mysql.result(),
            nodejs=nodejs.result() if nodejs else None,
        )


def read_records(hosts: Sequence[Anchor]) -> dict[str, Record]:
    """The records of those hosts that have one, by host name, read side by side.

    A host whose files root may not read for us counts as one without.
    """

    def read(host: Anchor) -> Record | None:
        try:
            return records.read(host)
        except CommandFailed:
            return None

    with ThreadPoolExecutor(max(len(hosts), 1), thread_name_prefix="records") as pool:
        found = zip(hosts, pool.map(read, hosts), strict=True)
        return {host.name: record for host, record in found if record is not None}
