"""Finding a deployment that was kept, by the records on its hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from circuit_harness.engine.found import kept, only_one, read_records
from circuit_harness.engine.hosts import live_hosts
from circuit_harness.engine.spec import Services
from circuit_harness.errors import Conflict, Lost
from circuit_harness.journal.record import Record
from circuit_harness.remedies import Remedy
from circuit_harness.remote.address import Addresses, canonical, refusal
from circuit_harness.remote.host import Circuit, Host
from circuit_harness.services.protocol import Running, Service


@dataclass(frozen=True)
class Deployed:
    """A deployment that was found standing: its record, the addresses by host name, and the services by name."""

    record: Record
    hosts: tuple[Host, ...]
    addresses: dict[str, Addresses]
    services: dict[str, Running]


def find(circuit: Circuit[Host], services: Services, names: Sequence[str] = (), deployment: str = "") -> Deployed:
    """Find the deployment that was kept on a circuit, by the records on its hosts. Changes nothing.

    :param services: those that can be found; others are left out.
    :param names: hosts to look at; all where none is named.
    :param deployment: its name.
    :raises Conflict: there is none, or more than one, or it lacks the host of a service that another one uses.
    :raises Lost: what a record describes cannot be checked.
    """
    found = read_records(live_hosts(circuit, names), deployment)
    hosts = found.hosts
    standing = kept(found)
    if not standing:
        others = [
            f"host {name} has {record}, which was not kept ({Remedy.TEAR_DOWN_CRASHED} takes it down)"
            for name, record in found.records.items()
        ]
        others += found.unreadable.values()
        why = f" ({'; '.join(others)})" if others else ""
        raise Conflict(
            f"no deployment was kept on {', '.join(host.name for host in hosts)}{why}: make one with {Remedy.KEEP}"
        )
    record = only_one(standing)
    running: dict[str, Running] = {}
    for host in hosts:
        described = standing[host.name].services if host.name in standing else {}
        running |= {
            name: _find(service, host, described[name]) for name, service in services.items() if name in described
        }
    for name in running:
        for used in services[name].uses:
            if used not in running:
                raise Conflict(f"the host of {services[used].title} is lost: no live one has that part of {record}")
    addresses = {name: of_host.addresses for name, of_host in standing.items()}
    return Deployed(record, tuple(host for host in hosts if host.name in standing), addresses, running)


def _find(service: Service, host: Host, described: Mapping[str, Any]) -> Running:
    """Return the service that a host's record describes. Checks connect to it, so its address must be one of a service.

    :raises Lost: it is not, or the record describes no such service.
    """
    try:
        running = service.find(host, described)
        address, port = running.address, running.port
        wrong = refusal(canonical(address)) or ("no port" if type(port) is not int or not 0 < port < 1 << 16 else "")
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Lost(f"host {host.name}: its record describes no part that can be checked ({error!r})"[:300]) from None
    if wrong:
        raise Lost(f"host {host.name}: its record describes a part at {address} port {port}, which is {wrong}"[:300])
    return running
