"""Services that the harness does not know: from the hook to their undoing, they are deployed as any other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from circuit import HostLost
from circuit_harness.engine.attach import find
from circuit_harness.engine.plan import plan
from circuit_harness.engine.spec import DeploymentSpec, Services
from circuit_harness.errors import Conflict, DeployError, Lost, NotReady, Unfit
from circuit_harness.operations.needs import Need
from circuit_harness.plugin import declared, hookspecs
from circuit_harness.remote.command import Command
from circuit_harness.report.outcome import compose
from circuit_harness.services.mysql import MySQL
from circuit_harness.services.protocol import Local, Probe, Service, Stage
from circuit_harness.steps import Steps
from tests.unit.fakes import AFTER, BEFORE, BETWEEN, FakeCircuit, FakeHost
from tests.unit.invented import Started, broken, page, prepare, queue, worker, wrong
from tests.unit.runs import CUT, begin, changing, cleared, cut, die, errors_of, lose, taken_down

QUEUE_UNDO = ["Queue: close it", "Queue: remove the mark", "Queue: remove its folder"]
WORKER_UNDO = "Worker: end it, remove its folder"
PAGE_UNDO = ["Page: remove it"]


@pytest.fixture(autouse=True)
def prepared(hosts: tuple[FakeHost, FakeHost]) -> None:
    """The hosts answer to these services."""
    prepare(hosts)


def config(*hooks: Callable[..., object]) -> pytest.Config:
    """A run's configuration in which conftest.py files have these hooks."""
    manager = pytest.PytestPluginManager()
    manager.add_hookspecs(hookspecs)
    for hook in hooks:
        manager.register(SimpleNamespace(pytest_circuit_services=hook))
    return cast(pytest.Config, SimpleNamespace(hook=manager.hook, rootpath="/repo", inipath=None))


def test_from_the_hook_to_the_undoing(hosts: tuple[FakeHost, FakeHost]) -> None:
    services = declared.services(config(lambda config: [queue(), worker()], lambda config: [page()]), required=True)
    assert list(services) == ["queue", "worker", "page"]
    circuit, (first, second) = FakeCircuit(hosts), hosts

    planned = plan(circuit, DeploymentSpec(services))
    assert planned.obstacles == []
    assert planned.lines[2:] == [
        f"{first.name}: Queue: make its folder",
        f"{first.name}: Queue: count its jobs",
        f"{first.name}: Queue: mark it full (where it has jobs)",
        f"{first.name}: Queue: open it with <jobs> jobs\n    at 10.0.0.1",
        f"{first.name}: Worker: start it at /{first.name}/worker, for <jobs> jobs",
        f"{first.name}: Worker: write that it runs",
        "Page: make its text, here",
        f"{second.name}: Page: write <text>",
    ]
    assert [changing(host) for host in hosts] == [[], []]

    deployment = begin(hosts, services.values())
    assert errors_of(deployment) == {}
    assert [host.journal()[::-1] for host in hosts] == [[WORKER_UNDO, *QUEUE_UNDO], PAGE_UNDO]
    deployed = {name: future.result() for name, future in deployment.services.items()}
    # As the process that outlives all others writes it.
    document = compose(
        identity={"run": "0a1b2c3d"},
        seconds=1.0,
        mode="deploy",
        kept=True,
        exit_status=0,
        circuit=[circuit.address],
        hosts=[],
        declared=[
            {"name": name, "title": service.title, "uses": [], "speaks": "TCP"} for name, service in services.items()
        ],
        services={name: {"host": running.host.name, **running.describe()} for name, running in deployed.items()},
        steps=[],
        results=[],
        logs=[],
        left=[],
        notes=[],
        commands=[],
    )
    reported = json.loads(json.dumps(document))["services"]
    assert reported["queue"] == {
        "host": first.name,
        "address": "10.0.0.1",
        "port": 5000,
        "anchor": "",
        "found": {"jobs": "3"},
    }
    assert (reported["worker"]["host"], reported["worker"]["anchor"]) == (first.name, "worker")
    assert (reported["page"]["host"], reported["page"]["found"]) == (second.name, {"text": "a text"})

    deployment.keep()
    attached = find(circuit, services)
    assert attached.services == deployed
    # What a run does not declare is left out.
    assert list(find(circuit, services.needed(["page"])).services) == ["page"]
    assert [sorted(host.there) for host in hosts] == [["worker"], []]

    outcome = cleared(hosts)
    assert outcome.left == []
    assert [host.undone() for host in hosts] == [[WORKER_UNDO, *QUEUE_UNDO], PAGE_UNDO]
    assert [host.is_as_it_was() for host in hosts] == [True, True]


