"""``./run test-full-disk``: a folder of a host gets full, at each step in turn; nothing of others may be lost."""

from __future__ import annotations

import argparse
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from circuit import CircuitError
from circuit_harness.engine.deployment import Deployment
from circuit_harness.engine.spec import DeploymentSpec, Identity, Services
from circuit_harness.engine.teardown import tear_down
from circuit_harness.errors import DeployError
from circuit_harness.remote.circuit_host import CircuitHosts
from circuit_harness.steps import Steps
from deploy.services import services
from localhosts import Cluster, Host
from localhosts.images import debian12
from localhosts.proxy import PackageProxy
from tests.jobs import dial_cluster
from tests.platforms import SETTLE_S, state, unexplained

FOLDERS = ("/var", "/etc", "/tmp")
RUN_LIMIT_S = 900.0

# Each folder becomes a file system of its own, whose size can be changed. One of size 0 would have no limit.
_SMALL = f"""
for folder in {" ".join(FOLDERS)}; do
    mkdir /small
    mount -t tmpfs -o mode=$(stat -c %a $folder) tmpfs /small
    cp -a $folder/. /small/
    echo > /small/keep
    mount --bind /small $folder
    umount /small
    rmdir /small
done
"""

# What others have in these folders, and what the deployment or the package tools write to.
_THEIRS = r"""
echo 'of another app' > /tmp/tutorial-nodejs.log
printf '#!/bin/sh\nexit 101 # theirs\n' > /usr/sbin/policy-rc.d
chmod 750 /usr/sbin/policy-rc.d
apt-mark -qq auto adduser dbus iproute2 procps python3 sudo
"""
_LOOK_AT_THEIRS = "sha256sum /tmp/tutorial-nodejs.log /usr/sbin/policy-rc.d /var/lib/apt/extended_states"

# What is freed is gone at once: others write, too. With the source named, mount repeats none of the file system's other
# options: the kernel tells its owner by a number that does not exist on a host with users of its own.
_FILL = """
fill() {{
    set -- $(stat -f -c '%b %f %S' {folder})
    mount -o remount,size=$((($1 - $2) * $3)) tmpfs {folder}
}}
touch /run/full /run/filling
until fill 2> /dev/null; do sleep 0.01; done
{{ while [ -e /run/full ]; do fill || :; sleep 0.01; done; rm /run/filling; }} > /dev/null 2>&1 < /dev/null &
"""
_FREE = """
rm -f /run/full
while [ -e /run/filling ]; do sleep 0.01; done
for folder in {folders}; do mount -o remount,size=4g tmpfs $folder; done
"""


# The host's name in the circuit and its address, in the names of steps.
_NAMES = re.compile(r"\bX[0-9a-f]{16}\b|\b\d+(\.\d+){3}\b")

# What fills the disk; and a start that failed, which systemd remembers.
_PASSING = re.compile(
    r"process 0 (/bin/sh -ec  fill|stat -f|mount -o remount|(/bin/)?sleep 0\.01)|active mariadb\.service failed"
)


class Filling(Steps):
    """Steps, one of which begins with a folder of the host getting full: by its name, but for the host's own names."""

    def __init__(self, host: Host, folder: str = "", at: str = "") -> None:
        super().__init__()
        self.names: list[str] = []
        self._host = host
        self._folder = folder
        self._at = at
        self._lock = threading.Lock()

    @contextmanager
    def step(self, what: str, host: str = "") -> Iterator[None]:
        """Time the body as one step."""
        name = _NAMES.sub("HOST", what)
        with self._lock:
            if name == self._at and name not in self.names:
                _sh(self._host, _FILL.format(folder=self._folder))
            if name not in self.names:
                self.names.append(name)
        with super().step(what, host):
            yield


@dataclass
class Outcome:
    """What came of a run whose disk got full: what it told, and what was found to be wrong."""

    told: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


@contextmanager
def made(*, bare: bool = False, lacks: str = "") -> Iterator[Cluster]:
    """One host of small file systems, on which others have things, too; a bare one, or one that lacks a package."""
    with Cluster(1, image=debian12(bare=bare)) as cluster, PackageProxy(cluster.gateway) as proxy:
        (host,) = cluster.hosts
        _sh(host, f"""echo 'Acquire::http::Proxy "{proxy}";' > /etc/apt/apt.conf.d/99proxy""")
        if lacks:
            _sh(host, f"apt-get -q -y purge {lacks}; apt-get -q -y --purge autoremove")
        if bare or lacks:
            _sh(host, "apt-get -q update")
        _sh(host, f"{_SMALL}{_THEIRS}")
        yield cluster


