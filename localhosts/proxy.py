"""An HTTP proxy on this machine, with which a cluster's hosts fetch packages: they have no route out.

It connects as the machine itself does: through the proxy that the environment names (``http_proxy``, ``https_proxy``,
``no_proxy``), else through apt's proxy, else directly. It serves only these hosts, and refuses to connect to what only
this machine may reach: its own addresses, link-local ones, other clusters.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import selectors
import shlex
import shutil
import socket
import subprocess
import threading
import urllib.request
from collections import Counter
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from .errors import LocalHostsError
from .network import PREFIX, is_of_a_cluster

CONNECT_LIMIT = 10.0
"""Seconds that an outward connection may take to be established."""

IDLE_LIMIT = 60.0
"""Seconds without a byte after which the proxy closes a connection."""

MOST_CLIENTS = 64
"""The most connections that are served concurrently; the proxy closes others. Each takes a thread and some descriptors
of this process, which needs some of its own to take the cluster down."""

MOST_OF_A_CLIENT = 32
"""The most of these that may come from one address."""

_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_METADATA = frozenset(
    ipaddress.ip_address(address)
    for address in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)
"""Addresses of clouds' metadata services, which serve a machine's secrets. The link-local address that most clouds use
is forbidden as such."""
_ANY_PORT = 9
_APT_LIMIT = 5.0
_END_POLL = 0.05
_BLOCK = 65536
# Headers about one connection, which the proxy does not pass on.
_OWN_HEADERS = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
    *("te", "trailer", "transfer-encoding", "upgrade"),
}


class PackageProxy:
    """The proxy, a context manager that returns its URL. It serves GET, HEAD and CONNECT, only to the cluster's hosts.

    It answers with status 403 when a host may not connect to an address.
    A host's apt uses the proxy when a file in ``/etc/apt/apt.conf.d`` has the line ``Acquire::http::Proxy "URL";``.
    """

    def __init__(self, gateway: str) -> None:
        """Describe a proxy that will listen on ``gateway``, the runner's address in the cluster (Cluster.gateway)."""
        self._gateway = gateway
        self._server: _Server | None = None

    def __enter__(self) -> str:
        """Listen on a free port. Raises LocalHostsError."""
        try:
            self._server = _Server(self._gateway, _machines_proxies())
        except OSError as error:
            raise LocalHostsError(f"cannot listen on {self._gateway}: {error.strerror}; is the cluster up?") from error
        serve = partial(self._server.serve_forever, poll_interval=_END_POLL)
        threading.Thread(target=serve, name="package proxy", daemon=True).start()
        return f"http://{self._gateway}:{self._server.server_address[1]}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening. Does not wait for requests in progress."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def _machines_proxies() -> dict[str, SplitResult]:
    """Return the proxies that this machine uses, by scheme. Raises LocalHostsError when one is not an HTTP proxy."""
    found = {**_apts_proxies(), **urllib.request.getproxies_environment()}
    proxies = {}
    for scheme in ("http", "https"):
        text = found.get(scheme, "")
        if text in ("", "DIRECT"):
            continue
        proxy = urlsplit(text if "://" in text else f"http://{text}")
        if proxy.scheme != "http" or not proxy.hostname:
            # The message leaves out the user and the password.
            raise LocalHostsError(
                f"this machine's proxy for {scheme} is {proxy.scheme}://{proxy.hostname}, not http://"
            )
        proxies[scheme] = proxy
    return proxies


def _apts_proxies() -> dict[str, str]:
    if shutil.which("apt-config") is None:
        return {}
    command = ["apt-config", "shell", "http", "Acquire::http::Proxy", "https", "Acquire::https::Proxy"]
    try:
        printed = subprocess.run(command, capture_output=True, text=True, timeout=_APT_LIMIT, check=False).stdout
    except subprocess.TimeoutExpired:
        raise LocalHostsError(f"`{shlex.join(command)}` was not done after {_APT_LIMIT:g} s") from None
    pairs = (line.partition("=") for line in shlex.split(printed))
    proxies = {name: value for name, _, value in pairs}
    # apt does the same.
    proxies.setdefault("https", proxies.get("http", ""))
    return proxies