def test_an_action_whose_guard_does_not_hold_is_not_done(hosts: tuple[FakeHost, FakeHost]) -> None:
    hosts[0].answers["queue count"] = "0\n"
    steps = Steps()
    deployment = begin(hosts, [queue()], steps=steps)
    assert errors_of(deployment) == {}
    assert "mark the queue full" not in hosts[0].log
    assert "Queue: mark it full" not in [step.what for step in steps.done]
    assert taken_down(deployment, hosts) == []
    assert hosts[0].undone() == ["Queue: close it", "Queue: remove its folder"]


def test_who_uses_another_is_given_what_only_its_result_tells(hosts: tuple[FakeHost, FakeHost]) -> None:
    deployment = begin(hosts, [queue(), worker()])
    assert errors_of(deployment) == {}
    process = hosts[0].there["worker"]
    assert process.peek().cmd.args == ["-c", "exec worker 0a1b2c3d 10.0.0.1:5000 3"]
    # It is nobody's to read from here, and outlives the run where it is kept.
    assert process.discarded
    assert taken_down(deployment, hosts) == []


def test_who_is_declared_first_may_use_one_that_comes_later(hosts: tuple[FakeHost, FakeHost]) -> None:
    deployment = begin(hosts, [worker(), queue()])
    assert list(deployment.services) == ["queue", "worker"]
    assert errors_of(deployment) == {}
    assert taken_down(deployment, hosts) == []
    assert hosts[0].undone() == [WORKER_UNDO, *QUEUE_UNDO]


@pytest.mark.parametrize("names", [["queue"], ["worker"], ["page"]], ids=str)
def test_what_is_not_wanted_is_not_deployed(hosts: tuple[FakeHost, FakeHost], names: list[str]) -> None:
    services = Services([queue(), worker(), page()]).needed(names)
    deployment = begin(hosts, services.values())
    assert errors_of(deployment) == {}
    assert changing(hosts[1]) == []
    assert taken_down(deployment, hosts) == []
    undone = {"queue": QUEUE_UNDO, "worker": [WORKER_UNDO, *QUEUE_UNDO], "page": PAGE_UNDO}
    assert hosts[0].undone() == undone[names[0]]


def _cuts() -> Iterator[object]:
    actions = [
        ("queue", "make the queue's folder", QUEUE_UNDO[2]),
        ("queue", "mark the queue full", QUEUE_UNDO[1]),
        ("queue", "open the queue", QUEUE_UNDO[0]),
        ("worker", "make the worker's folder", WORKER_UNDO),
        ("worker", "start worker", ""),
        ("worker", "write that the worker runs", ""),
        ("page", "write the page", PAGE_UNDO[0]),
    ]
    recorded: list[str] = []
    for service, entry, undo in actions:
        recorded = [] if service == "page" else recorded
        for moment in (BEFORE, AFTER) if entry.startswith("start ") else (BEFORE, BETWEEN, AFTER):
            undone = [undo, *recorded] if undo and moment != BEFORE else list(recorded)
            for by in ("the run", "another run") if moment == AFTER else ("the run",):
                yield pytest.param(service, entry, moment, undone, by, id=f"{moment}-{entry}-{by}")
        recorded = [undo, *recorded] if undo else recorded


@pytest.mark.parametrize(("service", "entry", "moment", "undone", "by"), list(_cuts()))
def test_wherever_one_is_cut_what_was_recorded_is_undone_newest_first(
    hosts: tuple[FakeHost, FakeHost], service: str, entry: str, moment: str, undone: list[str], by: str
) -> None:
    at = 1 if service == "page" else 0
    made = cut(hosts[at], entry, moment)
    deployment = begin(hosts, [queue(), worker(), page()])
    errors = errors_of(deployment)
    assert made == [entry]
    assert set(errors) == {"queue": {"queue", "worker"}}.get(service, {service})
    assert all(CUT[moment] in str(error) for error in errors.values())
    if by == "the run":
        assert taken_down(deployment, hosts) == []
    else:
        die(hosts)
        assert cleared(hosts).left == []
    assert hosts[at].undone() == undone
    assert hosts[1 - at].undone() == ([WORKER_UNDO, *QUEUE_UNDO] if at else PAGE_UNDO)
    assert [host.is_as_it_was() for host in hosts] == [True, True]


