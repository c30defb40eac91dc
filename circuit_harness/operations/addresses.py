"""The private and the public address of each host: as the user gives them, its cloud tells them, or its routes do.

A host's private address is the first of these that there is:

1. what the user gives (:class:`Given`);
2. what its metadata service tells, one like EC2's, with a token (IMDSv2) or without;
3. the source address of its route towards the other host of the deployment, whose private address that is where it is
   known by now, else the one in its circuit address, else one of those on its interfaces;
4. the one in its own circuit address, which is what the others reach it by;
5. the source address of its default route; or its only address.

It must be on an interface of that host, as MySQL is to be bound to it, and be one that other hosts can reach.

The public address is what the user gives, else what the metadata service tells, else the private one. It may be that of
a NAT in front of the host, so it need not be on an interface. One that the user gives, and that is not, may be a slip,
too: that is told, and the checks that ask the API at that address find out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from circuit import AddressError, parse_address
from circuit_harness.errors import Unfit
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
from circuit_harness.remote.host import Host
from circuit_harness.remote.script import Scripts

_LOOK_LIMIT_S = 20.0
_MOST_BYTES = 1 << 20
"""How much a look at addresses may print: tens of thousands of them."""

_SCRIPTS = Scripts.beside(__file__)
_OWN = _SCRIPTS.text("own_addresses")
_ASK = _SCRIPTS.text("ask_metadata", python=_SCRIPTS.program("ask_metadata.py"))


@dataclass(frozen=True)
class Given:
    """Addresses that the user gives, in canonical form, by the names of hosts' anchors."""

    private: Mapping[str, str] = field(default_factory=dict)
    public: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What a host told: its ``own`` addresses, on whichever interface, and what its metadata service tells.

    ``private`` and ``public`` are "" where it tells none, or what it tells is no address.
    """

    own: tuple[str, ...] = ()
    private: str = ""
    public: str = ""

    @property
    def usable(self) -> list[str]:
        """Those of its own addresses that other hosts may reach."""
        return [address for address in self.own if not refusal(address)]


@dataclass(frozen=True)
class Candidate:
    """What a host's private address may be, and where that comes from."""

    address: str
    source: str
    towards: str = ""


@dataclass(frozen=True)
class Found:
    """The addresses of hosts, or why a host is unfit, by its name; and ``remarks``, a line each, for the user."""

    addresses: dict[str, Addresses]
    unfit: dict[str, str]
    remarks: list[str]


def find_addresses(hosts: Sequence[Host], given: Given) -> Found:
    """Find the addresses of the hosts of one deployment, side by side. Changes nothing.

    Two rounds of commands: what each host knows of itself; then routes, of those hosts that need to be asked for them.
    """
    with ThreadPoolExecutor(max(len(hosts), 1), thread_name_prefix="addresses") as pool:
        looks = {
            host.name: pool.submit(look, host, metadata=not (host.name in given.private and host.name in given.public))
            for host in hosts
        }
        facts = {name: future.result() for name, future in looks.items()}
        told = {name: told_private(name, facts[name], given) for name in facts}
        in_circuit = {host.name: circuit_ip(host.address) for host in hosts}
        asked = {
            host.name: pool.submit(routes, host, targets(host.name, facts, told, in_circuit))
            for host in hosts
            if told[host.name] is None
        }
        sources = {name: future.result() for name, future in asked.items()}
    found = Found({}, {}, [])
    for name in facts:
        try:
            private = told[name] or choose(name, facts[name], sources[name], in_circuit[name])
            found.addresses[name] = settle(name, facts[name], private, given)
        except Unfit as error:
            found.unfit[name] = str(error)
            continue
        public = given.public.get(name)
        if public is not None and public not in facts[name].own:
            found.remarks.append(
                f"host {name}: public address {public}, by --public-address, is none of its own"
                f" ({_listed(facts[name])}): right where a NAT has it, else a slip"
            )
    return found


def look(host: Host, *, metadata: bool = True) -> Facts:
    """Ask a host for its own addresses and, unless there is no need, its metadata service's answers."""
    command = f"{_OWN}\n{_ASK}" if metadata else _OWN
    return parse_facts(host.run(Command(command), timeout=_LOOK_LIMIT_S, check=False, limit=_MOST_BYTES).text)


