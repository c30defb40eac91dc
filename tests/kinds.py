"""What a host of each kind must be, for the tests of the suite and for those of the matrix."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import circuit
from localhosts import Cluster, Host, cgroups, sweep
from localhosts.inits import Init
from tests.jobs import cluster_key, dial_cluster

FIRST_PROCESSES: dict[Init, str] = {"systemd": "systemd", "sysv": "init", "none": "(sd-stubinit)"}
RESTARTS: dict[Init, str] = {
    "systemd": "systemctl restart circuit",
    "sysv": "service circuit restart",
    "none": "setsid --fork /opt/circuit/serve < /dev/null > /dev/null 2>&1",
}
"""How the circuit server of such a host is started again."""


def output(host: Host, script: str, timeout: float = 30.0) -> str:
    """What a script that succeeds writes; it is run as root, past the circuit."""
    done = host.run("sh", "-euc", script, timeout=timeout)
    assert done.returncode == 0, done
    return done.stdout.decode().strip()


def through_circuit(cluster: Cluster, host: Host, script: str) -> str:
    """What a script writes that is run through the circuit, as whom its server runs as."""
    with dial_cluster(cluster, host) as client:
        anchor = next(anchor for anchor in client.view().values() if anchor.address == host.circuit_address)
        proc = anchor.walk("test").make_proc(circuit.Cmd("/bin/sh", ["-c", script], scrub=True))
        return proc.communicate()[0].decode().strip()


def until(condition: Callable[[], object], what: str, limit: float = 20.0) -> None:
    """Wait until ``condition`` is true, at most ``limit`` seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"waited {limit:g} s for {what}"
        time.sleep(0.05)


def until_joined(cluster: Cluster) -> None:
    """Wait until the first host's server knows all the others."""
    with dial_cluster(cluster) as client:
        until(lambda: len(client.view()) == len(cluster.hosts), "all hosts to join")


def has_joined(cluster: Cluster, host: Host) -> bool:
    """Whether the server that runs on a host now, perhaps not its first one, knows all the others."""
    printed = output(host, "grep -o '^circuit://[^ ]*' /var/log/circuit.log | tail -n 1")
    try:
        with circuit.dial(printed, cluster_key(cluster)) as client:
            return len(client.view()) == len(cluster.hosts)
    except circuit.CircuitError:
        return False


@contextmanager
def ended_cleanly(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, started; nothing of it may be there when it has ended."""
    with cluster:
        processes = [pid for host in cluster.hosts for pid in cgroups.pids(host.group)]
        identity = cluster.hosts[0].group.split("-")[1]
        yield cluster
    assert sweep.remains(identity) == []
    # Their parent, which reaps them, may end a moment later.
    until(lambda: not any(Path("/proc", str(pid)).exists() for pid in processes), "the processes to go")


def check(cluster: Cluster, init: Init, login: str) -> None:
    """Fail unless the last of two or more hosts is of this kind, and its circuit server can be used and restarted."""
    host = cluster.hosts[-1]
    assert output(host, "cat /proc/1/comm") == FIRST_PROCESSES[init]
    assert output(host, "test ! -d /run/systemd/system || echo systemd") == ("systemd" if init == "systemd" else "")
    until_joined(cluster)
    # Descriptor 0 is no terminal, and there is no other to be had: sudo would ask there.
    home = {"root": "/root"}.get(login, f"/home/{login}")
    said = through_circuit(cluster, host, "id -un; pwd; echo $HOME; (: < /dev/tty) 2> /dev/null || echo no terminal")
    assert said == f"{login}\n{home}\n{home}\nno terminal"
    # What the server started outlives it, and is reaped in the end.
    through_circuit(cluster, host, "setsid sleep 987 > /dev/null 2>&1 & setsid sleep 0.1 > /dev/null 2>&1 &")
    output(host, "pkill -KILL -f '[c]ircuit.node'; while pgrep -f '[c]ircuit.node'; do sleep 0.05; done")
    until(lambda: output(host, "cat /var/lib/circuit/ended || true"), "the end of the server to be told")
    output(host, "pgrep -fx 'sleep 987'")
    output(host, RESTARTS[init])
    until_joined(cluster)
    assert output(host, "ps -eo stat= | grep Z || true") == ""
    until(lambda: has_joined(cluster, host), "the server to join again")