def probing(facts: object, site: object) -> list[Stage]:
    """A queue that fails once it is asked."""
    return [Stage(), Stage(probes=[Probe("jobs", "Queue: count its jobs", broken)])]


def acting(facts: object, site: object) -> list[Stage]:
    """A queue that cannot even say what it is to do."""
    return [Stage(broken)]


FAILING = {
    "plan": ({"stages": broken}, NotReady),
    "plan-fault": ({"stages": wrong}, KeyError),
    "probe": ({"stages": probing}, NotReady),
    "actions": ({"stages": acting}, NotReady),
    "result": ({"finds": broken}, NotReady),
    "result-fault": ({"finds": wrong}, KeyError),
    "here": ({"here": [Local("text", "Queue: make its text, here", broken)]}, NotReady),
}


@pytest.mark.parametrize(("changed", "kind"), FAILING.values(), ids=FAILING)
def test_who_uses_what_fails_fails_with_it_and_starts_nothing(
    hosts: tuple[FakeHost, FakeHost], changed: dict[str, Any], kind: type[Exception]
) -> None:
    deployment = begin(hosts, [queue(**changed), worker(), page()])
    errors = errors_of(deployment)
    assert set(errors) == {"queue", "worker"}
    assert errors["worker"] is errors["queue"]
    assert isinstance(errors["queue"], kind)
    assert not [entry for entry in hosts[0].log if "worker" in entry]
    # What does not use it is deployed.
    assert isinstance(deployment.services["page"].result(), Started)
    assert taken_down(deployment, hosts) == []
    assert hosts[0].undone() == (QUEUE_UNDO if "finds" in changed else [])
    assert hosts[1].undone() == PAGE_UNDO
    assert [host.is_as_it_was() for host in hosts] == [True, True]


def test_a_look_that_fails_changes_nothing(hosts: tuple[FakeHost, FakeHost]) -> None:
    deployment = begin(hosts, [queue(looks=broken), worker(), page()])
    errors = errors_of(deployment)
    assert {name: str(error) for name, error in errors.items()} == dict.fromkeys(
        ("queue", "worker", "page"), "the queue is broken"
    )
    assert not deployment.changed
    assert [changing(host) for host in hosts] == [["start tutorial-lease"]] * 2
    assert taken_down(deployment, hosts) == []
    assert [host.is_as_it_was() for host in hosts] == [True, True]


@pytest.mark.parametrize("kind", [Unfit, Conflict, DeployError])
def test_a_refusal_of_any_kind_changes_nothing(hosts: tuple[FakeHost, FakeHost], kind: type[DeployError]) -> None:
    refusing = [queue(), worker(), page(refusals=[kind("not here")])]
    planned = plan(FakeCircuit(hosts), DeploymentSpec(Services(refusing)))
    assert planned.obstacles == ["not here"]
    deployment = begin(hosts, refusing)
    assert {(type(error), str(error)) for error in errors_of(deployment).values()} == {(kind, "not here")}
    assert not deployment.changed
    assert taken_down(deployment, hosts) == []


def test_a_service_whose_plan_fails_leaves_nothing_to_be_kept(hosts: tuple[FakeHost, FakeHost]) -> None:
    deployment = begin(hosts, [queue(stages=broken)])
    assert set(errors_of(deployment)) == {"queue"}
    assert not deployment.changed
    assert taken_down(deployment, hosts) == []


@pytest.mark.parametrize("moment", [BEFORE, AFTER])
@pytest.mark.parametrize("lost", [0, 1])
def test_a_host_that_is_lost_fails_its_own_services(hosts: tuple[FakeHost, FakeHost], lost: int, moment: str) -> None:
    lose(hosts[lost], ("make the queue's folder", "write the page")[lost], moment)
    deployment = begin(hosts, [queue(), worker(), page()])
    errors = errors_of(deployment)
    assert set(errors) == ({"queue", "worker"}, {"page"})[lost]
    assert all(isinstance(error, HostLost) for error in errors.values())
    assert {left.host for left in taken_down(deployment, hosts)} == {hosts[lost].name}
    other = hosts[1 - lost]
    assert other.undone() == ([WORKER_UNDO, *QUEUE_UNDO], PAGE_UNDO)[1 - lost]
    assert other.is_as_it_was()
    hosts[lost].cut = lambda entry, moment: None
    die(hosts)
    assert cleared(hosts).left == []
    assert hosts[lost].is_as_it_was()


