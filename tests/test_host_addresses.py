"""Addresses of real hosts: told by options, by metadata services of all kinds, by routes; of IPv4 and of IPv6."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from circuit_harness.operations.addresses import Found, Given, find_addresses, reread_private_address
from circuit_harness.remote.address import METADATA, OPTION, PRIVATE, ROUTE, Addresses
from circuit_harness.remote.circuit_host import CircuitHost, CircuitHosts
from localhosts import Cluster, Host
from localhosts.metadata import MetadataMode
from tests.jobs import Watched, dial_cluster, joined, named, not_passed, run
from tests.run_json import read

WAIT_S = 2.0
"""How long a metadata service that is not there may be waited for."""

SERVICE = "169.254.169.254"
BIND_ADDRESS = "checks/test_mysql.py::test_bind_address_is_the_private_one"


@dataclass(frozen=True)
class Hosts:
    """Two hosts: as the circuit shows them, in the order of their names, and as they are reached past it."""

    cluster: Cluster
    anchors: list[CircuitHost]
    hosts: list[Host]

    @property
    def names(self) -> tuple[str, str]:
        """The anchors' names."""
        first, second = self.anchors
        return first.name, second.name

    @property
    def options(self) -> list[str]:
        """Name the circuit."""
        return named(self.cluster)

    def find(self, given: Given | None = None) -> Found:
        """What is found of their addresses."""
        return find_addresses(self.anchors, given or Given())

    def by_route(self, first: str = "", second: str = "") -> dict[str, Addresses]:
        """What is to be found where a route tells each address; by default those that they were made with."""
        first, second = first or self.hosts[0].private_address, second or self.hosts[1].private_address
        ours = Addresses(first, ROUTE, first, PRIVATE, second), Addresses(second, ROUTE, second, PRIVATE, first)
        return dict(zip(self.names, ours, strict=True))

    def by_metadata(self) -> dict[str, Addresses]:
        """What is to be found where the metadata service tells all."""
        return {
            name: Addresses(host.private_address, METADATA, host.public_address, METADATA)
            for name, host in zip(self.names, self.hosts, strict=True)
        }

    @contextmanager
    def changed(self, done: str, undone: str) -> Iterator[None]:
        """Both, once a script has run on them as root; another one runs in the end. N in them is the host's number."""
        try:
            for number, host in enumerate(self.hosts, 1):
                root(host, f"set -e; N={number}; {done}")
            yield
        finally:
            for number, host in enumerate(self.hosts, 1):
                root(host, f"N={number}; {undone}")


def root(host: Host, script: str) -> None:
    done = host.run("/bin/sh", "-c", script)
    assert done.returncode == 0, (script, done.stderr)


@contextmanager
def made(metadata: MetadataMode, *, ipv6: bool = False) -> Iterator[Hosts]:
    with joined(2, metadata, ipv6=ipv6) as cluster, dial_cluster(cluster) as client:
        view = CircuitHosts(client).hosts()
        anchors = [view[name] for name in sorted(view)]
        by_address = {host.circuit_address: host for host in cluster.hosts}
        yield Hosts(cluster, anchors, [by_address[anchor.address] for anchor in anchors])


@pytest.fixture(scope="module")
def bare() -> Iterator[Hosts]:
    """Hosts without a metadata service, which have IPv6, too."""
    with made("none", ipv6=True) as hosts:
        yield hosts


@pytest.fixture(scope="module")
def cloud() -> Iterator[Hosts]:
    """Hosts with a metadata service that wants a token."""
    with made("required") as hosts:
        yield hosts


def without(programs: Sequence[str]) -> tuple[str, str]:
    """Scripts that hide programs, and bring them back."""
    places = f"for place in {' '.join(f'/usr/bin/{name} /usr/sbin/{name}' for name in programs)}"
    hide = f"{places}; do [ ! -e $place ] || mv $place $place.hidden; done"
    return hide, f"{places}; do [ ! -e $place.hidden ] || mv $place.hidden $place; done"


NOBODY: Mapping[str, tuple[str, str]] = {
    "no route": ("true", "true"),
    "refused": (f"ip address add {SERVICE}/32 dev lo", f"ip address del {SERVICE}/32 dev lo"),
    "dropped": (
        (
            "ip link add hole type veth peer name bottom; ip link set hole up; ip link set bottom up;"
            f" ip route add {SERVICE} dev hole; ip neighbour add {SERVICE} lladdr 02:00:00:00:00:01 dev hole"
        ),
        "ip link del hole",
    ),
}
"""Ways in which a metadata service is not there."""


