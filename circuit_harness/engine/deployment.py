"""One deployment: hosts picked, leased, looked at, and cleared of what crashed; deployed onto; kept or taken down."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from circuit import CircuitError
from circuit_harness.engine import survey as surveys
from circuit_harness.engine.carry_out import carry_out
from circuit_harness.engine.found import read_records
from circuit_harness.engine.hosts import live_hosts
from circuit_harness.engine.pick import choose, choose_all
from circuit_harness.engine.spec import DeploymentSpec, Identity
from circuit_harness.engine.survey import Survey
from circuit_harness.errors import Conflict, DeployError, NoHosts
from circuit_harness.journal.journal import Journal
from circuit_harness.journal.lease import Lease, give_up_all, take_all, take_some
from circuit_harness.journal.record import FOLDER, KEPT, Record
from circuit_harness.journal.undo import Leftover, take_down
from circuit_harness.operations import packages
from circuit_harness.remote.address import Addresses
from circuit_harness.remote.concurrently import on_each
from circuit_harness.remote.host import Circuit, Host
from circuit_harness.secret import Secret
from circuit_harness.services.protocol import Context, Running, Service
from circuit_harness.steps import Steps

_REGAIN_S = 15.0
"""How long a lease that was lost is waited for when it is time to undo."""

Say = Callable[[str], None]
"""Prints a line for the user."""


def reached_at(service: Service, running: Running, addresses: Addresses | None) -> str:
    """Return where a service is reached, and the source of that address: it may be another than the user expects."""
    source = addresses.source(running.address) if addresses is not None else ""
    return f"{service.announced}: {running.address} {running.port}" + (f" ({source})" if source else "")


class Deployment:
    """A deployment in progress. Independent work runs concurrently; each service is waited for by itself."""

    def __init__(
        self, circuit: Circuit[Host], identity: Identity, spec: DeploymentSpec, steps: Steps, say: Say
    ) -> None:
        """Begin. Nothing is changed before all hosts have been seen fit and free, which :attr:`survey` waits for."""
        self._circuit = circuit
        self._identity = identity
        self._spec = spec
        self._steps = steps
        self._say = say
        self._leases: list[Lease] = []
        self._watching = threading.Lock()
        self._journals: dict[str, Journal] = {}
        self._secrets: dict[str, Secret] = {}
        self._running: dict[str, Running] = {}
        self._usable: dict[str, Future[None]] = {name: Future() for name in spec.services}
        """Done when others can use a service; its record may still be written then."""
        self.cleared: list[Record] = []
        """The records of earlier runs' deployments that this one has begun to take down."""
        made_here = [(name, made) for name, service in spec.services.items() for made in service.here]
        # One thread each, so that none that waits for another keeps it from running.
        self._pool = ThreadPoolExecutor(1 + len(made_here) + len(spec.services), thread_name_prefix="deployment")
        self._here: dict[tuple[str, str], Future[Any]] = {}
        for name, made in made_here:
            self._here[name, made.name] = self._pool.submit(made.make, steps)
        self.survey: Future[Survey] = self._pool.submit(self._begin)
        self.services: dict[str, Future[Running]] = {}
        # Those that are used come first.
        for name in spec.services.in_order():
            self.services[name] = self._pool.submit(self._deploy, name)

    @property
    def changed(self) -> bool:
        """Whether anything was changed on a host."""
        return bool(self._journals)

    @property
    def ready(self) -> dict[str, Running]:
        """The services that were started and recorded, by name."""
        done = {name: future for name, future in self.services.items() if future.done() and not future.exception()}
        return {name: future.result() for name, future in done.items()}

    @property
    def hosts(self) -> list[str]:
        """The names of the hosts that were changed."""
        return sorted(self._journals)

    def stop(self) -> None:
        """Have what is under way end soon, and return when it has."""
        self._steps.stop()
        wait([self.survey, *self._here.values(), *self.services.values()])
        self._pool.shutdown()
        self._steps.resume()

    def keep(self) -> None:
        """Leave everything standing, for others to attach to, and let go of the hosts. Call :meth:`stop` first.

        :raises DeployError, CircuitError: that cannot be; the hosts are still held.
        """
        for journal in self._journals.values():
            journal.keep()
        self._let_go()

    def take_down(self, redial: Callable[[Sequence[str]], Circuit[Host]]) -> list[Leftover]:
        """Undo everything, and let go of the hosts; return what could not be undone. Call :meth:`stop` first.

        Where a lease was lost meanwhile it is taken again first: without it, what is there may be another run's.

        :param redial: reaches the same circuit, for when the client that deployed has lost it, given addresses
            of more of its servers; who passes it closes what it made.
        """
        names = self.hosts
        recorded: list[tuple[Host, Record]] = []
        left: list[Leftover] = []
        try:
            view = self._view(redial) if names else {}
            for name in names:
                try:
                    host = self._hold(name, view)
                    recorded.append((host, self._journals[name].record))
                except (DeployError, CircuitError) as error:
                    left.append(Leftover(name, " ".join(str(error).split())))
            return left + take_down(recorded, self._steps, self._say, force=False)
        except CircuitError as error:
            return [Leftover(name, f"the circuit is lost: {error}") for name in names]
        finally:
            self._let_go()

    def _view(self, redial: Callable[[Sequence[str]], Circuit[Host]]) -> Mapping[str, Host]:
        """The live hosts, through another client if ours has lost the circuit."""
        try:
            return self._circuit.hosts()
        except CircuitError:
            self._circuit = redial([journal.host.address for journal in self._journals.values()])
            return self._circuit.hosts()

    def _hold(self, name: str, view: Mapping[str, Host]) -> Host:
        """A host of ours, once it is sure that we hold its lease."""
        if name not in view:
            raise NoHosts("the host is lost")
        lease = next((lease for lease in self._leases if lease.host.name == name), None)
        if lease is not None and lease.is_held():
            return lease.host
        if lease is not None:
            with self._watching:
                self._leases.remove(lease)
            lease.give_up()
        again = take_some([view[name]], 1, str(self._identity), self._steps, _REGAIN_S, self._say, lock=FOLDER)
        self._leases += again
        self._steps.regain(name)
        return view[name]

    def _let_go(self) -> None:
        with self._watching:
            leases, self._leases = self._leases, []
        give_up_all(leases)

    def _watch(self, lease: Lease) -> None:
        """Have no further step begin on a host once its lease is lost: it may be another run's by then."""
        lease.wait()
        with self._watching:
            if lease in self._leases:
                self._say(f"  the lease on host {lease.host.name} has ended; nothing more is changed there")
                self._steps.lose(lease.host.name)

    def _begin(self) -> Survey:
        with self._steps.waiting("pick hosts"):
            placed = self._pick()
        services: dict[str, list[str]] = {}
        for name, host in placed.items():
            services.setdefault(host.name, []).append(name)
        self._steps.placed(services)
        hosts = {host.name: host for host in placed.values()}
        on_each(lambda host: host.sweep(self._steps), hosts.values(), "sweep")

        def look() -> Survey:
            survey = surveys.look(placed, self._spec, self._with_rights)
            survey.check_fit(install=self._spec.install)
            if self._spec.replace:
                survey.check_replaceable(install=self._spec.install)
            else:
                survey.check_kept()
            survey.check_free()
            return survey

        with self._steps.step("look at the hosts"):
            survey = look()
        for remark in survey.remarks:
            self._say(f"  {remark}")
        if survey.recorded or survey.missing:
            # Nothing that stands is taken down, and nothing installed, before what it is for is there.
            for made in self._here.values():
                made.result()
        if survey.recorded:
            self._clear(survey)
            with self._steps.step("look at the hosts again"):
                survey = look()
        if survey.missing:
            self._install(survey)
            with self._steps.step("look at what was installed"):
                survey = surveys.look(placed, self._spec, self._with_rights)
                survey.check_fit(install=False)
                survey.check_free()
                # With what was installed, such as curl, the look may have found others than before.
                for name, journal in self._journals.items():
                    journal.readdress(survey.addresses[name])
        return survey

    @property
    def _with_rights(self) -> set[str]:
        """The names of the hosts where root was seen to act, when it locked them."""
        return {lease.host.name for lease in self._leases if lease.locked}

    def _install(self, survey: Survey) -> None:
        """Install what is missing, on all hosts at once; all are done when this ends, however it does."""

        def install(host: Host) -> None:
            lacks = [lack for lack in survey.missing if lack.host == host.name]
            if lacks:
                packages.install(host, lacks, self._journal(host, survey), steps=self._steps)

        on_each(install, survey.hosts.values(), "install")

    def _pick(self) -> dict[str, Host]:
        """The host of each service, with the leases on all of them taken."""
        spec, owner = self._spec, str(self._identity)
        hosts = live_hosts(self._circuit, spec.hosts.names)
        # Of two runs at the same time, each could get some hosts here: where none would wait, both would fail.
        choice = choose_all(hosts, spec) if spec.lease_wait else None
        # Two anchors of one machine cannot both be leased, so each host that is leased is a machine.
        self._leases = take_all(hosts, owner, FOLDER) if choice is not None else []
        if choice is None or not self._leases:
            choice = choose(read_records(hosts, spec.name), spec)
            self._leases = take_some(
                choice.candidates, choice.n, owner, self._steps, spec.lease_wait, self._say, lock=FOLDER
            )
        for lease in self._leases:
            threading.Thread(target=self._watch, args=(lease,), name="lease", daemon=True).start()
        leased = {lease.host.name for lease in self._leases}
        return choice.place(spec, [host for host in choice.candidates if host.name in leased])

    def _clear(self, survey: Survey) -> None:
        for host, record in survey.recorded:
            fate = "was kept" if record.state == KEPT else "did not end by itself"
            self._say(f"  host {host.name}: {record}, {fate}; it is taken down first")
            self.cleared.append(record)
        left = take_down(survey.recorded, self._steps, self._say, force=self._spec.replace)
        if left:
            raise Conflict(_listed("what an earlier run deployed cannot be taken down", left))

    def _deploy(self, name: str) -> Running:
        try:
            return self._begin_service(name)
        except BaseException as error:
            if not self._usable[name].done():
                self._usable[name].set_exception(error)
            raise

    def _begin_service(self, name: str) -> Running:
        survey = self.survey.result()
        service, host, facts = self._spec.services[name], survey.placed[name], survey.facts[name]
        results: dict[str, Any] = {}
        for made in service.here:
            with self._steps.step(made.what):
                results[made.name] = self._here[name, made.name].result()
        site = survey.site(name, self._identity.run, self._running, self._secrets)
        stages = service.plan(facts, site)
        # Not before: a plan that fails has changed nothing, and leaves nothing to be kept.
        journal = self._journal(host, survey)
        context = Context(host, self._steps, self._say)
        for stage in stages:
            for used in stage.after:
                self._usable[used].result()
            carry_out(name, stage, results, journal, context)
        running = service.result(host, facts, site, results)
        self._running[name] = running
        self._usable[name].set_result(None)
        # What was used must have been recorded, too.
        for used in service.uses:
            self.services[used].result()
        journal.serve(name, running.describe())
        self._say(f"Started {reached_at(service, running, survey.addresses[host.name])}")
        return running

    def _journal(self, host: Host, survey: Survey) -> Journal:
        identity = self._identity
        addresses = survey.addresses[host.name]
        record = Record(
            identity.run, identity.owner, identity.started, addresses, anchor=host.name, deployment=self._spec.name
        )
        # One for all services where they share a host; setdefault is atomic.
        return self._journals.setdefault(host.name, Journal(host, record))


def _listed(what: str, left: Sequence[Leftover]) -> str:
    return "\n".join([f"{what}:", *(f"  {entry}" for entry in left)])
