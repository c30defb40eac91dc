"""Picking hosts out of a circuit."""

from __future__ import annotations

from itertools import cycle, islice

from circuit import Anchor, Client
from deploy.errors import NoHosts


def pick_hosts(client: Client, n: int) -> list[Anchor]:
    """Return the anchors of ``n`` live hosts, in the order of their names; hosts are re-used when there are fewer.

    :raises NoHosts: no host is live.
    """
    view = client.view()
    if not view:
        raise NoHosts(f"the circuit of {client.address} has no live hosts: start a circuit server on one, and join it")
    return [view[name] for name in islice(cycle(sorted(view)), n)]
