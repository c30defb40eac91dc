"""Find the private and the public address of each host: from the user, the cloud's metadata service, or routes.

A host's private address is the first of these that exists:

1. the one that the user gives (:class:`Given`);
2. the one from its metadata service, which is like EC2's, with a token (IMDSv2) or without;
3. the source address of its route towards the other host of the deployment: towards that host's private address if it
   is known by then, else the one in its circuit address, else one of those on its interfaces;
4. the one in its own circuit address, at which the other hosts reach it;
5. the source address of its default route; or its only address.

It must be on an interface of that host, because MySQL binds to it, and other hosts must be able to reach it.

The public address is the one that the user gives, else the one from the metadata service, else the private one. It may
belong to a NAT in front of the host, so it need not be on an interface. An address that the user gives and that is on
no interface may also be a typing error: the run reports that, and the checks that call the API at it find out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from circuit import AddressError, parse_address
from circuit_harness.errors import Unfit
from circuit_harness.remedies import Remedy
from circuit_harness.remote import fact_lines
from circuit_harness.remote.address import (
    BY_DEFAULT,
    CIRCUIT,
    METADATA,
    ONLY,
    OPTION,
    PRIVATE,
    ROUTE,
    Addresses,
    canonical,
    refusal,
    words,
)
from circuit_harness.remote.command import Command
from circuit_harness.remote.concurrently import on_each
from circuit_harness.remote.host import Host
from circuit_harness.remote.script import Scripts

_LOOK_LIMIT_S = 20.0
_MOST_BYTES = 1 << 20
"""The most bytes that a look at addresses may print, enough for tens of thousands of them."""

_SCRIPTS = Scripts.beside(__file__)
_OWN = _SCRIPTS.text("own_addresses")
_ASK, _ASK_PRIVATE = (
    _SCRIPTS.text("ask_metadata", python=_SCRIPTS.program("ask_metadata.py"), public=public) for public in ("yes", "")
)


@dataclass(frozen=True)
class Given:
    """Addresses that the user gives, in canonical form, by the names of hosts' anchors."""

    private: Mapping[str, str] = field(default_factory=dict)
    public: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """A host's ``own`` addresses, of all interfaces, and those from its metadata service.

    ``private`` and ``public`` are "" where the service returns none, or not a valid address.
    """

    own: tuple[str, ...] = ()
    private: str = ""
    public: str = ""

    @property
    def usable(self) -> list[str]:
        """The own addresses that other hosts may reach."""
        return [address for address in self.own if not refusal(address)]


@dataclass(frozen=True)
class Candidate:
    """A possible private address of a host, and its source."""

    address: str
    source: str
    towards: str = ""


@dataclass(frozen=True)
class Found:
    """The addresses of hosts, or why a host is unfit, by its name; and ``remarks``, lines for the user."""

    addresses: dict[str, Addresses]
    unfit: dict[str, str]
    remarks: list[str]


def find_addresses(hosts: Sequence[Host], given: Given) -> Found:
    """Find the addresses of the hosts of one deployment, concurrently. Changes nothing.

    This sends two rounds of commands: the first finds each host's own addresses; the second the routes of those hosts
    whose private address is still unknown.
    """

    def look_at(host: Host) -> Facts:
        return look(host, metadata=not (host.name in given.private and host.name in given.public))

    names = [host.name for host in hosts]
    facts = dict(zip(names, on_each(look_at, hosts, "addresses"), strict=True))
    known_privates = {name: known_private(name, facts[name], given) for name in facts}
    in_circuit = {host.name: circuit_ip(host.address) for host in hosts}

    def routes_of(host: Host) -> dict[str, str]:
        return routes(host, targets(host.name, facts, known_privates, in_circuit))

    asked = [host for host in hosts if known_privates[host.name] is None]
    found_routes = on_each(routes_of, asked, "addresses")
    sources = {host.name: of_host for host, of_host in zip(asked, found_routes, strict=True)}
    found = Found({}, {}, [])
    for name in facts:
        try:
            private = known_privates[name] or choose(name, facts[name], sources[name], in_circuit[name])
            found.addresses[name] = settle(name, facts[name], private, given)
        except Unfit as error:
            found.unfit[name] = str(error)
            continue
        public = given.public.get(name)
        if public is not None and public not in facts[name].own:
            found.remarks.append(
                f"host {name}: public address {public}, by {Remedy.PUBLIC_ADDRESS}, is none of its own"
                f" ({_listed(facts[name])}): correct if a NAT has it, else check the option"
            )
    return found


def look(host: Host, *, metadata: bool = True) -> Facts:
    """Read a host's own addresses and, if ``metadata``, those from its metadata service."""
    return _look(host, f"{_OWN}\n{_ASK}" if metadata else _OWN)


def _look(host: Host, command: str) -> Facts:
    return parse_facts(host.run(Command(command), timeout=_LOOK_LIMIT_S, check=False, limit=_MOST_BYTES).text)


