"""The listener that servers dial back to.

On the first ordinary pointer that a server hands out, it dials the client and keeps that connection: the lifeline.
When it ends, or cannot be made, the server forgets every pointer of that client. So each dial-back is answered at
once, and kept; a server whose dial-back hangs serves no other client meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from circuit.errors import CannotConnect, CircuitError, Closed, RemoteFault
from circuit.net.connections import ACCEPT_AT_ONCE, BACKLOG, ConnectionTable, stop_accepting
from circuit.net.session import Accepted
from circuit.net.transport import Connection
from circuit.wire.auth import SharedKey
from circuit.wire.frames import MAX_HELLO_BYTES
from circuit.wire.messages import DontReplyMsg

HELLO_LIMIT_S = 10.0
"""How long a connection may exist without a hello: not only servers can reach the port."""

MAX_OF_A_SERVER = 8
"""How many lifelines one server may hold: a new one, and old ones whose end we have not noticed yet."""


class Lifelines:
    """Accepts dial-backs for one client, and knows which servers hold one."""

    def __init__(
        self,
        worker: str,
        pid: int,
        shared_key: SharedKey | None,
        changed: Callable[[str], None],
        expected: Callable[[str], bool] = lambda worker: True,
    ) -> None:
        """:param changed: called with the worker ID of a server that has made its first lifeline, or lost its last.
        :param expected: whether a server with this worker ID has reason to dial back.
        """
        self._expected = expected
        self._worker = worker
        self._pid = pid
        self._shared_key = shared_key
        self._changed = changed
        self._server: asyncio.Server | None = None
        self._held: dict[str, list[Accepted]] = {}
        self._table = ConnectionTable(HELLO_LIMIT_S)
        self._opened: set[Accepted] = set()
        """The lifelines whose one message has arrived."""

    async def listen(self, where: tuple[str, int] | None) -> int:
        """Listen on ``where`` (IP and port, 0 for any), or on any port of every interface; return the port.

        :raises CannotConnect: the address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        try:
            sock = _every_interface() if where is None else _bind(*where)
        except OSError as error:
            raise CannotConnect(
                f"cannot listen for lifelines on {_shown(where)}: {os.strerror(error.errno or 0)}"
            ) from None
        self._server = await loop.create_server(self._accept, sock=sock, backlog=ACCEPT_AT_ONCE)
        sock.listen(BACKLOG)
        port: int = sock.getsockname()[1]
        return port

    def holds(self, worker: str) -> bool:
        """Whether that server has a lifeline to us, of which no end has been seen."""
        return any(session.is_open for session in self._held.get(worker, ()))

    def is_losing(self, worker: str) -> bool:
        """Whether the ends of all lifelines of that server have been seen, and their loss is not reported yet."""
        return worker in self._held and not self.holds(worker)

    async def close(self) -> None:
        """Stop listening and end every lifeline, which makes the servers forget our pointers."""
        if self._server is not None:
            await stop_accepting(self._server)
        self._table.close(Closed("the client was closed"))

    def _accept(self) -> Connection:
        session = Accepted(self._worker, self._pid, self, largest=MAX_HELLO_BYTES)
        connection = Connection(session, self._shared_key)
        self._table.admit(session, connection)
        return connection

    # for the sessions

    def hello(self, session: Accepted) -> None:
        """A server dialed back."""
        assert session.source is not None
        worker = session.source.worker
        held = self._held.setdefault(worker, [])
        held.append(session)
        if not self._expected(worker) or len(held) > MAX_OF_A_SERVER:
            session.close(RemoteFault(f"{session.source} has no reason to dial back"))
            return
        self._table.welcome(session)
        self._changed(worker)

    def request(self, session: Accepted, conversation: int, payload: object) -> None:
        """Accept a lifeline's one message, which needs no reply.

        :raises RemoteFault: it is another message, or the second.
        """
        if not isinstance(payload, DontReplyMsg) or session in self._opened:
            raise RemoteFault(f"{session.source} sent a request on a lifeline, which carries none")
        self._opened.add(session)
        session.forget(conversation)

    def gone(self, session: Accepted, error: CircuitError) -> None:
        """A lifeline ended."""
        self._table.leave(session)
        self._opened.discard(session)
        if session.source is None:
            return
        worker = session.source.worker
        self._held[worker].remove(session)
        if not self._held[worker]:
            del self._held[worker]
            self._changed(worker)


def _shown(where: tuple[str, int] | None) -> str:
    return "any port" if where is None else f"{where[0]} port {where[1]}"


def _every_interface() -> socket.socket:
    try:
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, ValueError):
        # No IPv6 here, or no sockets that take IPv4 as well.
        return _bind("0.0.0.0", 0)


def _bind(ip: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    return socket.create_server((ip, port), family=family)
