"""Sockets: one TCP connection that carries a mux, encrypted or not. The first module that does IO.

Built on asyncio, so that one thread serves all of a process's connections: everything here runs on the event loop's
thread. What happens on a connection goes to its :class:`Receiver`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from typing import Protocol

from circuit.display import Hidden
from circuit.errors import CannotConnect, CircuitError, ConnectionLost, RemoteFault
from circuit.wire.auth import HALF_BYTES, CipherPair, Handshake, SharedKey

KEEPALIVE_IDLE_S = 10
KEEPALIVE_INTERVAL_S = 5
KEEPALIVE_PROBES = 3
"""A peer that vanished without closing (power cut, partition) is noticed within 25 s, whether we send or not."""


class Receiver(Protocol):
    """What a connection reports to."""

    def opened(self, connection: Connection) -> None:
        """The connection is up, and encrypted if there is a key."""

    def received(self, data: bytes) -> None:
        """Plain bytes arrived. A :class:`CircuitError` that this raises closes the connection."""

    def lost(self, error: CircuitError) -> None:
        """The connection ended, by either side. Called once, last."""


class _Buffers(threading.local):
    """A buffer for each thread that runs a loop, whose connections take turns.

    asyncio would allocate one for each read, in 20 times the time of the read.
    """

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(256 * 1024))


_buffers = _Buffers()


class Connection(asyncio.BufferedProtocol):
    """One TCP connection, from its making or acceptance to its end."""

    def __init__(self, receiver: Receiver, shared_key: SharedKey | None) -> None:
        self._receiver = receiver
        self._shared_key = shared_key
        self._transport: asyncio.Transport | None = None
        self._handshake: Handshake | None = None
        self._ciphers: CipherPair | None = None
        self._why: CircuitError | None = None
        self._over = False
        self._paused: asyncio.Future[None] | None = None
        self._held: list[bytes] | None = None
        """What is to be sent together."""
        self.peer = ("", 0)
        """IP and port of the other side."""

    # for the owner

    @property
    def is_open(self) -> bool:
        """Whether it is up, and no end of it has been seen. :meth:`Receiver.lost` comes a turn of the loop later."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_writable(self) -> bool:
        """Whether the other side takes what is written."""
        return self._paused is None

    def hold(self) -> bool:
        """Hold what is written from now on back until :meth:`let_go`. Return whether that is new."""
        if self._held is not None:
            return False
        self._held = []
        return True

    def let_go(self) -> None:
        """Send what was held."""
        held, self._held = self._held, None
        if held:
            self.write(b"".join(held))

    async def writable(self) -> None:
        """Wait while the other side does not take what was written; return at once when the connection is gone.

        A caller that writes right after this, without another ``await``, keeps the queue at about one message.
        """
        while self._paused is not None:
            # Shielded: others wait for the same future.
            await asyncio.shield(self._paused)

    def write(self, data: bytes) -> None:
        """Send ``data``, after all that was sent before; drop it if the connection is lost.

        It is queued while the other side takes nothing: see :meth:`writable`.
        """
        if self._transport is None or self._over:
            return
        if self._held is not None:
            self._held.append(data)
            return
        self._transport.write(self._ciphers.writer.encrypt(data) if self._ciphers else data)

    def close(self, why: CircuitError | None = None) -> None:
        """End the connection at once; :meth:`Receiver.lost` follows with ``why``."""
        if self._why is None:
            self._why = why
        if self._transport is not None:
            self._transport.abort()

    def finish(self, why: CircuitError) -> None:
        """End the connection once what was written is sent."""
        if self._why is None:
            self._why = why
        if self._transport is not None:
            self._transport.close()

    # for asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._why is not None:
            # Closed before it was up.
            transport.abort()
            return
        sock: socket.socket = transport.get_extra_info("socket")
        _tune(sock)
        name = transport.get_extra_info("peername") or ("", 0)
        self.peer = (name[0].removeprefix("::ffff:"), name[1])
        if self._shared_key is None:
            self._receiver.opened(self)
            return
        self._handshake = Handshake(self._shared_key.key, Hidden(os.urandom(HALF_BYTES)), self._shared_key.cipher)
        transport.write(self._handshake.greeting)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _buffers.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.take(bytes(_buffers.buffer[:nbytes]))

    def take(self, data: bytes) -> None:
        """Take bytes that arrived."""
        try:
            if self._handshake is not None:
                ciphers = self._handshake.feed(data)
                if ciphers is None:
                    return
                self._handshake, self._ciphers = None, ciphers
                self._receiver.opened(self)
                data = ciphers.rest
            if self._ciphers is not None:
                data = self._ciphers.reader.encrypt(data)
            if data:
                self._receiver.received(data)
        except CircuitError as error:
            self.close(error)

    def pause_writing(self) -> None:
        self._paused = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        paused, self._paused = self._paused, None
        if paused is not None:
            paused.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        self.resume_writing()
        if self._why is None:
            reason = _words(exc) if exc is not None else "the other side closed it"
            self._why = ConnectionLost(f"the connection to {self.peer[0]}:{self.peer[1]} ended: {reason}")
        self._receiver.lost(self._why)


async def connect(host: str, port: int, receiver: Receiver, shared_key: SharedKey | None) -> Connection:
    """Connect to a server. Bound the time with ``asyncio.wait_for``.

    :raises CannotConnect: nothing listens there, it cannot be reached, or the name is unknown.
    """
    loop = asyncio.get_running_loop()
    try:
        _, connection = await loop.create_connection(lambda: Connection(receiver, shared_key), host, port)
    except (OSError, ValueError, OverflowError) as error:
        # ValueError: the host cannot be a name. OverflowError: the port is not valid.
        raise CannotConnect(f"cannot connect to {host}:{port}: {_words(error)}") from None
    return connection


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Keep-alive is silent while sent data waits for its acknowledgement; this bounds that wait.
        limit = KEEPALIVE_IDLE_S + KEEPALIVE_INTERVAL_S * KEEPALIVE_PROBES
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit * 1000)


def _words(error: BaseException) -> str:
    """Return the text of an error, without the address and errno that asyncio repeats in it."""
    if isinstance(error, RemoteFault):
        return str(error)
    if isinstance(error, socket.gaierror):
        return "the host name is unknown"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