def try_out(cluster: Cluster, parts: Sequence[str], *, install: bool, folder: str = "", at: str = "") -> Outcome:
    """Deploy and take down, with ``folder`` full from the step ``at`` on; then clear away what is left, with room.

    Without a folder it never gets full.
    """
    (host,) = cluster.hosts
    outcome = Outcome()
    spec = DeploymentSpec(Services(services()).needed(parts), lease_wait=60, install=install)
    before = _state(host)
    with dial_cluster(cluster) as client:
        circuit = CircuitHosts(client)
        steps = Filling(host, folder, at)
        try:
            deployment = Deployment(circuit, Identity(), spec, steps, outcome.told.append)
            try:
                for service in deployment.services.values():
                    service.result(RUN_LIMIT_S)
            except (DeployError, CircuitError) as error:
                outcome.told.append(str(error))
            deployment.stop()
            left = deployment.take_down(lambda more: circuit)
            outcome.told += map(str, left)
            if changed := [] if left else _changed(host, before):
                outcome.wrong += ["the run ended as if all were undone:", *changed]
        finally:
            _sh(host, _FREE.format(folders=" ".join(FOLDERS)))
        torn = tear_down(circuit, Identity(), (), Steps(), outcome.told.append, nullcontext(), lease_wait=60)
        outcome.wrong += [f"not cleared by the next run: {left}" for left in torn.left]
        if changed := _changed(host, before):
            outcome.wrong += ["after the next run, with room:", *changed]
    outcome.names = steps.names
    if at and at not in steps.names:
        outcome.wrong.append(f"step {at!r} was never begun")
    return outcome


def _state(host: Host) -> set[str]:
    seen = {line for line in state(host) if not _PASSING.match(line)}
    return seen | {f"theirs {line}" for line in _sh(host, _LOOK_AT_THEIRS).splitlines()}


def _changed(host: Host, before: set[str]) -> list[str]:
    """What differs from before, once what has just been told to end has had a moment for it."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        now = _state(host)
        changed = unexplained(sorted({f"- {line}" for line in before - now} | {f"+ {line}" for line in now - before}))
        if not changed or time.monotonic() > deadline:
            return changed
        time.sleep(0.5)


def _sh(host: Host, script: str) -> str:
    done = host.run("/bin/sh", "-ec", script, timeout=120)
    assert done.returncode == 0, done
    return done.stdout.decode("utf-8", "replace")


def main(arguments: Sequence[str] | None = None) -> int:
    """Try every step with every folder; return 0 where nothing was lost or left untold."""
    parser = argparse.ArgumentParser(prog="./run test-full-disk", description=__doc__)
    parser.add_argument("--install", action="store_true", help="on a bare host, with --install; otherwise without")
    parser.add_argument("--folder", choices=FOLDERS, action="append", help="this folder alone; again for another")
    parser.add_argument("steps", nargs="?", default="", metavar="REGEX", help="steps with such a name alone")
    options = parser.parse_args(arguments)
    parts = ("mysql", "nodejs")
    with made(bare=options.install) as cluster:
        dry = try_out(cluster, parts, install=options.install)
    cases = [(at, folder) for at in dry.names for folder in options.folder or FOLDERS if re.search(options.steps, at)]
    print("\n".join([f"{len(dry.names)} steps, {len(cases)} cases", *dry.wrong]), flush=True)
    bad = len(dry.wrong)
    while cases:
        # What was lost on a host is not blamed on the next case, too.
        with made(bare=options.install) as cluster:
            while cases:
                at, folder = cases.pop(0)
                start = time.monotonic()
                outcome = try_out(cluster, parts, install=options.install, folder=folder, at=at)
                told = re.sub(r"\s+", " ", outcome.told[0])[:150] if outcome.told else "nothing was told"
                seconds = time.monotonic() - start
                print(
                    f"{'FAILED' if outcome.wrong else 'ok'} {seconds:3.0f} s  {folder} full at {at!r}: {told}",
                    flush=True,
                )
                if outcome.wrong:
                    bad += 1
                    print("\n".join(f"    {line}" for line in outcome.wrong[:20]), flush=True)
                    break
    print(f"{bad} failed", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
