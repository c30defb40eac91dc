"""A cluster's network: its own address range, a bridge, and a network namespace for each host.

The name of the cluster's link on the runner (``lh3``) and its range (``10.213.3.0/24``) follow from its number. The
bridge is in the supervisor's own network namespace: firewall rules on the runner do not affect traffic between hosts,
and the kernel removes everything with the namespace. One pair of links connects it to the runner.
"""

from __future__ import annotations

import ctypes
import ipaddress
import json
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import commands
from .errors import LocalHostsError

NUMBERS = range(1, 255)
"""The numbers that clusters on this machine can have."""

METADATA_ADDRESS = "169.254.169.254"
"""The address of every cloud host's metadata service."""

PREFIX = 24
"""The length in bits of the prefix that all IPv4 addresses of a cluster share."""

_NAMES = Path("/run/netns")
_LINKS = Path("/sys/class/net")
_RUNNER = "runner"
_CLONE_NEWNET = 0x40000000
_FIRST_PRIVATE = 10
_FIRST_PUBLIC = 110

_FIRST_USER = 1 << 31
_CLUSTER_BITS = 23
_HOST_BITS = 16

MOST_HOSTS = _FIRST_PUBLIC - _FIRST_PRIVATE - 1
"""The most hosts that a range has addresses for."""


@dataclass(frozen=True)
class Range:
    """The addresses and names derived from a cluster's number."""

    number: int

    @property
    def name(self) -> str:
        """The cluster's name, and the name of its link on the runner."""
        return f"lh{self.number}"

    @property
    def subnet(self) -> ipaddress.IPv4Network:
        """All addresses of the cluster."""
        return ipaddress.IPv4Network(f"10.213.{self.number}.0/{PREFIX}")

    @property
    def subnet6(self) -> ipaddress.IPv6Network:
        """All IPv6 addresses of the cluster, if it has any; they are unique local addresses."""
        return ipaddress.IPv6Network(f"fd00:213:{self.number}::/64")

    @property
    def second_subnet(self) -> ipaddress.IPv4Network:
        """All addresses of the second network, which only the hosts are in, if there is one."""
        return ipaddress.IPv4Network(f"10.214.{self.number}.0/{PREFIX}")

    @property
    def gateway(self) -> str:
        """The runner's address in the range."""
        return str(self.subnet[1])

    @property
    def gateway6(self) -> str:
        """The runner's IPv6 address."""
        return self._address6(1)

    def users(self, host: int) -> int:
        """Return the first of the 65,536 user and group numbers that host number ``host`` has on the runner.

        Nobody else has these: the numbers of other hosts differ, and those of accounts, of /etc/subuid and of systemd's
        own containers are all smaller.
        """
        return _FIRST_USER + (self.number << _CLUSTER_BITS) + (host << _HOST_BITS)

    def private(self, host: int) -> str:
        """Return the private address of host number ``host``, counted from 1."""
        return str(self.subnet[_FIRST_PRIVATE + host])

    def public(self, host: int) -> str:
        """Return the public address of host number ``host``, counted from 1."""
        return str(self.subnet[_FIRST_PUBLIC + host])

    def private6(self, host: int) -> str:
        """Return the private IPv6 address of host number ``host``; it ends in the same digits as the IPv4 address."""
        return self._address6(_FIRST_PRIVATE + host)

    def public6(self, host: int) -> str:
        """Return the public IPv6 address of host number ``host``; it ends in the same digits as the IPv4 address."""
        return self._address6(_FIRST_PUBLIC + host)

    def second(self, host: int) -> str:
        """Return the address of host number ``host`` in the second network."""
        return str(self.second_subnet[_FIRST_PRIVATE + host])

    def _address6(self, digits: int) -> str:
        return str(self.subnet6[int(str(digits), 16)])


def free_ranges(routes: Iterable[str]) -> Iterator[Range]:
    """Yield the ranges that overlap none of the runner's ``routes`` (destinations as ip(8) prints them)."""
    known = [ipaddress.ip_network(route, strict=False) for route in routes if route[0].isdigit() or ":" in route]
    for number in NUMBERS:
        candidate = Range(number)
        if not any(own.overlaps(route) for own in (candidate.subnet, candidate.subnet6) for route in known):
            yield candidate


