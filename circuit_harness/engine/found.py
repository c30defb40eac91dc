"""What earlier runs left on hosts: their records, and which deployment was kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from circuit import CircuitError
from circuit_harness.errors import CommandFailed, CommandTimedOut, Conflict, DeployError
from circuit_harness.journal import record as records
from circuit_harness.journal.machines import group, identify
from circuit_harness.journal.record import KEPT, Record
from circuit_harness.remote.concurrently import on_each
from circuit_harness.remote.host import Host


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

    def used(self, name: str) -> Host:
        """The host to use of the machine that has an anchor of this name."""
        return next(anchors[0] for anchors in self.machines if name in {anchor.name for anchor in anchors})


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
    # Both at once: the one may wait for a disk, and the other not answer.
    calls: list[Callable[[], Record | str | None]] = [partial(identify, host) for host in hosts]
    calls += [partial(read, host) for host in hosts]
    answers = on_each(_call, calls, "records")
    identities = {name: answer for name, answer in zip(names, answers, strict=False) if isinstance(answer, str)}
    read_by_name = dict(zip(names, answers[len(hosts) :], strict=True))
    by_name = {name: record for name, record in read_by_name.items() if isinstance(record, Record)}
    machines = group(hosts, identities, by_name)
    used = {anchors[0].name for anchors in machines}
    return Found(
        machines,
        {name: record for name, record in by_name.items() if name in used},
        {name: reason for name, reason in read_by_name.items() if isinstance(reason, str) and name in used},
    )


def _call(function: Callable[[], Record | str | None]) -> Record | str | None:
    return function()


def kept(found: Found) -> dict[str, Record]:
    """The records of hosts that have a deployment which was left standing on purpose."""
    return {name: record for name, record in found.records.items() if record.state == KEPT}


def wholly_kept(found: Found) -> dict[str, Record]:
    """As :func:`kept`, without those of a run that was killed on its way to keep another host's."""
    killed = {record.run for record in found.records.values() if record.state != KEPT}
    return {name: record for name, record in kept(found).items() if record.run not in killed}


def only_one(standing: Mapping[str, Record]) -> Record:
    """The record of the only deployment among those that were kept.

    :raises Conflict: there is more than one.
    """
    runs = {record.run: record for record in standing.values()}
    if len(runs) > 1:
        listed = "; ".join(f"host {name} has {record}" for name, record in standing.items())
        raise Conflict(f"more than one deployment was kept ({listed}): name the hosts of one (--hosts)")
    return next(iter(runs.values()))