SERVER = Need("a queue server", ("queued",), "queue-server", oldest=3)
PACKAGES_UNDO = "remove queue-server, and what came with it"


def offer(host: FakeHost, version: str) -> None:
    """Have a host lack the queue's server, and its archives offer it."""

    def programs(command: Command) -> str:
        installed = "program queued\nversion queued v3.1\n" if "install packages" in host.log else ""
        return f"login root\nrights yes\nprogram apt-get\n{installed}"

    host.answers = {"say login": programs, "--download-only": f"queue-server {version}\n", **host.answers}


def test_what_a_host_lacks_is_named_with_its_package(hosts: tuple[FakeHost, FakeHost]) -> None:
    for host in hosts:
        offer(host, "3.1")
    deployment = begin(hosts, [queue(needs=(SERVER,)), page(needs=(SERVER,))])
    error = errors_of(deployment)["queue"]
    assert isinstance(error, Unfit)
    assert str(error).splitlines() == [
        "the hosts lack 2 things that are needed (--install does that, and undoes it):",
        *(
            f"  host {host.name} has no a queue server (no program queued): apt-get install queue-server"
            for host in hosts
        ),
    ]
    assert not deployment.changed
    assert taken_down(deployment, hosts) == []


def test_packages_are_installed_first_and_removed_last(hosts: tuple[FakeHost, FakeHost]) -> None:
    offer(hosts[0], "3.1")
    declared_ones = [queue(needs=(SERVER,)), worker(), page()]
    planned = plan(FakeCircuit(hosts), DeploymentSpec(Services(declared_ones), install=True))
    assert planned.obstacles == []
    assert planned.lines[0].startswith(f"{hosts[0].name}: install queue-server, and what they depend on")
    deployment = begin(hosts, declared_ones, install=True)
    assert errors_of(deployment) == {}
    assert changing(hosts[0])[:6] == [
        "start tutorial-lease",
        "write the record",
        "fetch packages",
        "install packages",
        "write the record",
        "make the queue's folder",
    ]
    assert taken_down(deployment, hosts) == []
    assert hosts[0].undone() == [WORKER_UNDO, *QUEUE_UNDO, PACKAGES_UNDO]
    assert [host.is_as_it_was() for host in hosts] == [True, True]


@pytest.mark.parametrize("by", ["the run", "another run"])
@pytest.mark.parametrize(
    ("entry", "moment", "undone"),
    [
        ("fetch packages", BEFORE, []),
        ("fetch packages", BETWEEN, [PACKAGES_UNDO]),
        ("fetch packages", AFTER, [PACKAGES_UNDO]),
        ("install packages", BEFORE, [PACKAGES_UNDO]),
        ("install packages", BETWEEN, [PACKAGES_UNDO]),
        ("install packages", AFTER, [PACKAGES_UNDO]),
    ],
)
def test_wherever_installing_is_cut_packages_are_removed(
    hosts: tuple[FakeHost, FakeHost], entry: str, moment: str, undone: list[str], by: str
) -> None:
    offer(hosts[0], "3.1")
    made = cut(hosts[0], entry, moment)
    deployment = begin(hosts, [queue(needs=(SERVER,)), page()], install=True)
    errors = errors_of(deployment)
    assert made == [entry]
    # Nothing is deployed anywhere before all is installed.
    assert set(errors) == {"queue", "page"}
    assert all(CUT[moment] in str(error) for error in errors.values())
    assert changing(hosts[1]) == ["start tutorial-lease"]
    if by == "the run":
        assert taken_down(deployment, hosts) == []
    else:
        die(hosts)
        assert cleared(hosts).left == []
        assert taken_down(deployment, hosts) == []
    assert hosts[0].undone() == undone
    assert [host.is_as_it_was() for host in hosts] == [True, True]


