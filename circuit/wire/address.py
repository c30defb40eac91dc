"""Circuit addresses: ``circuit://HOST:PORT/PID/WORKERID``."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from circuit.errors import AddressError

SCHEME = "circuit"
_PID = re.compile(r"[0-9]{1,10}")
_WORKER = re.compile(r"Q[0-9a-f]{16}")


@dataclass(frozen=True)
class Address:
    """Where one circuit server listens, and which process it is.

    ``host`` is an IP address or a host name, without brackets; ``worker`` is ``Q`` and 16 hex digits, drawn anew each
    time a server starts, so that an address names one process and not its successors.
    """

    host: str
    port: int
    pid: int
    worker: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{SCHEME}://{host}:{self.port}/{self.pid}/{self.worker}"


def parse_endpoint(text: str) -> tuple[str, int]:
    """Parse ``IP:PORT``; an IPv6 address stands in brackets.

    :raises ValueError: it is not one.
    """
    host, _, port = text.rpartition(":")
    ip, number = ipaddress.ip_address(host.removeprefix("[").removesuffix("]")), int(port)
    if not 0 <= number < 1 << 16:
        raise ValueError(f"{number} is not a valid port")
    return str(ip), number


def is_worker(text: str) -> bool:
    """Whether ``text`` can be a worker ID."""
    return _WORKER.fullmatch(text) is not None


def parse_address(text: str) -> Address:
    """Parse what a circuit server prints when it starts.

    :raises AddressError: ``text`` is not a circuit address; the message reports what is wrong and shows an example.
    """

    def wrong(what: str) -> AddressError:
        example = "circuit://10.0.0.7:11022/4276/Q54d9ba8870177645"
        return AddressError(f"{text!r} is not a circuit address: {what}; an example is {example}")

    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise wrong(str(error)) from None
    if parts.scheme != SCHEME:
        raise wrong(f"it does not start with {SCHEME}://")
    if not host:
        raise wrong("it names no host")
    if not port:
        raise wrong("it names no port")
    if parts.query or parts.fragment or parts.username is not None:
        raise wrong("only HOST:PORT/PID/WORKERID may follow the scheme")
    fields = parts.path.split("/")
    if len(fields) != 3 or not _PID.fullmatch(fields[1]):
        raise wrong("PID and WORKERID must follow the port")
    if not is_worker(fields[2]):
        raise wrong(f"the worker ID {fields[2]!r} is not Q and 16 hex digits")
    return Address(host, port, int(fields[1]), fields[2])
