"""The metadata service of a cloud host: it serves the host's addresses at 169.254.169.254, as EC2 does.

Each path below ``/latest/meta-data/`` returns one value. A client may first fetch a token (PUT ``/latest/api/token``
with the header ``X-aws-ec2-metadata-token-ttl-seconds``) and send it with its requests (``X-aws-ec2-metadata-token``);
a service can require a token of every client.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from . import network

MetadataMode = Literal["optional", "required", "none"]
"""Whether a token is optional or required; "none": there is no service."""

LONGEST_TOKEN = 21_600
"""The longest life of a token in seconds."""

MOST_TOKENS = 1000
"""The most tokens of a host that are valid at a time: there must be a limit, as the host's root can request any number.
"""

MOST_CLIENTS = 16
"""The most clients of a host that are served concurrently; others wait to be accepted. Each client takes a descriptor
and a thread of the supervisor, which needs some of its own to take the cluster down."""

_ROOT = "/latest/meta-data/"
_TOKEN_PATH = "/latest/api/token"
_TOKEN_HEADER = "X-aws-ec2-metadata-token"
_TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
_PORT = 80
_START_LIMIT = 5.0


class Tokens:
    """The tokens issued, and the time when each expires."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends: dict[str, float] = {}

    def issue(self, seconds: int) -> str:
        """Return a new token, valid for ``seconds`` or until :data:`MOST_TOKENS` newer ones have been issued."""
        token = secrets.token_urlsafe(32)
        self._ends[token] = self._clock() + seconds
        # The first key of a dictionary is the oldest.
        while len(self._ends) > MOST_TOKENS:
            self._ends.pop(next(iter(self._ends)), None)
        return token

    def is_valid(self, token: str) -> bool:
        """Return whether ``token`` was issued and has not expired."""
        return self._clock() < self._ends.get(token, 0.0)


def answer_token(tokens: Tokens, seconds: str | None) -> tuple[HTTPStatus, str]:
    """Return the answer to a request for a token with a life of ``seconds``, the header's text."""
    if seconds is None or not seconds.isdecimal() or not 1 <= int(seconds) <= LONGEST_TOKEN:
        return HTTPStatus.BAD_REQUEST, ""
    return HTTPStatus.OK, tokens.issue(int(seconds))


def answer_value(
    values: Mapping[str, str], tokens: Tokens, required: bool, path: str, token: str | None
) -> tuple[HTTPStatus, str]:
    """Return the answer to a request for ``path`` with ``token`` (None: without one).

    An invalid token is refused even where none is required, as by EC2.
    """
    if required if token is None else not tokens.is_valid(token):
        return HTTPStatus.UNAUTHORIZED, ""
    if path.rstrip("/") == _ROOT.rstrip("/"):
        return HTTPStatus.OK, "\n".join(sorted(values))
    value = values.get(path.removeprefix(_ROOT)) if path.startswith(_ROOT) else None
    return (HTTPStatus.NOT_FOUND, "") if value is None else (HTTPStatus.OK, value)


def serve(namespace: Path, values: Mapping[str, str], mode: MetadataMode) -> None:
    """Serve ``values`` in the network namespace ``namespace``, in a new thread, until this process ends.

    Returns when the service listens. Raises OSError when it cannot listen.
    """
    if mode == "none":
        return
    listening: Future[None] = Future()

    def work() -> None:
        try:
            listener = network.listen_in(namespace, network.METADATA_ADDRESS, _PORT)
        except OSError as error:
            listening.set_exception(error)
            return
        listening.set_result(None)
        server = _Server(listener.getsockname(), _handler(values, mode), bind_and_activate=False)
        server.socket.close()
        server.socket = listener
        server.serve_forever()

    threading.Thread(target=work, name=f"metadata of {namespace.name}", daemon=True).start()
    listening.result(_START_LIMIT)


class _Server(ThreadingHTTPServer):
    """A server that serves a bounded number of clients concurrently."""

    def __init__(
        self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], bind_and_activate: bool
    ) -> None:
        super().__init__(address, handler, bind_and_activate)
        self._places = threading.BoundedSemaphore(MOST_CLIENTS)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: Any) -> None:
        self._places.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: socket.socket | tuple[bytes, socket.socket], client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: Any) -> None:
        """Print nothing when a client closes its connection."""


def _handler(values: Mapping[str, str], mode: MetadataMode) -> type[BaseHTTPRequestHandler]:
    tokens = Tokens()

    class Handler(BaseHTTPRequestHandler):
        """One connection, which is closed when its client stalls for ``timeout`` seconds."""

        server_version = "EC2ws"
        sys_version = ""
        timeout = 10.0

        def do_PUT(self) -> None:
            if self.path != _TOKEN_PATH:
                self._answer(HTTPStatus.METHOD_NOT_ALLOWED, "")
                return
            self._answer(*answer_token(tokens, self.headers.get(_TTL_HEADER)))

        def do_GET(self) -> None:
            token = self.headers.get(_TOKEN_HEADER)
            self._answer(*answer_value(values, tokens, mode == "required", self.path, token))

        def _answer(self, status: HTTPStatus, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing: the supervisor's output carries its events to the run."""

    return Handler