def parse_facts(text: str) -> Facts:
    """Parse the output of the look."""
    values = fact_lines.parse(text)

    def one(name: str) -> str:
        return canonical(fact_lines.first(values, name))

    own = {address for address in map(canonical, values.get("own", [])) if address}
    # The service of a host without IPv4 returns its IPv6 address under another name.
    return Facts(tuple(sorted(own, key=_order)), one("local-ipv4") or one("ipv6"), one("public-ipv4"))


def routes(host: Host, targets: Sequence[str]) -> dict[str, str]:
    """Return the source addresses of a host's routes towards ``targets``, without those that it cannot reach."""
    programs = {"python": _SCRIPTS.program("source_address.py"), "perl": _SCRIPTS.program("source_address.pl")}
    command = _SCRIPTS.text("routes", targets=" ".join(targets), **programs)
    answers = host.run(Command(command), timeout=_LOOK_LIMIT_S, check=False, limit=_MOST_BYTES).text.splitlines()
    sources = {target: canonical(source) for target, _, source in (line.partition(" ") for line in answers)}
    return {target: source for target, source in sources.items() if source}


def known_private(host: str, facts: Facts, given: Given) -> Candidate | None:
    """Return the private address from the user or the metadata service, if there is one."""
    if host in given.private:
        return Candidate(given.private[host], OPTION)
    return Candidate(facts.private, METADATA) if facts.private else None


def targets(
    host: str, facts: Mapping[str, Facts], known_privates: Mapping[str, Candidate | None], in_circuit: Mapping[str, str]
) -> list[str]:
    """Return the addresses towards which a host's routes may show its private address, the best first.

    :param known_privates: the result of :func:`known_private` for each host.
    :param in_circuit: the address in each host's circuit address; "" where that has a name instead.
    """
    listed: list[str] = []
    for other in facts:
        known = known_privates[other]
        if other != host:
            listed += [known.address if known else "", in_circuit[other], *facts[other].own]
    # An address that both hosts have belongs to a bridge that each has made for itself, or the two are one machine.
    fit = [address for address in listed if not refusal(address) and address not in facts[host].own]
    return list(dict.fromkeys([*fit, *BY_DEFAULT]))


def choose(host: str, facts: Facts, sources: Mapping[str, str], in_circuit: str) -> Candidate:
    """Choose the private address of a host that has none from the user or the metadata service.

    :param sources: the source addresses of its routes, the best first, in the order of :func:`targets`.
    :raises Unfit: there is no usable address.
    """
    found = [Candidate(source, ROUTE, target) for target, source in sources.items() if target not in BY_DEFAULT]
    found.append(Candidate(in_circuit, CIRCUIT))
    found += [Candidate(source, ROUTE, target) for target, source in sources.items() if target in BY_DEFAULT]
    if len(facts.usable) == 1:
        found.append(Candidate(facts.usable[0], ONLY))
    for candidate in found:
        if candidate.address in facts.usable:
            return candidate
    raise Unfit(
        f"host {host}: neither a metadata service nor a route has its private address; it has {_listed(facts)}: name"
        f" it by {Remedy.PRIVATE_ADDRESS.on(host)}"
    )


def settle(host: str, facts: Facts, private: Candidate, given: Given) -> Addresses:
    """Return the addresses of a host whose private one has been found.

    :raises Unfit: the host does not have that address, or no other host can reach it.
    """
    wrong = refusal(private.address) or ("none of its own" if private.address not in facts.own else "")
    if wrong:
        source = words(str(Remedy.PRIVATE_ADDRESS), private.source, private.towards)
        raise Unfit(
            f"host {host}: its private address {private.address}, by its {source}, is {wrong}; it has {_listed(facts)}:"
            f" name the right one by {Remedy.PRIVATE_ADDRESS.on(host)}"
        )
    if host in given.public:
        public, public_from = given.public[host], OPTION
    elif facts.public and not refusal(facts.public):
        public, public_from = facts.public, METADATA
    else:
        public, public_from = private.address, PRIVATE
    return Addresses(private.address, private.source, public, public_from, private.towards)


def reread_private_address(host: Host, known: Addresses) -> str:
    """Read a host's private address from its source again; return "" where the source no longer has one.

    An address that does not come from the host itself never changes.
    """
    if known.private_from == METADATA:
        return _look(host, _ASK_PRIVATE).private
    if known.private_from == ROUTE:
        return routes(host, [known.towards]).get(known.towards, "")
    return known.private


def circuit_ip(address: str) -> str:
    """Return the IP address in a circuit address; "" where that has a name instead."""
    try:
        return canonical(parse_address(address).host)
    except AddressError:
        return ""


def _order(address: str) -> tuple[int, int]:
    ip = ipaddress.ip_address(address)
    return ip.version, int(ip)


def _listed(facts: Facts) -> str:
    return ", ".join(facts.usable) or "none that others could reach"