@pytest.mark.parametrize("programs", [(), ("curl",)], ids=["curl", "python"])
@pytest.mark.parametrize("way", NOBODY)
def test_a_service_that_is_not_there_is_not_waited_for(bare: Hosts, way: str, programs: tuple[str, ...]) -> None:
    with bare.changed(*without(programs)):
        # What it takes where nobody can be asked, on a machine that may have much else to do.
        start = time.monotonic()
        bare.find()
        in_any_case = time.monotonic() - start
        with bare.changed(*NOBODY[way]):
            start = time.monotonic()
            found = bare.find()
            seconds = time.monotonic() - start
    assert found == Found(bare.by_route(), {}, [])
    assert seconds < WAIT_S + in_any_case
    if way == "dropped":
        # It was asked, and is heard where it takes a moment.
        assert seconds > 1


@pytest.mark.parametrize("programs", [(), ("curl",)], ids=["curl", "python"])
def test_a_service_that_wants_a_token(cloud: Hosts, programs: tuple[str, ...]) -> None:
    with cloud.changed(*without(programs)):
        assert cloud.find() == Found(cloud.by_metadata(), {}, [])


def test_a_host_that_has_nothing_to_ask_a_service_with(cloud: Hosts) -> None:
    with cloud.changed(*without(("curl", "python3"))):
        assert cloud.find() == Found(cloud.by_route(), {}, [])


def _serving(answers: Mapping[str, str]) -> tuple[str, str]:
    """Scripts that start and end a metadata service which knows no tokens, and tells this and no more."""
    folder = "/run/told/latest/meta-data"
    files = "; ".join(f'echo "{text}" > {folder}/{name}' for name, text in answers.items())
    start = (
        f"mkdir -p {folder}; {files}; ip address add {SERVICE}/32 dev lo;"
        f" systemd-run -q --unit=told python3 -m http.server 80 --bind {SERVICE} --directory /run/told;"
        " tries=0; until ss -Hltn | grep -q ':80 '; do"
        " tries=$((tries + 1)); [ $tries -lt 100 ] || exit 1; sleep 0.1; done"
    )
    return start, f"systemctl stop told; ip address del {SERVICE}/32 dev lo; rm -r /run/told"


def test_a_service_that_knows_no_tokens_and_no_public_address(bare: Hosts) -> None:
    told = {"local-ipv4": "$(hostname -I | cut -d' ' -f1)"}
    with bare.changed(*_serving(told)):
        found = bare.find()
    expected = {
        name: Addresses(host.private_address, METADATA, host.private_address, PRIVATE)
        for name, host in zip(bare.names, bare.hosts, strict=True)
    }
    assert found == Found(expected, {}, [])


def test_a_service_that_tells_another_host_s_address(bare: Hosts) -> None:
    with bare.changed(*_serving({"local-ipv4": "10.9.9.9", "public-ipv4": "192.0.2.9"})):
        found = bare.find()
    assert found.addresses == {}
    name, host = bare.names[0], bare.hosts[0]
    assert found.unfit[name] == (
        f"host {name}: its private address 10.9.9.9, by its metadata service, is none of its own; it has"
        f" {host.private_address}, {host.public_address}, {host.private_address6}, {host.public_address6}:"
        f" name the right one by --private-address={name}=IP"
    )


def test_options_win(cloud: Hosts) -> None:
    (first, second), host = cloud.names, cloud.hosts[0]
    found = cloud.find(Given({first: host.public_address}, {first: "203.0.113.5", second: "2001:db8::5"}))
    other = cloud.by_metadata()[second]
    assert found.addresses == {
        first: Addresses(host.public_address, OPTION, "203.0.113.5", OPTION),
        second: Addresses(other.private, METADATA, "2001:db8::5", OPTION),
    }
    assert [remark.partition(",")[0] for remark in found.remarks] == [
        f"host {first}: public address 203.0.113.5",
        f"host {second}: public address 2001:db8::5",
    ]


TOOLS = {"ip": (), "python": ("ip",), "perl": ("ip", "python3")}


@pytest.mark.parametrize("programs", TOOLS.values(), ids=TOOLS)
def test_a_host_with_several_networks(bare: Hosts, programs: tuple[str, ...]) -> None:
    """The network that both are in is another than the circuit's, once one of them is known by an address there."""
    networks = (
        "ip address add 10.99.0.$N/24 dev eth0; ip link add other type veth peer name end;"
        " ip address add 10.98.0.$N/24 dev other; ip link set other up; ip link set end up"
    )
    with bare.changed(networks, "ip link del other; ip address del 10.99.0.$N/24 dev eth0"):
        assert bare.find() == Found(bare.by_route(), {}, [])
        with bare.changed(*without(programs)):
            found = bare.find(Given({bare.names[1]: "10.99.0.2"}))
            assert found.addresses[bare.names[0]] == Addresses("10.99.0.1", ROUTE, "10.99.0.1", PRIVATE, "10.99.0.2")
            assert found.addresses[bare.names[1]].private == "10.99.0.2"
            known, host = found.addresses[bare.names[0]], bare.hosts[0]
            assert reread_private_address(bare.anchors[0], known) == "10.99.0.1"
        root(host, f"ip route add 10.99.0.2/32 dev eth0 src {host.public_address}")
        assert reread_private_address(bare.anchors[0], known) == host.public_address
        root(host, "ip route del 10.99.0.2/32")


