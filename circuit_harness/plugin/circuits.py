"""Dialing the circuit of a run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import circuit
from circuit import Client
from circuit_harness.plugin.command_line import PRIVATE, PUBLIC
from circuit_harness.plugin.options import Options
from circuit_harness.plugin.progress import harmless
from circuit_harness.plugin.spelling import command

DIAL_LIMIT_S = 8.0
"""Short enough to report a circuit that does not answer within 10 s of the start."""


def dial(options: Options, addresses: Sequence[str], port_offset: int = 0) -> Client:
    """Dial a circuit.

    :param port_offset: added to a given port on which servers dial back: each process of a run needs its own.
    """
    listen = options.listen
    if listen is not None and listen[1]:
        listen = (listen[0], listen[1] + port_offset)
    return circuit.dial(addresses, options.hmac_key, DIAL_LIMIT_S, listen)


def dial_named(options: Options) -> Client:
    """Dial the circuit that the options name.

    :raises pytest.UsageError: it cannot be used, or lacks a named host; the message is one line.
    """
    try:
        client = dial(options, options.addresses)
    except circuit.CircuitError as error:
        if options.in_workspace:
            new = f"{command('reset')} makes new ones"
            raise pytest.UsageError(f"the hosts of {options.folder} do not answer: {new} ({one_line(error)})") from None
        raise pytest.UsageError(f"{options.address_source}: {one_line(error)}") from None
    named = {"--hosts": options.hosts.names, PRIVATE: options.given.private, PUBLIC: options.given.public}
    live = client.view() if any(named.values()) else {}
    for option, names in named.items():
        missing = [name for name in names if name not in live]
        if missing:
            client.close()
            there = harmless(", ".join(sorted(live)))
            raise pytest.UsageError(f"{option}: the circuit has no host {', '.join(missing)}; live are: {there}")
    return client


def one_line(error: BaseException) -> str:
    """Return the error's message as one line that is safe to print."""
    return harmless(" ".join(str(error).split()))