def parse_facts(text: str) -> Facts:
    """Parse what the look-up printed."""
    values = fact_lines.parse(text)

    def one(name: str) -> str:
        return canonical(fact_lines.first(values, name))

    own = {address for address in map(canonical, values.get("own", [])) if address}
    # A host without IPv4 has its IPv6 address told by another name.
    return Facts(tuple(sorted(own, key=_order)), one("local-ipv4") or one("ipv6"), one("public-ipv4"))


def routes(host: Host, targets: Sequence[str]) -> dict[str, str]:
    """The source addresses of a host's routes towards ``targets``; what cannot be reached is left out."""
    programs = {"python": _SCRIPTS.program("source_address.py"), "perl": _SCRIPTS.program("source_address.pl")}
    command = _SCRIPTS.text("routes", targets=" ".join(targets), **programs)
    answers = host.run(Command(command), timeout=_LOOK_LIMIT_S, check=False, limit=_MOST_BYTES).text.splitlines()
    sources = {target: canonical(source) for target, _, source in (line.partition(" ") for line in answers)}
    return {target: source for target, source in sources.items() if source}


def told_private(host: str, facts: Facts, given: Given) -> Candidate | None:
    """The private address that the user or the metadata service tells, if one does."""
    if host in given.private:
        return Candidate(given.private[host], OPTION)
    return Candidate(facts.private, METADATA) if facts.private else None


def targets(
    host: str, facts: Mapping[str, Facts], told: Mapping[str, Candidate | None], in_circuit: Mapping[str, str]
) -> list[str]:
    """The addresses towards which a host's routes may tell its private address, the best first.

    :param told: what :func:`told_private` says of each host.
    :param in_circuit: the address in each host's circuit address; "" where there is a name.
    """
    listed: list[str] = []
    for other in facts:
        known = told[other]
        if other != host:
            listed += [known.address if known else "", in_circuit[other], *facts[other].own]
    # What both have is a bridge's that each made for itself; or they are one machine.
    fit = [address for address in listed if not refusal(address) and address not in facts[host].own]
    return list(dict.fromkeys([*fit, *BY_DEFAULT]))


def choose(host: str, facts: Facts, sources: Mapping[str, str], in_circuit: str) -> Candidate:
    """The private address of a host for which nobody tells it.

    :param sources: what its routes say, the best first, as :func:`targets` orders them.
    :raises Unfit: nothing says.
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
        f"host {host}: neither a metadata service nor a route tells its private address; it has {_listed(facts)}: name"
        f" it by --private-address={host}=IP"
    )


def settle(host: str, facts: Facts, private: Candidate, given: Given) -> Addresses:
    """The addresses of a host whose private one has been found.

    :raises Unfit: that is none of the host's, or one that no other host can reach.
    """
    wrong = refusal(private.address) or ("none of its own" if private.address not in facts.own else "")
    if wrong:
        source = words("--private-address", private.source, private.towards)
        raise Unfit(
            f"host {host}: its private address {private.address}, by its {source}, is {wrong}; it has {_listed(facts)}:"
            f" name the right one by --private-address={host}=IP"
        )
    if host in given.public:
        public, public_from = given.public[host], OPTION
    elif facts.public and not refusal(facts.public):
        public, public_from = facts.public, METADATA
    else:
        public, public_from = private.address, PRIVATE
    return Addresses(private.address, private.source, public, public_from, private.towards)


def reread_private_address(host: Host, known: Addresses) -> str:
    """What the source of a host's private address tells now; "" where it has become silent.

    An address that no source on the host tells is the same for ever.
    """
    if known.private_from == METADATA:
        return look(host).private
    if known.private_from == ROUTE:
        return routes(host, [known.towards]).get(known.towards, "")
    return known.private


def circuit_ip(address: str) -> str:
    """The IP address in a circuit address; "" where it has a name."""
    try:
        return canonical(parse_address(address).host)
    except AddressError:
        return ""


def _order(address: str) -> tuple[int, int]:
    ip = ipaddress.ip_address(address)
    return ip.version, int(ip)


def _listed(facts: Facts) -> str:
    return ", ".join(facts.usable) or "none that others could reach"
