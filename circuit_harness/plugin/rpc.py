"""How xdist's workers ask the controller: over a socket that only this user can reach, one JSON value each way.

``multiprocessing.managers`` could carry the requests, but without a time limit for one; and it unpickles whatever a
worker sends, where plain values are enough.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import tempfile
import threading
from multiprocessing import AuthenticationError, connection
from pathlib import Path
from typing import Any, TypedDict

from circuit_harness.plugin.questions import Answer, Ask, Unavailable


class Endpoint(TypedDict):
    """Where the controller listens: the socket's path, and the key that authenticates workers, in hexadecimal."""

    path: str
    key: str


class RpcServer:
    """The controller's side, with a thread for each worker."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._folder = tempfile.TemporaryDirectory(prefix="circuit-harness-")
        key = secrets.token_bytes(32)
        path = Path(self._folder.name) / "controller"
        self._listener = connection.Listener(str(path), family="AF_UNIX", authkey=key)
        self.endpoint = Endpoint(path=str(path), key=key.hex())
        threading.Thread(target=self._accept, name="rpc", daemon=True).start()

    def close(self) -> None:
        """Accept no more requests."""
        self._listener.close()
        self._folder.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                worker = self._listener.accept()
            except (OSError, EOFError, AuthenticationError):
                # Closed here; or the other side hung up, or does not have the key.
                if not Path(self._folder.name).exists():
                    return
                continue
            threading.Thread(target=self._serve, args=(worker,), name="rpc", daemon=True).start()

    def _serve(self, worker: connection.Connection) -> None:
        with worker:
            while (question := _receive(worker)) is not None:
                reply: dict[str, object]
                try:
                    reply = {"answer": self._ask(question["what"], frozenset(question["parts"]))}
                except Unavailable as error:
                    reply = {"error": str(error), "already_reported": error.already_reported, "down": error.down}
                # The worker may have ended meanwhile.
                with contextlib.suppress(OSError):
                    worker.send_bytes(json.dumps(reply).encode())


class RpcClient:
    """A worker's side. Safe to use from many threads."""

    def __init__(self, endpoint: Endpoint, limit: float) -> None:
        """Connect at the first request.

        :param limit: seconds that one answer may take, such as that of a deployment.
        """
        self._endpoint = endpoint
        self._limit = limit
        self._lock = threading.Lock()
        self._connection: connection.Connection | None = None

    def ask(self, what: str, parts: frozenset[str]) -> Answer:
        """Send a request to the controller, and return its answer.

        :raises Unavailable: what was requested is unavailable, or the controller has ended.
        """
        with self._lock:
            try:
                if self._connection is None:
                    key = bytes.fromhex(self._endpoint["key"])
                    self._connection = connection.Client(self._endpoint["path"], family="AF_UNIX", authkey=key)
                self._connection.send_bytes(json.dumps({"what": what, "parts": sorted(parts)}).encode())
                if not self._connection.poll(self._limit):
                    raise Unavailable(
                        f"the controller of this run did not answer the request for {what} within {self._limit:g} s",
                        already_reported=False,
                    )
                reply = json.loads(self._connection.recv_bytes())
            except (OSError, EOFError) as error:
                raise Unavailable(
                    f"the controller of this run cannot be reached for {what}: {error!r}", already_reported=False
                ) from None
        if "error" in reply:
            raise Unavailable(reply["error"], already_reported=reply["already_reported"], down=reply["down"])
        answer: Answer = reply["answer"]
        return answer


def _receive(worker: connection.Connection) -> dict[str, Any] | None:
    """Return the next request; None when the worker has ended."""
    try:
        question: dict[str, Any] = json.loads(worker.recv_bytes())
    except (OSError, EOFError):
        return None
    return question
