"""Debian's archive, as hosts on this machine get at it, which have no route out: through a proxy on the runner."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from localhosts import Cluster
from tests.jobs import sh

_LIMIT_S = 60.0
_KEPT_BYTES = 64 << 20


class _Proxy(BaseHTTPRequestHandler):
    """Answers each GET with what the URL gives; what is small is fetched once."""

    protocol_version = "HTTP/1.1"
    _kept: dict[str, bytes] = {}  # noqa: RUF012 - all handlers share it
    _turns: dict[str, threading.Lock] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        with self._turns.setdefault(self.path, threading.Lock()):
            try:
                body = self._kept.get(self.path) or self._fetch()
            except urllib.error.HTTPError as error:
                self.send_error(error.code)
                return
            except OSError as error:
                self.send_error(502, str(error))
                return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _fetch(self) -> bytes:
        with urllib.request.urlopen(self.path, timeout=_LIMIT_S) as answer:
            body: bytes = answer.read()
        if len(body) <= _KEPT_BYTES:
            self._kept[self.path] = body
        return body

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def reachable(cluster: Cluster) -> Iterator[None]:
    """Have apt-get on the hosts of a cluster reach its archives."""
    with ThreadingHTTPServer((cluster.gateway, 0), _Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://{cluster.gateway}:{server.server_port}"
        for host in cluster.hosts:
            sh(host, f"""echo 'Acquire::http::Proxy "{url}";' > /etc/apt/apt.conf.d/99proxy""")
        yield
        server.shutdown()
