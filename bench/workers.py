"""What four workers save on a deployment that stands, by the distance between the runner and its hosts.

Two hosts are made on this machine and deployed onto. Then all checks are run from a network namespace that is some way
off (`_late_link.py`), by turns in one process and in four workers. What is compared is the time from pytest's
start to its end. Needs root, or sudo without a password.

Workers save waiting, and cost loading: each is a Python that imports pytest and all that checks use. So with few
processors, next door to the hosts, they do not pay.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench._late_link import LateLink, forwarding
from localhosts import Cluster
from localhosts.image import cache_folder
from localhosts.privilege import as_root

ROUND_TRIPS_MS = (0, 10, 20, 50)
"""To a host next door; to the next cloud region; to one on the same continent; to one further off."""

PAIRS = 5
WORKERS = 4
_ROOT = Path(__file__).parent.parent
_LIMIT_S = 300.0


def main() -> None:
    """Measure and print."""
    if os.geteuid() != 0:
        # The user's cache, not root's: the image is there.
        cache = f"XDG_CACHE_HOME={cache_folder().parent.parent}"
        sys.exit(subprocess.run(as_root(["env", cache, sys.executable, "-B", "-m", "bench.workers"])).returncode)
    with Cluster(2) as cluster:
        number = cluster.gateway.split(".")[2]
        link = LateLink(f"10.214.{number}.1", f"10.214.{number}.2", f"late{number}")
        circuit = [f"--circuit-addr={cluster.hosts[0].circuit_address}", f"--circuit-hmac={cluster.key_file}"]
        _check([sys.executable, "-m", "pytest", "-q", *circuit, "--keep=always"])
        with link.up(), forwarding(cluster.name, f"late{number}"):
            for host in cluster.hosts:
                host.run("ip", "route", "add", f"10.214.{number}.0/24", "via", cluster.gateway)
            for round_trip_ms in ROUND_TRIPS_MS:
                link.delay_s = round_trip_ms / 2000
                _compare(f"{round_trip_ms:3} ms", link, circuit)


def _compare(name: str, link: LateLink, circuit: list[str]) -> None:
    times: dict[int, list[float]] = {0: [], WORKERS: []}
    for _ in range(PAIRS):
        for workers, measured in times.items():
            start = time.monotonic()
            # As ./run does: hypothesis is no part of a deployment, and each worker would load it.
            checks = [sys.executable, "-m", "pytest", "-p", "no:hypothesispytest", "-q", *circuit, "--attach"]
            checks += ["-n", str(workers)]
            _check(link.command(*checks))
            measured.append(time.monotonic() - start)
    ratios = sorted(four / one for one, four in zip(times[0], times[WORKERS], strict=True))
    one, four = (statistics.median(measured) for measured in times.values())
    print(
        f"{name} round trip: -n 0 {one:5.1f} s, -n {WORKERS} {four:5.1f} s;"
        f" ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f} in {PAIRS} pairs)",
        flush=True,
    )


def _check(command: list[str]) -> None:
    done = subprocess.run(
        command,
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"the checks did not pass, so their time says nothing:\n{done.stdout}")


if __name__ == "__main__":
    main()
