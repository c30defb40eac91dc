"""Accepted connections: how many there may be, and how long each may take to send its hello."""

from __future__ import annotations

import asyncio
import resource
import sys

from circuit.errors import CircuitError, RemoteFault
from circuit.net.session import Accepted
from circuit.net.transport import Connection

BACKLOG = 512
ACCEPT_AT_ONCE = 16
"""How many connections wait in the kernel, and how many of them asyncio accepts before it does anything else."""

_ACCEPT_TURNS = 4
"""How many turns of the event loop it takes to accept a connection."""


class ConnectionTable:
    """All accepted connections. Those without a hello make room for others, the oldest first."""

    def __init__(self, hello_limit: float) -> None:
        """:param hello_limit: seconds that a connection may exist without a hello."""
        self._hello_limit = hello_limit
        self._connections: dict[Accepted, Connection] = {}
        self._awaiting_hello: dict[Accepted, asyncio.TimerHandle] = {}
        """The time limit of each connection without a hello, oldest first."""
        self._room = files_for(2)

    def __len__(self) -> int:
        return len(self._connections)

    def admit(self, session: Accepted, connection: Connection) -> None:
        """A connection was accepted."""
        self._connections[session] = connection
        # Closed through the connection: the session does not know it before the HMAC greeting is over.
        why = RemoteFault(f"no hello within {self._hello_limit:g} s")
        loop = asyncio.get_running_loop()
        self._awaiting_hello[session] = loop.call_later(self._hello_limit, connection.close, why)
        if len(self._connections) > self._room:
            # A real client sends its hello at once, so the oldest is not one, or has had its chance.
            oldest = next(iter(self._awaiting_hello))
            self._awaiting_hello.pop(oldest).cancel()
            self._connections[oldest].close(RemoteFault(f"more than {self._room} connections"))

    def welcome(self, session: Accepted) -> None:
        """Its hello has arrived: it may stay."""
        if (limit := self._awaiting_hello.pop(session, None)) is not None:
            limit.cancel()

    def leave(self, session: Accepted) -> None:
        """Its connection ended."""
        self.welcome(session)
        del self._connections[session]

    def close(self, why: CircuitError | None = None) -> None:
        """End all connections."""
        for session, connection in list(self._connections.items()):
            self.welcome(session)
            connection.close(why)


async def stop_accepting(server: asyncio.Server) -> None:
    """Close a listening server. Accepted connections stay open."""
    # asyncio loses, and leaves open, a connection that it is accepting while its server closes.
    for sock in server.sockets:
        asyncio.get_running_loop().remove_reader(sock.fileno())
    for _ in range(_ACCEPT_TURNS):
        await asyncio.sleep(0)
    server.close()


def files_for(share: int) -> int:
    """Return one ``share``-th of the files that this process may open. Processes and other connections need some, too.

    With none left, asyncio accepts no connection, and logs errors without end.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if files == resource.RLIM_INFINITY else files // share
