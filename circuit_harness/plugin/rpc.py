"""How xdist's workers ask the controller: by a socket that only this user can reach, a line of JSON either way."""

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
    """How a worker finds the desk: the socket's path, and the key that proves who asks, in hexadecimal."""

    path: str
    key: str


class RpcServer:
    """The controller's side. Each worker is served by a thread of its own."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._folder = tempfile.TemporaryDirectory(prefix="circuit-harness-")
        key = secrets.token_bytes(32)
        path = Path(self._folder.name) / "desk"
        self._listener = connection.Listener(str(path), family="AF_UNIX", authkey=key)
        self.endpoint = Endpoint(path=str(path), key=key.hex())
        threading.Thread(target=self._accept, name="desk", daemon=True).start()

    def close(self) -> None:
        """Take no more questions."""
        self._listener.close()
        self._folder.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                worker = self._listener.accept()
            except (OSError, EOFError, AuthenticationError):
                # Closed; or one who hung up, or has not the key. Which it was, the next call tells.
                if not Path(self._folder.name).exists():
                    return
                continue
            threading.Thread(target=self._serve, args=(worker,), name="desk", daemon=True).start()

    def _serve(self, worker: connection.Connection) -> None:
        with worker:
            while (question := _receive(worker)) is not None:
                reply: dict[str, object]
                try:
                    reply = {"answer": self._ask(question["what"], frozenset(question["parts"]))}
                except Unavailable as error:
                    reply = {"error": str(error), "told": error.told}
                # A worker that is gone meanwhile needs no answer.
                with contextlib.suppress(OSError):
                    worker.send_bytes(json.dumps(reply).encode())


class RpcClient:
    """A worker's side. Safe to use from many threads."""

    def __init__(self, directions: Endpoint, limit: float) -> None:
        """Remember the way.

        :param limit: seconds that one answer may take: a deployment with all its own limits.
        """
        self._endpoint = directions
        self._limit = limit
        self._lock = threading.Lock()
        self._connection: connection.Connection | None = None

    def ask(self, what: str, parts: frozenset[str]) -> Answer:
        """Ask the controller.

        :raises Unavailable: it cannot be had, or the controller is gone.
        """
        with self._lock:
            try:
                if self._connection is None:
                    key = bytes.fromhex(self._endpoint["key"])
                    self._connection = connection.Client(self._endpoint["path"], family="AF_UNIX", authkey=key)
                self._connection.send_bytes(json.dumps({"what": what, "parts": sorted(parts)}).encode())
                if not self._connection.poll(self._limit):
                    raise Unavailable(
                        f"the controller of this run did not tell of {what} in {self._limit:g} s", told=False
                    )
                reply = json.loads(self._connection.recv_bytes())
            except (OSError, EOFError) as error:
                raise Unavailable(
                    f"the controller of this run cannot be asked for {what}: {error!r}", told=False
                ) from None
        if "error" in reply:
            raise Unavailable(reply["error"], told=reply["told"])
        answer: Answer = reply["answer"]
        return answer


def _receive(worker: connection.Connection) -> dict[str, Any] | None:
    """The next question; None when the worker is gone."""
    try:
        question: dict[str, Any] = json.loads(worker.recv_bytes())
    except (OSError, EOFError):
        return None
    return question
