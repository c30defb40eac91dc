"""What hosts show of services right now: it explains why a check failed, and is gone with the deployment."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

from circuit import CircuitError, ClientLost, HostLost
from circuit_harness.errors import DeployError, tail
from circuit_harness.remote.command import root
from circuit_harness.remote.host import Host
from circuit_harness.remote.processes import looked_at
from circuit_harness.services.protocol import Running

LIMIT_S = 10.0
"""How long a look may take in all."""

_COMMAND_LIMIT_S = 6.0


@dataclass(frozen=True)
class Piece:
    """One thing that was seen."""

    title: str
    text: str


@dataclass(frozen=True)
class Look:
    """Something to be seen on a host, and how."""

    title: str
    host: str
    see: Callable[[], str]


class Evidence:
    """What was seen: ``pieces``, in their order, and ``lost``, the names of hosts that turned out to be lost."""

    def __init__(self, looks: Sequence[Look]) -> None:
        """Look, side by side, and for :data:`LIMIT_S` at most."""
        self.pieces: list[Piece] = []
        self.lost: list[str] = []
        pool = ThreadPoolExecutor(max(len(looks), 1), thread_name_prefix="evidence")
        futures = [pool.submit(look.see) for look in looks]
        wait(futures, LIMIT_S)
        # Those that are late end by limits of their own.
        pool.shutdown(wait=False, cancel_futures=True)
        for look, future in zip(looks, futures, strict=True):
            try:
                text = future.result(0) or "(empty)"
            except TimeoutError:
                text = f"(not seen within {LIMIT_S:g} s)"
            except (HostLost, ClientLost) as error:
                text = f"(host {look.host} is lost: {error})"
                if look.host not in self.lost:
                    self.lost.append(look.host)
            except (DeployError, CircuitError) as error:
                text = f"(cannot be seen: {error})"
            self.pieces.append(Piece(look.title, text))


def logs(services: Sequence[Running]) -> list[Look]:
    """The last lines of what each service wrote."""
    return [_log(service) for service in services]


def state(services: Sequence[Running]) -> list[Look]:
    """The services' logs, their elements, and what their hosts listen on."""
    return [*logs(services), *_elements(services), *_sockets(services)]


def _log(service: Running) -> Look:
    name, command = service.logs()
    return Look(f"{name} on host {service.host.name}", service.host.name, partial(_shell, service.host, command))


def _elements(services: Sequence[Running]) -> Iterator[Look]:
    for service in services:
        if service.anchor:
            host, anchor = service.host, service.anchor
            yield Look(f"element at /{host.name}/{anchor}", host.name, partial(_describe, host, anchor))


def _sockets(services: Sequence[Running]) -> Iterator[Look]:
    for host in {service.host.name: service.host for service in services}.values():
        title = f"listening sockets of host {host.name}"
        yield Look(title, host.name, partial(_shell, host, "ss -Hltnp 2>&1"))


def _describe(host: Host, anchor: str) -> str:
    with looked_at(host, anchor) as element:
        if element is None:
            return "(there is none)"
        # Its command is the same in every run, and fills a screen.
        return json.dumps({key: value for key, value in element.describe().items() if key != "cmd"})


def _shell(host: Host, command: str) -> str:
    return tail(host.run(root(command), timeout=_COMMAND_LIMIT_S, check=False).stdout)
