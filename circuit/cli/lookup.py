"""Find the circuit, the anchor or the element that options and paths name."""

from __future__ import annotations

import argparse
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import circuit
from circuit import Anchor, CircuitError, Client, Element, Hidden, Proc
from circuit.cli.arguments import ADDR_VARIABLE, HMAC_VARIABLE
from circuit.cli.output import exit_with_usage_error


def dial(options: argparse.Namespace) -> Client:
    """Connect to the circuit that the options or the environment name; exit if they name none.

    :raises CircuitError: it cannot be reached, or refuses us.
    """
    addresses = (options.addr or os.environ.get(ADDR_VARIABLE) or "").split()
    if not addresses:
        exit_with_usage_error(f"no circuit to dial: give --addr or set ${ADDR_VARIABLE}")
    for address in addresses:
        try:
            circuit.parse_address(address)
        except circuit.AddressError as error:
            exit_with_usage_error(str(error))
    path = options.hmac or os.environ.get(HMAC_VARIABLE)
    return circuit.dial(addresses, _read_key(path) if path else None, options.timeout, options.listen)


def _read_key(path: str) -> Hidden:
    try:
        return circuit.decode_key(Path(path).read_bytes())
    except OSError as error:
        remedy = ""
        if path == os.environ.get(HMAC_VARIABLE) and isinstance(error, FileNotFoundError):
            remedy = f"; if its hosts were removed: unset {ADDR_VARIABLE} {HMAC_VARIABLE}"
        exit_with_usage_error(f"cannot read the key {path}: {error.strerror}{remedy}")
    except ValueError as error:
        exit_with_usage_error(f"the key {path} {error}")


def split(path: str) -> list[str]:
    """Return the names that a path consists of."""
    return [name for name in path.split("/") if name]


def names_of_new(path: str, verb: str) -> list[str]:
    """Return the names of the anchor for a new process: those of a path, with one more below a host's own anchor.

    Exit if the path is the root.
    """
    names = split(path)
    if not names:
        exit_with_usage_error(f"{verb}: name a host, as ls shows them, or a place below it")
    if len(names) == 1:
        names.append(new_name(verb))
    return names


def new_name(verb: str) -> str:
    """Return a name that no other anchor has."""
    return f"{verb}-{secrets.token_hex(8)}"


def existing(client: Client, names: Sequence[str]) -> Client | Anchor:
    """Return the anchor at these names; the client itself if there are none.

    :raises CircuitError: it does not exist. Walking would make it.
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
    """Return the element of the anchor at a path.

    :raises CircuitError: the anchor does not exist, or has no element.
    """
    anchor = existing(client, split(path))
    element = anchor.get() if isinstance(anchor, Anchor) else None
    if element is None:
        raise CircuitError(f"{path} has no element")
    return element


def proc_at(client: Client, path: str) -> Proc:
    """Return the process at a path.

    :raises CircuitError: the anchor does not exist, or does not hold a process.
    """
    element = element_at(client, path)
    if not isinstance(element, Proc):
        raise CircuitError(f"{path} is not a process but a {element.kind}")
    return element
