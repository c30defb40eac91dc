"""From options and paths to the circuit, its anchors and their elements."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import circuit
from circuit import Anchor, CircuitError, Client, Element, Hidden, Proc
from circuit.cli.options import ADDR_VARIABLE, HMAC_VARIABLE
from circuit.cli.report import refuse


def dial(options: argparse.Namespace) -> Client:
    """Connect to the circuit that the options or the environment name; where they name none, exit.

    :raises CircuitError: it cannot be reached, or refuses us.
    """
    addresses = (options.addr or os.environ.get(ADDR_VARIABLE) or "").split()
    if not addresses:
        refuse(f"no circuit to dial: give --addr or set ${ADDR_VARIABLE}")
    for address in addresses:
        try:
            circuit.parse_address(address)
        except circuit.AddressError as error:
            refuse(str(error))
    path = options.hmac or os.environ.get(HMAC_VARIABLE)
    return circuit.dial(addresses, _read_key(path) if path else None, options.timeout, options.listen)


def _read_key(path: str) -> Hidden:
    try:
        return circuit.decode_key(Path(path).read_bytes())
    except OSError as error:
        refuse(f"cannot read the key {path}: {error.strerror}")
    except ValueError as error:
        refuse(f"the key {path} {error}")


def split(path: str) -> list[str]:
    """The names that a path consists of."""
    return [name for name in path.split("/") if name]


def existing(client: Client, names: Sequence[str]) -> Client | Anchor:
    """The anchor at these names; the client itself where there are none.

    :raises CircuitError: it is not there. Walking would make it.
    """
    place: Client | Anchor = client
    for name in names:
        below = place.view()
        if name not in below:
            where = place.path if isinstance(place, Anchor) else "/"
            raise CircuitError(f"there is no {name} below {where}; there are: {', '.join(sorted(below)) or 'none'}")
        place = below[name]
    return place


def element_at(client: Client, path: str) -> Element:
    """The element of the anchor at a path.

    :raises CircuitError: there is none.
    """
    anchor = existing(client, split(path))
    element = anchor.get() if isinstance(anchor, Anchor) else None
    if element is None:
        raise CircuitError(f"{path} has no element")
    return element


def proc_at(client: Client, path: str) -> Proc:
    """The process at a path.

    :raises CircuitError: there is none.
    """
    element = element_at(client, path)
    if not isinstance(element, Proc):
        raise CircuitError(f"{path} is no process but a {element.kind}")
    return element
