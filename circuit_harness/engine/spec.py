"""What a run is to deploy, and how: services, which of them, onto which hosts."""

from __future__ import annotations

import getpass
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import cycle

from circuit_harness.errors import DeployError
from circuit_harness.operations.addresses import Given
from circuit_harness.services.protocol import Service


@dataclass(frozen=True)
class Identity:
    """Who deploys: ``run`` names the run on hosts, ``owner`` is user@machine, ``started`` ISO 8601 in UTC."""

    run: str = field(default_factory=lambda: secrets.token_hex(4))
    owner: str = field(default_factory=lambda: f"{_user()}@{socket.gethostname()}")
    started: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))

    def __str__(self) -> str:
        return f"run {self.run} of {self.owner}, started {self.started}"


@dataclass(frozen=True)
class Hosts:
    """The hosts that the user names: by ``position``, as the services that have one stand in the declaration, or by
    ``role``, the service's name. Neither is any host.
    """

    position: tuple[str, ...] = ()
    role: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, each once."""
        return tuple(dict.fromkeys((*self.position, *self.role.values())))

    def for_services(self, services: Services, declared: Services) -> Hosts:
        """Return those of them that these services are for, of all that were declared.

        :raises DeployError: a role is no service's name, services that share a host have different ones, or there are
            more hosts than services.
        """
        unknown = [name for name in self.role if name not in declared]
        if unknown:
            raise DeployError(f"no service is called {', '.join(unknown)}; there is {', '.join(declared)}")
        places = declared.places()
        for names in places:
            if len({self.role[name] for name in names if name in self.role}) > 1:
                raise DeployError(f"{', '.join(names)} share a host, and several are named for them")
        if not self.position:
            return Hosts(role={name: host for name, host in self.role.items() if name in services})
        if len(self.position) > len(places):
            order = ", ".join(" and ".join(names) for names in places)
            raise DeployError(f"name at most {len(places)} hosts, in this order: {order}; not {len(self.position)}")
        turns = zip(places, cycle(self.position), strict=False)
        return Hosts(role={name: host for names, host in turns for name in names if name in services})


class Services(Mapping[str, Service]):
    """The services that can be deployed, by name, in the order in which they were declared."""

    def __init__(self, declared: Iterable[Service]) -> None:
        """Take them.

        :raises DeployError: two have one name, or one names another that there is not.
        """
        self._declared: dict[str, Service] = {}
        for service in declared:
            if service.name in self._declared:
                raise DeployError(f"two services are called {service.name}: give one of them another name")
            self._declared[service.name] = service
        for service in self._declared.values():
            for what, name in (*(("uses", used) for used in service.uses), ("place", service.place)):
                if name and (name not in self._declared or name == service.name):
                    known = ", ".join(other for other in self._declared if other != service.name) or "no other"
                    raise DeployError(f"service {service.name}: {what} names {name!r}; there is {known}")
        for name in self._declared:
            self._refuse_circle("use each other", lambda each: self._declared[each].uses, [name])
            self._refuse_circle("share each other's host", self._place_of, [name])

    def __getitem__(self, name: str) -> Service:
        return self._declared[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __len__(self) -> int:
        return len(self._declared)

    def needed(self, names: Iterable[str]) -> Services:
        """Those of these names, and all that they need: services that they use, and whose hosts they share."""
        wanted = set(names)
        todo = list(wanted)
        while todo:
            service = self._declared[todo.pop()]
            more = {*service.uses, *self._place_of(service.name)} - wanted
            wanted |= more
            todo += more
        return Services(service for name, service in self._declared.items() if name in wanted)

    def in_order(self) -> list[str]:
        """The names, each behind those of the services that it uses."""
        ordered: dict[str, None] = {}

        def add(name: str) -> None:
            for used in self._declared[name].uses:
                add(used)
            ordered[name] = None

        for name in self._declared:
            add(name)
        return list(ordered)

    def places(self) -> list[tuple[str, ...]]:
        """The names of services that share a host, a host each; each place is in the order of its first service."""
        by_place: dict[str, list[str]] = {}
        for name in self._declared:
            by_place.setdefault(self._place(name), []).append(name)
        return [tuple(names) for names in by_place.values()]

    def _place(self, name: str) -> str:
        place = self._declared[name].place
        return self._place(place) if place else name

    def _place_of(self, name: str) -> Sequence[str]:
        place = self._declared[name].place
        return [place] if place else []

    def _refuse_circle(self, what: str, below: Callable[[str], Sequence[str]], path: list[str]) -> None:
        for name in below(path[-1]):
            if name in path:
                raise DeployError(f"services {what} in a circle: {' -> '.join([*path, name])}")
            self._refuse_circle(what, below, [*path, name])


@dataclass(frozen=True)
class DeploymentSpec:
    """What is to be deployed, and how.

    ``services`` are those that are wanted, with all that they need; without any, hosts are only picked. ``replace`` has
    what is there taken down first. ``lease_wait`` is in seconds. ``given`` are addresses that win. ``install`` has
    packages that are missing installed. ``name`` distinguishes it from others on the same hosts.
    """

    services: Services
    name: str = ""
    hosts: Hosts = field(default_factory=Hosts)
    replace: bool = False
    lease_wait: float = 0.0
    given: Given = field(default_factory=Given)
    install: bool = False


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"
