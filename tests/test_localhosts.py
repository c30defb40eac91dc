"""localhosts on the real machine: hosts are booted, used, and ended in every way that a run can end."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from localhosts import Cluster, Host, LocalHostsError, cgroups, image, images, sweep
from localhosts.privilege import as_root, require_root
from tests.kinds import has_joined

PROJECT = Path(__file__).parent.parent
METADATA = "http://169.254.169.254"

HOLD_A_CLUSTER = """
import json, os, sys
from localhosts import Cluster

with Cluster(2) as cluster:
    print(json.dumps([cluster.name, [host.group for host in cluster.hosts]]), flush=True)
    sys.stdin.read()
    os._exit(0)
"""
"""A run that makes a cluster and never closes it by itself."""

USE_A_HOST_AFTER_A_SIGNAL = """
import signal, sys, time
from localhosts import Cluster

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: None)
with Cluster(1) as cluster:
    print(cluster.hosts[0].name, flush=True)
    sys.stdin.readline()
    time.sleep(0.5)  # long enough for hosts to end, were they told to
    sys.stdout.buffer.write(cluster.hosts[0].run("hostname").stdout)
"""
"""A run that still has work on its hosts when it is told to end."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def second_cluster(cluster: Cluster) -> Iterator[Cluster]:
    """Another cluster at the same time; its metadata service wants a token."""
    with Cluster(1, metadata="required") as other:
        yield other


def output(host: Host, *argv: str) -> str:
    """What a command that succeeds on the host writes."""
    done = host.run(*argv)
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout.decode().strip()


def curl(host: Host, path: str, *options: str) -> str:
    """The body and the status that the host's metadata service answers."""
    return output(
        host, "curl", "--silent", "--max-time", "5", "--write-out", " %{http_code}", *options, METADATA + path
    )


def curl_with_token(host: Host, path: str) -> str:
    """The same, asked with a token that was fetched first."""
    token, status = curl(
        host, "/latest/api/token", "--request", "PUT", "--header", "X-aws-ec2-metadata-token-ttl-seconds: 60"
    ).split()
    assert status == "200"
    return curl(host, path, "--header", f"X-aws-ec2-metadata-token: {token}")


def until(condition: Callable[[], object], limit: float, what: str) -> None:
    """Wait until ``condition`` is true, at most ``limit`` seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"waited {limit:g} s for {what}"
        time.sleep(0.02)


def reachable(address: str, port: int) -> bool:
    """Whether the runner gets a connection there."""
    try:
        socket.create_connection((address, port), timeout=5).close()
    except OSError:
        return False
    return True


def localhosts(*arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of ``python3 -m localhosts`` with an image cache of its own."""
    return run_with_cache([sys.executable, "-m", "localhosts", *arguments], cache)


