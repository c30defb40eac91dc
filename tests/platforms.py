"""Systems that hosts may have: the main job on each, and what it leaves there."""

from __future__ import annotations

import ipaddress
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import circuit
from localhosts import Cluster, Host
from localhosts.image import Image
from localhosts.images import debian12, debian13, ubuntu2404, unstable
from localhosts.inits import Init, Login
from localhosts.metadata import MetadataMode
from localhosts.privilege import as_root
from localhosts.proxy import PackageProxy
from tests.jobs import ROOT, dial_cluster, environment, named
from tests.planned import differences
from tests.resolvers import silent_resolver
from tests.run_json import problems

RUN_LIMIT_S = 600.0
JOIN_LIMIT_S = 30.0
SETTLE_S = 10.0
_STATE_LIMIT_S = 120.0

# Everything about a host that a run could leave different, a line each, that begins with what it is about.
_STATE = r"""
export LC_ALL=C
say() { sed "s|^|$1 |"; }
find /etc -xdev -type f -exec sha256sum {} + | awk '{ print $2, $1 }' | say content
find /etc /usr /opt /srv /root /home /tmp /var -xdev \( -path /var/lib/mysql -o -path /var/log -o -path /var/cache \
    -o -path /var/tmp -o -path /tmp/systemd-private-\* -o -path /var/lib/systemd \) -prune -printf '%p %y %U %G %m\n' \
    -o -printf '%p %y %U %G %m %l\n' | say file
ls -A /var/log /var/cache 2>/dev/null | say log
ls -A /var/lib/mysql 2>/dev/null | grep -x -e tutorial | say database
dpkg-query -W -f '${binary:Package} ${Version} ${db:Status-Abbrev}\n' | say package
getent passwd | say user
getent group | say group
if [ -d /run/systemd/system ]; then
    systemctl list-unit-files --no-legend --no-pager --type=service,socket,timer | awk '{ print $1, $2 }' | say unit
    systemctl list-units --no-legend --no-pager --plain --type=service,socket --state=active,failed |
        awk '{ print $1, $3 }' | say active
fi
awk '$4 == "0A" { print $2 }' /proc/net/tcp /proc/net/tcp6 | sort | say listening
for process in /proc/[0-9]*; do
    [ "$(readlink $process/ns/pid)" = "$(readlink /proc/self/ns/pid)" ] || continue
    printf '%s %s\n' "$(stat -c %u $process)" "$(tr '\0\n' '  ' < $process/cmdline)"
done 2>/dev/null | grep -av -e '^[0-9]* $' -e '^0 /bin/sh -c' -e '^0 timeout' -e '^0 tr ' -e '^0 sort' \
    -e '^0 grep' -e '^0 sed' |
    sort | say process
"""

# What a run generates as passwords, wherever the server keeps or writes something.
_PASSWORDS = "grep -raoE '[A-Za-z0-9_-]{32}-aA1' /var/lib/mysql /var/log 2>/dev/null | cut -d : -f 1 | sort -u"

# Who began them ends them, whatever a run does meanwhile.
_COME_AND_GO = re.compile(
    r"active (user|user-runtime-dir)@|active (apt-daily|dpkg-db-backup|systemd-tmpfiles|e2scrub|logrotate|man-db)"
    r"|process \d+ (/lib/systemd|/usr/lib/systemd|\(sd-pam\)|sshd|sudo)"
)
# A process that systemd has made and that has not become its program yet.
_STARTING = re.compile(r"process \d+ \(")


@dataclass(frozen=True)
class Cell:
    """A kind of hosts.

    With a ``second_network`` the private addresses are in one that this machine has no way to. ``install`` is whether
    the hosts are bare, and the run installs what it needs. ``setting`` are lines of the server's option files.
    With ``silent_resolver`` whom the hosts ask for names does not answer.
    """

    name: str
    image: Image
    init: Init = "systemd"
    login: Login = "ubuntu"
    metadata: MetadataMode = "optional"
    ipv6: bool = False
    second_network: bool = False
    install: bool = False
    hosts: int = 2
    setting: str = ""
    silent_resolver: bool = False
    options: tuple[str, ...] = ()