def test_a_package_that_is_too_old_is_not_installed(hosts: tuple[FakeHost, FakeHost]) -> None:
    offer(hosts[0], "2.9")
    deployment = begin(hosts, [queue(needs=(SERVER,))], install=True)
    error = errors_of(deployment)["queue"]
    assert "its archives have a queue server 2.9, and 3 or newer is needed" in str(error)
    assert "install packages" not in hosts[0].log
    assert taken_down(deployment, hosts) == []
    assert hosts[0].undone() == [PACKAGES_UNDO]


OTHERS = {
    "another": (worker(port=5000), "both Queue and Worker on port 5000: give one another"),
    "one of its title": (queue(name="second", place="queue"), "both Queue and Queue on port 5000"),
    "on its own host": (worker(port=5000, place=""), ""),
    "on another port": (worker(port=5001), ""),
    "on none": (worker(port=0), ""),
}


@pytest.mark.parametrize(("other", "told"), OTHERS.values(), ids=OTHERS)
def test_two_services_of_one_host_do_not_listen_on_one_port(
    hosts: tuple[FakeHost, FakeHost], other: Service, told: str
) -> None:
    deployment = begin(hosts, [queue(), other])
    errors = errors_of(deployment)
    assert taken_down(deployment, hosts) == []
    assert bool(errors) == bool(told)
    assert all(isinstance(error, Unfit) and told in str(error) for error in errors.values())


DAMAGED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "address": (lambda of: of.update(address="127.0.0.1"), "127.0.0.1 port 5000, which is a loopback address"),
    "port": (lambda of: of.update(port="5000"), "port 5000, which is no port"),
    "more": (lambda of: of.update(more=1), "no part that can be checked"),
    "less": (lambda of: of.pop("found"), "no part that can be checked"),
}


@pytest.mark.parametrize(("damage", "told"), DAMAGED.values(), ids=DAMAGED)
def test_a_record_that_describes_no_such_service_is_not_attached_to(
    hosts: tuple[FakeHost, FakeHost], damage: Callable[[dict[str, Any]], object], told: str
) -> None:
    declared_ones: Sequence[Service] = [queue(), worker()]
    deployment = begin(hosts, declared_ones)
    assert errors_of(deployment) == {}
    deployment.keep()
    record = json.loads(hosts[0].record)
    damage(record["services"]["queue"])
    hosts[0].record = json.dumps(record).encode()
    with pytest.raises(Lost, match=told):
        find(FakeCircuit(hosts), Services(declared_ones))


def test_one_whose_host_is_lost_is_not_attached_to(hosts: tuple[FakeHost, FakeHost]) -> None:
    services = Services([queue(), worker(place="")])
    deployment = begin(hosts, services.values())
    assert errors_of(deployment) == {}
    deployment.keep()
    with pytest.raises(Conflict, match="the host of Queue is lost"):
        find(FakeCircuit(hosts[1:]), services)


HOOKS: dict[str, tuple[list[Callable[..., object]], str]] = {
    "none": ([], r"no conftest\.py .* has the hook pytest_circuit_services \(rootdir /repo, no ini file\)"),
    "no-return": ([lambda config: None], "returned nothing: let it return its services"),
    "one-of-two": ([lambda config: [queue()], lambda config: None], "returned nothing"),
    "empty": ([lambda config: []], "has the hook"),
    **{
        f"called {name}": (
            [lambda config, name=name: [queue(name=name)]],
            f"a service cannot be called {name}, as a fixture or a marker",
        )
        for name in ("host", "request", "on", "skip", "disruptive", "cluster", "lost")
    },
    "a bad parameter": ([lambda config: [MySQL("Shop")]], "service mysql: 'Shop' is not a valid database name:"),
    "twice": ([lambda config: [queue()], lambda config: [queue()]], "two services are called queue"),
    "unknown": ([lambda config: [worker()]], "service worker: uses names 'queue'; there is no other"),
}


@pytest.mark.parametrize(("hooks", "told"), HOOKS.values(), ids=HOOKS)
def test_services_that_cannot_be_are_refused_in_one_line(hooks: list[Callable[..., object]], told: str) -> None:
    with pytest.raises(pytest.UsageError, match=told) as refused:
        declared.services(config(*hooks), required=True)
    assert "\n" not in str(refused.value)


def test_teardown_needs_no_services() -> None:
    assert list(declared.services(config(), required=False)) == []
