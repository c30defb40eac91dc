"""The node: accepts connections, answers requests, and keeps what clients hold."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import secrets
import socket
from collections.abc import Awaitable

from circuit.display import Hidden
from circuit.errors import CannotConnect, CircuitError, ConnectionLost, GobError, RemoteFault
from circuit.net.connections import ACCEPT_AT_ONCE, BACKLOG, stop_accepting
from circuit.net.session import Accepted, to_wire
from circuit.net.transport import Connection
from circuit.node import methods
from circuit.node.anchors import Anchor, Server, Terminal
from circuit.node.exports import Exportable, Exports
from circuit.node.faults import Faults
from circuit.node.membership import SERVICE, Membership
from circuit.node.methods import BadArguments, Context, Results
from circuit.node.rc4 import rc4
from circuit.node.served_connections import MAX_WAITING_BYTES, BoundedConnection, ServedConnections
from circuit.wire.address import Address
from circuit.wire.auth import SharedKey
from circuit.wire.gob import Named
from circuit.wire.messages import (
    LOCUS,
    NO_FUNC,
    NO_HANDLE,
    CallMsg,
    DialMsg,
    DontReplyMsg,
    DropPtrMsg,
    ErrorString,
    Kin,
    Peer,
    ReturnMsg,
    host_name,
)

TOO_MUCH_WAITS = f"more than {MAX_WAITING_BYTES} bytes wait to be written"

_log = logging.getLogger(__name__)


class Node:
    """A circuit server. It lives on the event loop that :meth:`start` runs on, and is used from its thread only."""

    def __init__(
        self, host: str, port: int = 0, key: bytes | Hidden | None = None, faults: Faults | None = None
    ) -> None:
        """:param host: the IP address to listen on, which is also the one that clients and peers get.
        :param port: 0 for any.
        :param key: the HMAC key of a circuit that has one.
        """
        key = None if key is None else Hidden(key)
        self.address = Address(host, port, os.getpid(), f"Q{secrets.randbits(63):016x}")
        """What to dial; the port is known once the node has started."""
        self._kin = secrets.randbits(64)
        self.name = host_name(self._kin)
        """The name of the host's root anchor."""
        self._shared_key = SharedKey(key, rc4) if key is not None else None
        self._faults = faults or Faults()
        self._root = Anchor(self.name)
        self._connections = ServedConnections()
        self._accepted = 0
        self._server: asyncio.Server | None = None

    async def start(self, join: Address | None = None) -> Address:
        """Listen, and join the circuit of the node at ``join``; return the node's own address.

        :raises CannotConnect: the address cannot be listened on.
        :raises CircuitError: joining failed; see :meth:`Membership.join`.
        """
        loop = asyncio.get_running_loop()
        host, port = self.address.host, self.address.port
        try:
            # Start serving only once everything below exists.
            self._server = await loop.create_server(
                self._accept, host, port, backlog=ACCEPT_AT_ONCE, start_serving=False
            )
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise CannotConnect(f"cannot listen on {host}:{port}: {reason}") from None
        self.address = Address(host, self._server.sockets[0].getsockname()[1], self.address.pid, self.address.worker)
        self._root.element = Server(self.address)
        self._exports = Exports(to_wire(self.address), self._shared_key, not self._faults.no_dial_back, self._forgotten)
        own = Peer(
            Kin(self._exports.permanent(methods.Kin()), self._kin), self._exports.permanent(Terminal(self._root))
        )
        self._membership = Membership(self.address, own, self._shared_key)
        self._context = Context(self._membership, self._faults, set())
        self._services = {LOCUS: methods.Locus(), SERVICE: methods.Meeting()}
        await self._server.start_serving()
        for sock in self._server.sockets:
            with socket.socket(fileno=os.dup(sock.fileno())) as same:
                same.listen(BACKLOG)
        if join is not None:
            await self._membership.join(join)
        return self.address

    def counts(self) -> dict[str, int]:
        """Return counts of what the node holds, for diagnosis. Only once it has started."""
        return {
            "anchors": self._root.count(),
            "calls": sum(len(served.calls) for _, served in self._connections),
            "connections": len(self._connections),
            "lifelines": self._exports.lifelines,
            "peers": self._membership.count(),
            "pointers": self._exports.pointers,
            "processes": len(self._context.processes),
        }

    async def close(self) -> None:
        """Leave the circuit and end all connections. Processes go on, without their streams, as a real server's do."""
        if self._server is None:
            return
        await stop_accepting(self._server)
        self._membership.close()
        self._exports.close()
        self._connections.close()
        for process in self._context.processes:
            process.abandon()
        # One more turn of the loop, in which the connections end.
        await asyncio.sleep(0)

    # for the sessions

    def hello(self, session: Accepted) -> None:
        """A client or peer is welcome."""
        self._connections.welcome(session)

    def request(self, session: Accepted, conversation: int, payload: object) -> None:
        """Serve one request."""
        if self._connections[session].connection.overrun:
            return
        if isinstance(payload, CallMsg):
            self._call(session, conversation, payload)
        elif isinstance(payload, DialMsg):
            service = self._services.get(payload.service)
            pointer = self._exports.permanent(service) if service is not None else None
            session.reply(conversation, ReturnMsg((pointer,)))
        else:
            session.forget(conversation)
            if isinstance(payload, DropPtrMsg):
                assert session.source is not None
                self._exports.drop(payload.id, session.source)
            elif not isinstance(payload, DontReplyMsg):
                _log.info("%s: a request that is not served: %.100r", session.source, payload)

    def gone(self, session: Accepted, error: CircuitError) -> None:
        """A connection ended; give its waiting calls up."""
        served = self._connections.leave(session)
        if not isinstance(error, ConnectionLost):
            _log.info("connection from %s closed: %s", served.connection.peer[0], error)

    def _accept(self) -> Connection:
        self._accepted += 1
        ignores_all = self._faults.swallow_hello and self._accepted % 2 == 1
        session = (_IgnoresAll if ignores_all else Accepted)(self.address.worker, self.address.pid, self)
        connection = BoundedConnection(session, self._shared_key)
        self._connections.admit(session, connection)
        return connection

    def _call(self, session: Accepted, conversation: int, call: CallMsg) -> None:
        receiver = self._exports.find(call.receiver)
        if receiver is None:
            session.reply(conversation, ReturnMsg(error=ErrorString(NO_HANDLE)))
            return
        method = methods.find(receiver, call.func)
        if method is None:
            session.reply(conversation, ReturnMsg(error=ErrorString(NO_FUNC)))
            return
        if method.name in self._faults.stalled:
            return
        if not self._connections[session].has_room(call):
            session.reply(conversation, ReturnMsg(error=ErrorString(TOO_MUCH_WAITS)))
            return
        try:
            method.check(call.arguments)
            results = method.handler(self._context, receiver, *call.arguments)
        except (BadArguments, RemoteFault) as error:
            session.reply(conversation, ReturnMsg(error=ErrorString(str(error))))
            return
        if not inspect.isawaitable(results):
            self._answer(session, conversation, results)
            return
        task = asyncio.get_running_loop().create_task(self._finish(session, conversation, results))
        self._connections[session].begin(conversation, call, task)

    async def _finish(self, session: Accepted, conversation: int, results: Awaitable[Results]) -> None:
        try:
            self._answer(session, conversation, await results)
        except BadArguments as error:
            session.reply(conversation, ReturnMsg(error=ErrorString(str(error))))

    def _forgotten(self, worker: str) -> None:
        """Answer a client's waiting calls: their results, such as a message, would be lost with the client."""
        for session, served in self._connections:
            if session.source is not None and session.source.worker == worker:
                for conversation, task in served.calls.items():
                    # Later: a task that is cancelled before it runs leaves a coroutine that was never awaited.
                    asyncio.get_running_loop().call_soon(self._give_up, session, conversation, task)

    def _give_up(self, session: Accepted, conversation: int, task: asyncio.Task[None]) -> None:
        if task.cancel():
            session.reply(conversation, ReturnMsg(error=ErrorString(NO_HANDLE)))

    def _answer(self, session: Accepted, conversation: int, results: Results) -> None:
        assert session.source is not None
        client = session.source
        try:
            session.reply(conversation, ReturnMsg(tuple(self._export(value, client) for value in results)))
        except GobError as error:
            # Too large for a frame.
            session.reply(conversation, ReturnMsg(error=ErrorString(str(error)[:200])))

    def _export(self, value: object, client: Address) -> object:
        if isinstance(value, Exportable):
            return self._exports.ordinary(value, client)
        if isinstance(value, Named) and isinstance(value.value, dict):
            exported = {name: self._export(item, client) for name, item in value.value.items()}
            return Named(value.name, value.type, exported)
        return value


class _IgnoresAll(Accepted):
    """Ignores whatever it receives."""

    def received(self, data: bytes) -> None:
        """Discard bytes."""
