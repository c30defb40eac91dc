"""What earlier runs left on hosts: their records, and which deployment was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from circuit import CircuitError
from circuit_harness.errors import CommandFailed, CommandTimedOut, Conflict, DeployError
from circuit_harness.journal import record as records
from circuit_harness.journal.machines import group, identifying
from circuit_harness.journal.record import KEPT, Record
from circuit_harness.remedies import Remedy
from circuit_harness.remote.concurrently import Outcome, run_each
from circuit_harness.remote.host import Host


@dataclass(frozen=True)
class Found:
    """What :func:`read_records` found.

    ``machines`` are the hosts, all anchors of one machine together, the one to use first. ``all_records`` are the
    machines' records, ``unreadable`` why one cannot be read, by the name of that host; a machine that has none stands
    in neither. ``deployment`` is the name of the one that is asked about.
    """

    machines: list[tuple[Host, ...]]
    all_records: dict[str, list[Record]]
    unreadable: dict[str, str]
    deployment: str = ""

    @property
    def hosts(self) -> list[Host]:
        """One host of each machine."""
        return [anchors[0] for anchors in self.machines]

    @property
    def records(self) -> dict[str, Record]:
        """The records of the deployment that is asked about, by host."""
        found = ((host, record) for host, records in self.all_records.items() for record in records)
        return {host: record for host, record in found if record.deployment == self.deployment}

    def others(self, host: str) -> list[Record]:
        """The records of other deployments on a host."""
        return [record for record in self.all_records.get(host, []) if record.deployment != self.deployment]

    def used(self, name: str) -> Host:
        """The host to use of the machine that has an anchor of this name."""
        return next(anchors[0] for anchors in self.machines if name in {anchor.name for anchor in anchors})


def read_records(hosts: Sequence[Host], deployment: str = "", *, apart: bool = False) -> Found:
    """Read the records of hosts, concurrently. One that cannot be read stands in nobody's way but its own host's.

    :param deployment: the name of the deployment that is asked about.
    :param apart: whether the hosts are known to be machines of their own.
    """

    def understood(host: Host, outcome: Outcome, name: str = "") -> Record | str | None:
        try:
            return records.understand(host, outcome, name)
        except CommandFailed as error:
            return f"host {host.name}: its record cannot be read as root: {error.said}"
        except CommandTimedOut as error:
            # A pipe in its place, or a disk that does not answer.
            return f"host {host.name}: its record cannot be read as root: no end within {error.limit:g} s"
        except (DeployError, CircuitError) as error:
            return str(error)

    # Concurrently on one host, too: the one may wait for a disk, and another not answer.
    looks = (records.listing_and_reading,) if apart else (records.listing_and_reading, identifying)
    outcomes = iter(run_each([look(host) for host in hosts for look in looks]))
    identities: dict[str, str] = {}
    read_by_name: dict[str, list[Record | str | None]] = {}
    names: list[tuple[Host, str]] = []
    for host in hosts:
        # Where they cannot be listed, the record without a name cannot be read either, which says why.
        listed, first = records.split_listing(next(outcomes))
        read_by_name[host.name] = [understood(host, first)]
        names += [(host, name) for name in listed]
        # A host that does not answer has no identity.
        identities[host.name] = "" if apart else _text(next(outcomes))
    of_names = run_each([records.reading(host, name) for host, name in names])
    for (host, name), outcome in zip(names, of_names, strict=True):
        read_by_name[host.name].append(understood(host, outcome, name))
    by_name = {name: [one for one in of_host if isinstance(one, Record)] for name, of_host in read_by_name.items()}
    machines = group(hosts, identities, by_name)
    used = {anchors[0].name for anchors in machines}
    return Found(
        machines,
        {name: of_host for name, of_host in by_name.items() if name in used and of_host},
        {
            name: reason
            for name, of_host in read_by_name.items()
            for reason in of_host
            if isinstance(reason, str) and name in used
        },
        deployment,
    )


def _text(outcome: Outcome) -> str:
    """Return what a command printed, without white space around it; "" where it failed."""
    return "" if isinstance(outcome, Exception) else outcome.text


def kept(found: Found) -> dict[str, Record]:
    """The records of the deployment, on the hosts where it was left standing on purpose."""
    return {name: record for name, record in found.records.items() if record.state == KEPT}


def any_kept(records: Sequence[Record]) -> bool:
    """Whether any of these deployments was left standing on purpose."""
    return any(record.state == KEPT for record in records)


def only_one(standing: Mapping[str, Record]) -> Record:
    """The record of the only deployment among those that were kept.

    :raises Conflict: there is more than one.
    """
    runs = {record.run: record for record in standing.values()}
    if len(runs) > 1:
        listed = "; ".join(f"host {name} has {record}" for name, record in standing.items())
        raise Conflict(f"more than one deployment was kept ({listed}): name the hosts of one ({Remedy.NAME_HOSTS})")
    return next(iter(runs.values()))
