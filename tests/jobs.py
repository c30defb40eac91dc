"""Runs of the harness as its users make them, on real hosts that are watched from outside the circuit."""

from __future__ import annotations

import difflib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import circuit
from localhosts import Cluster, Host
from localhosts.metadata import MetadataMode

ROOT = Path(__file__).parent.parent
RUN_LIMIT_S = 120.0
SETTLE_S = 5.0
CLAIM_S = 25.0
"""Longer than a host waits for a run that was killed between asking for the host and claiming it."""

# Debian's checks behind the start of a server make files in /tmp, and take them away again: they are waited for.
DEBIAN_CHECKED = "timeout 30 sh -c 'while pgrep -f [d]ebian-start >/dev/null; do sleep 0.1; done'"

# Everything about a host that a run could leave different: configuration byte for byte with owner and mode, packages,
# services, listening sockets, files of ours, processes of the circuit's user, databases on disk.
STATE = (
    f"{DEBIAN_CHECKED}\n"
    """
find /etc -xdev \\( -type f -o -type l \\) -printf '%p %u %g %m %l\\n' | sort
find /etc -xdev -type f -print0 | sort -z | xargs -0 sha256sum
dpkg-query -W -f '${db:Status-Abbrev} ${binary:Package} ${Version}\\n'
sha256sum /var/lib/apt/extended_states
systemctl is-active mariadb; systemctl is-enabled mariadb
cat /proc/net/tcp /proc/net/tcp6 | awk '$4 == "0A" { print $2 }' | sort
ls -A /tmp /home/ubuntu /var/lib /var/log /var/cache /var/cache/apt/archives /var/lib/apt/lists /usr/sbin/policy-rc.d |
    grep -v systemd-private
ls -dl /run/mysqld | awk '{ print $1, $3, $4 }'; ps -o args= -u mysql | sort
ls -A /var/lib/mysql | grep -E '^(tutorial|precious)$'
ps -o args= -u ubuntu | grep -v -e circuit -e '(sd-pam)' -e systemd | sort
"""
)


class Watched:
    """A cluster whose hosts, or some of them, can be compared with what they were before."""

    def __init__(self, cluster: Cluster, hosts: Sequence[Host] = ()) -> None:
        self.cluster = cluster
        self.hosts = hosts or cluster.hosts
        self.before = self.state()

    def state(self) -> list[str]:
        return [sh(host, STATE) for host in self.hosts]

    def assert_unchanged(self, within: float = SETTLE_S) -> None:
        """Everything is as it was; what has just been told to end is granted a moment for it, in seconds."""
        deadline = time.monotonic() + within
        while (now := self.state()) != self.before and time.monotonic() < deadline:
            time.sleep(0.2)
        diff = difflib.unified_diff(
            "\n".join(self.before).splitlines(), "\n".join(now).splitlines(), "before", "now", lineterm="", n=0
        )
        assert now == self.before, "\n".join(diff)

    def named(self, anchor: str) -> Host:
        """The host behind an anchor name."""
        with dial_cluster(self.cluster) as client:
            names = sorted(client.view())
            assert anchor in names
            host = client.walk(anchor)
            name = host.walk("name").make_proc(circuit.Cmd("/bin/hostname", scrub=True)).communicate()[0]
        return next(host for host in self.cluster.hosts if host.name == name.decode().strip())

    @property
    def roles(self) -> tuple[str, str]:
        """The anchor names of MySQL's host and of the API's."""
        with dial_cluster(self.cluster) as client:
            first, second = sorted(client.view())
        return first, second


def dial_cluster(
    cluster: Cluster, host: Host | None = None, timeout: float = 10.0, listen: tuple[str, int] | None = None
) -> circuit.Client:
    """A client of a cluster's circuit, by the server of ``host``, or of the first."""
    return circuit.dial((host or cluster.hosts[0]).circuit_address, cluster_key(cluster), timeout, listen)


def cluster_key(cluster: Cluster) -> circuit.Hidden | None:
    """The key of a cluster's circuit."""
    file = key_file(cluster)
    return None if file is None else circuit.decode_key(file.read_bytes())


def named(cluster: Cluster, host: Host | None = None) -> list[str]:
    """The options that name a cluster's circuit, by the server of ``host``, or of the first."""
    return [f"--circuit-addr={(host or cluster.hosts[0]).circuit_address}", *keyed(cluster)]


def keyed(cluster: Cluster) -> list[str]:
    """The option that names the key of a cluster's circuit."""
    file = key_file(cluster)
    return [] if file is None else [f"--circuit-hmac={file}"]


def variables(cluster: Cluster) -> dict[str, str]:
    """The same as :func:`named`, as variables of the environment."""
    file = key_file(cluster)
    key = {} if file is None else {"CIRCUIT_HMAC": str(file)}
    return {"CIRCUIT_ADDR": cluster.hosts[0].circuit_address, **key}


def key_file(cluster: Cluster) -> Path | None:
    """The key of a cluster's circuit; there was none at the commit that tests of the key are compared with."""
    return getattr(cluster, "key_file", None)


@contextmanager
def joined(hosts: int, metadata: MetadataMode = "optional", *, ipv6: bool = False) -> Iterator[Cluster]:
    """A cluster of its own, whose hosts all know each other, for a test that harms it."""
    with (
        Cluster(hosts, metadata=metadata, ipv6=ipv6) as cluster,
        dial_cluster(cluster) as client,
    ):
        deadline = time.monotonic() + 20
        while len(client.view()) < hosts:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield cluster


def sh(host: Host, script: str) -> str:
    """Run a script on a host as root, past the circuit."""
    return host.run("/bin/sh", "-c", script, timeout=60).stdout.decode()


