"""The reference's own command, against this project's node as against the reference's servers: it cannot tell them.

Needs $CIRCUIT_BIN. Without it the recorded exchanges of test_golden.py stand in, and the summary of the run says so.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import circuit
from tests.circuits import REFERENCE, Pair, Server, node, start, write_key

if TYPE_CHECKING:
    from tests.conftest import Eventually, StartNode

pytestmark = pytest.mark.skipif(not REFERENCE, reason="$CIRCUIT_BIN names no program to run")

LIMIT_S = 20.0
KEY = bytes(range(64))

_numbers = itertools.count()


class Command:
    """The reference's command, as a client of one server."""

    def __init__(self, address: str, key: Path | None = None) -> None:
        self.address = address
        self._options = ["--dial", address, *(("--hmac", str(key)) if key is not None else ())]

    def try_(self, verb: str, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run it, however it ends."""
        argv = [REFERENCE, verb, *self._options, *arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CIRCUIT")}
        return subprocess.run(argv, input=stdin, capture_output=True, timeout=LIMIT_S, env=environment)

    def run(self, verb: str, *arguments: str, stdin: bytes = b"") -> str:
        """Run it, which succeeds; return what it prints."""
        done = self.try_(verb, *arguments, stdin=stdin)
        assert done.returncode == 0, done
        return done.stdout.decode()

    def refused(self, verb: str, *arguments: str, stdin: bytes = b"") -> str:
        """Run it, which fails; return its complaint."""
        done = self.try_(verb, *arguments, stdin=stdin)
        assert done.returncode == 1, done
        return done.stderr.decode()

    def lists(self, count: int) -> bool:
        """Whether it sees that many hosts. It fails while one that is gone is still listed."""
        done = self.try_("ls", "/")
        return done.returncode == 0 and len(done.stdout.split()) == count

    def peek(self, path: str) -> Any:
        """What it tells of an element."""
        return json.loads(self.run("peek", path))


@pytest.fixture
def command(circuit_pair: Pair) -> Command:
    return Command(circuit_pair.first.address)


@pytest.fixture
def hosts(circuit_pair: Pair, eventually: Eventually) -> list[str]:
    """The names of both hosts, the dialed one first."""
    with circuit.dial(circuit_pair.first.address) as client:
        return list(eventually(lambda: of_addresses(client, [circuit_pair.first, circuit_pair.second])))


def of_addresses(client: circuit.Client, servers: list[Server]) -> list[str]:
    """The names of these servers' hosts, once the client sees them all."""
    found = {}
    for name, host in client.view().items():
        element = host.get()
        assert isinstance(element, circuit.Server)
        found[element.peek().address] = name
    return [found[server.address] for server in servers] if len(found) == len(servers) else []


@pytest.fixture
def place(hosts: list[str]) -> str:
    """The path of a new anchor, of the host that is not the dialed one."""
    return f"/{hosts[1]}/conformance{next(_numbers)}"


def cmd(script: str) -> bytes:
    return json.dumps({"Path": "/bin/sh", "Args": ["-c", script]}).encode()


def test_hosts_and_elements_are_listed(command: Command, hosts: list[str], place: str) -> None:
    assert sorted(command.run("ls", "/").split()) == sorted(f"/{host}" for host in hosts)
    command.run("mkproc", f"{place}/proc", stdin=cmd("exit 0"))
    command.run("mkchan", f"{place}/chan", "0")
    command.run("mk@join", f"{place}/joins")
    command.run("mk@leave", f"{place}/leaves")
    command.run("mkchan", f"{place}/a/deep/one", "0")
    listed = [line.split() for line in command.run("ls", "--long", f"{place}/...").splitlines()]
    assert listed == [
        ["·", "/a"],
        ["·", "/a/deep"],
        ["chan", "/a/deep/one"],
        ["chan", "/chan"],
        ["@join", "/joins"],
        ["@leave", "/leaves"],
        ["proc", "/proc"],
    ]
    for name in ("proc", "chan", "joins", "leaves", "a/deep/one"):
        command.run("scrub", f"{place}/{name}")
    assert ["server", f"/{hosts[0]}"] in [line.split() for line in command.run("ls", "-l", "/").splitlines()]


def test_a_process_from_beginning_to_end(command: Command, place: str) -> None:
    command.run("mkproc", place, stdin=cmd("cat; echo complaint >&2; exit 3"))
    assert command.peek(place)["Phase"] == "running"
    command.run("stdin", place, stdin=b"input\n" * 10_000)
    assert command.run("stdout", place) == "input\n" * 10_000
    assert command.run("stderr", place) == "complaint\n"
    for stat in (json.loads(command.run("wait", place)), command.peek(place)):
        assert stat["Phase"] == "exited"
        assert stat["Exit"]["Body"] == "exit status 3"
        assert stat["Cmd"]["Path"] == "/bin/sh"
    assert "anchor already has an element" in command.refused("mkproc", place, stdin=cmd("true"))
    command.run("scrub", place)
    assert command.peek(place) is None


def test_a_signal(command: Command, place: str, eventually: Eventually) -> None:
    command.run("mkproc", place, stdin=cmd("exec sleep 100"))
    command.run("signal", "KILL", place)
    command.run("stdin", place)
    eventually(lambda: command.peek(place)["Phase"] == "signaled")
    assert command.peek(place)["Exit"]["Body"] == "signal: killed"
    command.run("waitall", stdin=f"{place}\n".encode())
    assert "not a process" in command.refused("signal", "KILL", f"{place}/nothing")


def test_a_command_that_cannot_be_started(command: Command, place: str) -> None:
    assert "exec error: " in command.refused("mkproc", place, stdin=b'{"Path": "/nonexistent"}')
    assert "/nonexistent: no such file" in command.peek(place)["Exit"]["Body"]


def test_a_process_that_scrubs_itself(command: Command, place: str, eventually: Eventually) -> None:
    command.run("mkproc", "--scrub", place, stdin=cmd("exit 0"))
    command.run("stdin", place)
    command.try_("stdout", place)
    command.try_("stderr", place)
    eventually(lambda: command.peek(place) is None)


def test_a_channel_from_beginning_to_end(command: Command, place: str) -> None:
    command.run("mkchan", place, "2")
    command.run("send", place, stdin=b"first")
    command.run("send", place, stdin=b"x" * 20_000)
    assert command.peek(place) == {"Cap": 2, "Closed": False, "Aborted": False, "NumSend": 2, "NumRecv": 0}
    command.run("close", place)
    assert "channel closed" in command.refused("send", place, stdin=b"late")
    assert command.run("recv", place) == "first"
    assert command.run("recv", place) == "x" * 20_000
    assert "channel closed" in command.refused("recv", place)
    assert command.peek(place) == {"Cap": 2, "Closed": True, "Aborted": False, "NumSend": 2, "NumRecv": 2}
    assert "already closed" in command.refused("close", place)
    command.run("scrub", place)


def test_messages_between_the_command_and_our_client(command: Command, place: str) -> None:
    with circuit.dial(command.address) as client:
        chan = client.walk(*place.strip("/").split("/")).make_chan(1)
        chan.send(b"from us")
        assert command.run("recv", place) == "from us"
        command.run("send", place, stdin=b"from the command")
        assert chan.recv(LIMIT_S) == b"from the command"


def test_subscriptions(circuit_pair: Pair, command: Command, hosts: list[str], eventually: Eventually) -> None:
    # Events reach the host that is asked, at its own time.
    joins, leaves = (f"/{hosts[0]}/{kind}{next(_numbers)}" for kind in ("joins", "leaves"))
    command.run("mk@join", joins)
    command.run("mk@leave", leaves)
    stat = command.peek(joins)
    assert (stat["Source"], stat["Closed"]) == ("join", False)
    assert sorted(command.run("recv", joins).strip() for _ in hosts) == sorted(f"/{host}" for host in hosts)
    with start(circuit_pair.side, join=circuit_pair.first) as third:
        (name,) = command.run("recv", joins).split()
        assert f"{name}\n" in command.run("ls", "/")
        third.kill()
    assert command.run("recv", leaves).strip() == name
    eventually(lambda: command.lists(len(hosts)), LIMIT_S)
    command.run("scrub", joins)
    command.run("scrub", leaves)


def test_a_server_tells_of_itself(circuit_pair: Pair, command: Command, hosts: list[str]) -> None:
    for server, host in zip((circuit_pair.first, circuit_pair.second), hosts, strict=True):
        stat = command.peek(f"/{host}")
        assert stat["Addr"] == server.address
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", stat["Joined"])


def test_two_circuits_become_one(
    circuit_pair: Pair, command: Command, hosts: list[str], eventually: Eventually
) -> None:
    with start(circuit_pair.side) as alone:
        command.run("join", f"/{hosts[0]}", alone.address)
        eventually(lambda: Command(alone.address).lists(3) and command.lists(3), LIMIT_S)
    eventually(lambda: command.lists(2), LIMIT_S)


def test_what_is_not_there(command: Command, place: str) -> None:
    assert command.peek(place) is None
    command.run("scrub", place)
    assert "not a process" in command.refused("wait", place)
    assert "not a channel" in command.refused("recv", place)
    assert command.run("ls", f"{place}/...") == ""


def test_what_the_node_does_not_have() -> None:
    """It says so, and the command says it on."""
    with node() as server:
        command = Command(server.address)
        host = command.run("ls", "/").strip()
        for verb, kind, stdin in (("mkdns", "dns", b""), ("mkdkr", "docker", b'{"Image": "x"}')):
            said = command.refused(verb, f"{host}/a", stdin=stdin)
            assert f"elements of kind {kind} are not supported by this server" in said
        assert "no profile" in command.refused("stk", host)


def test_the_command_leaves_nothing_in_the_node(start_node: StartNode, eventually: Eventually) -> None:
    running = start_node()
    command = Command(running.address)
    host = command.run("ls", "/").strip()
    command.run("mkproc", f"{host}/a", stdin=cmd("echo fine"))
    for verb in ("stdin", "stdout", "stderr", "wait"):
        command.run(verb, f"{host}/a")
    command.run("mkchan", f"{host}/b", "1")
    command.run("send", f"{host}/b", stdin=b"x")
    command.run("recv", f"{host}/b")
    command.run("ls", "/...")
    eventually(lambda: running.counts()["pointers"] == running.counts()["connections"] == 0)
    assert running.counts()["lifelines"] == 0


def test_no_hello_of_the_command_is_lost_by_the_node(tmp_path: Path) -> None:
    """Against a server of the reference, one of five hangs."""
    key = write_key(tmp_path / "key", KEY)
    with node(key=key) as server:
        command = Command(server.address, key)
        for _ in range(50):
            began = time.monotonic()
            assert command.run("ls", "/").startswith("/X")
            assert time.monotonic() - began < 2.0
        assert "authentication failed" in Command(server.address, write_key(tmp_path / "other", bytes(64))).refused(
            "ls", "/"
        )
