"""A program as a service: what of its parameters comes where, and that no secret is in any text."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from circuit import Hidden
from circuit_harness.errors import DeployError, NotReady
from circuit_harness.operations import ports
from circuit_harness.operations.needs import Need
from circuit_harness.operations.ports import Listening
from circuit_harness.remote.address import Addresses
from circuit_harness.remote.command import Command
from circuit_harness.secret import Secret
from circuit_harness.services.program import Facts, Place, Program, readiness
from circuit_harness.services.protocol import Element, Peer, Results, Running, Site
from circuit_harness.steps import Steps
from tests.unit.fakes import AFTER, FakeHost
from tests.unit.invented import prepare, queue
from tests.unit.runs import RUN, begin, errors_of, taken_down

UID = 60578
FACTS = Facts(UID, "/usr/bin/redis-server", (), None)
FOLDER = f"/var/lib/tutorial-redis-{RUN}"
REDIS = Need("Redis", ("redis-server",), "redis-server")


def redis(**changed: Any) -> Program:
    return Program(**{"name": "redis", "command": ["redis-server", "redis.conf"], "port": 6379, **changed})


def site(secrets: dict[str, Secret] | None = None, ready: Mapping[str, Running] | None = None) -> Site:
    """A site of the service redis, which uses the queue."""
    peer = Peer("queue", "10.0.0.2", 5000, lambda: (ready or {}).get("queue"), False)
    addresses = Addresses("10.0.0.1", "option", "192.0.2.7", "option")
    return Site(RUN, "X1", addresses, {"queue": peer}, {} if secrets is None else secrets, name="redis")


@dataclass(frozen=True)
class Planned:
    """What is done to start a program: its element, what prepares that, the files that are sent, and all texts."""

    element: Element
    prepare: Command
    files: dict[str, tuple[int, int, str]]
    texts: list[str]


def planned(declared: Program, of: Site) -> Planned:
    actions = [action for stage in declared.plan(FACTS, of) for action in stage.actions({})]
    texts = [action.what for action in actions]
    for action in actions:
        assert action.undo is not None
        texts += [action.undo.what, action.undo.command, action.undo.proof, *action.details]
        if isinstance(action.do, Command):
            texts.append(action.do.text)
    element = actions[-1].do
    assert isinstance(element, Element)
    assert element.prepare is not None
    sent = element.prepare.stdin
    data = sent.reveal() if isinstance(sent, Hidden) else sent
    files = {}
    if data:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for entry in tar:
                content = tar.extractfile(entry)
                assert content is not None
                assert entry.uid == entry.gid
                files[entry.name] = (entry.mode, entry.uid, content.read().decode())
    texts += [element.prepare.text, *element.cmd.args, *element.cmd.env]
    return Planned(element, element.prepare, files, [*texts, repr(actions)])


def test_files_are_roots_and_secrets_the_programs_alone() -> None:
    secrets = {"queue": Secret("the queue's password"), "redis": Secret("swordfish")}
    declared = redis(
        uses="queue",
        files=lambda place: {
            "redis.conf": f"port {place.port}\n",
            "users.acl": place.password.within("user app on >{}\n"),
            "empty": "",
        },
        env=lambda place: {"QUEUE_PASSWORD_FILE": place.secret("queue")},
    )
    done = planned(declared, site(secrets))
    assert done.files == {
        "redis.conf": (0o644, 0, "port 6379\n"),
        "users.acl": (0o400, UID, "user app on >swordfish\n"),
        "queue-password": (0o400, UID, "the queue's password"),
    }
    assert isinstance(done.prepare.stdin, Hidden)
    assert f"tar -xpf - --numeric-owner -C {FOLDER}" in done.prepare.text
    assert f"QUEUE_PASSWORD_FILE={FOLDER}/queue-password" in done.element.cmd.args[1]
    for text in done.texts:
        assert "swordfish" not in text
        assert "the queue's password" not in text


def test_a_program_that_starts_at_once_gets_its_files_behind_its_archive() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Packed(Program):
        def archive(self, results: Results) -> bytes:
            return b"an archive"

    declared = Packed(name="redis", command=["redis"], port=6379, files={"acl": Secret("swordfish")}, waits=False)
    first, *_ = declared.plan(FACTS, site())
    send, start = first.actions({})
    assert isinstance(send.do, Command)
    assert isinstance(send.do.stdin, Hidden)
    sent = send.do.stdin.reveal()
    assert sent.startswith(b"an archive")
    with tarfile.open(fileobj=io.BytesIO(sent.removeprefix(b"an archive"))) as tar:
        assert tar.getnames() == ["acl"]
    assert "head -c 10 | " in send.do.text
    assert isinstance(start.do, Element)
    assert start.do.prepare is None


FILES: dict[str, tuple[dict[str, Any], bool, list[str]]] = {
    # Whether they are hidden, and their names.
    "none": ({}, False, []),
    "empty": ({"files": {"redis.conf": ""}}, False, []),
    "plain": ({"files": {"redis.conf": "x", "conf/more.conf": "y"}}, False, ["redis.conf", "conf/more.conf"]),
    "a secret": ({"files": {"acl": Secret("swordfish")}}, True, ["acl"]),
    "a password by command": (
        {"command": lambda place: ["redis-server", place.secret("redis")], "programs": [REDIS]},
        True,
        ["redis-password"],
    ),
    "a password by environment": ({"env": lambda place: {"P": place.secret("queue")}}, True, ["queue-password"]),
    "a password by file": (
        {"files": lambda place: {"redis.conf": f"include {place.secret('redis')}\n"}},
        True,
        ["redis.conf", "redis-password"],
    ),
    "a password to be ready": (
        {"ready": lambda place: ["redis-ask", "--password-file", place.secret("redis")]},
        True,
        ["redis-password"],
    ),
}


@pytest.mark.parametrize(("changed", "hidden", "names"), FILES.values(), ids=FILES)
def test_what_is_named_is_sent_and_found_again(changed: dict[str, Any], hidden: bool, names: list[str]) -> None:
    declared, of = redis(**changed), site()
    done = planned(declared, of)
    assert list(done.files) == names
    assert isinstance(done.prepare.stdin, Hidden) == hidden
    assert bool(done.prepare.stdin) == bool(names)
    host = FakeHost("X1", "10.0.0.1")
    running = declared.result(host, FACTS, of, {})
    passwords = [name for name in names if name.endswith("-password")]
    assert list(running.secrets.values()) == [f"{FOLDER}/{name}" for name in passwords]
    assert declared.find(host, running.describe()) == running


def test_the_command_and_the_variables_are_the_elements() -> None:
    declared = redis(
        command=lambda place: ["redis-server", f"{place.folder}/redis.conf", "--dir", place.work],
        programs=[REDIS],
        env={"LANG": "C", "A": "it's $HOME"},
        log=f"{FOLDER}/run/redis.log",
    )
    running = declared.result(FakeHost("X1", "10.0.0.1"), FACTS, site(), {})
    words = ("/usr/bin/redis-server", f"{FOLDER}/redis.conf", "--dir", f"{FOLDER}/run")
    assert running.process.command == words
    assert running.process.environment == ("LANG=C", "A=it's $HOME")
    assert (running.process.uid, running.process.folder) == (UID, FOLDER)
    assert running.logs()[0] == f"{FOLDER}/run/redis.log"
    launch = planned(declared, site()).element.cmd
    assert (launch.path, launch.dir, launch.scrub) == ("/bin/sh", FOLDER, True)
    assert " ".join(words) in launch.args[1]


LEAKS: dict[str, tuple[dict[str, Any], str]] = {
    "by environment": ({"env": lambda place: {"P": place.password}}, "service redis: P is a secret"),
    "by environment, formatted": ({"env": lambda place: {"P": f"x{place.password}"}}, "of the process redis"),
    "by command": (
        {"command": lambda place: ["redis-server", f"--requirepass={place.password}"], "programs": [REDIS]},
        "of the process redis",
    ),
    "of whom it does not use": ({"env": lambda place: {"P": place.secret("mysql")}}, "redis does not use mysql"),
}


@pytest.mark.parametrize(("changed", "told"), LEAKS.values(), ids=LEAKS)
def test_a_secret_in_the_wrong_place_is_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(DeployError, match=told):
        planned(redis(**changed), site())


def test_a_place_tells_the_host_and_those_who_are_used() -> None:
    place = Place(site(), "redis", 6379)
    assert (place.address, place.addresses.public, place.port) == ("10.0.0.1", "192.0.2.7", 6379)
    assert (place.folder, place.work) == (FOLDER, f"{FOLDER}/run")
    assert (place["queue"].address, place["queue"].port) == ("10.0.0.2", 5000)
    assert place.secrets == {}


HERE, THERE, LOOPBACK = "0100000A:18EB", "0200000A:18EB", "0100007F:18EB"
"""Port 6379, as the kernel writes it, of 10.0.0.1, 10.0.0.2 and 127.0.0.1."""


def asked_alone(host: FakeHost, listing: Callable[[], str]) -> Callable[[Command], str]:
    """The listing of the sockets where nothing else is asked in the same command."""
    return lambda command: (
        listing() if command.text == f"{ports.awaited(6379)}\n{ports.LIST}" else host._known(command.text)
    )


READY: dict[str, tuple[dict[str, Any], str, str]] = {
    # A part of what the host is asked, and what the step is called.
    "port": ({}, ports.LIST, "redis: wait until port 6379 is listened on"),
    "HTTP": ({"ready": "/ready"}, "http://10.0.0.1:6379/ready", "redis: wait until /ready answers over HTTP"),
    "command": (
        {"ready": lambda place: ["ask", place.secret("redis")]},
        f"ask {FOLDER}/redis-password",
        "redis: wait until its command reports that it is ready",
    ),
}


@pytest.mark.parametrize(("changed", "asked", "step"), READY.values(), ids=READY)
def test_it_is_ready_when_it_says_so(
    hosts: tuple[FakeHost, FakeHost], changed: dict[str, Any], asked: str, step: str
) -> None:
    hosts[0].answers[ports.LIST] = asked_alone(hosts[0], lambda: f"listening {HERE}\n")
    steps = Steps()
    deployment = begin(hosts, [redis(**changed)], steps=steps)
    assert errors_of(deployment) == {}
    assert step in [one.what for one in steps.done]
    assert any(asked in command.text for command in hosts[0].commands)
    # Once it has ended.
    hosts[0].answers.clear()
    assert taken_down(deployment, hosts) == []
    assert hosts[0].undone() == ["redis: end the program", "redis: remove the program and its log"]


@pytest.mark.parametrize("ready", ["", "/ready"])
def test_it_is_not_ready_while_it_listens_elsewhere(
    hosts: tuple[FakeHost, FakeHost], monkeypatch: pytest.MonkeyPatch, ready: str
) -> None:
    monkeypatch.setattr(readiness, "READY_LIMIT_S", 0.1)
    hosts[0].answers |= {
        ports.LIST: asked_alone(hosts[0], lambda: f"listening {LOOPBACK}\n"),
        "%{http_code}": "000",
    }
    error = errors_of(begin(hosts, [redis(ready=ready)]))["redis"]
    assert isinstance(error, NotReady)
    assert str(error).count("nothing listens on 10.0.0.1:6379, only on 127.0.0.1") == 1


@pytest.mark.parametrize(
    ("sockets", "listen", "told"),
    [
        (["10.0.0.1:80"], "10.0.0.1", ""),
        (["0.0.0.0:80"], "10.0.0.1", ""),
        (["[::]:80"], "10.0.0.1", ""),
        (["10.0.0.1:80"], "0.0.0.0", ""),
        (["127.0.0.1:80", "[::1]:80"], "0.0.0.0", "nothing listens on 0.0.0.0:80, only on 127.0.0.1, ::1"),
        (["127.0.0.1:80"], "10.0.0.1", "nothing listens on 10.0.0.1:80, only on 127.0.0.1"),
        (["10.0.0.1:8080"], "10.0.0.1", "nothing listens on 10.0.0.1:80"),
    ],
)
def test_where_clients_reach_a_port(sockets: list[str], listen: str, told: str) -> None:
    pairs = [socket.rpartition(":") for socket in sockets]
    assert ports.unreachable([Listening(ip.strip("[]"), int(port)) for ip, _, port in pairs], listen, 80) == told


@pytest.mark.parametrize("waits", [True, False])
def test_it_starts_with_what_it_uses_or_behind_it_and_is_ready_last(
    hosts: tuple[FakeHost, FakeHost], waits: bool
) -> None:
    prepare(hosts)
    started, opened = threading.Event(), threading.Event()

    def open_queue(command: Command) -> str:
        # Where both start at the same time, this one is not open before the other has started.
        assert started.wait(0 if waits else 10) is not waits
        opened.set()
        return ""

    def note(entry: str, moment: str) -> None:
        if (entry, moment) == ("start redis", AFTER):
            assert opened.is_set() is waits
            started.set()

    def listen() -> str:
        assert opened.is_set()
        return f"listening {THERE}\n"

    hosts[0].answers["queue open"] = open_queue
    hosts[1].answers[ports.LIST] = asked_alone(hosts[1], listen)
    hosts[1].cut = note
    deployment = begin(hosts, [queue(), redis(uses="queue", waits=waits)])
    assert errors_of(deployment) == {}
    assert started.is_set()


@pytest.mark.parametrize("dies", [False, True])
def test_one_that_is_not_ready_is_told_with_its_log(
    hosts: tuple[FakeHost, FakeHost], dies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "READY_LIMIT_S", 0.1)
    hosts[0].answers |= {"%{http_code}": "503", "tail -q": "no memory left\n"}

    def asked(command: Command) -> str:
        hosts[0].there["redis"].end()
        return "503"

    if dies:
        hosts[0].answers["%{http_code}"] = asked
    deployment = begin(hosts, [redis(ready="/ready")])
    error = errors_of(deployment)["redis"]
    assert isinstance(error, NotReady)
    assert ("died: " if dies else "/ready: 503") in str(error)
    assert f"{FOLDER}/run/log: no memory left" in str(error)
    assert taken_down(deployment, hosts) == []
    assert hosts[0].is_as_it_was()
