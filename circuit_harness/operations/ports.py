"""List a host's listening TCP sockets, read from ``/proc/net``, which every Linux has."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from circuit_harness.remote.script import Scripts

_SCRIPTS = Scripts.beside(__file__)

LIST = _SCRIPTS.text("listening")
"""Shell: print a line for each listening socket; :func:`parse_listening` reads what follows the line's first word."""

_EVERYWHERE = ("0.0.0.0", "::")

OWN = _SCRIPTS.text("own_sockets")
"""Shell, for root: the same for the sockets of process ``$server``; the first word is ``own``."""


def awaited(port: int) -> str:
    """Shell: wait until a process listens on a TCP port, but for about a second at most."""
    return _SCRIPTS.text("await_port", hex=f"{port:04X}", tries=80)


def still_open(port: int) -> str:
    """Shell: print a complaint if a process listens on a TCP port, else nothing."""
    return _SCRIPTS.text("still_open", port=port, hex=f"{port:04X}")


@dataclass(frozen=True)
class Listening:
    """A listening socket; ``ip`` is ``0.0.0.0`` or ``::`` if it listens on all addresses."""

    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


def unreachable(listening: Iterable[Listening], listen: str, port: int) -> str:
    """Return why clients do not reach a port, in words; "" where a socket listens for them.

    :param listen: the address at which they do; for a wildcard, any that is not a loopback address will do.
    """
    at = {socket.ip for socket in listening if socket.port == port}
    outward = {ip for ip in at if not ipaddress.ip_address(ip).is_loopback}
    if at & {*_EVERYWHERE, listen} or (listen in _EVERYWHERE and outward):
        return ""
    elsewhere = f", only on {', '.join(sorted(at))}" if at else ""
    return f"nothing listens on {Listening(listen, port)}{elsewhere}"


def parse_listening(text: str) -> Listening:
    """Parse the kernel's format, such as ``0100007F:0CEA``: words in the host's byte order, which is little-endian."""
    address, _, port = text.partition(":")
    words = [int(address[i : i + 8], 16) for i in range(0, len(address), 8)]
    ip = ipaddress.ip_address(struct.pack(f"<{len(words)}I", *words))
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return Listening(str(mapped or ip), int(port, 16))
