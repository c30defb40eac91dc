"""Which services are deployed, in which order, and onto which hosts: as declared, and as the user names them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from circuit_harness.engine.found import Found
from circuit_harness.engine.pick import choose, choose_all
from circuit_harness.engine.spec import DeploymentSpec, Hosts, Services
from circuit_harness.errors import Conflict, DeployError
from circuit_harness.journal.record import KEPT, RUNNING, Record
from circuit_harness.remote.address import Addresses
from tests.unit.fakes import FakeHost
from tests.unit.invented import Invented, queue


def service(described: str) -> Invented:
    """A service as ``name``, ``name>used,used`` or ``name@place``, or both."""
    described, _, place = described.partition("@")
    name, _, uses = described.partition(">")
    return queue(name=name, title=name.upper(), uses=tuple(filter(None, uses.split(","))), place=place)


def services(described: str) -> Services:
    """Services, divided by blanks."""
    return Services(map(service, described.split()))


REFUSED = {
    "a a": "two services are called a: give one of them another name",
    "a>b": "service a: uses names 'b'; there is no other",
    "a>a": "service a: uses names 'a'; there is no other",
    "a@b c": "service a: place names 'b'; there is c",
    "a@a b": "service a: place names 'a'; there is b",
    "a>b b>a": "services use each other in a circle: a -> b -> a",
    "a@b b@a": "services share each other's host in a circle: a -> b -> a",
    "a>b b>c c>a": "services use each other in a circle: a -> b -> c -> a",
    "d>a a>b b>a": "services use each other in a circle: d -> a -> b -> a",
}


@pytest.mark.parametrize(("described", "told"), REFUSED.items(), ids=REFUSED)
def test_services_that_cannot_be_are_refused(described: str, told: str) -> None:
    with pytest.raises(DeployError) as refused:
        services(described)
    assert str(refused.value) == told


ORDERS: dict[str, tuple[str, list[str]]] = {
    # Their order, each behind those that it uses; who shares a host.
    "": ("", []),
    "a b": ("a b", ["a", "b"]),
    "a>b b": ("b a", ["a", "b"]),
    "a>c b c>b": ("b c a", ["a", "b", "c"]),
    "a>c,b b>d c>d d": ("d c b a", ["a", "b", "c", "d"]),
    "a b@a c": ("a b c", ["a b", "c"]),
    "a b@c c": ("a b c", ["a", "b c"]),
    "a@b b@c c d@a": ("a b c d", ["a b c d"]),
    "a b>a@a": ("a b", ["a b"]),
    "a>b b@a": ("b a", ["a b"]),
    "a>b b>c c@a": ("c b a", ["a c", "b"]),
}


@pytest.mark.parametrize(("described", "order", "places"), [(name, *case) for name, case in ORDERS.items()])
def test_the_order_and_the_hosts_of_services(described: str, order: str, places: list[str]) -> None:
    declared = services(described)
    assert list(declared) == [service(each).name for each in described.split()]
    assert " ".join(declared.in_order()) == order
    assert [" ".join(names) for names in declared.places()] == places


NEEDED = [
    ("a b", "b", "b"),
    ("a b", "b a", "a b"),
    ("a>b b c", "a", "a b"),
    ("a>b b>c c d", "a", "a b c"),
    ("a b@a", "b", "a b"),
    ("a b@a", "a", "a"),
    ("a>b b@c c d", "a", "a b c"),
    ("a>b b@a c", "b", "a b"),
    ("a b", "", ""),
]


@pytest.mark.parametrize(("described", "names", "needed"), NEEDED)
def test_what_services_need_comes_with_them(described: str, names: str, needed: str) -> None:
    assert " ".join(services(described).needed(names.split())) == needed


NAMED: dict[str, tuple[str, str, Hosts, dict[str, str]]] = {
    # All that are declared, those that are wanted, the hosts that the user names; who gets which.
    "none": ("a b", "a b", Hosts(), {}),
    "by position": ("a b", "a b", Hosts(("X", "Y")), {"a": "X", "b": "Y"}),
    "by position, of one": ("a b", "b", Hosts(("X", "Y")), {"b": "Y"}),
    "too few": ("a b c", "a b c", Hosts(("X", "Y")), {"a": "X", "b": "Y", "c": "X"}),
    "one for all": ("a b", "a b", Hosts(("X",)), {"a": "X", "b": "X"}),
    "those that share": ("a b@a c", "a b c", Hosts(("X", "Y")), {"a": "X", "b": "X", "c": "Y"}),
    "by role": ("a b", "a b", Hosts(role={"b": "X"}), {"b": "X"}),
    "by the role of another": ("a b", "a", Hosts(role={"b": "X"}), {}),
    "by two roles of one place": ("a b@a", "a b", Hosts(role={"a": "X", "b": "X"}), {"a": "X", "b": "X"}),
}


@pytest.mark.parametrize(("described", "names", "named", "placed"), NAMED.values(), ids=NAMED)
def test_named_hosts_are_for_services(described: str, names: str, named: Hosts, placed: dict[str, str]) -> None:
    declared = services(described)
    assert named.for_services(declared.needed(names.split()), declared) == Hosts(role=placed)


MISNAMED: dict[str, tuple[str, Hosts, str]] = {
    "unknown": ("a b", Hosts(role={"c": "X", "a": "Y", "d": "X"}), "no service is called c, d; there is a, b"),
    "too many": ("a b@a", Hosts(("X", "Y")), "name at most 1 hosts, in this order: a and b; not 2"),
    "apart": ("a b@a", Hosts(role={"a": "X", "b": "Y"}), "a, b share a host, and several are named for them"),
}


@pytest.mark.parametrize(("described", "named", "told"), MISNAMED.values(), ids=MISNAMED)
def test_hosts_that_are_for_no_service_are_refused(described: str, named: Hosts, told: str) -> None:
    declared = services(described)
    with pytest.raises(DeployError) as refused:
        named.for_services(declared, declared)
    assert str(refused.value) == told


def test_a_host_is_named_once() -> None:
    assert Hosts(("X", "Y", "X")).names == ("X", "Y")
    assert Hosts(role={"a": "X", "b": "Y", "c": "X"}).names == ("X", "Y")


def found(machines: str, records: str = "", unreadable: str = "") -> Found:
    """What there is: machines, divided by blanks, of anchors, divided by ``=``; records as ``HOST:RUN``, kept ones with
    a ``+`` behind.
    """
    anchors = [tuple(FakeHost(name, "10.0.0.1") for name in machine.split("=")) for machine in machines.split()]
    of: dict[str, list[Record]] = {}
    for name, _, run in (each.partition(":") for each in records.split()):
        state = KEPT if run.endswith("+") else RUNNING
        addresses = Addresses("10.0.0.1", "option", "10.0.0.1", "option")
        of[name] = [Record(run.rstrip("+"), "me@here", "today", addresses, state=state)]
    return Found([*anchors], of, dict.fromkeys(unreadable.split(), "it is damaged"))


CHOICES: dict[str, tuple[str, Found, dict[str, str], bool, str, int]] = {
    # Services, hosts, roles, replace; the candidates, and how many of them are used.
    "all that there are": ("a b", found("X Y"), {}, False, "X Y", 2),
    "of more": ("a b", found("X Y Z"), {}, False, "X Y Z", 2),
    "of fewer": ("a b c", found("X Y"), {}, False, "X Y", 2),
    "of those that share": ("a b@a", found("X Y"), {}, False, "X Y", 1),
    "without services": ("", found("X Y"), {}, False, "X Y", 1),
    "aliases of one machine": ("a b", found("X=Y"), {}, False, "X", 1),
    "not a kept one": ("a", found("X Y", "X:1+"), {}, False, "Y", 1),
    "a crashed one": ("a", found("X Y", "X:1"), {}, False, "X Y", 1),
    "not an unreadable one": ("a", found("X Y", "", "X"), {}, False, "Y", 1),
    "a kept one, as there are no others": ("a b", found("X Y Z", "X:1+ Y:1+"), {}, False, "X Y Z", 2),
    "a kept one, to be replaced": ("a", found("X Y", "Y:1+"), {}, True, "Y", 1),
    "kept ones first, to be replaced": ("a b", found("X Y Z", "Z:1+"), {}, True, "Z X", 2),
    "nothing is kept to be replaced": ("a", found("X Y"), {}, True, "X Y", 1),
    "a role": ("a b", found("X Y Z"), {"a": "Z"}, False, "Z X", 2),
    "a role, and no other host": ("a b", found("X"), {"a": "X"}, False, "X", 1),
    "a role on an alias": ("a b", found("X=Y Z"), {"a": "Y"}, False, "X Z", 2),
    "two roles on aliases": ("a b", found("X=Y Z"), {"a": "Y", "b": "X"}, False, "X", 1),
    "all roles": ("a b", found("X Y Z"), {"a": "Y", "b": "X"}, False, "Y X", 2),
    "a role for a place": ("a b@a c", found("X Y Z"), {"b": "Z"}, False, "Z X", 2),
    "a role on a kept one": ("a b", found("X Y Z", "Z:1+ X:2+"), {"a": "Z"}, False, "Z Y", 2),
    "a role, and a kept one to be replaced": ("a b", found("X Y Z", "Y:1+"), {"a": "Z"}, True, "Z Y", 2),
}


@pytest.mark.parametrize(("described", "there", "roles", "replace", "candidates", "n"), CHOICES.values(), ids=CHOICES)
def test_which_hosts_are_tried(
    described: str, there: Found, roles: dict[str, str], replace: bool, candidates: str, n: int
) -> None:
    spec = DeploymentSpec(services(described), hosts=Hosts(role=roles), replace=replace)
    choice = choose(there, spec)
    assert " ".join(host.name for host in choice.candidates) == candidates
    assert choice.n == n


def test_only_one_kept_deployment_can_be_replaced() -> None:
    spec = DeploymentSpec(services("a"), replace=True)
    with pytest.raises(Conflict, match=r"more than one deployment was kept .*name the hosts of one"):
        choose(found("X Y", "X:1+ Y:2+"), spec)


FORCED = {
    # Services, hosts, roles, and whether all are used whatever their records are.
    "a host each": ("a b", "X Y", {}, True),
    "too few": ("a b c", "X Y", {}, True),
    "those that share": ("a b@a", "X", {}, True),
    "more than are needed": ("a b", "X Y Z", {}, False),
    "all roles": ("a b", "X Y", {"a": "Y", "b": "X"}, True),
    "all roles, on one": ("a b", "X", {"a": "X", "b": "X"}, True),
    "a role, and one other": ("a b", "X Y", {"a": "Y"}, True),
    "a role, and several others": ("a b", "X Y Z", {"a": "Y"}, False),
}


@pytest.mark.parametrize(("described", "machines", "roles", "forced"), FORCED.values(), ids=FORCED)
def test_where_there_is_nothing_to_choose_no_record_matters(
    described: str, machines: str, roles: dict[str, str], forced: bool
) -> None:
    spec = DeploymentSpec(services(described), hosts=Hosts(role=roles))
    there = found(machines)
    choice = choose_all(there.hosts, spec)
    assert choice == (choose(there, spec) if forced else None)


PLACED: dict[str, tuple[str, str, dict[str, str], list[str], str]] = {
    # Services, machines, roles, the hosts that were picked; where each service comes.
    "a host each": ("a b", "X Y", {}, ["X", "Y"], "a=X b=Y"),
    "too few": ("a b c", "X Y", {}, ["X", "Y"], "a=X b=Y c=X"),
    "one": ("a b", "X", {}, ["X"], "a=X b=X"),
    "those that share": ("a b c@a", "X Y", {}, ["X", "Y"], "a=X b=Y c=X"),
    "a role": ("a b", "X Y", {"a": "Y"}, ["Y", "X"], "a=Y b=X"),
    "a role, and no other host": ("a b", "X", {"b": "X"}, ["X"], "a=X b=X"),
    "a role, and too few": ("a b c", "X Y", {"b": "X"}, ["X", "Y"], "a=Y b=X c=Y"),
    "a role for a place": ("a b@a c", "X Y", {"b": "Y"}, ["Y", "X"], "a=Y b=Y c=X"),
    "a role on an alias": ("a b", "X=Y Z", {"a": "Y"}, ["X", "Z"], "a=X b=Z"),
    "two roles on one machine": ("a b", "X=Y Z", {"a": "Y", "b": "X"}, ["X"], "a=X b=X"),
}


@pytest.mark.parametrize(("described", "machines", "roles", "picked", "placed"), PLACED.values(), ids=PLACED)
def test_which_service_comes_onto_which_host(
    described: str, machines: str, roles: dict[str, str], picked: Sequence[str], placed: str
) -> None:
    spec = DeploymentSpec(services(described), hosts=Hosts(role=roles))
    there = found(machines)
    choice = choose(there, spec)
    by_name = {host.name: host for host in there.hosts}
    hosts = choice.place(spec, [by_name[name] for name in picked])
    assert " ".join(f"{name}={host.name}" for name, host in hosts.items()) == placed
