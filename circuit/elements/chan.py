"""Channels: messages of bytes from sender to receiver, through an element of a host."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from circuit.elements.element import Element, Place, check, expect
from circuit.elements.streams import Ongoing, ReadStream, WriteStream
from circuit.errors import Closed
from circuit.net.held import Handle
from circuit.net.runtime import Runtime
from circuit.wire.messages import ChanStatValue, error_text

_CLOSED = "channel closed"


@dataclass(frozen=True)
class ChanStat:
    """A channel at one moment.

    ``capacity`` is how many unreceived messages it holds. A ``closed`` one takes no more, and still gives
    what it holds; an ``aborted`` one was scrubbed. ``sent`` and ``received`` count messages so far.
    """

    capacity: int
    closed: bool
    aborted: bool
    sent: int
    received: int


class Chan(Element):
    """A channel. Any number of clients can send, and receive; each message goes to one receiver."""

    def __init__(self, runtime: Runtime, anchor: Place, handle: Handle) -> None:
        super().__init__(runtime, anchor, "chan", handle)
        self._receiving = Ongoing(self._recv)

    def send(self, data: bytes, timeout: float | None = None) -> None:
        """Send one message. Waits until a receiver takes it, or the channel has room for it.

        :raises Closed: the channel was closed.
        :raises CallFailed: it was scrubbed.
        :raises TimedOut: no receiver took it; one may still take it, whole or in part.
        """
        self._runtime.run(self._send(data), f"send to {self.anchor.path}", timeout)

    def recv(self, timeout: float | None = None) -> bytes:
        """Receive one message, whole.

        :raises Closed: the channel was closed, and holds no more.
        :raises CallFailed: it was scrubbed.
        :raises TimedOut: none arrived; the next call gets the one that arrives later.
        """
        return self._runtime.run(self._receiving.result(), f"receive from {self.anchor.path}", timeout)

    def close(self) -> None:
        """Take no more messages.

        :raises CallFailed: it was closed before.
        """
        self._runtime.run(self._close(), f"close {self.anchor.path}")

    def stat(self) -> ChanStat:
        """Return the state of the channel right now."""
        return self._runtime.run(self._stat(), f"stat of {self.anchor.path}")

    def describe(self) -> dict[str, object]:
        """Return the state of the channel right now, as plain values."""
        return {"kind": self.kind, **asdict(self.stat())}

    # on the loop

    async def _send(self, data: bytes) -> None:
        handle = self._opened(await self._call("Send"), "send to")
        message = WriteStream(self._runtime, f"message to {self.anchor.path}", handle)
        try:
            await message.put(data)
            await message.shut()
        finally:
            message.release()

    async def _recv(self) -> bytes:
        handle = self._opened(await self._call("Recv"), "receive from")
        message = ReadStream(self._runtime, f"message from {self.anchor.path}", handle)
        try:
            await message.drain()
        finally:
            message.release()
        return bytes(message.collected)

    def _opened(self, results: tuple[object, ...], verb: str) -> Handle:
        handle, error = results
        if error is not None and error_text(error) == _CLOSED:
            raise Closed(f"{verb} {self.anchor.path}: the channel is closed")
        check(error, f"{verb} {self.anchor.path}")
        return expect(handle, Handle, f"{verb} {self.anchor.path}")

    async def _close(self) -> None:
        check((await self._call("Close"))[0], f"close {self.anchor.path}")

    async def _stat(self) -> ChanStat:
        value = expect((await self._call("Stat"))[0], ChanStatValue, f"stat of {self.anchor.path}")
        return ChanStat(value.cap, value.closed, value.aborted, value.sent, value.received)
