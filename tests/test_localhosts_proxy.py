"""The proxy for packages, with servers on this machine in the place of archives and of hosts."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from localhosts import LocalHostsError, proxy
from localhosts.proxy import PackageProxy


class Archive(BaseHTTPRequestHandler):
    """Tells what it was asked, with a length or without."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = (
            f"{self.path} {self.headers['Host']} {self.headers['Range']} {self.headers['Proxy-Authorization']}".encode()
        )
        self.send_response(404 if self.path == "/gone" else 200)
        self.send_header("X-Mine", "yes")
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


@pytest.fixture
def archive() -> Iterator[str]:
    """HOST:PORT of a web server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Archive) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextlib.contextmanager
def client(url: str, source: str = "127.0.0.1") -> Iterator[http.client.HTTPConnection]:
    """A connection to the proxy."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10, source_address=(source, 0))
    with contextlib.closing(connection):
        yield connection


def test_many_requests_on_one_connection(archive: str) -> None:
    with PackageProxy("127.0.0.1") as url, client(url) as host:
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


def test_body_that_is_torn_is_seen_to_be(archive: str) -> None:
    with PackageProxy("127.0.0.1") as url, client(url) as host:
        host.request("GET", f"http://{archive}/torn")
        with pytest.raises(http.client.IncompleteRead):
            host.getresponse().read()


def test_tunnel(archive: str) -> None:
    name, port = archive.split(":")
    with PackageProxy("127.0.0.1") as url, client(url) as host:
        host.set_tunnel(name, int(port))
        host.request("GET", "/inside")
        assert host.getresponse().read().decode().startswith(f"/inside {archive} ")


def test_through_the_proxy_of_this_machine(archive: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with PackageProxy("127.0.0.1") as outer:
        user_at = outer.replace("http://", "http://user:p%40ss@")
        monkeypatch.setenv("http_proxy", user_at)
        monkeypatch.setenv("https_proxy", user_at)
        with PackageProxy("127.0.0.1") as inner, client(inner) as host:
            host.request("GET", f"http://{archive}/a")
            assert host.getresponse().read().decode() == f"/a {archive} None None"
        name, port = archive.split(":")
        with PackageProxy("127.0.0.1") as inner, client(inner) as host:
            host.set_tunnel(name, int(port))
            host.request("GET", "/inside")
            assert host.getresponse().status == 200
    # That the machine's proxy, now gone, was in between; and where there is to be none.
    with PackageProxy("127.0.0.1") as inner, client(inner) as host:
        host.request("GET", f"http://{archive}/a")
        assert host.getresponse().status == 502
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with PackageProxy("127.0.0.1") as inner, client(inner) as host:
        host.request("GET", f"http://{archive}/a")
        assert host.getresponse().status == 200


def test_the_proxy_of_this_machine_gets_its_password(archive: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The archive in the proxy's place tells what it was asked.
    monkeypatch.setenv("http_proxy", f"http://user:p%40ss@{archive}")
    with PackageProxy("127.0.0.1") as url, client(url) as host:
        host.request("GET", "http://deb.example/a")
        assert host.getresponse().read().decode() == "http://deb.example/a deb.example None Basic dXNlcjpwQHNz"


def test_apts_own_proxy_is_used_where_the_environment_names_none(archive: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "_apts_proxies", lambda: {"http": f"http://{archive}", "https": "DIRECT"})
    with PackageProxy("127.0.0.1") as url, client(url) as host:
        host.request("GET", "http://deb.example/a")
        assert host.getresponse().read().decode().startswith("http://deb.example/a deb.example")


def test_proxy_that_is_not_spoken_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://user:secret@gate.example:1080")
    with pytest.raises(LocalHostsError, match=r"proxy for https is socks5://gate\.example, not http://"):
        PackageProxy("127.0.0.1").__enter__()


def test_strangers_are_hung_up_on(archive: str) -> None:
    with PackageProxy("127.0.0.1") as url:
        for source, served in (("127.0.0.9", True), ("127.0.1.1", False)):
            with client(url, source) as host:
                host.request("GET", f"http://{archive}/a")
                if served:
                    assert host.getresponse().status == 200
                else:
                    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
                        host.getresponse()


@pytest.mark.parametrize(
    ("method", "target", "status", "said"),
    [
        ("GET", "/local", 400, "this is a proxy, and /local is no http:// address"),
        ("GET", "ftp://deb.example/a", 400, "is no http:// address"),
        ("CONNECT", "deb.example", 400, "deb.example is no HOST:PORT"),
        ("CONNECT", "127.0.0.1:{closed}", 502, "refused"),
        ("GET", "http://127.0.0.1:{closed}/", 502, "refused"),
        ("POST", "http://127.0.0.1:{closed}/", 501, "Unsupported method"),
    ],
)
def test_what_cannot_be_had_is_told(method: str, target: str, status: int, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = probe.getsockname()[1]
    with PackageProxy("127.0.0.1") as url, client(url) as host:
        host.request(method, target.format(closed=closed))
        answer = host.getresponse()
        assert answer.status == status
        assert said in answer.read().decode()


def test_address_of_no_cluster_is_refused() -> None:
    with pytest.raises(LocalHostsError, match=r"cannot listen on 10\.213\.255\.1: .*; is the cluster up\?"):
        PackageProxy("10.213.255.1").__enter__()


def test_nothing_listens_afterwards() -> None:
    with PackageProxy("127.0.0.1") as url:
        pass
    with pytest.raises(ConnectionRefusedError), client(url) as host:
        host.connect()
