"""The connections that a node has accepted: how many there may be, how long without a hello, and what each may hold."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from circuit.errors import RemoteFault
from circuit.net.connections import ConnectionTable
from circuit.net.session import Accepted
from circuit.net.transport import Connection
from circuit.wire.frames import MAX_FRAME_BYTES
from circuit.wire.messages import CallMsg

HELLO_LIMIT_S = 10.0
"""How long a connection may exist without a hello."""

MAX_UNREAD_BYTES = 2 * MAX_FRAME_BYTES
"""How many bytes of replies may be queued for a connection whose client does not read them."""

MAX_WAITING_BYTES = 4 * MAX_FRAME_BYTES
"""How many bytes the calls of one connection that wait may hold together. A client that keeps to one call at a time on
one stream holds 1 MB on each stream whose reader is slow."""


class BoundedConnection(Connection):
    """Ends when its client leaves too much unread, instead of keeping it all."""

    overrun = False
    """Whether it has ended this way. Requests that its client still sends are ignored."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is up."""
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=MAX_UNREAD_BYTES)
        super().connection_made(transport)

    def pause_writing(self) -> None:
        """More is queued than the limit."""
        self.overrun = True
        self.close(RemoteFault(f"more than {MAX_UNREAD_BYTES} bytes of replies were not read"))


class ServedConnection:
    """One accepted connection, and the calls that wait on it."""

    def __init__(self, connection: BoundedConnection) -> None:
        self.connection = connection
        self.calls: dict[int, asyncio.Task[None]] = {}
        """The calls that wait, by conversation."""
        self._waiting = 0

    def has_room(self, call: CallMsg) -> bool:
        """Whether there is room for a call that may have to wait."""
        return self._waiting + _held(call) <= MAX_WAITING_BYTES

    def begin(self, conversation: int, call: CallMsg, task: asyncio.Task[None]) -> None:
        """A call may have to wait; ``task`` is done when it has been answered."""
        held = _held(call)
        self.calls[conversation] = task
        self._waiting += held

        def over(_: asyncio.Task[None]) -> None:
            # A client may have used the number again.
            if self.calls.get(conversation) is task:
                del self.calls[conversation]
            self._waiting -= held

        task.add_done_callback(over)

    def leave(self) -> None:
        """The connection ended; give its waiting calls up."""
        for task in self.calls.values():
            task.cancel()


class ServedConnections:
    """All accepted connections, and the calls that wait on each."""

    def __init__(self) -> None:
        self._served: dict[Accepted, ServedConnection] = {}
        self._table = ConnectionTable(HELLO_LIMIT_S)

    def __len__(self) -> int:
        return len(self._served)

    def __getitem__(self, session: Accepted) -> ServedConnection:
        return self._served[session]

    def __iter__(self) -> Iterator[tuple[Accepted, ServedConnection]]:
        return iter(self._served.items())

    def admit(self, session: Accepted, connection: BoundedConnection) -> None:
        """A connection was accepted."""
        self._served[session] = ServedConnection(connection)
        self._table.admit(session, connection)

    def welcome(self, session: Accepted) -> None:
        """Its hello has arrived."""
        self._table.welcome(session)

    def leave(self, session: Accepted) -> ServedConnection:
        """Its connection ended."""
        self._table.leave(session)
        served = self._served.pop(session)
        served.leave()
        return served

    def close(self) -> None:
        """End all connections."""
        self._table.close()


def _held(call: CallMsg) -> int:
    """How many bytes a call holds while it waits: those that it writes."""
    return sum(len(argument) for argument in call.arguments if isinstance(argument, bytes))
