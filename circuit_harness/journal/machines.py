"""Which anchors are one machine: it can run several circuit servers, and each of them has an anchor of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from circuit import CircuitError
from circuit_harness.errors import DeployError
from circuit_harness.journal.record import Record
from circuit_harness.remote.command import Command
from circuit_harness.remote.host import Host

# Containers share the boot ID of their machine; what is deployed shares a configuration and ports.
_IDENTIFY = "cat /proc/sys/kernel/random/boot_id && stat -L -c '%d:%i' /etc && readlink /proc/self/ns/net"
_LIMIT_S = 10.0
_MOST_BYTES = 4096


def identify(host: Host) -> str:
    """What tells a host's machine from all others; "" where it does not answer."""
    try:
        return host.run(Command(_IDENTIFY), timeout=_LIMIT_S, limit=_MOST_BYTES).text
    except (DeployError, CircuitError):
        return ""


def group(
    hosts: Sequence[Host], identities: Mapping[str, str], records: Mapping[str, Sequence[Record]]
) -> list[tuple[Host, ...]]:
    """The hosts, in their order, those of one machine together; the first of these is to be used.

    It is the one that the machine's record names, since what was started stands at its anchor.

    :param identities: by host name; one that is not known is a machine of its own.
    """
    machines: dict[str, list[Host]] = {}
    for host in hosts:
        machines.setdefault(identities[host.name] or host.name, []).append(host)

    def other(anchor: Host) -> bool:
        return all(record.anchor != anchor.name for record in records.get(anchor.name, ()))

    return [tuple(sorted(anchors, key=other)) for anchors in machines.values()]
