"""The verbs that show, signal and remove what is on a circuit. Each returns its exit status."""

from __future__ import annotations

import argparse
import base64
import json
import math
import secrets

from circuit import Anchor, CircuitError, HostLost, printable
from circuit.cli.lookup import dial, element_at, existing, proc_at, split
from circuit.cli.output import FAILED, print_line, report_error

KEY_BYTES = 64
"""Length of a circuit's key."""


def ls(options: argparse.Namespace) -> int:
    """List what is below an anchor, or all that is below it."""
    names = split(options.path)
    recurse = bool(names) and names[-1] == "..."
    status = 0
    with dial(options) as client:
        place = existing(client, names[:-1] if recurse else names)
        for _, anchor in sorted(place.view().items()):
            try:
                _list(anchor, recurse, options.long)
            except HostLost as error:
                # This host is gone meanwhile; the others are not.
                report_error(str(error))
                status = FAILED
    return status


def _list(anchor: Anchor, recurse: bool, long: bool) -> None:
    # No recursion: others decide how deep the tree is.
    waiting = [anchor]
    while waiting:
        at = waiting.pop()
        if long:
            element = at.get()
            print_line(f"{printable(element.kind if element is not None else '-'):12} {printable(at.path)}")
        else:
            print_line(printable(at.path))
        if recurse:
            waiting += [below for _, below in sorted(at.view().items(), reverse=True)]


def peek(options: argparse.Namespace) -> int:
    """Show an element as JSON."""
    with dial(options) as client:
        print_line(json.dumps(element_at(client, options.anchor).describe(), indent=2))
    return 0


def wait(options: argparse.Namespace) -> int:
    """Wait for the end of a process; return its exit status."""
    with dial(options) as client:
        end = proc_at(client, options.anchor).wait(math.inf).exit
    assert end is not None
    print_line(printable(str(end)))
    return end.returncode


def signal(options: argparse.Namespace) -> int:
    """Send a signal to a process."""
    with dial(options) as client:
        proc_at(client, options.anchor).signal(options.name)
    return 0


def scrub(options: argparse.Namespace) -> int:
    """Remove an element."""
    if len(split(options.anchor)) < 2:
        raise CircuitError(f"{options.anchor} is not a place below a host: a host's own element cannot be removed")
    with dial(options) as client:
        element_at(client, options.anchor).scrub()
    return 0


def keygen(options: argparse.Namespace) -> int:
    """Print a new key."""
    print_line(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode())
    return 0
