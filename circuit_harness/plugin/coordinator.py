"""Deploy, once for each run, in the process that outlives all others: the only one, or xdist's controller."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from circuit import CircuitError, Client, ClientLost, HostLost
from circuit_harness.engine.attach import Deployed, find
from circuit_harness.engine.deployment import Deployment, reached_at
from circuit_harness.engine.hosts import pick_hosts
from circuit_harness.engine.spec import DeploymentSpec, Hosts, Identity, Services
from circuit_harness.errors import DeployError, NoHosts, Unfit
from circuit_harness.journal.undo import Leftover
from circuit_harness.operations.addresses import find_addresses
from circuit_harness.plugin.circuits import dial, dial_named
from circuit_harness.plugin.fault import fault
from circuit_harness.plugin.options import Options
from circuit_harness.plugin.probing import Probes
from circuit_harness.plugin.questions import (
    ADDRESSES,
    CIRCUIT,
    DOWN,
    HOSTS_PICKED,
    LOST,
    SEEN,
    Answer,
    Unavailable,
)
from circuit_harness.remote.address import Addresses
from circuit_harness.remote.circuit_host import CircuitHost, CircuitHosts
from circuit_harness.remote.host import Host
from circuit_harness.remote.shell import run_shell
from circuit_harness.services.protocol import Running
from circuit_harness.steps import Steps
from localhosts import LocalHostsError

if TYPE_CHECKING:
    # Runs on a named circuit make no hosts, and all that making them takes is slow to load.
    from circuit_harness.plugin.local_circuit import LocalCircuit

_PROBE_LIMIT_S = 5.0
"""How long a host may take to run nothing at all."""


class Coordinator:
    """Answers the requests of checks, and deploys at the first one. Safe to use from many threads.

    It dials, makes and deploys nothing before a request.
    """

    def __init__(self, options: Options, services: Services, steps: Steps, say: Callable[[str], None]) -> None:
        self.identity = Identity()
        self.epilogue: list[str] = []
        """Lines for the end of the run: what was undone, and what still runs, where."""
        self.kept = False
        """Whether the deployment was kept."""
        self.reached = ""
        """The address at which the circuit was dialed again, if it was."""
        self.options = options
        """What the user asked for; once hosts are made here, with their circuit."""
        self.declared = services
        self._steps = steps
        self._say = say
        self._lock = threading.RLock()
        self._local: LocalCircuit | None = None
        self._makes_hosts = False
        self._client: Client | None = None
        self._deployment: Deployment | None = None
        self._attached: Deployed | None = None
        self._reported: set[str] = set()
        self._lost_hosts: set[str] = set()
        # A lock of its own, because each check asks, also while a deployment holds the other one.
        self._lost_lock = threading.Lock()
        self._services: dict[str, Running] = {}
        self._probes = Probes(
            services,
            say,
            lambda host, command: self.options.on_host(host, command),
            self._lose,
            on=options.probe,
        )
        self._seen: dict[str, str] = {}
        """The check whose failure has the evidence of each service."""
        self._closed = False

    def ask(self, what: str, parts: frozenset[str]) -> Answer:
        """Answer a request: for the circuit, the picked hosts, their addresses, a service, or what is lost or down.

        :param parts: all services that the process's checks will request, so that they are deployed concurrently. Some
            requests, as ``questions`` describes them, name something else.
        :raises Unavailable: it is unavailable.
        """
        answers: dict[str, Callable[[frozenset[str]], Answer]] = {
            CIRCUIT: self._circuit,
            HOSTS_PICKED: self._hosts,
            ADDRESSES: self._addresses,
            LOST: self._lost,
            DOWN: lambda parts: self._probes.after(parts, self.services),
            SEEN: self._collects,
            **{name: partial(self._service, name) for name in self.declared},
        }
        try:
            return answers[what](parts)
        except Unavailable:
            raise
        except (DeployError, CircuitError, LocalHostsError, OSError) as error:
            raise self._unavailable(str(error)) from error
        except Exception as error:
            # A service may be any user's code; without this, a worker would wait for an answer in vain.
            raise self._unavailable(fault(error)) from error

    def _unavailable(self, message: str) -> Unavailable:
        with self._lock:
            reported = message in self._reported
            self._reported.add(message)
        return Unavailable(message, already_reported=reported)

    def client(self, parts: frozenset[str] = frozenset()) -> Client:
        """Return this process's client of the circuit; the first call dials.

        :param parts: the services that hosts made on this machine are for; all where none is named.
        """
        with self._lock:
            if self._closed:
                raise DeployError("the run is ending")
            if self._client is None:
                if self.options.addresses:
                    with self._steps.waiting("connect to the circuit"):
                        self._client = dial_named(self.options)
                else:
                    from circuit_harness.plugin.local_circuit import LocalCircuit

                    self._makes_hosts = True
                    wanted = self.declared.needed(parts or self.declared)
                    self._local = LocalCircuit(wanted, self._say, self._steps)
                    self.options = self.options.with_key(self._local.key_file)
                    with self._steps.waiting("connect to the circuit"):
                        self._client = dial(self.options, self._local.addresses)
                    self._local.wait_joined(self._client)
            return self._client

    @property
    def services(self) -> dict[str, Running]:
        """The services that were deployed or found, by name."""
        with self._lock:
            return dict(self._services if self._attached is None else self._attached.services)

    @property
    def down(self) -> dict[str, str]:
        """Why services are down, in a line each, by name."""
        return self._probes.reasons()

    @property
    def addresses(self) -> list[str]:
        """The addresses of the circuit."""
        return self._local.addresses if self._local is not None else list(self.options.addresses)

    @property
    def changed_hosts(self) -> list[str]:
        """The names of the hosts that were changed or attached to. Does not wait, as a signal's notice needs it."""
        if self._attached is not None:
            return [host.name for host in self._attached.hosts]
        return self._deployment.hosts if self._deployment is not None else []

    def hosts(self) -> list[dict[str, Any]]:
        """Return what is known of the deployment's hosts: name, services, both addresses, and the source of each."""
        deployment, addresses = self._deployment, {}
        if self._attached is not None:
            addresses = self._attached.addresses
        elif deployment is not None and deployment.survey.done() and not deployment.survey.exception():
            addresses = deployment.survey.result().addresses
        known: dict[str, dict[str, Any]] = {
            name: {
                "name": name,
                "parts": [],
                "private_address": of.private,
                "private_address_from": of.private_from,
                "public_address": of.public,
                "public_address_from": of.public_from,
            }
            for name, of in addresses.items()
        }
        for part, service in self.services.items():
            known[service.host.name]["parts"].append(part)
        return list(known.values())

    def close(self, *, keep: bool) -> list[Leftover]:
        """End everything, and return what could not be undone.

        :param keep: whether to keep the deployment.
        """
        # Whoever holds the lock ends soon: no further step begins.
        self._steps.stop()
        with self._lock:
            self._steps.resume()
            if self._closed:
                return []
            self._closed = True
            again: list[Client] = []
            try:
                left = self._end_deployment(keep, again)
            finally:
                for client in (*again, *([self._client] if self._client else [])):
                    client.close()
                if self._local is not None:
                    self._local.close()
            self._tell_end(left)
            return left

    def _end_deployment(self, keep: bool, again: list[Client]) -> list[Leftover]:
        if self._deployment is None:
            return []
        self._deployment.stop()

        def redial(more: Sequence[str]) -> CircuitHosts:
            again.append(dial(self.options, [*self.addresses, *more]))
            self.reached = again[0].address
            return CircuitHosts(again[0])

        if not (keep and self._deployment.changed):
            return self._deployment.take_down(redial)
        try:
            self._deployment.keep()
            # Last: what is in the workspace stays, also where a deployment could not be kept.
            if self._local is not None:
                self.options = self.options.within(self._local.keep(self.options.folder))
        except (DeployError, CircuitError, LocalHostsError) as error:
            self._say(f"  cannot be kept, and is taken down: {error}")
            return self._deployment.take_down(redial)
        self.kept = True
        return []

    def _tell_end(self, left: Sequence[Leftover]) -> None:
        """Note what is true at the end of the run."""
        deployment = self._deployment
        if self.kept and deployment is not None:
            known = deployment.survey.result().addresses
            attach = self.options.command("check", hosts=deployment.hosts)
            end = self.options.teardown(deployment.hosts)
            self.epilogue += [f"Kept {self.identity}, which still runs:", *self._reached_at(deployment.ready, known)]
            self.epilogue += [f"  to check it again: {attach}", f"  to take it down: {end}"]
        elif self._attached is not None:
            found = self._attached
            self.epilogue += [f"Still kept: {found.record}", *self._reached_at(found.services, found.addresses)]
            if self.down and self.options.in_workspace:
                self.epilogue.append(f"  how to mend it: {self.options.command('status')}")
        elif deployment is not None and not left:
            removed = f", and its {self._local.hosts} removed" if self._local is not None else ""
            undone = f"Everything that this run deployed was taken down{removed}."
            before = {record.run: record for record in deployment.cleared}.values()
            if deployment.changed:
                self.epilogue += [undone, *(f"Before that, it took down {record}." for record in before)]
            elif before:
                took = (f"It took down {record}, or as much of that as the lines above show." for record in before)
                self.epilogue += ["This run deployed nothing.", *took]
            else:
                self.epilogue.append("This run changed nothing on any host.")
        elif self._makes_hosts and not left:
            self.epilogue.append("Nothing was deployed, and no host that this run began to make is left.")

    def _reached_at(self, services: Mapping[str, Running], known: Mapping[str, Addresses]) -> list[str]:
        down = self.down
        return [
            f"  {self.declared[name].announced}: DOWN"
            if name in down
            else f"  {reached_at(self.declared[name], running, known.get(running.host.name))}"
            for name, running in services.items()
        ]

    def _circuit(self, parts: frozenset[str]) -> Answer:
        self.client(parts)
        return {"addresses": self.addresses, "key_file": str(self.options.hmac_file or "")}

    def _hosts(self, parts: frozenset[str]) -> Answer:
        owner = None
        if self.options.mode == "attach":
            hosts = list(self._found().hosts)
        elif parts:
            hosts = list(self._deploying(parts).survey.result().hosts.values())
            owner = str(self.identity)
        else:
            hosts = self._picked()
        return {"names": [host.name for host in hosts], "owner": owner}

    def _addresses(self, parts: frozenset[str]) -> Answer:
        if self.options.mode == "attach":
            addresses = self._found().addresses
        elif parts:
            addresses = self._deploying(parts).survey.result().addresses
        else:
            hosts = {host.name: host for host in self._picked()}
            found = find_addresses(list(hosts.values()), self.options.given)
            for reason in found.unfit.values():
                raise Unfit(reason)
            addresses = found.addresses
        return {name: of.describe() for name, of in addresses.items()}

    def _picked(self) -> list[Host]:
        named = self._named(self.declared)
        n = len(self.declared.places())
        return [CircuitHost(anchor) for anchor in pick_hosts(self.client(), n, named.names)]

    def _named(self, services: Services) -> Hosts:
        return self.options.hosts.for_services(services, self.declared)

    def _service(self, name: str, parts: frozenset[str]) -> Answer:
        if self.options.mode == "attach":
            running = self._found().services.get(name)
            if running is None:
                more = f"; {self.options.command('status')} explains" if self.options.in_workspace else ""
                raise DeployError(
                    f"no live host has {self.declared[name].title}: its host is lost, or the deployment that was kept"
                    f" is without it{more}"
                )
        else:
            deploying = self._deploying(parts | {name}).services.get(name)
            if deploying is None:
                raise DeployError(f"{name} was not asked for when this deployment began")
            running = deploying.result()
            self._probes.ready(name)
        with self._lock:
            new = name not in self._services
            self._services[name] = running
        if down := self._probes.before(name, self.services):
            raise Unavailable(down["text"], already_reported=not down["new"], down=True)
        if new and self._attached is not None:
            known = self._attached.addresses.get(running.host.name)
            self._say(f"Found {reached_at(self.declared[name], running, known)}")
        return {"host": running.host.name, "service": running.describe()}

    def _lost(self, missed: frozenset[str]) -> Answer:
        """Note hosts that a process has lost if this process does not reach them either; return all that the run lost.

        The other process may have lost only its own connection. ``new`` are those that none has reported before.
        ``down`` are the services that are down, with the reasons.
        """
        gone = {name for name in missed if self._is_gone(name)}
        down = self.down
        with self._lost_lock:
            new = gone - self._lost_hosts
            self._lost_hosts |= new
            return {"hosts": sorted(self._lost_hosts), "new": sorted(new), "down": down}

    def _lose(self, host: str) -> bool:
        """Note that a host is lost; return whether that is new."""
        with self._lost_lock:
            new = host not in self._lost_hosts
            self._lost_hosts.add(host)
            return new

    def _collects(self, parts: frozenset[str]) -> Answer:
        """Return the services whose evidence a failed check is to collect, and the checks that have that of the others.

        :param parts: the services that the check uses, and the check.
        """
        # The check's own service first, and what that uses behind it.
        services = [name for name in reversed(self.declared.in_order()) if name in parts]
        (check,) = parts.difference(services)
        with self._lost_lock:
            seen = {name: self._seen[name] for name in services if name in self._seen}
            first = [name for name in services if name not in seen]
            self._seen |= dict.fromkeys(first, check)
            return {"first": first, "seen": seen}

    def _is_gone(self, name: str) -> bool:
        try:
            run_shell(self.client().walk(name), ":", timeout=_PROBE_LIMIT_S)
        except (HostLost, ClientLost):
            return True
        except (DeployError, CircuitError):
            return False
        return False

    def _deploying(self, parts: frozenset[str]) -> Deployment:
        with self._lock:
            circuit = CircuitHosts(self.client(parts))
            if self._deployment is None:
                spec = spec_of(self.options, self.declared, parts)
                self._deployment = Deployment(circuit, self.identity, spec, self._steps, self._say)
            return self._deployment

    def _found(self) -> Deployed:
        with self._lock:
            if self._attached is None:
                if self.options.in_workspace:
                    from circuit_harness.plugin.local_circuit import lost_hosts
                    from localhosts.workspace import Workspace

                    lost = lost_hosts(self.client(), Workspace(self.options.folder).find())
                    if lost:
                        raise NoHosts(lost)
                self._attached = find(
                    CircuitHosts(self.client()),
                    self.declared,
                    self.options.hosts.names,
                    self.options.deployment or "",
                )
            return self._attached


def spec_of(options: Options, declared: Services, names: Iterable[str]) -> DeploymentSpec:
    """Return what to deploy: the services of these names and those that they need, as the options say."""
    services = declared.needed(names)
    return DeploymentSpec(
        services,
        options.deployment or "",
        options.hosts.for_services(services, declared),
        replace=options.replace,
        lease_wait=options.lease_wait,
        given=options.given,
        install=options.install,
    )
