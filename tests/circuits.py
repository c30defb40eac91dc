"""Circuit servers for tests, each a process of its own on this machine."""

from __future__ import annotations

import base64
import os
import re
import resource
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import circuit
from circuit import Client, dial

PROJECT = Path(__file__).parent.parent
REFERENCE = os.environ.get("CIRCUIT_BIN", "")
"""The gocircuit binary to compare with, if there is one."""

START_LIMIT_S = 20.0
JOIN_PATIENCE_S = 3.0
"""How long it takes at most until one that joins is listed, where nothing goes wrong."""


@dataclass
class Server:
    """A running circuit server."""

    address: str
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self.process.kill()
        self.process.wait(10)

    def suspend(self) -> None:
        """Make it silent: it listens, accepts and holds its connections, and does nothing."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def resume(self) -> None:
        """Let a silent one go on."""
        self.process.send_signal(signal.SIGCONT)


@dataclass(frozen=True)
class Pair:
    """Two servers of one circuit."""

    side: str
    first: Server
    second: Server


@contextmanager
def node(*options: str, join: Server | None = None, key: Path | None = None, port: int = 0) -> Iterator[Server]:
    """This project's server."""
    command = [sys.executable, "-m", "circuit.node", "--addr", f"127.0.0.1:{port}", *options]
    with running(command, join, key) as server:
        yield server


@contextmanager
def reference(join: Server | None = None, key: Path | None = None, port: int = 0) -> Iterator[Server]:
    """The server that $CIRCUIT_BIN names.

    It also joins what answers on its multicast port, so each gets one that no other listens on.
    """
    endpoint = f"127.0.0.1:{port or free_port()}"
    command = [REFERENCE, "start", "--addr", endpoint, "--discover", f"228.8.8.8:{free_port()}"]
    with running(command, join, key) as server:
        yield server


SIDES = ["node", "reference"] if REFERENCE else ["node"]
"""What :func:`start` can start here."""


def start(
    side: str, join: Server | None = None, key: Path | None = None, port: int = 0
) -> AbstractContextManager[Server]:
    """A server of the side that is named so. ``port`` is where it listens, 0 for any."""
    return node(join=join, key=key, port=port) if side == "node" else reference(join, key, port)


@contextmanager
def pair(side: str) -> Iterator[Pair]:
    """A circuit of two servers."""
    with start(side) as first, start(side, join=first) as second:
        introduce(first.address, second.address)
        yield Pair(side, first, second)


@contextmanager
def many(count: int) -> Iterator[Server]:
    """The first server of a circuit of so many, all in one process; see :mod:`tests.many_nodes`."""
    with running([sys.executable, "-m", "tests.many_nodes", str(count)]) as server:
        yield server


def raise_file_limit() -> None:
    """Let this process open as many files as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def introduce(first: str, second: str, key: bytes | circuit.Hidden | None = None) -> None:
    """See to it that the servers at two addresses list each other.

    One of the reference tries to join only once, and goes on alone when that failed: where its circuit had just begun.
    """
    deadline = time.monotonic() + START_LIMIT_S
    asked = time.monotonic()
    with dial(first, key, START_LIMIT_S) as one, dial(second, key, START_LIMIT_S) as other:
        while (seen := (len(one.view()), len(other.view()))) != (2, 2):
            assert time.monotonic() < deadline, f"{first} and {second} see {seen} hosts after {START_LIMIT_S:g} s"
            if time.monotonic() - asked > JOIN_PATIENCE_S:
                join(other, first)
                asked = time.monotonic()
            time.sleep(0.005)


def join(client: Client, address: str) -> None:
    """Have a client's server join the circuit of the server at an address."""
    for host in client.view().values():
        element = host.get()
        assert isinstance(element, circuit.Server)
        if element.peek().address == client.address:
            element.rejoin(address)


def write_key(path: Path, key: bytes) -> Path:
    """Write an HMAC key the way servers read it."""
    path.write_bytes(base64.b64encode(key))
    return path


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], join: Server | None = None, key: Path | None = None) -> Iterator[Server]:
    """A server by its whole command."""
    if join is not None:
        command += ["--join", join.address]
    if key is not None:
        command += ["--hmac", str(key)]
    process = subprocess.Popen(
        command, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        yield Server(_read_address(process), process)
    finally:
        process.kill()
        process.communicate()


def _read_address(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    text = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (found := re.search(rb"circuit://\S+(?=\n)", text)) is None:
            assert selector.select(START_LIMIT_S), f"{process.args!r} printed no address but {text!r}"
            block = os.read(process.stdout.fileno(), 4096)
            assert block, f"{process.args!r} ended with status {process.wait(10)} and printed {text!r}"
            text += block
    return found[0].decode()
