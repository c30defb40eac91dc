"""Sessions: a connection after its hello, as dialer or as acceptor.

A dialer opens conversations and awaits their replies; an acceptor answers them. Both run on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from circuit.errors import (
    CallFailed,
    CannotConnect,
    CircuitError,
    ConnectionLost,
    Refused,
    RemoteFault,
    TimedOut,
)
from circuit.net.futures import finish, mark_retrieved
from circuit.net.transport import Connection, connect
from circuit.wire.address import Address, is_worker
from circuit.wire.auth import SharedKey
from circuit.wire.frames import MAX_FRAME_BYTES, MAX_HELLO_BYTES
from circuit.wire.messages import Addr, Error, HelloMsg, RejectMsg, TCPAddr, WelcomeMsg, error_text
from circuit.wire.mux import Abort, Mux, Request

HELLO_LIMIT_S = 0.5
"""How long the first encrypted hello may stay unanswered; each further attempt gets twice as long.

A Go server can swallow a hello that arrives right behind the HMAC greeting, and then both sides would wait forever.
The length of our greeting prevents that where both arrive whole.
"""

_GREETING_START = b'{"hmac"'


def to_wire(address: Address, ip: str = "") -> Addr:
    """Return an address as hellos carry it; ``ip`` replaces a host name."""
    try:
        packed = ipaddress.ip_address(ip or address.host).packed
    except ValueError:
        packed = bytes(16)
    return Addr(address.worker, address.pid, TCPAddr(packed, address.port))


def from_wire(value: object, peer: str | None = None) -> Address:
    """Return the address in a pointer or hello, which may be dialed as a circuit server's.

    :param peer: the IP address of the sender, which may name a loopback or link-local address only if its own is one;
        None to skip this check.
    :raises RemoteFault: ``value`` is not such an address.
    """
    if not isinstance(value, Addr) or len(value.tcp.ip) not in (4, 16):
        raise RemoteFault(f"not an address: {value!r}"[:200])
    ip = _plain(ipaddress.ip_address(value.tcp.ip))
    wrong = ""
    if not is_worker(value.worker):
        wrong = "its worker ID is not valid"
    elif not (0 < value.tcp.port < 1 << 16 and 0 <= value.pid < 1 << 32):
        wrong = "its port or PID is not valid"
    elif ip.is_unspecified or ip.is_multicast:
        wrong = "it is not the address of a host"
    elif peer is not None and (ip.is_loopback or ip.is_link_local) and not _is_near(peer):
        wrong = f"it was named by {peer}"
    if wrong:
        raise RemoteFault(f"an address that must not be dialed, since {wrong}: {value!r}"[:300])
    return Address(str(ip), value.tcp.port, value.pid, value.worker)


def _plain(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an IPv4 address that is mapped into IPv6 as IPv4."""
    return (ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None) or ip


def _is_near(peer: str) -> bool:
    """Whether an IP address is one of this machine or link alone."""
    try:
        ip = _plain(ipaddress.ip_address(peer))
    except ValueError:
        return False
    return ip.is_loopback or ip.is_link_local


Settle = Callable[[object, "CircuitError | None"], None]
"""Gets a request's reply, or None and why there is none."""


@dataclass(frozen=True)
class _Pending:
    """A request that waits for its reply."""

    settle: Settle
    at_risk: bool


class OneWrite:
    """A context whose messages travel together. It may be within another one."""

    def __init__(self, connection: Connection | None) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        if self._connection is not None and not self._connection.hold():
            self._connection = None

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.let_go()


