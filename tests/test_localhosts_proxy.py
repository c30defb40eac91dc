"""The proxy for packages, with a host that asks, and another server of that host in the place of an archive."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import pytest

from localhosts import Cluster, LocalHostsError, cgroups, proxy
from localhosts.privilege import as_root
from localhosts.proxy import PackageProxy
from tests.conftest import Eventually


class MachinesProxy(proxy._Server):
    """The proxy that this machine uses, which serves it."""

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return True


class Archive(BaseHTTPRequestHandler):
    """Tells what it was asked, with a length or without."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = (
            f"{self.path} {self.headers['Host']} {self.headers['Range']} {self.headers['Proxy-Authorization']}".encode()
        )
        self.send_response(404 if self.path == "/gone" else 200)
        self.send_header("X-Mine", "yes")
        self.send_header("X-At", ":".join(map(str, self.connection.getsockname())))
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            body = b"3\r\nabc\r\n0\r\n\r\n"
        elif self.path == "/torn":
            self.send_header("Content-Length", "1000")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own proxies are left out of it."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(proxy, "_apts_proxies", dict)


Client: TypeAlias = Callable[[str], AbstractContextManager[http.client.HTTPConnection]]
"""Connects a host to the proxy with a URL."""

SOCKETS = """
import json, socket

with socket.socket(fileno=0) as asked:
    while text := asked.recv(4096):
        verb, *address = json.loads(text)
        try:
            if verb == "listen":
                made = socket.create_server(tuple(address))
            else:
                made = socket.create_connection(tuple(address), 10)
        except OSError as error:
            asked.send(str(error).encode())
        else:
            socket.send_fds(asked, [b"made"], [made.fileno()])
            made.close()
"""
"""Makes sockets for this process where it is started: on a host."""


class Sockets:
    """Sockets of a host that this process uses."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        (self.host,) = cluster.hosts
        self._asked, theirs = socket.socketpair()
        pid = cgroups.pids(self.host.group)[-1]
        with theirs:
            self._maker = subprocess.Popen(
                as_root(["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-I", "-c", SOCKETS]),
                stdin=theirs.fileno(),
            )

    def make(self, verb: str, address: str, port: int) -> socket.socket:
        """A socket that listens on an address of the host, or is connected from there to another."""
        self._asked.send(json.dumps([verb, address, port]).encode())
        said, descriptors, _, _ = socket.recv_fds(self._asked, 1024, 1)
        if not descriptors:
            raise ConnectionRefusedError(said.decode())
        return socket.socket(fileno=descriptors[0])

    def close(self) -> None:
        """End what makes them."""
        self._asked.close()
        self._maker.wait(10)


@pytest.fixture(scope="module")
def sockets() -> Iterator[Sockets]:
    with Cluster(1, init="none") as cluster, contextlib.closing(Sockets(cluster)) as made:
        yield made


@pytest.fixture
def gateway(sockets: Sockets) -> str:
    """This machine's address in the cluster."""
    return sockets.cluster.gateway


@contextlib.contextmanager
def serving(listener: socket.socket, handler: type[BaseHTTPRequestHandler] = Archive) -> Iterator[str]:
    """HOST:PORT of a web server behind a socket that listens."""
    host, port = listener.getsockname()
    with ThreadingHTTPServer((host, port), handler, bind_and_activate=False) as server:
        server.socket.close()
        server.socket = listener
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"{host}:{port}"
        finally:
            server.shutdown()


@pytest.fixture
def archive(sockets: Sockets) -> Iterator[str]:
    """HOST:PORT of a web server that is not this machine's."""
    with serving(sockets.make("listen", sockets.host.private_address, 0)) as where:
        yield where


@pytest.fixture
def client(sockets: Sockets) -> Client:
    """Connects a host to the proxy."""

    @contextlib.contextmanager
    def connect(url: str) -> Iterator[http.client.HTTPConnection]:
        where = urlsplit(url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)

        def make(*_: object, **__: object) -> socket.socket:
            made = sockets.make("connect", where.hostname or "", where.port or 0)
            made.settimeout(10)
            return made

        connection._create_connection = make  # type: ignore[attr-defined]
        with contextlib.closing(connection):
            yield connection

    return connect


