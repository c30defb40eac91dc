"""Servers that ask for a password in a way that gives it away, on this machine's loopback: they get none."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
import pytest

from circuit_harness.errors import DeployError
from circuit_harness.secret import Secret
from circuit_harness.services.mysql import accounts
from circuit_harness.services.mysql.accounts import Tls
from circuit_harness.services.nodejs import bundle as bundles
from circuit_harness.steps import Steps
from tests.jobs import ROOT

PASSWORD = "a password of ours"
SALT = bytes(range(65, 85))
LIMIT_S = 20.0

# What a server says that it can do: long passwords, a database by connection, protocol 4.1, transactions, secure
# connections, methods by name, and tokens of any length.
CAPABILITIES = 0x1 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x80000 | 0x200000


def packet(number: int, payload: bytes) -> bytes:
    return struct.pack("<I", len(payload))[:3] + bytes([number]) + payload


def greeting(method: str) -> bytes:
    low, high = struct.pack("<HH", CAPABILITIES & 0xFFFF, CAPABILITIES >> 16)[:2], struct.pack("<H", CAPABILITIES >> 16)
    start = b"\x0a8.0.40\0" + struct.pack("<I", 7) + SALT[:8] + b"\0" + low + b"\x2d" + struct.pack("<H", 2) + high
    return packet(0, start + b"\x15" + bytes(10) + SALT[8:] + b"\0" + method.encode() + b"\0")


def ask_for(method: str) -> bytes:
    """A request to prove oneself by another method; one that prompts asks for the password."""
    return b"\xfe" + method.encode() + b"\0" + (b"\x05Password: " if method == "dialog" else SALT + b"\0")


class Server:
    """Greets each client with ``first``, answers its login by ``reply``, and keeps what it sends afterwards."""

    def __init__(self, first: str, reply: bytes) -> None:
        self.logins: list[bytes] = []
        self.given: list[bytes] = []
        self.ended = threading.Event()
        self._greeting, self._reply = greeting(first), reply
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection = self._listening.accept()[0]
            except OSError:
                return
            with connection, connection.makefile("rb") as reader:
                connection.settimeout(LIMIT_S)
                connection.sendall(self._greeting)
                self.logins.append(self._packet(reader))
                connection.sendall(packet(2, self._reply))
                self.given.append(self._packet(reader))
                self.ended.set()

    def _packet(self, reader: io.BufferedReader) -> bytes:
        head = reader.read(4)
        return reader.read(int.from_bytes(head[:3], "little")) if len(head) == 4 else b""

    def close(self) -> None:
        # Which wakes whoever waits for the next client.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    @property
    def received(self) -> bytes:
        """What came behind the logins, once a client has gone or answered."""
        assert self.ended.wait(LIMIT_S)
        return b"".join(self.given)


@contextmanager
def serving(method: str, *, at_once: bool = False) -> Iterator[Server]:
    """A server that asks for ``method``, in its greeting or instead of the one that it greets with."""
    server = Server(method, b"\x01\x04") if at_once else Server("mysql_native_password", ask_for(method))
    try:
        yield server
    finally:
        server.close()


METHODS = ("mysql_clear_password", "dialog", "mysql_old_password")


@pytest.mark.parametrize("at_once", [False, True], ids=["instead", "at once"])
@pytest.mark.parametrize("method", METHODS)
def test_the_checks_connection_gives_no_password_away(method: str, at_once: bool) -> None:
    with serving(method, at_once=at_once) as server:
        with pytest.raises(pymysql.OperationalError) as raised:
            accounts.connect("127.0.0.1", server.port, "someone", Secret(PASSWORD), None, Tls())
        assert server.received == b""
        assert f"MySQL at 127.0.0.1 port {server.port}: the server requests the password by {method}," in str(
            raised.value
        )
        assert PASSWORD.encode() not in b"".join(server.logins)


@pytest.mark.parametrize("method", METHODS)
def test_the_look_from_here_gives_no_password_away(method: str) -> None:
    with serving(method) as server:
        told = ""
        try:
            accounts.seen_from("127.0.0.1", server.port, Tls(), "someone")
        except DeployError as error:
            told = str(error)
        assert server.received == b""
        assert f"MySQL at 127.0.0.1 port {server.port}: the server requests the password by {method}," in told


def test_a_method_that_is_safe_is_used() -> None:
    with serving("mysql_native_password") as server:
        with pytest.raises(pymysql.OperationalError):
            accounts.connect("127.0.0.1", server.port, "someone", Secret(PASSWORD), None, Tls())
        once = hashlib.sha1(PASSWORD.encode()).digest()
        proof = hashlib.sha1(SALT + hashlib.sha1(once).digest()).digest()
        assert server.received == bytes(a ^ b for a, b in zip(once, proof, strict=True))


def eventually(condition: Callable[[], str]) -> str:
    deadline = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app's folder, with all that it needs."""
    folder = tmp_path_factory.mktemp("app")
    bundle = bundles.build(ROOT / "deploy/app", Steps()).data
    subprocess.run(["tar", "-xzf", "-", "-C", str(folder)], input=bundle, timeout=60, check=True)
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_the_app_gives_no_password_away(app: Path, tmp_path: Path, method: str) -> None:
    secret, log = tmp_path / "password", tmp_path / "log"
    secret.write_text(PASSWORD)
    with serving(method) as server, log.open("wb") as output:
        options = ["--mysql_host=127.0.0.1", f"--mysql_port={server.port}", f"--mysql_password_file={secret}"]
        process = subprocess.Popen(
            ["node", "index.js", *options, "--api_host=127.0.0.1", "--api_port=0"],
            cwd=app,
            env={"PATH": os.environ["PATH"]},
            stdout=output,
            stderr=output,
        )
        try:
            line = eventually(lambda: next(iter(log.read_text().splitlines()), ""))
            assert line.startswith("Listening on "), log.read_text()
            with pytest.raises(urllib.error.HTTPError) as raised:
                urllib.request.urlopen(f"http://{line.split()[-1]}/get/name", timeout=LIMIT_S)
            assert server.received == b""
            assert raised.value.code == 503
            assert method in raised.value.read().decode()
            assert process.poll() is None
        finally:
            process.kill()
            process.wait()
