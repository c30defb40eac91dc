"""Picking hosts out of a circuit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

from circuit import Anchor, Client
from circuit_harness.errors import NoHosts
from circuit_harness.remote.circuit_host import CircuitHosts
from circuit_harness.remote.host import Circuit, H


def live_hosts(circuit: Circuit[H], names: Sequence[str] = ()) -> list[H]:
    """The live hosts, in the order of their names; or of those named, in the order of ``names``.

    :raises NoHosts: no host is live, or not one of those named.
    """
    view = circuit.hosts()
    if not view:
        raise NoHosts(f"the circuit of {circuit.address} has no live hosts: start a circuit server on one, and join it")
    missing = [name for name in names if name not in view]
    if missing:
        raise NoHosts(f"the circuit has no host {', '.join(missing)}; live are: {', '.join(sorted(view))}")
    return [view[name] for name in names or sorted(view)]


def pick_hosts(client: Client, n: int, names: Sequence[str] = ()) -> list[Anchor]:
    """Return the anchors of ``n`` live hosts, in the order of :func:`live_hosts`; re-used where there are fewer.

    :raises NoHosts: no host is live, or not one of those named.
    """
    return [host.anchor for host in islice(cycle(live_hosts(CircuitHosts(client), names)), n)]