@contextlib.contextmanager
def client_here(url: str, source: str) -> Iterator[http.client.HTTPConnection]:
    """Connects this machine to the proxy."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10, source_address=(source, 0))
    with contextlib.closing(connection):
        yield connection


def test_many_requests_on_one_connection(client: Client, gateway: str, archive: str) -> None:
    with PackageProxy(gateway) as url, client(url) as host:
        for path, status in (("/a?b=c", 200), ("", 200), ("/gone", 404)):
            host.request("GET", f"http://{archive}{path}", headers={"Range": "bytes=7-", "Proxy-Connection": "close"})
            answer = host.getresponse()
            assert (answer.status, answer.headers["X-Mine"]) == (status, "yes")
            assert answer.read().decode() == f"{path or '/'} {archive} bytes=7- None"
        host.request("HEAD", f"http://{archive}/a")
        answer = host.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        assert int(answer.headers["Content-Length"]) > 0
        host.request("GET", f"http://{archive}/chunked")
        assert host.getresponse().read() == b"abc"


def test_body_that_is_torn_is_seen_to_be(client: Client, gateway: str, archive: str) -> None:
    with PackageProxy(gateway) as url, client(url) as host:
        host.request("GET", f"http://{archive}/torn")
        with pytest.raises(http.client.IncompleteRead):
            host.getresponse().read()


def test_tunnel(client: Client, gateway: str, archive: str) -> None:
    name, port = archive.split(":")
    with PackageProxy(gateway) as url, client(url) as host:
        host.set_tunnel(name, int(port))
        host.request("GET", "/inside")
        assert host.getresponse().read().decode().startswith(f"/inside {archive} ")


def test_through_the_proxy_of_this_machine(
    client: Client, gateway: str, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MachinesProxy(gateway, {}) as outside:
        threading.Thread(target=outside.serve_forever, args=(0.02,), daemon=True).start()
        user_at = f"http://{gateway}:{outside.server_address[1]}".replace("http://", "http://user:p%40ss@")
        monkeypatch.setenv("http_proxy", user_at)
        monkeypatch.setenv("https_proxy", user_at)
        with PackageProxy(gateway) as inner, client(inner) as host:
            host.request("GET", f"http://{archive}/a")
            assert host.getresponse().read().decode() == f"/a {archive} None None"
        name, port = archive.split(":")
        with PackageProxy(gateway) as inner, client(inner) as host:
            host.set_tunnel(name, int(port))
            host.request("GET", "/inside")
            assert host.getresponse().status == 200
        outside.shutdown()
    # That the machine's proxy, now gone, was in between; and where there is to be none.
    with PackageProxy(gateway) as inner, client(inner) as host:
        host.request("GET", f"http://{archive}/a")
        assert host.getresponse().status == 502
    monkeypatch.setenv("no_proxy", name)
    with PackageProxy(gateway) as inner, client(inner) as host:
        host.request("GET", f"http://{archive}/a")
        assert host.getresponse().status == 200


def test_the_proxy_of_this_machine_gets_its_password(
    client: Client, gateway: str, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The archive in the proxy's place tells what it was asked.
    monkeypatch.setenv("http_proxy", f"http://user:p%40ss@{archive}")
    with PackageProxy(gateway) as url, client(url) as host:
        host.request("GET", "http://deb.example/a")
        assert host.getresponse().read().decode() == "http://deb.example/a deb.example None Basic dXNlcjpwQHNz"


def test_apts_own_proxy_is_used_where_the_environment_names_none(
    client: Client, gateway: str, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "_apts_proxies", lambda: {"http": f"http://{archive}", "https": "DIRECT"})
    with PackageProxy(gateway) as url, client(url) as host:
        host.request("GET", "http://deb.example/a")
        assert host.getresponse().read().decode().startswith("http://deb.example/a deb.example")


def test_proxy_that_is_not_spoken_is_refused(gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://user:secret@gate.example:1080")
    with pytest.raises(LocalHostsError, match=r"proxy for https is socks5://gate\.example, not http://"):
        PackageProxy(gateway).__enter__()


def test_this_machine_s_users_are_hung_up_on(client: Client, gateway: str, archive: str) -> None:
    with PackageProxy(gateway) as url:
        with client(url) as host:
            host.request("GET", f"http://{archive}/a")
            assert host.getresponse().status == 200
        # The second is in the subnet, as the hosts are.
        for source in ("", gateway):
            with client_here(url, source) as stranger:
                stranger.request("GET", f"http://{archive}/a")
                with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
                    stranger.getresponse()


def test_a_host_that_connects_without_end_is_hung_up_on(
    sockets: Sockets, client: Client, gateway: str, archive: str, eventually: Eventually
) -> None:
    """Each connection took a descriptor and a thread of this process, which could not even end the hosts then."""
    before = threading.active_count()
    with PackageProxy(gateway) as url, contextlib.ExitStack() as stack:
        where = urlsplit(url)
        for _ in range(3 * proxy.MOST_OF_A_CLIENT):
            stack.enter_context(sockets.make("connect", where.hostname or "", where.port or 0))
        assert threading.active_count() <= before + proxy.MOST_OF_A_CLIENT + 1
        stack.close()

        def served() -> bool:
            with contextlib.suppress(ConnectionError, http.client.HTTPException), client(url) as host:
                host.request("GET", f"http://{archive}/a")
                return host.getresponse().status == 200
            return False

        assert eventually(served), "their places are free again"


def own_addresses() -> list[str]:
    """The addresses of this machine's links, as they stand in a URL."""
    shown = json.loads(subprocess.check_output(["ip", "-json", "address"]))
    found = [ipaddress.ip_address(known["local"]) for link in shown for known in link["addr_info"]]
    return [f"[{address}]" if address.version == 6 else str(address) for address in found]