class Session:
    """The dialer's side of one connection to one server."""

    def __init__(self, address: Address, keyed: bool) -> None:
        self.address = address
        self.last_use = 0
        """For its owner, which may have several."""
        self.ended: asyncio.Future[CircuitError] = asyncio.get_running_loop().create_future()
        """Done, with the reason, when the connection is gone."""
        self.on_end: Callable[[], None] | None = None
        """Called when the connection is gone, some turns of the loop before those that await :attr:`ended` go on."""
        self._mux = Mux(dialer=True, first=MAX_HELLO_BYTES)
        self._connection: Connection | None = None
        self.peer = ""
        """The IP address of the other side; empty before the connection is up."""
        self._up = asyncio.get_running_loop().create_future()
        self._pending: dict[int, _Pending] = {}
        self._may_want_key = not keyed

    @classmethod
    async def dial(
        cls,
        address: Address,
        source: Addr,
        shared_key: SharedKey | None,
        timeout: float,
    ) -> Session:
        """Connect and exchange hellos, within ``timeout`` seconds.

        :param source: who we are; an all-zero IP in it is replaced by the one that the server sees.
        :raises CannotConnect: no server answers.
        :raises Refused: the server refuses us.
        :raises RemoteFault: what answers is not a circuit server.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        limit = HELLO_LIMIT_S if shared_key is not None else timeout
        while True:
            left = deadline - asyncio.get_running_loop().time()
            try:
                return await cls._attempt(address, source, shared_key, min(limit, left))
            except ConnectionLost as error:
                raise CannotConnect(f"cannot connect to {address}: {error}") from None
            except TimedOut as error:
                if left <= limit:
                    raise CannotConnect(f"cannot connect to {address}: {error} within {timeout:g} s") from None
                limit *= 2

    @classmethod
    async def _attempt(
        cls,
        address: Address,
        source: Addr,
        shared_key: SharedKey | None,
        limit: float,
    ) -> Session:
        session = cls(address, shared_key is not None)
        connection: Connection | None = None
        stage = "no connection"
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit
        try:
            connection = await asyncio.wait_for(connect(address.host, address.port, session, shared_key), limit)
            stage = "no HMAC greeting" if shared_key else "no connection"
            await asyncio.wait_for(asyncio.shield(session._up), deadline - loop.time())
            stage = "no answer to the hello"
            hello = HelloMsg(source, to_wire(address, connection.peer[0]))
            answer = await asyncio.wait_for(session.request(hello), deadline - loop.time())
        except BaseException as error:
            # The session gets its connection only after the HMAC greeting, and a server accepts no other connection
            # while one is open without its greeting.
            if connection is not None:
                connection.close()
            if isinstance(error, asyncio.TimeoutError):
                raise TimedOut(stage) from None
            raise
        if isinstance(answer, WelcomeMsg):
            return session
        session.close()
        if isinstance(answer, RejectMsg):
            raise Refused(f"{address} is not the server that answers there now: {error_text(answer.error)}")
        raise RemoteFault(f"{address} answered the hello with {answer!r}"[:300])

    # for the owner

    def request(self, payload: object) -> asyncio.Future[object]:
        """Send one request; the future is done with its reply, or with the error that ended the connection."""
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.send(payload, partial(finish, future))
        return future

    def send(self, payload: object, settle: Settle, *, at_risk: bool = False) -> None:
        """Send one request.

        :param settle: called once, as soon as the reply is there or the connection has ended.
        :param at_risk: whether the server may never reply once it has lost its lifeline to us; see :meth:`at_risk`.
        :raises GobError: the payload cannot be encoded, or is too large.
        """
        if self.ended.done():
            settle(None, self.ended.result())
            return
        try:
            self._pending[self._send(payload)] = _Pending(settle, at_risk)
        except Exception as error:  # noqa: BLE001 - raised again below
            # Without the frames below, whose variables show what the payload hides.
            raise error.with_traceback(None) from None

    @property
    def is_writable(self) -> bool:
        """Whether the server takes what is sent."""
        return self._connection is None or self._connection.is_writable

    async def writable(self) -> None:
        """Wait until the server takes what was sent before, or the connection is gone."""
        if self._connection is not None:
            await self._connection.writable()

    def one_write(self) -> OneWrite:
        """Send all messages of this context together, at its end. It must not wait for anything."""
        return OneWrite(self._connection)

    def at_risk(self) -> list[Settle]:
        """Return what settles the requests that the server may never reply to once it has lost its lifeline to us.

        What is settled so may be settled again, by a late reply.
        """
        return [pending.settle for pending in self._pending.values() if pending.at_risk]

    def post(self, payload: object) -> None:
        """Send one message that has no reply. Nothing happens when the connection is gone."""
        if not self.ended.done() and self._connection is not None:
            self._send(payload, reply=False)

    @property
    def idle(self) -> bool:
        """Whether no request waits for its reply."""
        return not self._pending

    def close(self, why: CircuitError | None = None) -> None:
        """End the connection; pending requests fail with ``why``."""
        if self._connection is not None:
            self._connection.close(why)

    def _send(self, payload: object, *, reply: bool = True) -> int:
        assert self._connection is not None
        number, data = self._mux.request(payload, reply=reply)
        self._connection.write(data)
        return number

    # for the connection

    def opened(self, connection: Connection) -> None:
        """The connection is up."""
        self._connection = connection
        self.peer = connection.peer[0]
        if not self._up.done():
            self._up.set_result(None)

    def received(self, data: bytes) -> None:
        """Take bytes of the server."""
        if self._may_want_key and data.startswith(_GREETING_START):
            raise Refused(f"{self.address} requires an HMAC key, and none was given")
        self._may_want_key = False
        try:
            events = self._mux.feed(data)
        except RemoteFault as fault:
            raise RemoteFault(f"{self.address} does not speak the protocol of a circuit server: {fault}") from None
        # What the replies make their callers send travels together, too.
        with self.one_write():
            for event in events:
                assert not isinstance(event, Request)
                settle = self._pending.pop(event.conversation).settle
                if isinstance(event, Abort):
                    settle(None, CallFailed(f"{self.address} aborted the call: {event.reason}"))
                else:
                    settle(event.payload, None)

    def lost(self, error: CircuitError) -> None:
        """The connection ended."""
        if not self._up.done() and isinstance(error, ConnectionLost):
            error = Refused(
                f"{self.address} closed the connection during the HMAC greeting: its key is another one, or it has none"
            )
        if not self.ended.done():
            self.ended.set_result(error)
        if self.on_end is not None:
            self.on_end()
        if not self._up.done():
            self._up.set_exception(error)
        mark_retrieved(self._up)
        unanswered, self._pending = self._pending, {}
        for pending in unanswered.values():
            pending.settle(None, error)


class Handler(Protocol):
    """What an accepted session serves its dialer with."""

    def hello(self, session: Accepted) -> None:
        """The dialer was welcomed; :attr:`Accepted.source` is its address."""

    def request(self, session: Accepted, conversation: int, payload: object) -> None:
        """Answer with :meth:`Accepted.reply` now or later, or :meth:`Accepted.forget` it."""

    def gone(self, session: Accepted, error: CircuitError) -> None:
        """The session ended; do not answer it any more."""


class Accepted:
    """The acceptor's side of one connection."""

    def __init__(self, worker: str, pid: int, handler: Handler, largest: int = MAX_FRAME_BYTES) -> None:
        """:param largest: how large a frame of the dialer's may be, in bytes."""
        self.source: Address | None = None
        """Who dialed, and where it can be dialed back; None before its hello."""
        self._worker = worker
        self._pid = pid
        self._handler = handler
        self._mux = Mux(dialer=False, first=MAX_HELLO_BYTES, largest=largest)
        self._connection: Connection | None = None

    @property
    def is_open(self) -> bool:
        """Whether its connection is up, and no end of it has been seen."""
        return self._connection is not None and self._connection.is_open

    def reply(self, conversation: int, payload: object) -> None:
        """Answer a request. Nothing happens when the connection is gone."""
        if self._connection is not None:
            self._connection.write(self._mux.reply(conversation, payload))

    def forget(self, conversation: int) -> None:
        """End a conversation that gets no reply."""
        self._mux.forget(conversation)

    def close(self, why: CircuitError | None = None) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close(why)

    # for the connection

    def opened(self, connection: Connection) -> None:
        """The connection is up."""
        self._connection = connection

    def received(self, data: bytes) -> None:
        """Take bytes of the dialer."""
        for event in self._mux.feed(data):
            assert isinstance(event, Request)
            if self.source is None:
                self._welcome(event)
            else:
                self._handler.request(self, event.conversation, event.payload)

    def lost(self, error: CircuitError) -> None:
        """The connection ended."""
        self._connection = None
        self._handler.gone(self, error)

    def _welcome(self, event: Request) -> None:
        assert self._connection is not None
        hello = event.payload
        if not isinstance(hello, HelloMsg) or not isinstance(hello.target, Addr):
            raise RemoteFault(f"not a hello: {hello!r}"[:200])
        wanted = hello.target
        problem = ""
        if wanted.worker != self._worker:
            problem = f"rejecting worker identity mismatch, looks for {wanted.worker[:100]}, got {self._worker}"
        elif wanted.pid != self._pid:
            problem = f"rejecting worker PID mismatch, looks for {wanted.pid}, got {self._pid}"
        if problem:
            self._connection.write(self._mux.reply(event.conversation, RejectMsg(Error(body=problem))))
            self._connection.finish(Refused(problem))
            return
        source = hello.source
        if isinstance(source, Addr) and not any(source.tcp.ip):
            seen = Address(self._connection.peer[0], source.tcp.port, source.pid, source.worker)
            source = to_wire(seen)
        self.source = from_wire(source, self._connection.peer[0])
        self._connection.write(self._mux.reply(event.conversation, WelcomeMsg()))
        self._handler.hello(self)