def run_with_cache(command: list[str], cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=PROJECT,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@dataclass(frozen=True)
class Trace:
    """What there is of a cluster that runs, noted to look for it later."""

    name: str
    link: str
    identity: str
    supervisor: int
    processes: tuple[int, ...]

    @classmethod
    def of(cls, name: str, groups: list[str]) -> Trace:
        """The trace of a cluster with this name and these control groups."""
        processes = [pid for group in groups for pid in cgroups.pids(group)]
        nspawn = next(pid for pid in processes if status(pid)["Name"] == "systemd-nspawn")
        supervisor = int(status(nspawn)["PPid"])
        return cls(name, link(name), groups[0].split("-")[1], supervisor, (supervisor, *processes))

    @classmethod
    def of_cluster(cls, cluster: Cluster) -> Trace:
        """The trace of a cluster of this process."""
        return cls.of(cluster.name, [host.group for host in cluster.hosts])

    def assert_processes_and_links_gone(self) -> None:
        """What the kernel takes away with a supervisor."""
        until(lambda: not any(Path("/proc", str(pid)).exists() for pid in self.processes), 10, "the processes to go")
        # Another cluster may have the name by now, but never the same link.
        until(lambda: link(self.name) != self.link, 10, f"link {self.name} to go")

    def assert_gone(self) -> None:
        """Everything."""
        self.assert_processes_and_links_gone()
        until(lambda: not sweep.remains(self.identity), 10, f"{sweep.remains(self.identity)} to go")
        assert "/run/hosts/" not in Path("/proc/self/mountinfo").read_text()
        assert not Path("/run/netns/host1").exists()


def kill(pid: int) -> None:
    """End a process of root's as the kernel does when memory is short."""
    subprocess.run(as_root(["kill", "-KILL", str(pid)]), check=True)


def status(pid: int) -> dict[str, str]:
    """What the kernel says of a process, by name."""
    lines = Path("/proc", str(pid), "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def link(name: str) -> str:
    """The number of the runner's link ``name``; nothing when there is none. The kernel uses no number twice."""
    try:
        return Path("/sys/class/net", name, "ifindex").read_text()
    except OSError:
        return ""


# --- What a host is


def test_hosts_have_names_roots_and_processes_of_their_own(cluster: Cluster) -> None:
    names = [output(host, "hostname") for host in cluster.hosts]
    assert names == [host.name for host in cluster.hosts] == [f"{cluster.name}-1", f"{cluster.name}-2"]
    first, second = cluster.hosts
    output(first, "touch", "/etc/only-here")
    assert second.run("test", "-e", "/etc/only-here").returncode == 1
    assert not Path("/etc/only-here").exists()
    assert output(first, "cat", "/proc/1/comm") == "systemd"
    assert output(first, "cat", "/etc/machine-id") != output(second, "cat", "/etc/machine-id")


def test_all_files_of_a_host_belong_to_its_own_users(cluster: Cluster) -> None:
    """The image's, the project's, and those that were written for this host alone."""
    files = ("/", "/etc/passwd", "/opt/circuit", "/etc/hosts", "/var/lib/circuit/key")
    for host in cluster.hosts:
        # The kernel's own file systems are not the host's.
        assert output(host, "sh", "-c", "find / -xdev \\( -nouser -o -nogroup \\) ! -path /proc") == ""
        assert output(host, "stat", "-c", "%U", *files).split() == ["root", "root", "root", "root", "ubuntu"]


@pytest.mark.rights
def test_runner_and_hosts_reach_both_addresses(cluster: Cluster) -> None:
    first, second = cluster.hosts
    output(first, "systemd-run", "--quiet", "python3", "-m", "http.server", "8080", "--directory", "/etc")
    for address in (first.private_address, first.public_address):
        until(partial(reachable, address, 8080), 10, f"a web server on {address}")
        assert output(second, "curl", "--silent", "--max-time", "5", f"http://{address}:8080/hostname") == first.name


def test_hosts_reach_the_runner(cluster: Cluster) -> None:
    # A Go circuit server calls its clients back.
    with socket.create_server((cluster.gateway, 0)) as listener:
        port = listener.getsockname()[1]
        output(cluster.hosts[0], "bash", "-c", f"exec 3<>/dev/tcp/{cluster.gateway}/{port}")


def test_host_has_links_of_its_own_namespace_only(cluster: Cluster) -> None:
    assert output(cluster.hosts[0], "ls", "/sys/class/net").split() == ["eth0", "lo"]


@pytest.mark.rights
def test_user_ubuntu_is_root_by_sudo_at_once_and_without_a_word(cluster: Cluster) -> None:
    # sudo looks up the host's name: one that does not resolve costs seconds, or a line on standard error.
    start = time.monotonic()
    assert output(cluster.hosts[1], "su", "-", "ubuntu", "-c", "sudo -n id -un; id -un") == "root\nubuntu"
    assert time.monotonic() - start < 3
    resolved = output(cluster.hosts[1], "getent", "hosts", cluster.hosts[1].name)
    assert resolved.split() == [cluster.hosts[1].private_address, cluster.hosts[1].name]


def test_mariadb_is_off_at_boot_and_starts(cluster: Cluster) -> None:
    host = cluster.hosts[0]
    assert host.run("pgrep", "mariadbd").returncode == 1
    output(host, "systemctl", "start", "mariadb")
    assert output(host, "mysql", "-NBe", "select @@bind_address, @@innodb_log_file_size") == "127.0.0.1\t4194304"


def test_mariadb_has_a_certificate_of_the_image_s_own_authority(cluster: Cluster) -> None:
    sh = ("sh", "-euc")
    assert output(cluster.hosts[0], *sh, "stat -c '%n %U:%G %a' /etc/mysql/*.pem").splitlines() == [
        "/etc/mysql/cacert.pem root:root 644",
        "/etc/mysql/server-cert.pem root:root 644",
        "/etc/mysql/server-key.pem mysql:mysql 600",
    ]
    verify = "cd /etc/mysql; openssl verify -x509_strict -CAfile cacert.pem server-cert.pem"
    assert output(cluster.hosts[0], *sh, verify) == "server-cert.pem: OK"
    output(cluster.hosts[0], "systemctl", "start", "mariadb")
    assert output(cluster.hosts[0], "mysql", "-NBe", "select @@have_ssl, @@ssl_ca") == "YES\t/etc/mysql/cacert.pem"


def test_circuit_servers_run_as_ubuntu_and_join_the_first(cluster: Cluster) -> None:
    first, second = cluster.hosts
    for host in cluster.hosts:
        assert host.circuit_address.startswith(f"circuit://{host.private_address}:11022/")
        pid = output(host, "systemctl", "show", "--property=MainPID", "--value", "circuit")
        assert output(host, "stat", "--format=%U", f"/proc/{pid}") == "ubuntu"
        assert "HOME=/home/ubuntu" in output(host, "cat", f"/proc/{pid}/environ").split("\0")
        assert reachable(host.private_address, 11022)
        assert output(host, "cat", "/var/lib/circuit/join") == (first.circuit_address if host is second else "")


def test_circuit_servers_encrypt_by_the_library(cluster: Cluster) -> None:
    made = "from circuit.node.rc4 import RC4, rc4; key = bytes(64); library = rc4(key); plain = RC4(key)"
    shown = (
        "print(type(library).__module__, library.encrypt(b'x') == plain.encrypt(b'x'), rc4(b'Key').encrypt(b'x').hex())"
    )
    done = cluster.hosts[0].run("env", "PYTHONPATH=/opt/circuit", "python3", "-c", f"{made}; {shown}")
    assert done.stdout == b"Cryptodome.Cipher.ARC4 True 93\n"


def test_circuit_server_that_is_started_again_joins_again(cluster: Cluster) -> None:
    host = cluster.hosts[1]
    output(host, "systemctl", "restart", "circuit")
    until(lambda: has_joined(cluster, host), 20, "the server to join again")


# --- Commands from outside


@pytest.mark.rights
def test_run_hands_over_input_and_returns_status_and_both_streams(cluster: Cluster) -> None:
    done = cluster.hosts[0].run("sh", "-c", "cat; echo no >&2; exit 7", input=b"\x00yes")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"\x00yes", b"no\n")


@pytest.mark.parametrize("command", ["sleep 61", "trap '' TERM; sleep 61; sleep 61"])
def test_run_kills_what_outlasts_its_limit(cluster: Cluster, command: str) -> None:
    with pytest.raises(LocalHostsError, match=r"sleep 61.* on host lh\d+-1 was not done after 0\.5 s"):
        cluster.hosts[0].run("sh", "-c", command, timeout=0.5)
    until(lambda: cluster.hosts[0].run("pgrep", "-f", "sleep 6[1]").returncode, 5, "the end of the command")


# --- Metadata


def test_metadata_answers_with_and_without_a_token(cluster: Cluster) -> None:
    for host in cluster.hosts:
        assert curl(host, "/latest/meta-data/local-ipv4") == f"{host.private_address} 200"
        assert curl(host, "/latest/meta-data/public-ipv4") == f"{host.public_address} 200"
        assert curl_with_token(host, "/latest/meta-data/public-ipv4") == f"{host.public_address} 200"


def test_metadata_that_wants_a_token_refuses_without_one(second_cluster: Cluster) -> None:
    (host,) = second_cluster.hosts
    assert curl(host, "/latest/meta-data/local-ipv4") == "401"
    assert curl_with_token(host, "/latest/meta-data/local-ipv4") == f"{host.private_address} 200"


HOLD = """
import socket, time
held = [socket.socket() for _ in range(200)]
for one in held:
    one.setblocking(False), one.connect_ex(("169.254.169.254", 80))
time.sleep(1)
open("/run/held", "w").close(), time.sleep(600)
"""


def test_root_of_a_host_cannot_use_up_the_descriptors_of_its_supervisor() -> None:
    """The metadata service stands in the process that is to take all hosts down."""
    with Cluster(1) as cluster:
        (host,) = cluster.hosts
        look = as_root(["ls", f"/proc/{Trace.of_cluster(cluster).supervisor}/fd"])

        def count() -> int:
            return len(subprocess.check_output(look, timeout=10).splitlines())

        before = count()
        assert host.run("setsid", "-f", "sh", "-c", f"exec python3 -c '{HOLD}' >/dev/null 2>&1").returncode == 0
        until(lambda: host.run("test", "-e", "/run/held").returncode == 0, 20, "connections")
        assert count() - before < 50


def test_host_without_metadata_fails_at_once() -> None:
    with Cluster(1, metadata="none") as cluster:
        done = cluster.hosts[0].run("curl", "--silent", METADATA)
        assert done.returncode == 7  # could not connect


# --- Several clusters


def test_two_clusters_at_once_have_nothing_in_common(cluster: Cluster, second_cluster: Cluster) -> None:
    assert cluster.name != second_cluster.name
    assert cluster.gateway != second_cluster.gateway
    (stranger,) = second_cluster.hosts
    unreachable = cluster.hosts[0].run("curl", "--silent", f"http://{stranger.private_address}:11022")
    assert unreachable.returncode == 7  # could not connect
    assert reachable(stranger.private_address, 11022)


@pytest.mark.rights
def test_sweep_leaves_clusters_that_live_alone(cluster: Cluster, tmp_path: Path) -> None:
    identity = Trace.of_cluster(cluster).identity
    before = sweep.remains(identity)
    swept = localhosts("clean", cache=tmp_path)
    assert (swept.returncode, swept.stderr) == (0, "")
    assert identity not in swept.stdout
    assert before
    assert sweep.remains(identity) == before
    assert output(cluster.hosts[0], "hostname") == cluster.hosts[0].name


def test_sweep_leaves_clusters_of_other_containers_alone(cluster: Cluster, tmp_path: Path) -> None:
    """Such a container has the same control groups, and another folder of lock files."""
    up = [sys.executable, "-B", "-m", "localhosts", "up", "--hosts", "1", "--init", "none"]
    with subprocess.Popen(
        as_root(["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$@"', "sh", *up]),
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as container:
        assert container.stdout is not None
        made = container.stdout.readline()
        address = made.split()[2]
        assert reachable(address, 11022), made
        swept = localhosts("clean", cache=tmp_path)
        assert (swept.returncode, swept.stderr) == (0, "")
        assert reachable(address, 11022), f"the sweep has killed it: {swept.stdout}"
        container.communicate("\n", 30)
    assert container.returncode == 0


@pytest.mark.parametrize("holds", ["a process", "nothing"])
def test_sweep_takes_groups_of_earlier_versions_only_without_processes(holds: str, tmp_path: Path) -> None:
    name = f"{cgroups.PREFIX}{os.urandom(8).hex()}-1"
    groups = [str(root / name) for root in cgroups.roots()]
    subprocess.run(as_root(["mkdir", *groups]), check=True)
    join = 'for group; do echo 0 > "$group/cgroup.procs"; done; echo $$; exec sleep 600'
    if holds == "nothing":
        join = "echo $$; exec sleep 600"
    # Where a group is made, the kernel lets a process in only once it has processors and memory.
    roots = [root for root in groups if not Path(root, "cpuset.cpus").exists()]
    with subprocess.Popen(as_root(["sh", "-c", join, "sh", *roots]), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        try:
            assert localhosts("clean", cache=tmp_path).returncode == 0
            assert process.poll() is None, "the sweep has killed the process"
            assert [Path(group).exists() for group in groups] == [holds == "a process"] * len(groups)
        finally:
            if process.poll() is None:
                kill(pid)
            process.wait(10)
            subprocess.run(as_root(["rmdir", *filter(os.path.exists, groups)]), check=holds == "a process")


# --- Images


@pytest.mark.rights
def test_clean_removes_old_images_but_none_that_is_used(tmp_path: Path) -> None:
    cache = tmp_path / "circuit-harness" / "images"
    current = {images.debian12().key, images.unstable(bare=True).key, images.debian13(init="sysv").key}
    for key in ("bookworm-old", "bookworm-used", *current):
        (cache / key / "etc").mkdir(parents=True)
    with image.hold(cache / "bookworm-used"):
        cleaned = localhosts("clean", cache=tmp_path)
        assert cleaned.returncode == 0
        assert {path.name for path in cache.iterdir()} == {"bookworm-used", *current}
    assert localhosts("clean", "--images", cache=tmp_path).returncode == 0
    assert list(tmp_path.iterdir()) == []


# --- Ends


@pytest.mark.rights
def test_closed_cluster_leaves_nothing_and_its_hosts_say_so() -> None:
    with Cluster(2) as cluster:
        trace = Trace.of_cluster(cluster)
    trace.assert_gone()
    with pytest.raises(LocalHostsError, match=r"host lh\d+-1 is not running"):
        cluster.hosts[0].run("true")
    cluster.close()


@pytest.mark.rights
@pytest.mark.parametrize("end", ["exit", "SIGINT", "SIGTERM", "SIGKILL"])
def test_hosts_end_with_their_run(end: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_A_CLUSTER],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        trace = Trace.of(*json.loads(run.stdout.readline()))
        if end == "exit":
            run.stdin.close()
        else:
            # To the whole group, as a terminal does it.
            os.killpg(run.pid, signal.Signals[end])
        run.wait(20)
    trace.assert_gone()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_to_all_of_the_run_leaves_hosts_to_its_teardown(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", USE_A_HOST_AFTER_A_SIGNAL],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as run:
        assert run.stdout is not None
        name = run.stdout.readline()
        os.killpg(run.pid, number)
        assert run.communicate(b"now\n", 20)[0] == name


def test_run_that_is_killed_while_hosts_boot_leaves_nothing(tmp_path: Path) -> None:
    sleep = f"6{tmp_path.stat().st_ino}"
    program = tmp_path / "circuit"
    program.write_text(f"#!/bin/sh\nsleep {sleep}\n")
    program.chmod(0o755)
    code = f"from localhosts import *; from pathlib import Path; Cluster(1, circuit_bin=Path({str(program)!r})).start()"
    with subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT) as run:
        until(lambda: running(f"sleep {sleep}"), 20, "the host to boot")
        run.kill()
    until(lambda: not running(f"sleep {sleep}"), 10, "the host to end")


@pytest.mark.parametrize("victim", ["supervisor", "its parent"])
def test_killed_supervisor_takes_its_hosts_along_and_the_rest_is_swept(victim: str, tmp_path: Path) -> None:
    cluster = Cluster(2).start()
    trace = Trace.of_cluster(cluster)
    kill(trace.supervisor if victim == "supervisor" else int(status(trace.supervisor)["PPid"]))
    trace.assert_processes_and_links_gone()
    with pytest.raises(LocalHostsError, match=r"ended before it had torn them down.*localhosts clean"):
        cluster.close()
    assert sweep.remains(trace.identity)
    assert f"swept cluster {trace.identity}" in localhosts("clean", cache=tmp_path).stdout
    trace.assert_gone()


def test_next_run_sweeps_what_a_killed_supervisor_left() -> None:
    cluster = Cluster(1).start()
    trace = Trace.of_cluster(cluster)
    kill(trace.supervisor)
    with pytest.raises(LocalHostsError):
        cluster.close()
    with Cluster(1):
        assert sweep.remains(trace.identity) == []


# --- What does not work


def test_circuit_server_that_ends_is_shown_with_its_last_words() -> None:
    with pytest.raises(LocalHostsError, match=r"circuit server on lh\d+-1 ended: exit-code (?s:.*)no-such-option"):
        Cluster(1, node_options=["--no-such-option"]).start()


def test_circuit_server_without_an_address_runs_into_the_limit(tmp_path: Path) -> None:
    program = tmp_path / "circuit"
    program.write_text("#!/bin/sh\necho called as $*\nsleep 60\n")
    program.chmod(0o755)
    with pytest.raises(LocalHostsError, match=r"printed no address within 2 s(?s:.*)called as start --addr 10\.213\."):
        Cluster(1, circuit_bin=program, timeout=2).start()


@pytest.mark.rights
def test_plain_user_is_refused_in_one_line(tmp_path: Path) -> None:
    become_nobody = "os.setgroups([]); os.setgid(65534); os.setuid(65534)"
    code = f"import os, sys; from localhosts.__main__ import main; {become_nobody}; sys.exit(main(['image']))"
    refused = run_with_cache(as_root([sys.executable, "-c", code]), tmp_path)
    assert_refused(refused, "need root or password-less sudo")


def stub_of_sudo(folder: Path, monkeypatch: pytest.MonkeyPatch, condition: str) -> None:
    """Let this process take a stub for sudo: where the shell's condition is false, it asks for a password."""
    become_root = f"PATH={shlex.quote(os.environ['PATH'])}; exec {shlex.join(as_root([]))}"
    refuse = "{ echo 'sudo: a password is required' >&2; exit 1; }"
    (folder / "sudo").write_text(f'#!/bin/sh\n{condition} || {refuse}\nshift 2\n{become_root} "$@"\n')
    (folder / "sudo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def test_a_sudo_that_asks_for_a_password_is_given_it_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub_of_sudo(tmp_path, monkeypatch, "false")
    with pytest.raises(LocalHostsError, match="a password is required: give sudo your password first by `sudo -v`, "):
        require_root()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(LocalHostsError, match="sudo is not installed: run as root"):
        require_root()


@pytest.mark.rights
def test_a_password_that_sudo_was_given_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts in the session that it was given in."""
    stub_of_sudo(tmp_path, monkeypatch, f'[ "$(ps -o sid= -p $$ | tr -d " ")" = {os.getsid(0)} ]')
    with Cluster(1) as made:
        assert made.hosts[0].run("true").returncode == 0


@pytest.mark.rights
def test_missing_capability_is_refused_in_one_line(tmp_path: Path) -> None:
    command = ["setpriv", "--bounding-set=-sys_admin", sys.executable, "-m", "localhosts", "image"]
    assert_refused(run_with_cache(as_root(command), tmp_path), "new namespaces are not permitted")


@pytest.mark.rights
def test_cgroups_that_cannot_be_written_are_refused_in_one_line(tmp_path: Path) -> None:
    protect = "findmnt -rno TARGET -t cgroup,cgroup2 | while read -r at; do mount -o remount,bind,ro $at; done"
    command = ["unshare", "--mount", "sh", "-ec", f'{protect}; exec "$@"', "sh"]
    refused = run_with_cache(as_root([*command, sys.executable, "-m", "localhosts", "image"]), tmp_path)
    assert_refused(refused, "cgroups are not writable")


def assert_refused(done: subprocess.CompletedProcess[str], why: str) -> None:
    """One line of ours, and nothing made."""
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("localhosts: ")
    assert why in done.stderr
    assert done.stderr.count("\n") == 1


def running(command: str) -> bool:
    """Whether a process with exactly this command line runs on this machine, in whatever namespace."""
    return subprocess.run(["pgrep", "-fx", command], capture_output=True, check=False).returncode == 0
