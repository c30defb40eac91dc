"""Which hosts a deployment is put onto, and which service onto which of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from circuit_harness.engine.found import Found, any_kept, kept, only_one
from circuit_harness.engine.spec import DeploymentSpec, Services
from circuit_harness.errors import Unfit
from circuit_harness.remote.host import Host


@dataclass(frozen=True)
class Choice:
    """``n`` of the ``candidates`` are to be used, one of a machine; the services of ``fixed`` are for these hosts."""

    candidates: list[Host]
    n: int
    fixed: dict[str, Host]

    def place(self, spec: DeploymentSpec, picked: Sequence[Host]) -> dict[str, Host]:
        """The host of each service: the one that was named for it, else the next of those picked, from the first again
        where there are too few.
        """
        taken = {host.name for host in self.fixed.values()}
        free = [host for host in picked if host.name not in taken] or list(picked)
        placed: dict[str, Host] = {}
        turn = 0
        for names in spec.services.places():
            named = next((self.fixed[name] for name in names if name in self.fixed), None)
            if named is None:
                named = free[turn % len(free)]
                turn += 1
            placed |= dict.fromkeys(names, named)
        return {name: placed[name] for name in spec.services}


def choose(found: Found, spec: DeploymentSpec) -> Choice:
    """Choose among the hosts that were found, which are those that the user names, or all.

    :raises Conflict: more than one kept deployment could be replaced.
    """
    places = spec.services.places()
    fixed = {name: found.used(host) for name, host in spec.hosts.role.items() if name in spec.services}
    if not fixed:
        n = max(min(len(places), len(found.hosts)), 1)
        return Choice(preferred(found.hosts, found, n, replace=spec.replace), n, {})
    chosen = list({host.name: host for host in fixed.values()}.values())
    open_places = [names for names in places if not any(name in fixed for name in names)]
    rest = [host for host in found.hosts if host.name not in {host.name for host in chosen}]
    if open_places and rest:
        n = min(len(open_places), len(rest))
        chosen += preferred(rest, found, n, replace=spec.replace)[:n]
    return Choice(chosen, len(chosen), fixed)


def choose_all(hosts: Sequence[Host], spec: DeploymentSpec) -> Choice | None:
    """Return the choice where all of these hosts are to be used, whatever their records are, if each is a machine; None
    where there is something to choose.
    """
    choice = choose(Found([(host,) for host in hosts], {}, {}), spec)
    return choice if choice.n == len(hosts) else None


def preferred(hosts: list[Host], found: Found, n: int, *, replace: bool) -> list[Host]:
    """Which hosts to try: where there are more than needed, a kept deployment's where it is to be replaced, the others
    where not.

    :raises Conflict: more than one could be replaced.
    """
    if len(hosts) <= n:
        return hosts
    standing = kept(found)
    busy = {*found.unreadable, *(name for name, records in found.all_records.items() if any_kept(records))}
    usable = [host for host in hosts if host.name not in busy]
    if replace and standing:
        only_one(standing)
        return ([host for host in hosts if host.name in standing] + usable)[:n]
    return usable if len(usable) >= n else hosts


def check_ports(services: Services, placed: Mapping[str, str]) -> None:
    """Check that the services of one host have ports of their own.

    :param placed: the name of each service's host.
    :raises Unfit: two would listen on one port.
    """
    taken: dict[tuple[str, int], str] = {}
    for name, host in placed.items():
        service = services[name]
        # By their names: titles may be the same.
        other = taken.setdefault((host, service.port), name) if service.port else name
        if other != name:
            raise Unfit(
                f"host {host} is to have both {services[other].title} and {service.title} on port {service.port}: give"
                " one another port"
            )
