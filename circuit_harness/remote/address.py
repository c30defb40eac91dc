"""The IP addresses of a host and their sources."""

from __future__ import annotations

import ipaddress
from dataclasses import asdict, dataclass

from circuit_harness.remedies import Remedy

OPTION = "option"
METADATA = "metadata"
ROUTE = "route"
CIRCUIT = "circuit"
ONLY = "only"
PRIVATE = "private"

_BRIEFLY = {CIRCUIT: "circuit address", ONLY: "only address"}

BY_DEFAULT = ("192.0.2.1", "2001:db8::1")
"""Addresses for documentation (RFC 5737, RFC 3849), which no network has: packets to them take the default route."""


@dataclass(frozen=True)
class Addresses:
    """The IP addresses of one host: ``private`` within the cluster's network, ``public`` from outside it.

    ``private_from`` and ``public_from`` are their sources, as constants of this module; ``towards`` is the address
    whose route has the private one as its source address, or "".
    """

    private: str
    private_from: str
    public: str
    public_from: str
    towards: str = ""

    def describe(self) -> dict[str, str]:
        """Return all fields as plain values, which the constructor takes."""
        return asdict(self)

    def source(self, address: str) -> str:
        """Return the source of one of them in a word or two, such as "metadata" or "route"; "" for another address."""
        if address == self.private:
            return "default route" if self.towards in BY_DEFAULT else _BRIEFLY.get(self.private_from, self.private_from)
        return self.public_from if address == self.public else ""

    def __str__(self) -> str:
        private = words(str(Remedy.PRIVATE_ADDRESS), self.private_from, self.towards)
        public = words(str(Remedy.PUBLIC_ADDRESS), self.public_from, "")
        return f"private address {self.private} ({private}), public address {self.public} ({public})"


def canonical(text: str) -> str:
    """Return an IP address in its canonical form; "" where ``text`` is not a valid address.

    An address with a zone (``%eth0``) is not valid here, because a zone has no meaning on another host.
    """
    try:
        ip = ipaddress.ip_address(text.strip())
    except ValueError:
        return ""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.scope_id:
            return ""
        return str(ip.ipv4_mapped or ip)
    return str(ip)


def refusal(address: str) -> str:
    """Return why no other host can reach an IP address, as in "a loopback address"; "" where one may reach it."""
    if not address:
        return "none"
    ip = ipaddress.ip_address(address)
    kinds = {
        "a loopback address": ip.is_loopback,
        "a link-local address": ip.is_link_local,
        "a multicast address": ip.is_multicast,
        "no address of one host": ip.is_unspecified,
    }
    return next((words for words, true in kinds.items() if true), "")


def words(option: str, source: str, towards: str) -> str:
    """Return the source of an address, in words."""
    return {
        OPTION: option,
        METADATA: "metadata service",
        ROUTE: "default route" if towards in BY_DEFAULT else f"route towards {towards}",
        CIRCUIT: "circuit address",
        ONLY: "only address",
        PRIVATE: "the private one",
    }[source]