CELLS = (
    Cell("Debian 12", debian12()),
    Cell("Debian 12, sysv", debian12(init="sysv"), init="sysv", login="root", metadata="required"),
    Cell("Debian 12, no init", debian12(), init="none", metadata="none"),
    Cell("Debian 13", debian13(), login="root", metadata="none"),
    Cell("Debian 13, sysv", debian13(init="sysv"), init="sysv"),
    Cell("Debian 13, no init", debian13(), init="none", login="root", metadata="required"),
    Cell("Debian unstable", unstable(), metadata="required"),
    Cell("Debian unstable, sysv", unstable(init="sysv"), init="sysv", metadata="none"),
    Cell("Debian unstable, no init", unstable(), init="none", login="root", metadata="none"),
    Cell("Debian unstable, without TLS", unstable(), init="none", metadata="none", setting="tls_version ="),
    Cell("Ubuntu 24.04", ubuntu2404(), metadata="required"),
    Cell("Ubuntu 24.04, no init", ubuntu2404(), init="none", login="root"),
    Cell("Debian 12, IPv6", debian12(), metadata="none", ipv6=True),
    Cell("Debian unstable, IPv6", unstable(), login="root", metadata="none", ipv6=True),
    Cell("Debian 12, network of their own", debian12(), metadata="none", second_network=True),
    Cell("Debian 12, bare", debian12(bare=True), install=True),
    Cell("Debian 13, bare", debian13(bare=True), login="root", metadata="none", install=True),
    Cell("Debian 12, one host", debian12(), hosts=1),
    Cell(
        "Debian 12, strict about passwords",
        debian12(),
        setting="plugin_load_add = simple_password_check\nlog_bin = binlog",
    ),
    Cell("Debian 12, names in lower case", debian12(), init="none", setting="lower_case_table_names = 1"),
    Cell("Debian 12, silent resolver", debian12(), silent_resolver=True),
    Cell("Debian unstable, silent resolver", unstable(), metadata="none", silent_resolver=True),
    Cell("Debian 13, tutorial's set-up", debian13(), options=("--tutorial-compat",)),
)

IN_CI = ("Debian 12", "Debian unstable, no init", "Debian unstable, without TLS")
"""The names of those that every test run covers."""


@dataclass
class Outcome:
    """What came of a cell. ``changed`` are lines of the hosts' state that differ after the run, by what they are of."""

    cell: Cell
    seconds: float = 0.0
    system: str = ""
    server: str = ""
    node: str = ""
    status: int = -1
    passed: int = 0
    failures: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    output: str = ""

    @property
    def ok(self) -> bool:
        """Whether every check that was run has passed, and the hosts are as they were."""
        return self.status == 0 and self.passed > 0 and not self.failures and not unexplained(self.changed)


REWRITTEN = {
    r"(content|file) /etc/(passwd|group|shadow|gshadow|subuid|subgid)- ": "the backup that each change of an account"
    " makes of the file before it",
    r"(content|file) /etc/ld\.so\.cache ": "ldconfig writes it anew, in another order, whenever a library came or went",
    r"file /var/lib/(dpkg|apt|ucf|systemd)/|file /var/lib/(dpkg|apt|ucf)(/\S*)? ": "the package tools' own bookkeeping",
    r"log (apt|dpkg\.log|alternatives\.log|debconf|ldconfig|apt\.systemd\.daily)": "the package tools' logs and caches",
}
"""What package tools rewrite by themselves, and why it is not put back."""


def unexplained(changed: list[str]) -> list[str]:
    """Those changes that package tools do not make by themselves."""
    return [line for line in changed if not any(re.match(f"[-+] {pattern}", line) for pattern in REWRITTEN)]


def state(host: Host) -> set[str]:
    """A host's state, as lines."""
    done = host.run("/bin/sh", "-c", _STATE, timeout=_STATE_LIMIT_S)
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    assert len(lines) > 1000, done.stderr
    return {line for line in lines if not _COME_AND_GO.match(line)}


@contextmanager
def made(cell: Cell) -> Iterator[tuple[Cluster, list[str]]]:
    """The cell's hosts, and the options that a run needs for them."""
    cluster = Cluster(
        cell.hosts,
        image=cell.image,
        init=cell.init,
        login=cell.login,
        metadata=cell.metadata,
        ipv6=cell.ipv6,
        second_network=cell.second_network,
    )
    with ExitStack() as stack:
        stack.enter_context(cluster)
        options = [*named(cluster), *cell.options]
        if cell.install:
            proxy = stack.enter_context(PackageProxy(cluster.gateway))
            for host in cluster.hosts:
                text = f'Acquire::http::Proxy "{proxy}";\nAcquire::https::Proxy "{proxy}";\n'
                host.run("/bin/sh", "-c", "cat > /etc/apt/apt.conf.d/90proxy", input=text.encode())
            options.append("--install")
        if cell.setting:
            for host in cluster.hosts:
                option_file = f"[mysqld]\n{cell.setting}\n"
                host.run("/bin/sh", "-c", "cat > /etc/mysql/conf.d/setting.cnf", input=option_file.encode())
        for anchor, host in _anchors(cluster).items():
            if cell.ipv6:
                options.append(f"--private-address={anchor}={host.private_address6}")
                options.append(f"--public-address={anchor}={host.public_address6}")
            if cell.second_network:
                options.append(f"--private-address={anchor}={host.second_address}")
                options.append(f"--public-address={anchor}={host.public_address}")
        if cell.second_network:
            stack.enter_context(_unreachable(f"{cluster.hosts[0].second_address}/24"))
        if cell.silent_resolver:
            stack.enter_context(silent_resolver(cluster))
        yield cluster, options