def is_of_a_cluster(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an address is in the range of a cluster that this machine has a link to."""
    links = (Range(number) for number in NUMBERS)
    return any(
        (address in one.subnet or address in one.subnet6) and _LINKS.joinpath(one.name).exists() for one in links
    )


async def name_runner(descriptor: int) -> None:
    """Give the runner's network namespace, open as ``descriptor``, a name for ip(8)."""
    _NAMES.mkdir()
    (_NAMES / _RUNNER).touch()
    await commands.run("mount", "--bind", f"/proc/{os.getpid()}/fd/{descriptor}", str(_NAMES / _RUNNER))


@dataclass(frozen=True)
class Extras:
    """Optional addresses of hosts.

    ``metadata``: the address of the metadata service. ``ipv6``: a private and a public IPv6 address. ``second``: an
    address in a second network, which only the hosts are in.
    """

    metadata: bool = True
    ipv6: bool = False
    second: bool = False


async def claim(extras: Extras) -> Range:
    """Take a free range: add the link with the range's name to the runner, and give the runner its addresses.

    The kernel refuses a second link with the same name, so only one cluster gets a range. Raises LocalHostsError.
    """
    refusal = "each overlaps a route of this machine"
    routes: list[str] = []
    for family in ("-4", "-6") if extras.ipv6 else ("-4",):
        shown = json.loads(await commands.run("ip", "-n", _RUNNER, "-json", family, "route", "show", "table", "all"))
        routes.extend(route["dst"] for route in shown)
    for candidate in free_ranges(routes):
        await commands.run("ip", "link", "add", candidate.name, "type", "veth", "peer", "name", "runner")
        try:
            await commands.run("ip", "link", "set", candidate.name, "netns", _RUNNER)
        except LocalHostsError as error:
            # The link is another cluster's, most likely. The message for that differs between kernels.
            refusal = f"each is another cluster's or overlaps a route of this machine; the last error: {error}"
            await commands.run("ip", "link", "delete", candidate.name)
            continue
        await _batch(
            _RUNNER,
            f"address add {candidate.gateway}/{PREFIX} dev {candidate.name}",
            *([_add6(candidate, candidate.gateway6, candidate.name)] if extras.ipv6 else []),
            f"link set {candidate.name} up",
        )
        return candidate
    first, last = Range(NUMBERS[0]), Range(NUMBERS[-1])
    raise LocalHostsError(
        f"no address range from {first.subnet} to {last.subnet} is free; see `ip route` and `ip link`: {refusal}"
    )


async def connect(extras: Extras) -> None:
    """Make the bridges."""
    await _batch(
        None,
        "link set lo up",
        "link add bridge type bridge mcast_snooping 0",
        "link set bridge up",
        "link set runner master bridge up",
        *(["link add bridge2 type bridge mcast_snooping 0", "link set bridge2 up"] if extras.second else []),
    )


async def connect_host(cluster: Range, host: int, pid: int, extras: Extras) -> None:
    """Give host number ``host``, whose first process is ``pid``, its links and addresses.

    The first process has made its network namespace in the host's user namespace, so that the host's root may change
    it.
    """
    name = f"host{host}"
    addresses6 = (cluster.private6(host), cluster.public6(host))
    (_NAMES / name).touch()
    await commands.run("mount", "--bind", f"/proc/{pid}/ns/net", str(_NAMES / name))
    await _batch(
        None,
        f"link add {name} type veth peer name eth0 netns {name}",
        f"link set {name} master bridge up",
        *([f"link add {name}b type veth peer name eth1 netns {name}"] if extras.second else []),
        *([f"link set {name}b master bridge2 up"] if extras.second else []),
    )
    await _batch(
        name,
        "link set lo up",
        *([f"address add {METADATA_ADDRESS}/32 dev lo"] if extras.metadata else []),
        f"address add {cluster.private(host)}/{PREFIX} dev eth0",
        f"address add {cluster.public(host)}/{PREFIX} dev eth0",
        *([_add6(cluster, address, "eth0") for address in addresses6] if extras.ipv6 else []),
        "link set eth0 up",
        *([f"address add {cluster.second(host)}/{PREFIX} dev eth1"] if extras.second else []),
        *(["link set eth1 up"] if extras.second else []),
        # A Go circuit server does not start without an interface for multicast. There is no default route, so that
        # connections out of the cluster fail immediately instead of after a timeout.
        "route add 224.0.0.0/4 dev eth0",
    )


def _add6(cluster: Range, address: str, link: str) -> str:
    # nodad, because no address is used twice here, and a probed address cannot be bound for a second or two.
    return f"address add {address}/{cluster.subnet6.prefixlen} dev {link} nodad"


async def disconnect(cluster: Range) -> None:
    """Remove the cluster's link from the runner; the kernel removes the rest with the supervisor's namespace."""
    await commands.run("ip", "-n", _RUNNER, "link", "delete", cluster.name)


def namespace(host: int) -> Path:
    """Return the file that stands for the network namespace of host number ``host``."""
    return _NAMES / f"host{host}"


def listen_in(path: Path, address: str, port: int) -> socket.socket:
    """Return a socket that listens in the network namespace ``path``.

    Moves the calling thread into that namespace and leaves it there: call this in a separate thread. Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open() as handle:
        if libc.setns(handle.fileno(), _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(path))
    return socket.create_server((address, port))


async def _batch(namespace_name: str | None, *lines: str) -> None:
    where = [] if namespace_name is None else ["-n", namespace_name]
    await commands.run("ip", *where, "-batch", "-", stdin="\n".join(lines) + "\n")
