"""Group anchors by machine: a machine can run several circuit servers, each with its own anchor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from circuit_harness.journal.record import Record
from circuit_harness.remote.command import Command
from circuit_harness.remote.concurrently import Run
from circuit_harness.remote.host import Host

# The boot ID alone is not enough: containers share that of their machine. Deployments collide where they share /etc and
# ports, hence its inode and the network namespace.
_IDENTIFY = "cat /proc/sys/kernel/random/boot_id && stat -L -c '%d:%i' /etc && readlink /proc/self/ns/net"
_LIMIT_S = 10.0
_MOST_BYTES = 4096


def identifying(host: Host) -> Run:
    """Return what prints a text on a host that differs between all machines."""
    return Run(host, Command(_IDENTIFY), _LIMIT_S, limit=_MOST_BYTES)


def group(
    hosts: Sequence[Host], identities: Mapping[str, str], records: Mapping[str, Sequence[Record]]
) -> list[tuple[Host, ...]]:
    """Group the hosts by machine, in their order. The first of each group is the one to use.

    That is the one that the machine's record names, because the started processes are at its anchor.

    :param identities: by host name; a host with an unknown identity counts as a separate machine.
    """
    machines: dict[str, list[Host]] = {}
    for host in hosts:
        machines.setdefault(identities[host.name] or host.name, []).append(host)

    def other(anchor: Host) -> bool:
        return all(record.anchor != anchor.name for record in records.get(anchor.name, ()))

    return [tuple(sorted(anchors, key=other)) for anchors in machines.values()]
