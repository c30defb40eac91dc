"""The tutorial's rule for a connection that has ended: whether it was the host that was lost, or the client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from circuit.errors import CannotConnect, CircuitError, ClientLost, ConnectionLost, HostLost, Refused
from circuit.wire.address import Address

PROBE_LIMIT_S = 3.0
"""How long the dialed server may take to answer when it is asked whether a lost host or the client itself is lost."""

LOST = (ConnectionLost, CannotConnect, Refused)
"""The errors of a call that are to be diagnosed."""


async def diagnose(
    address: Address, error: CircuitError, home: Address, ask_home: Callable[[], Awaitable[object]]
) -> CircuitError:
    """Return what the loss of the connection to ``address`` means.

    If the dialed server, ``home``, still answers, it was the host; otherwise it is the client.

    :param ask_home: gets any answer of the dialed server.
    """
    if address.worker == home.worker:
        return ClientLost(f"the circuit server {home} is lost: {error}")
    try:
        await asyncio.wait_for(ask_home(), PROBE_LIMIT_S)
    except (CircuitError, asyncio.TimeoutError) as silence:
        reason = str(silence) or f"no answer within {PROBE_LIMIT_S:g} s"
        return ClientLost(f"the circuit server {home} is lost ({reason}), and so is {address}: {error}")
    return HostLost(f"the host of {address} is lost, the circuit server {home} still answers: {error}")
