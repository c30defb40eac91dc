"""testinfra over a circuit: each of its modules answers as it does on the host itself."""

from __future__ import annotations

import importlib.util
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import testinfra

import circuit
from circuit_harness.plugin import backend
from circuit_harness.plugin.backend import get_host
from circuit_harness.remote.shell import ShellResult, run_shell
from localhosts import Cluster, Host
from tests.jobs import dial_cluster

QUESTIONS = {
    "command": "[host.run('echo out; echo err >&2; exit 7').rc, host.run('printf %s \"$1\"', 'x').stdout]",
    "command, both streams": "(lambda r: [r.rc, r.stdout, r.stderr])(host.run('echo out; echo err >&2; exit 7'))",
    "command, arguments are quoted": "host.check_output('printf \"<%%s>\" %s %s', 'a b', \"'; rm -rf $HOME\")",
    "command, bytes that are no text": "list(host.run('printf \"\\\\377\\\\0\"').stdout_bytes)",
    "command, megabytes": "len(host.run('head -c 3000000 /dev/zero').stdout_bytes)",
    "command, death by a signal": "host.run(\"sh -c 'kill -KILL $$'; exit $?\").rc",
    "command, no such": "host.run('no-such-command-at-all').rc",
    "exists": "[host.exists('mariadbd'), host.exists('no-such-command-at-all')]",
    "find_command": "host.find_command('sh')",
    "file": "(lambda f: [f.exists, f.is_file, f.user, f.group, f.mode, f.size, f.sha256sum])(host.file('/etc/shadow'))",
    "file, content": "host.file('/etc/shadow').content_string",
    "file, a folder": "(lambda f: [f.is_directory, sorted(f.listdir())])(host.file('/etc/mysql'))",
    "file, a link": "(lambda f: [f.is_symlink, f.linked_to])(host.file('/etc/mysql/my.cnf'))",
    "file, contains": "host.file('/etc/mysql/mariadb.conf.d/50-server.cnf').contains('^bind-address')",
    "file, none": "host.file('/no/such/file').exists",
    "user": "(lambda u: [u.exists, u.uid, u.gid, u.group, u.home, u.shell, sorted(u.groups)])(host.user('ubuntu'))",
    "user, none": "host.user('nobody-of-that-name').exists",
    "group": "(lambda g: [g.exists, g.gid])(host.group('mysql'))",
    "package": "(lambda p: [p.is_installed, p.version])(host.package('mariadb-server'))",
    "package, none": "host.package('no-such-package').is_installed",
    "service": "(lambda s: [s.is_running, s.is_enabled])(host.service('mariadb'))",
    "service that runs": "(lambda s: [s.is_running, s.is_enabled])(host.service('circuit'))",
    "socket": "[host.socket('tcp://0.0.0.0:3306').is_listening, host.socket('tcp://169.254.169.254:80').is_listening]",
    "socket, all": "sorted(host.socket.get_listening_sockets())",
    "process": "(lambda p: [p.comm, p.user])(host.process.get(pid=1))",
    "process, by name": "sorted(p.user for p in host.process.filter(comm='systemd-journal'))",
    "interface": "(lambda i: [i.exists, sorted(i.addresses)])(host.interface('lo'))",
    "interface, default": "host.interface.default().name",
    "interface, all": "sorted(host.interface.names())",
    "mount point": "(lambda m: [m.exists, m.filesystem])(host.mount_point('/proc'))",
    "sysctl": "host.sysctl('kernel.ostype')",
    "system": "(lambda s: [s.type, s.distribution, s.release, s.codename, s.arch])(host.system_info)",
    "address": "(lambda a: [a.is_resolvable, a.ipv4_addresses])(host.addr('localhost'))",
}
"""What is asked, as an expression that has a ``host``."""

PACKAGES = ("testinfra", "pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments")
"""What testinfra takes to run on the host; all of it is Python alone."""

ASK = """
import json, sys, testinfra
host = testinfra.get_host("local://")
json.dump({name: eval(question) for name, question in json.load(sys.stdin).items()}, sys.stdout)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(1) as made:
        yield made


@pytest.fixture(scope="module")
def machine(cluster: Cluster) -> Host:
    return cluster.hosts[0]


@pytest.fixture(scope="module")
def on_the_host(machine: Host) -> dict[str, Any]:
    """All answers that testinfra itself gives on the host, as root."""
    machine.run("mkdir", "/opt/testinfra")
    sent = machine.run("tar", "-xf", "-", "-C", "/opt/testinfra", input=_packed(), timeout=60)
    assert sent.returncode == 0, sent.stderr
    asked = machine.run(
        *("env", "PYTHONPATH=/opt/testinfra", "PYTHONDONTWRITEBYTECODE=1", "python3", "-c", ASK),
        input=json.dumps(QUESTIONS).encode(),
        timeout=60,
    )
    assert asked.returncode == 0, asked.stderr.decode()
    answers: dict[str, Any] = json.loads(asked.stdout)
    return answers


@pytest.fixture(scope="module")
def host(cluster: Cluster) -> Iterator[testinfra.host.Host]:
    """The same host through the circuit, whose user becomes root by sudo."""
    with dial_cluster(cluster) as client:
        (name,) = client.view()
        yield get_host(client, name, sudo=True)


@pytest.mark.parametrize("question", QUESTIONS)
def test_answers_are_those_of_the_host_itself(
    question: str, on_the_host: dict[str, Any], host: testinfra.host.Host
) -> None:
    answer = json.loads(json.dumps(eval(QUESTIONS[question], {"host": host})))
    assert answer == on_the_host[question]


def test_the_question_is_not_put_to_this_machine(host: testinfra.host.Host, machine: Host) -> None:
    assert host.check_output("hostname") == machine.name


def test_without_sudo_it_is_the_circuit_s_user(cluster: Cluster) -> None:
    with dial_cluster(cluster) as client:
        (name,) = client.view()
        assert get_host(client, name).user().name == "ubuntu"
        assert get_host(client, name).run("cat /etc/shadow").rc == 1


def test_a_host_by_its_url(cluster: Cluster) -> None:
    with dial_cluster(cluster) as client:
        (name,) = client.view()
        host = testinfra.get_host(f"circuit://{name}?sudo=True", client=client)
        assert host.user().name == "root"
        assert host.backend.get_pytest_id() == f"circuit://{name}"


def test_facts_are_fetched_at_once(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counted(anchor: circuit.Anchor, command: str, **options: Any) -> ShellResult:
        asked.append(command)
        return run_shell(anchor, command, **options)

    with dial_cluster(cluster) as client:
        (name,) = client.view()
        host = get_host(client, name)
        monkeypatch.setattr(backend, "run_shell", counted)
        found = [host.run(fact) for fact in backend.FACTS]
        assert len(asked) == 1
        assert [host.run(fact).rc for fact in ("true", "uname -r")] == [0, 0]
        assert len(asked) == 3
        alone = [run_shell(client.walk(name), fact, check=False) for fact in backend.FACTS]
    assert [(one.rc, one.stdout_bytes) for one in found] == [(one.exit_status, one.stdout) for one in alone]


def test_where_facts_cannot_be_fetched_at_once_each_is_asked_for(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_asking", lambda mark: f"echo something else {mark}; exit 1")
    with dial_cluster(cluster) as client:
        (name,) = client.view()
        assert get_host(client, name).system_info.type == "linux"


def _packed() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for package in PACKAGES:
            spec = importlib.util.find_spec(package)
            assert spec is not None
            assert spec.origin is not None
            tar.add(Path(spec.origin).parent, package, filter=lambda one: None if "__pycache__" in one.name else one)
    return buffer.getvalue()