def test_a_host_alone(bare: Hosts) -> None:
    """Its circuit address is one of several."""
    alone = find_addresses(bare.anchors[:1], Given()).addresses
    address = bare.hosts[0].private_address
    assert alone == {bare.names[0]: Addresses(address, "circuit", address, PRIVATE)}


def test_a_wrong_address_is_refused_before_anything_is_changed(bare: Hosts) -> None:
    watched = Watched(bare.cluster)
    name = bare.names[0]
    refused = f"host {name}: its private address 10.9.9.9, by its --private-address, is none of its own; it has "
    for mode in ([], ["--plan"]):
        done = run(*bare.options, f"--private-address={name}=10.9.9.9", "-k", "schema", *mode)
        assert done.returncode == pytest.ExitCode.TESTS_FAILED
        assert refused in done.stdout
    watched.assert_unchanged()


def test_a_public_address_of_nobody_s_is_told(bare: Hosts) -> None:
    name, host = bare.names[1], bare.hosts[1]
    done = run(*bare.options, f"--public-address={name}=203.0.113.5", "--plan")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        f"{name}: private address {host.private_address} (route towards {bare.hosts[0].private_address})" in done.stdout
    )
    assert f"host {name}: public address 203.0.113.5, by --public-address, is none of its own (" in done.stdout


@contextmanager
def never_a_source(host: Host, address: str) -> Iterator[None]:
    """An address of a host, while the host is reached there and does not send from there."""
    change = f"ip -6 address change {address}/64 dev eth0 preferred_lft"
    root(host, f"{change} 0")
    yield
    root(host, f"{change} forever")


def test_a_deployment_on_ipv6(bare: Hosts, tmp_path: Path) -> None:
    """Checked in full when it is made, and again by who attaches."""
    watched = Watched(bare.cluster)
    (first, second), (mysql_host, api_host) = bare.names, bare.hosts
    mysql, api = mysql_host.private_address6, api_host.public_address6
    given = (f"--private-address={first}={mysql.upper()}", f"--public-address={second}={api}")
    with never_a_source(api_host, api):
        planned = run(*bare.options, *given, "--plan")
        assert planned.returncode == 0, planned.stdout + planned.stderr
        assert f"{first}: private address {mysql} (--private-address), public address {mysql} (the" in planned.stdout
        route = f"private address {api_host.private_address6} (route towards {mysql})"
        assert f"{second}: {route}, public address {api} (--public-address)" in planned.stdout
        assert f"'bind-address = {mysql} / skip-slave-start / skip-name-resolve = 1'" in planned.stdout
        assert "listening on [::]:8080" in planned.stdout
        made = run(
            *bare.options, *given, "-rs", "--keep=always", f"--artifacts={tmp_path}", f"--junitxml={tmp_path / 'x.xml'}"
        )
        try:
            assert made.returncode == 0, made.stdout
            assert not_passed(made.stdout, without={BIND_ADDRESS}) == []
            assert f": the private address {mysql} is not from the host (source: option)" in made.stdout
            assert f"Started MySQL on private address: {mysql} 3306 (option)\n" in made.stdout
            assert f"Started Node.js service on public address: {api} 8080 (option)\n" in made.stdout
            assert f"MySQL: bind to [{mysql}]:3306" in made.stdout
            document = read(tmp_path)
            attached = run(*bare.options, "--attach", "--disruptive", "-n", "2", f"--artifacts={tmp_path}")
            assert attached.returncode == 0, attached.stdout
            assert read(tmp_path)["hosts"] == document["hosts"]
        finally:
            ended = run(*bare.options, "--circuit-teardown")
    assert ended.returncode == 0, ended.stdout
    hosts = {host["name"]: host for host in document["hosts"]}
    assert {key: value for key, value in hosts[first].items() if "address" in key} == {
        "private_address": mysql,
        "private_address_from": "option",
        "public_address": mysql,
        "public_address_from": "private",
    }
    assert hosts[second]["private_address"] == api_host.private_address6
    assert hosts[second]["private_address_from"] == "route"
    assert document["services"]["nodejs"]["listen"] == "::"
    told = re.findall(r'name="(\w+)\.address" value="([^"]*)"', (tmp_path / "x.xml").read_text())
    assert sorted(told) == [("mysql", f"{mysql} 3306"), ("nodejs", f"{api} 8080")]
    watched.assert_unchanged()
