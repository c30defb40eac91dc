"""Taking down what earlier runs deployed, whichever program or version did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from circuit_harness.engine.found import read_records, wholly_kept
from circuit_harness.engine.hosts import live_hosts
from circuit_harness.engine.spec import Identity
from circuit_harness.journal.lease import take_some
from circuit_harness.journal.record import FOLDER, Record
from circuit_harness.journal.undo import Leftover, take_down
from circuit_harness.remote.host import Circuit, Host
from circuit_harness.steps import Steps


@dataclass(frozen=True)
class TornDown:
    """What :func:`tear_down` found by host name, could not undo, and was not to touch."""

    records: Mapping[str, Record]
    left: list[Leftover]
    spared: Mapping[str, Record] = field(default_factory=dict)


def tear_down(
    circuit: Circuit[Host],
    identity: Identity,
    names: Sequence[str],
    steps: Steps,
    say: Callable[[str], None],
    guard: AbstractContextManager[object],
    *,
    lease_wait: float = 0.0,
    force: bool = False,
    spare_kept: bool = False,
) -> TornDown:
    """Take down whatever deployments of ours are on the hosts: kept, or left by a run that crashed.

    :param names: hosts to look at; all where none is named.
    :param guard: entered before the first change, and left after the last.
    :param lease_wait: seconds to wait for a run that holds a host.
    :param force: whether others' data in what was deployed goes, too.
    :param spare_kept: leave alone what was kept.
    :raises Occupied: a run that is under way holds one of them.
    """
    found = read_records(live_hosts(circuit, names))
    unknown = "it is not known whether anything of ours is there"
    left = [Leftover(name, f"{unknown}: {reason}") for name, reason in found.unreadable.items()]
    spared = wholly_kept(found) if spare_kept else {}
    concerned = [host for host in found.hosts if host.name in found.records and host.name not in spared]
    if not concerned:
        return TornDown({}, left, spared)
    leases = take_some(concerned, len(concerned), str(identity), steps, lease_wait, say, lock=FOLDER)
    try:
        # Read again, as the run that held a lease may have ended well meanwhile.
        again = read_records(concerned)
        left += [Leftover(name, reason) for name, reason in again.unreadable.items()]
        if spare_kept:
            spared |= wholly_kept(again)
        records = {name: record for name, record in again.records.items() if name not in spared}
        recorded = [(host, records[host.name]) for host in concerned if host.name in records]
        for host in concerned:
            host.sweep(steps)
        with guard:
            return TornDown(records, [*left, *take_down(recorded, steps, say, force=force)], spared)
    finally:
        for lease in leases:
            lease.give_up()
