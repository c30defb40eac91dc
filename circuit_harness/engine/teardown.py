"""Taking down what earlier runs deployed, whichever program or version did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from circuit_harness.engine.found import Found, read_records
from circuit_harness.engine.hosts import live_hosts
from circuit_harness.engine.spec import Identity
from circuit_harness.journal.lease import give_up_all, take_some
from circuit_harness.journal.record import FOLDER, KEPT, Record
from circuit_harness.journal.undo import Leftover, take_down
from circuit_harness.operations import packages
from circuit_harness.remote.concurrently import on_each
from circuit_harness.remote.host import Circuit, Host
from circuit_harness.steps import Steps


@dataclass(frozen=True)
class TornDown:
    """What :func:`tear_down` took down as far as it could, by host name; what is left; and what it was not to touch."""

    records: Sequence[tuple[str, Record]]
    left: list[Leftover]
    spared: Sequence[tuple[str, Record]] = ()


def tear_down(
    circuit: Circuit[Host],
    identity: Identity,
    names: Sequence[str],
    steps: Steps,
    say: Callable[[str], None],
    guard: AbstractContextManager[object],
    *,
    deployment: str | None = None,
    lease_wait: float = 0.0,
    force: bool = False,
    spare_kept: bool = False,
) -> TornDown:
    """Take down whatever deployments of ours are on the hosts: kept, or left by a run that crashed.

    :param names: hosts to look at; all where none is named.
    :param guard: entered before the first change, and left after the last.
    :param deployment: the name of the only one to take down; all where it is None.
    :param lease_wait: seconds to wait for a run that holds a host.
    :param force: whether others' data in what was deployed goes, too.
    :param spare_kept: leave alone what was kept.
    :raises Occupied: a run that is under way holds one of them.
    """

    def wanted(found: Found) -> tuple[list[tuple[Host, Record]], list[tuple[str, Record]]]:
        """What is to be taken down, and what is not to be touched."""
        every = [(host, record) for host in found.hosts for record in found.all_records.get(host.name, [])]
        meant = [(host, record) for host, record in every if deployment in (None, record.deployment)]
        # A run that was killed on its way to keep another host's has not kept this one's.
        killed = {record.run for _, record in meant if record.state != KEPT}
        spared = [(h, r) for h, r in meant if spare_kept and r.state == KEPT and r.run not in killed]
        return [pair for pair in meant if pair not in spared], [(host.name, record) for host, record in spared]

    with steps.waiting("read the records of hosts"):
        found = read_records(live_hosts(circuit, names))
    unknown = "it is not known whether anything of ours is there"
    left = [Leftover(name, f"{unknown}: {reason}") for name, reason in found.unreadable.items()]
    recorded, spared = wanted(found)
    concerned = list({host.name: host for host, _ in recorded}.values())
    if not concerned:
        return TornDown([], left, spared)
    leases = take_some(concerned, len(concerned), str(identity), steps, lease_wait, say, lock=FOLDER)
    try:
        # Read again, as the run that held a lease may have ended well meanwhile.
        again = read_records(concerned)
        left += [Leftover(name, reason) for name, reason in again.unreadable.items()]
        recorded, spared_now = wanted(again)
        spared += [pair for pair in spared_now if pair not in spared]
        parts: dict[str, list[str]] = {}
        for host, record in recorded:
            known = parts.setdefault(host.name, [])
            known += [part for part in record.parts if part not in (*known, packages.PART)]
        steps.placed(parts)
        on_each(lambda host: host.sweep(steps), concerned, "sweep")
        with guard:
            left += take_down(recorded, steps, say, force=force)
        return TornDown([(host.name, record) for host, record in recorded], left, spared)
    finally:
        give_up_all(leases)