@contextmanager
def _unreachable(network: str) -> Iterator[None]:
    """A network that this machine knows to have no way to, lest it look for one outside."""
    route = ["unreachable", str(ipaddress.ip_network(network, strict=False))]
    subprocess.run(as_root(["ip", "route", "add", *route]), capture_output=True, timeout=10, check=True)
    try:
        yield
    finally:
        subprocess.run(as_root(["ip", "route", "delete", *route]), capture_output=True, timeout=10, check=True)


def _anchors(cluster: Cluster) -> dict[str, Host]:
    """The hosts by their anchors' names, once all have joined the circuit."""
    deadline = time.monotonic() + JOIN_LIMIT_S
    with dial_cluster(cluster) as client:
        while len(view := client.view()) < len(cluster.hosts):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        by_address = {host.private_address: host for host in cluster.hosts}
        return {name: by_address[circuit.parse_address(anchor.address).host] for name, anchor in view.items()}


def try_out(cell: Cell, folder: Path) -> Outcome:
    """Run the main job on hosts of this kind, with all of its checks, and compare the hosts before and after.

    :param folder: where the run's artifacts go.
    """
    outcome = Outcome(cell)
    start = time.monotonic()
    with made(cell) as (cluster, options):
        outcome.system = _line(cluster.hosts[0], '. /etc/os-release; echo "$PRETTY_NAME"')
        before = [_settled(host) for host in cluster.hosts]
        plan = _pytest(*options, "--plan")
        done = _pytest("--selfcheck", "--disruptive", f"--artifacts={folder}", *options)
        outcome.status, outcome.output = done.returncode, done.stdout + done.stderr
        outcome.changed = _changes(cluster, before)
        # Which are gone with their accounts, but not out of a binary log.
        outcome.failures += [
            f"a password stands in {path}" for host in cluster.hosts for path in _line(host, _PASSWORDS).splitlines()
        ]
    outcome.seconds = time.monotonic() - start
    if (folder / "run.json").exists():
        document = json.loads((folder / "run.json").read_text())
        outcome.failures += problems(document)
        _read(outcome, document)
        outcome.failures += differences(plan.stdout, document)
    return outcome


def _pytest(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
    )


def _settled(host: Host) -> set[str]:
    """A host's state, once what was being started when it came up is there."""
    host.run("/bin/sh", "-c", "! command -v systemctl || systemctl is-system-running --wait", timeout=JOIN_LIMIT_S)
    deadline = time.monotonic() + SETTLE_S
    now = state(host)
    while any(map(_STARTING.match, now)) and time.monotonic() < deadline:
        time.sleep(0.2)
        now = state(host)
    return now


def _changes(cluster: Cluster, before: list[set[str]]) -> list[str]:
    """What differs, once what has just been told to end has had a moment for it."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        changed = set()
        for host, old in zip(cluster.hosts, before, strict=True):
            now = state(host)
            changed |= {f"- {line}" for line in old - now} | {f"+ {line}" for line in now - old}
        if not unexplained(sorted(changed)) or time.monotonic() > deadline:
            return sorted(changed)
        time.sleep(0.5)


def _read(outcome: Outcome, document: dict[str, Any]) -> None:
    for result in document["results"]:
        name = result["check"].rpartition("::")[2]
        if result["outcome"] == "passed":
            outcome.passed += 1
        elif result["outcome"] == "skipped":
            outcome.skipped[name] = result["reason"]
        else:
            outcome.failures.append(f"{name}: {result['reason']}")
    outcome.failures += [f"left behind {left}" for left in document["left"]]
    services = document["services"]
    outcome.server = services.get("mysql", {}).get("version", "")
    outcome.node = services.get("nodejs", {}).get("version", "")


def _line(host: Host, script: str) -> str:
    return host.run("/bin/sh", "-c", script).stdout.decode().strip()
