"""Hosts on this machine and those who are not trusted: other users of this machine, and root of a host."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import circuit
from localhosts import Cluster, Host, cgroups
from localhosts.privilege import as_root
from tests.jobs import key_file
from tests.kinds import output

PROJECT = Path(__file__).parent.parent

DIAL = """
import os, sys
import circuit

os.setgroups([]), os.setgid(65534), os.setuid(65534)
with circuit.dial(sys.argv[1], timeout=5) as client:
    for name, host in client.view().items():
        proc = host.walk("attack").make_proc(circuit.Cmd("/usr/bin/sudo", ["-n", "id", "-un"], scrub=True))
        print(name, proc.communicate()[0].decode().strip())
"""
"""A user of this machine who has learnt an address, and becomes root of all hosts."""

PRY = """
import os, subprocess, sys

user, link, pids = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
os.setgroups([]), os.setgid(user), os.setuid(user)

def opened(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None

for pid in pids:
    try:
        os.kill(int(pid), 0)
        print("may signal", opened(f"/proc/{pid}/cmdline"))
    except OSError:
        pass
    if opened(f"/proc/{pid}/environ") is not None:
        print("reads the environment of", opened(f"/proc/{pid}/cmdline"))
    if os.access(f"/proc/{pid}/root/etc/hostname", os.R_OK):
        print("reads files through", opened(f"/proc/{pid}/cmdline"))
    if b"circuit://" in (opened(f"/proc/{pid}/cmdline") or b""):
        print("learns an address from", opened(f"/proc/{pid}/cmdline"))
    for namespace in ("user", "mnt", "net"):
        entered = subprocess.run(["nsenter", f"--{namespace}=/proc/{pid}/ns/{namespace}", "true"], capture_output=True)
        if entered.returncode == 0:
            print("enters", namespace, opened(f"/proc/{pid}/cmdline"))
for folder, _, names in os.walk("/run"):
    for name in names:
        if name.startswith("localhosts-") and opened(f"{folder}/{name}"):
            print("reads", name)
"""
"""A user of this machine who looks at the hosts' processes, given by their numbers, and for keys."""

BREAK_OUT = r"""
mkdir /tmp/out
cd /tmp/out
mkdir proc devices groups debug
# What is written is what is there: nothing changes where it works.
mount -t proc proc proc
mount -o remount,rw,bind /proc/sys
for setting in core_pattern modprobe sysrq panic; do
    for file in /proc/sys/kernel/$setting proc/sys/kernel/$setting; do
        value=$(cat $file) && echo "$value" > $file && echo "writes $setting"
    done
done
: > proc/sysrq-trigger && echo "gives orders to the kernel"
mknod disk b 7 0 && echo "makes devices"
mount -t devtmpfs devices devices && echo "mounts this machine's devices"
mount -t cgroup -o none,name=attack groups groups && echo "mounts control groups"
mount -t debugfs debug debug && echo "mounts debugfs"
for disk in $(ls /sys/block); do
    mknod $disk b $(tr : ' ' < /sys/block/$disk/dev) && head -c 512 $disk > /dev/null && echo "reads disk $disk"
done
python3 -c '
import ctypes, socket, sys
if ctypes.CDLL(None).syscall(175, b"x", 1, b"") == 0 or ctypes.CDLL(None, use_errno=True).syscall(246, 0, 0, 0, 0) == 0:
    print("loads modules")
with socket.socket(socket.AF_UNIX) as out:
    if out.connect_ex(f"\0{sys.argv[1]}") == 0:
        print("reaches sockets of this machine")
' "$1"
ip -o link | grep -v -e ': lo:' -e ': eth0@' && echo "sees links of this machine"
grep -z "$1" /proc/[0-9]*/cmdline | grep -az -v -e "^/proc/$$/" -e "^grep" | grep -aqz "$1 of the runner" &&
    echo "sees processes of this machine"
exit 0
"""
"""Root of a host, who tries to get out; says what works. The argument is what this machine has a socket of."""


@pytest.fixture(scope="module")
def container() -> Iterator[Cluster]:
    """A host like a container."""
    with Cluster(1, init="none", login="root") as made:
        yield made


def attack(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an attack, which gives up root's rights itself: the project's folder may be closed to others."""
    return subprocess.run(
        as_root([sys.executable, "-B", "-c", code, *arguments]),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_user_of_this_machine_gets_into_no_circuit(cluster: Cluster) -> None:
    for host in cluster.hosts:
        done = attack(DIAL, host.circuit_address)
        assert done.stdout == ""
        assert "circuit.errors.Refused" in done.stderr


@pytest.mark.parametrize("user", [65534, 1000], ids=["nobody", "the first account"])
def test_a_user_of_this_machine_learns_and_touches_nothing(cluster: Cluster, container: Cluster, user: int) -> None:
    for made in (cluster, container):
        pids = [str(pid) for host in made.hosts for pid in cgroups.pids(host.group)]
        assert len(pids) > 2
        done = attack(PRY, str(user), made.name, *pids)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_key_is_the_user_s_alone(cluster: Cluster) -> None:
    file = key_file(cluster)
    assert file is not None, "the circuit has no key"
    made = file.stat()
    assert (made.st_uid, stat.S_IMODE(made.st_mode)) == (os.geteuid(), 0o600)
    assert len(circuit.decode_key(file.read_bytes())) == 64
    for host in cluster.hosts:
        assert output(host, "stat -c '%a %U' /var/lib/circuit/key /var/log/circuit.log") == "600 ubuntu\n600 ubuntu"


def test_root_of_a_host_gets_nowhere(cluster: Cluster, container: Cluster) -> None:
    name = f"attack-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as ours:
        ours.bind(f"\0{name}")
        ours.listen()
        for host in (cluster.hosts[0], *container.hosts):
            try:
                assert host.run("sh", "-c", BREAK_OUT, "sh", name).stdout.decode() == ""
            finally:
                host.run("sh", "-c", "umount /tmp/out/*; rm -rf /tmp/out")


def test_root_of_a_host_is_not_that_of_another(cluster: Cluster, container: Cluster) -> None:
    hosts: list[Host] = [*cluster.hosts, *container.hosts]
    maps = [output(host, "cat /proc/self/uid_map /proc/self/gid_map").split() for host in hosts]
    roots = [numbers[1] for numbers in maps]
    assert [numbers[4] for numbers in maps] == roots
    assert len(set(roots)) == len(hosts)
    # Neither accounts nor /etc/subuid, nor systemd's own containers, have such numbers.
    assert all(int(root) >= 1 << 31 for root in roots)
    assert all(numbers[2::3] == ["65536", "65536"] for numbers in maps)


def test_where_user_namespaces_are_refused_hosts_lose_capabilities_and_a_line_says_so(tmp_path: Path) -> None:
    # The kernel makes none for a process in another root folder.
    in_another_root = 'mount --rbind / "$root" && exec chroot "$root" sh -c \'cd "$0" && exec "$@"\' "$PWD" "$@"'
    up = [sys.executable, "-B", "-m", "localhosts", "up", "--hosts", "1", "--init", "none", "--login", "root"]
    with subprocess.Popen(
        as_root(["unshare", "--mount", "sh", "-c", f"root=$1; shift; {in_another_root}", "sh", str(tmp_path), *up]),
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        out, err = running.communicate("\n", 60)
    assert running.returncode == 0, err
    assert "export CIRCUIT_ADDR=circuit://" in out
    assert "user namespaces are refused here: root of a host is this machine's root with few capabilities" in err