class _Server(ThreadingHTTPServer):
    def __init__(self, gateway: str, proxies: dict[str, SplitResult]) -> None:
        self.proxies = proxies
        self._subnet = ipaddress.ip_network(f"{gateway}/{PREFIX}", strict=False)
        self._served: Counter[str] = Counter()
        self._lock = threading.Lock()
        super().__init__((gateway, 0), _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        # The runner has an address in the subnet, too, and the proxy must not serve its users.
        client = ipaddress.ip_address(client_address[0])
        return client in self._subnet and not _is_own(client)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            full = self._served.total() >= MOST_CLIENTS or self._served[client_address[0]] >= MOST_OF_A_CLIENT
            if not full:
                self._served[client_address[0]] += 1
        if full:
            # Closed instead of kept waiting, because the end of this proxy would have to wait, too.
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._served[client_address[0]] -= 1

    def dial(self, host: str, port: int) -> socket.socket:
        """Connect to an address of ``host`` that hosts may reach. Raises _Forbidden where it has none, and OSError."""
        failure: OSError = _Forbidden()
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            if self._forbids(str(address[0])):
                continue
            outward = socket.socket(family, kind, protocol)
            try:
                outward.settimeout(CONNECT_LIMIT)
                # To the address just checked, because a second look-up of the name may return another one.
                outward.connect(address)
            except OSError as error:
                outward.close()
                failure = error
            else:
                return outward
        raise failure

    def check(self, host: str) -> None:
        """Raise _Forbidden when hosts may not reach ``host`` through the machine's proxy.

        A name that only that proxy can resolve is allowed.
        """
        name = host.rstrip(".").lower()
        try:
            found = [str(answer[4][0]) for answer in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
        except OSError:
            found = []
        if name == "localhost" or name.endswith(".localhost") or any(map(self._forbids, found)):
            raise _Forbidden

    def _forbids(self, text: str) -> bool:
        address = ipaddress.ip_address(text.partition("%")[0])
        # An IPv4 address embedded in an IPv6 one leads to the same host.
        address = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address
        if address in self._subnet:
            return _is_own(address)
        special = (
            *(address.is_loopback, address.is_link_local, address.is_multicast),
            *(address.is_unspecified, address.is_reserved, address in _THIS_NETWORK, address in _METADATA),
        )
        return any(special) or is_of_a_cluster(address) or _is_own(address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a client that closed its connection needs no error, and the output is the run's."""

    def proxy_towards(self, scheme: str, host: str) -> SplitResult | None:
        """Return the machine's proxy to use for ``host``, if any."""
        return None if urllib.request.proxy_bypass(host) else self.proxies.get(scheme)


class _Forbidden(OSError):
    """A host tries to reach an address that hosts may not reach."""

    def __str__(self) -> str:
        return "hosts may not reach an address that is only for this machine"


def _is_own(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an address is one of this machine's, which is then also the source towards it. Sends no packet."""
    with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), _ANY_PORT))
        except OSError:
            return False
        return ipaddress.ip_address(probe.getsockname()[0]) == address


class _Handler(BaseHTTPRequestHandler):
    """One connection of a host."""

    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE_LIMIT

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.scheme != "http" or not url.hostname:
            self._refuse(HTTPStatus.BAD_REQUEST, f"this is a proxy, and {self.path} is not a valid http:// URL")
            return
        proxy = self.server.proxy_towards("http", url.hostname)
        local = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
        via, target = (proxy, self.path) if proxy else (url, local)
        headers = _passed_on(self.headers.items())
        headers.update(_credentials(proxy))
        try:
            onward = http.client.HTTPConnection(via.hostname or "", via.port or 80, timeout=CONNECT_LIMIT)
            with contextlib.closing(onward):
                if proxy:
                    self.server.check(url.hostname)
                    onward.connect()
                else:
                    onward.sock = self.server.dial(url.hostname, url.port or 80)
                onward.sock.settimeout(IDLE_LIMIT)
                onward.request(self.command, target, headers={"Host": url.netloc, **headers})
                self._pass_back(onward.getresponse())
        except _Forbidden as error:
            self._refuse(HTTPStatus.FORBIDDEN, f"{url.netloc}: {error}")
        except (OSError, UnicodeError, ValueError, http.client.HTTPException) as error:
            self._refuse(HTTPStatus.BAD_GATEWAY, f"{url.netloc}: {error}")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_CONNECT(self) -> None:
        host, _, port = self.path.rpartition(":")
        host = host.strip("[]")
        if not host or not port.isdecimal():
            self._refuse(HTTPStatus.BAD_REQUEST, f"{self.path} is not a valid HOST:PORT")
            return
        proxy = self.server.proxy_towards("https", host)
        try:
            if proxy:
                self.server.check(host)
                onward = http.client.HTTPConnection(proxy.hostname or "", proxy.port or 80, timeout=CONNECT_LIMIT)
                onward.set_tunnel(host, int(port), _credentials(proxy))
                onward.connect()
                outward = onward.sock
            else:
                outward = self.server.dial(host, int(port))
        except _Forbidden as error:
            self._refuse(HTTPStatus.FORBIDDEN, f"{self.path}: {error}")
            return
        except (OSError, UnicodeError, OverflowError) as error:
            self._refuse(HTTPStatus.BAD_GATEWAY, f"{self.path}: {error}")
            return
        self.close_connection = True
        with outward:
            self.send_response(HTTPStatus.OK)
            self.end_headers()
            _relay(self.connection, outward)

    def _pass_back(self, answer: http.client.HTTPResponse) -> None:
        length = answer.length
        self.send_response_only(answer.status, answer.reason)
        for name, value in _passed_on(answer.getheaders()).items():
            self.send_header(name, value)
        if length is None:
            # Only the end of the connection marks the end of the body.
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        passed = 0
        try:
            while block := answer.read(_BLOCK):
                self.wfile.write(block)
                passed += len(block)
        except (OSError, http.client.HTTPException):
            pass
        # It is too late for another status. The closed connection shows the client that the body is incomplete.
        self.close_connection = self.close_connection or passed != length

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        body = f"{why}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def _passed_on(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower() not in {*_OWN_HEADERS, "host"}}


def _credentials(proxy: SplitResult | None) -> dict[str, str]:
    if proxy is None or proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _relay(inward: socket.socket, outward: socket.socket) -> None:
    """Copy bytes in both directions until both ends close, or until no byte comes for ``IDLE_LIMIT`` seconds."""
    outward.settimeout(IDLE_LIMIT)
    others = {inward.fileno(): (inward, outward), outward.fileno(): (outward, inward)}
    with selectors.DefaultSelector() as open_ends:
        for descriptor in others:
            open_ends.register(descriptor, selectors.EVENT_READ)
        while open_ends.get_map():
            ready = open_ends.select(IDLE_LIMIT)
            if not ready:
                return
            for key, _ in ready:
                source, target = others[key.fd]
                if block := source.recv(_BLOCK):
                    target.sendall(block)
                else:
                    open_ends.unregister(key.fd)
                    target.shutdown(socket.SHUT_WR)