@pytest.mark.parametrize("method", ["GET", "HEAD", "CONNECT"])
def test_what_is_for_this_machine_alone_is_refused(client: Client, gateway: str, method: str) -> None:
    nowhere = ["169.254.169.254", "[fe80::1]", "224.0.0.1", "[ff02::1]", "255.255.255.255", "0.1.2.3"]
    nowhere += ["168.63.129.16", "100.100.100.200", "192.0.0.192", "[fd00:ec2::254]", "[fd20:ce::254]"]
    nowhere += ["[2002:7f00:1::]"]
    loopback = ["127.0.0.1", "127.1", "0x7f000001", "localhost", "[::1]", "[::ffff:127.0.0.1]"]
    mapped = f"[::ffff:{gateway}]"
    with (
        serving(socket.create_server(("", 0))) as here,
        PackageProxy(gateway) as url,
    ):
        port = here.rpartition(":")[2]
        answers = {}
        for target in (*loopback, *own_addresses(), *nowhere, mapped, "0.0.0.0", "[::]"):
            with client(url) as host:
                host.request(method, f"{target}:{port}" if method == "CONNECT" else f"http://{target}:{port}/secret")
                answers[target] = host.getresponse().status
    assert {target: status for target, status in answers.items() if status != 403} == {}
    assert gateway in answers


def test_a_name_of_two_addresses_is_dialed_at_the_one_that_was_checked(
    client: Client, gateway: str, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, port = archive.split(":")
    resolve = socket.getaddrinfo

    def answered(host: str, *arguments: Any, **options: Any) -> Any:
        if host != "deb.example":
            return resolve(host, *arguments, **options)
        return [answer for known in ("127.0.0.1", there) for answer in resolve(known, *arguments, **options)]

    with serving(socket.create_server(("127.0.0.1", int(port)))), PackageProxy(gateway) as url, client(url) as host:
        monkeypatch.setattr(socket, "getaddrinfo", answered)
        host.request("GET", f"http://deb.example:{port}/a")
        answer = host.getresponse()
        assert (answer.read().decode().split()[0], answer.headers["X-At"]) == ("/a", archive)


def test_the_proxy_of_this_machine_is_not_asked_for_what_is_this_machine_s(
    client: Client, gateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(socket.create_server(("127.0.0.1", 0))) as upstream:
        monkeypatch.setenv("http_proxy", f"http://{upstream}")
        monkeypatch.setenv("https_proxy", f"http://{upstream}")
        with PackageProxy(gateway) as url:
            for target, status in (
                ("deb.example", 200),
                ("127.0.0.1", 403),
                ("localhost", 403),
                ("localhost.", 403),
                (gateway, 403),
            ):
                with client(url) as host:
                    host.request("GET", f"http://{target}/a")
                    assert (target, host.getresponse().status) == (target, status)
            with client(url) as host:
                host.request("CONNECT", "127.0.0.1:22")
                assert host.getresponse().status == 403


@pytest.mark.parametrize(
    ("method", "target", "status", "said"),
    [
        ("GET", "/local", 400, "this is a proxy, and /local is not a valid http:// URL"),
        ("GET", "ftp://deb.example/a", 400, "is not a valid http:// URL"),
        ("CONNECT", "deb.example", 400, "deb.example is not a valid HOST:PORT"),
        ("CONNECT", "{closed}", 502, "refused"),
        ("GET", "http://{closed}/", 502, "refused"),
        ("POST", "http://{closed}/", 501, "Unsupported method"),
    ],
)
def test_what_cannot_be_had_is_told(
    sockets: Sockets, client: Client, gateway: str, method: str, target: str, status: int, said: str
) -> None:
    with sockets.make("listen", sockets.host.private_address, 0) as probe:
        closed = ":".join(map(str, probe.getsockname()))
    with PackageProxy(gateway) as url, client(url) as host:
        host.request(method, target.format(closed=closed))
        answer = host.getresponse()
        assert answer.status == status
        assert said in answer.read().decode()


def test_address_of_no_cluster_is_refused() -> None:
    with pytest.raises(LocalHostsError, match=r"cannot listen on 10\.213\.255\.1: .*; is the cluster up\?"):
        PackageProxy("10.213.255.1").__enter__()


def test_nothing_listens_afterwards(client: Client, gateway: str) -> None:
    with PackageProxy(gateway) as url:
        pass
    with pytest.raises(ConnectionRefusedError), client(url) as host:
        host.connect()
