"""A whole deployment beside its floor, on the same hosts, in turns: the ratio, and where the time of ours goes.

The floor is what must be done, by hand: start MySQL's server at its address, make a database with a table and a user,
then start the app, whose files are in place. It looks at nothing, proves nothing and undoes nothing. Ours is timed from
dialing the circuit to the last service's readiness. Hosts are made on this machine; this needs root, or sudo without a
password. $CIRCUIT_BIN names gocircuit's program, whose servers the hosts then run. An argument names the suite of their
image, as in ``python3 -m bench.whole_job sid``.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import circuit
from circuit_harness.engine.deployment import Deployment
from circuit_harness.engine.spec import DeploymentSpec, Identity, Services
from circuit_harness.plugin.command_line import LEASE_WAIT_S
from circuit_harness.remote.circuit_host import CircuitHosts
from circuit_harness.services.nodejs.app import NodeApp
from circuit_harness.services.nodejs.bundle import build
from circuit_harness.services.protocol import Running
from circuit_harness.steps import Begun, Step, Steps, Watcher
from deploy.services import API_PORT, DATABASE, MYSQL_PORT, services
from localhosts import Cluster, Host, images

ROUNDS = 8
_LIMIT_S = 60.0
_APP = "/root/floor"

_MYSQL = f"""\
install -d -o mysql /run/mysqld
setsid mysqld --user=mysql --bind-address=$1 >/dev/null 2>&1 &
until mysql -e 'SELECT 1' >/dev/null 2>&1; do sleep 0.01; done
mysql -e "CREATE DATABASE {DATABASE}; CREATE USER tutorial@'%'; GRANT ALL ON {DATABASE}.* TO tutorial@'%';
    CREATE TABLE {DATABASE}.NameValue (name VARCHAR(100), value TEXT, PRIMARY KEY (name))"
"""
_NODE = f"""\
setsid nodejs {_APP}/index.js --mysql_host $1 --mysql_port {MYSQL_PORT} --api_host 0.0.0.0 --api_port {API_PORT} \\
    >/dev/null 2>&1 &
until curl -s -o /dev/null http://127.0.0.1:{API_PORT}/ready; do sleep 0.01; done
"""
_END_MYSQL = f"mysql -e \"DROP DATABASE {DATABASE}; DROP USER tutorial@'%'\"; mysqladmin shutdown"
_END_NODE = "pkill -f floor/index.js; while pgrep -f floor/index.js >/dev/null; do sleep 0.01; done"


def main() -> None:
    """Measure and print."""
    declared = Services(services())
    program = os.environ.get("CIRCUIT_BIN")
    image = images.SUITES[sys.argv[1]]() if len(sys.argv) > 1 else None
    began = time.perf_counter()
    # Go servers lose messages when they join each other with a key.
    with Cluster(2, image=image, circuit_bin=Path(program) if program else None, keyed=not program) as cluster:
        with _dial(cluster) as client:
            made_s = time.perf_counter() - began
            (app,) = (service for service in declared.values() if isinstance(service, NodeApp))
            bundle = build(app.folder, Steps())
            first, second = _floor_hosts(cluster, client)
            second.run("sh", "-c", f"mkdir -p {_APP} && tar -xzf - -C {_APP}", input=bundle.data)
        print(f"two hosts made, from a cached image to the circuit's first answer: {made_s:.2f} s")
        floors, ours, watchers = [], [], []
        for round_ in range(ROUNDS + 1):
            floor = _floor(first, second)
            took, watcher = _ours(cluster, declared)
            # The first round fills caches.
            if round_:
                floors.append(floor)
                ours.append(took)
                watchers.append(watcher)
    ratios = sorted(mine / floor for floor, mine in zip(floors, ours, strict=True))
    floor, took = statistics.median(floors), statistics.median(ours)
    print(
        f"dial to the last service: floor {floor:.2f} s, ours {took:.2f} s;"
        f" ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f} in {ROUNDS} rounds)"
    )
    print(" begins   takes, medians in seconds")
    for what, start, seconds in _breakdown(watchers):
        print(f"{start:7.3f} {seconds:7.3f}  {what}")


class _Times(Watcher):
    """Keeps the begin and the duration of all steps and waits."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self.seen: dict[str, tuple[float, float]] = {}

    def ended(self, begun: Begun, step: Step | None, *, stopped: bool = False) -> None:
        self.seen[begun.what] = (begun.since - self._begin, time.monotonic() - begun.since)


def _breakdown(watchers: list[_Times]) -> Iterator[tuple[str, float, float]]:
    """Yield each step that every round had, by its begin."""
    common = set.intersection(*(set(watcher.seen) for watcher in watchers))
    rows = []
    for what in common:
        begins, takes = zip(*(watcher.seen[what] for watcher in watchers), strict=True)
        rows.append((what, statistics.median(begins), statistics.median(takes)))
    yield from sorted(rows, key=lambda row: row[1])


@contextmanager
def _dial(cluster: Cluster) -> Iterator[circuit.Client]:
    key = circuit.decode_key(cluster.key_file.read_bytes()) if cluster.key_file else None
    with circuit.dial([host.circuit_address for host in cluster.hosts], key, 10.0) as client:
        deadline = time.monotonic() + _LIMIT_S
        while len(client.view()) < len(cluster.hosts):
            assert time.monotonic() < deadline, "the hosts do not join"
            time.sleep(0.005)
        yield client


def _floor_hosts(cluster: Cluster, client: circuit.Client) -> tuple[Host, Host]:
    """Return the hosts in the order in which the engine picks them."""
    names = {}
    for name, anchor in client.view().items():
        said = anchor.walk("name").make_proc(circuit.Cmd("/bin/hostname", scrub=True)).communicate()[0]
        names[said.decode().strip()] = name
    first, second = sorted(cluster.hosts, key=lambda host: names[host.name])
    return first, second


def _floor(first: Host, second: Host) -> float:
    """Return the seconds that the work takes by hand, and take it back."""
    try:
        began = time.perf_counter()
        first.run("sh", "-ec", _MYSQL, "sh", first.private_address)
        second.run("sh", "-ec", _NODE, "sh", first.private_address)
        return time.perf_counter() - began
    finally:
        second.run("sh", "-c", _END_NODE)
        first.run("sh", "-c", _END_MYSQL)


def _ours(cluster: Cluster, declared: Services) -> tuple[float, _Times]:
    """Return the seconds from dialing to the last service, and of which steps; take the deployment down."""
    watcher = _Times()
    steps = Steps(watcher)
    began = time.perf_counter()
    with _dial(cluster) as client:
        hosts = CircuitHosts(client)
        spec = DeploymentSpec(declared, lease_wait=LEASE_WAIT_S)
        deployment = Deployment(hosts, Identity(), spec, steps, lambda line: None)
        try:
            ready: list[Future[Running]] = list(deployment.services.values())
            for service in ready:
                service.result(_LIMIT_S)
            took = time.perf_counter() - began
            seen = dict(watcher.seen)
        finally:
            deployment.stop()
            left = deployment.take_down(lambda more: hosts)
    assert not left, left
    watcher.seen = seen
    return took, watcher


if __name__ == "__main__":
    main()