def end_waiting_commands(cluster: Cluster) -> None:
    """End what a run that was killed had just started: it waits for its input, until other runs end it in 10 minutes.

    A server cannot end a command whose input no client has opened.
    """
    for host in cluster.hosts:
        sh(host, "pkill -f '^/bin/sh -c CIRCUIT_JOB=[0-9a-f]+; CIRCUIT_JOB_UNTIL=' || true")


def stop_mysql(host: Host) -> None:
    """Stop the server, once Debian's checks behind its start are done: cut short, they leave files in /tmp."""
    sh(host, f"{DEBIAN_CHECKED}; systemctl stop mariadb")


def harness(*options: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:hypothesispytest",
        "-p",
        "no:cacheprovider",
        "-v",
        "--selfcheck",
        *options,
    ]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the harness to its end."""
    return subprocess.run(
        harness(*options), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=RUN_LIMIT_S
    )


def run_forced(forced: str, where: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the harness while a function of it fails; see :mod:`tests.forced`."""
    return subprocess.run(
        harness("-p", "tests.forced", *options),
        cwd=ROOT,
        env={**environment(), "FORCED": forced, "FORCED_IN": where, "PYTHONPATH": os.fspath(ROOT)},
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
    )


def environment() -> dict[str, str]:
    others = ("CIRCUIT_", "PYTEST_", "GITHUB_")
    # With one of these, pytest writes summaries in full, for logs that nobody reads on a screen.
    logged = ("CI", "BUILD_NUMBER")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(others) and name not in logged}
    return {**clean, "PYTHONUNBUFFERED": "1"}


def checks_of_its_own(folder: Path, text: str) -> list[str]:
    """Write checks into a folder; return the options with which the harness runs these in place of its own."""
    file = folder / "test_of_its_own.py"
    file.write_text(text, "utf-8")
    # The folder has no conftest.py above it that would bring the options and fixtures.
    return ["-p", "conftest", "-c", str(ROOT / "pytest.ini"), str(file)]


def run_until(line: str, number: signal.Signals, *options: str) -> tuple[int, str]:
    """Run the harness until its output has ``line``, then signal it as a terminal would; return status and output."""

    def send(process: subprocess.Popen[str]) -> None:
        # Ctrl-C reaches the whole foreground group, a service manager's SIGTERM the process it started.
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)

    return run_and(line, send, *options)


def run_and(line: str, act: Callable[[subprocess.Popen[str]], object], *options: str) -> tuple[int, str]:
    """Run the harness, and act once when its output has ``line``; return status and output."""
    process = start(*options)
    watchdog = threading.Timer(RUN_LIMIT_S, process.kill)
    watchdog.start()
    seen = []
    acted = False
    assert process.stdout is not None
    try:
        for text in process.stdout:
            seen.append(text)
            if not acted and re.search(line, text):
                acted = True
                act(process)
        status = process.wait()
    finally:
        watchdog.cancel()
        process.stdout.close()
    assert acted, "".join(seen)
    return status, "".join(seen)


def start(*options: str) -> subprocess.Popen[str]:
    """Start the harness, in a process group of its own."""
    return subprocess.Popen(
        harness(*options),
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def left_of_cluster_in(output: str) -> list[str]:
    """Links, mounts and processes that are still there of the cluster whose addresses the output shows.

    Another test's cluster gets the same number as soon as nothing is left that bears it.
    """
    found = re.search(r"\b10\.213\.(\d+)\.", output)
    assert found is not None, output
    name = re.compile(rf"\blh{found[1]}\b")
    deadline = time.monotonic() + SETTLE_S
    while (left := _lines_with(name)) and not _is_another_test_s(name) and time.monotonic() < deadline:
        time.sleep(0.2)
    return [] if _is_another_test_s(name) else left


def _lines_with(name: re.Pattern[str]) -> list[str]:
    shown = (
        subprocess.check_output(["ip", "-o", "link"], text=True),
        subprocess.check_output(["ps", "-eo", "args"], text=True),
        Path("/proc/self/mounts").read_text(),
    )
    return [line for text in shown for line in text.splitlines() if name.search(line)]


def _is_another_test_s(name: re.Pattern[str]) -> bool:
    """Whether processes of such a name descend from who runs these tests: those of a run that has ended do not."""
    # Imported here, as tests/conftest.py imports this, and is to be loaded without the packages of the tests.
    import psutil

    tests = psutil.Process(os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid())
    for process in tests.children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if name.search(" ".join(process.cmdline())):
                return True
    return False


@cache
def selected(*options: str) -> frozenset[str]:
    """The checks that options such as ``-k`` select; all without any."""
    listed = run("--collect-only", "-qq", *options).stdout
    return frozenset(re.findall(r"^checks/\w+\.py::.*$", listed, re.MULTILINE))


def passed(output: str) -> frozenset[str]:
    """The checks that passed, by the output of a run, alone or of xdist's."""
    lines = re.findall(r"^(checks/\w+\.py::.*) PASSED|\bPASSED (checks/\w+\.py::.*)$", output, re.MULTILINE)
    return frozenset((alone or of_worker).rstrip() for alone, of_worker in lines)


def not_passed(output: str, *selection: str, disruptive: bool = False, without: Collection[str] = ()) -> list[str]:
    """Return those of the selected checks that were to pass, and did not.

    :param disruptive: whether those ran that stop services.
    :param without: checks that cannot test anything on these hosts.
    """
    expected = selected(*selection) - set(without)
    if not disruptive:
        expected -= selected("-m", "disruptive")
    assert expected, f"no check is selected by {selection}"
    return sorted(expected - passed(output))
