"""Many conversations on one connection: a state machine that turns bytes into events and messages into bytes.

Each frame holds one gob value, a ``Msg`` that names its conversation. The dialer of the connection numbers its
conversations from 0; the first message of one opens it. Nothing is sent to close one. A conversation here is one
request and at most one reply: a second request on one that has ended makes a Go server abort it, which fails in its
encoder and poisons the whole connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from circuit.errors import GobError, RemoteFault
from circuit.wire.compiled import CompiledDecoder, CompiledEncoder
from circuit.wire.frames import MAX_FRAME_BYTES, FrameBuffer, encode_frame
from circuit.wire.messages import AbortMsg, Msg, PayloadMsg, error_text

MAX_OPEN = 10_000
"""How many conversations a peer may have open on one connection."""


@dataclass(frozen=True)
class Request:
    """The peer opened a conversation. Answer with :meth:`Mux.reply`, or end it with :meth:`Mux.forget`."""

    conversation: int
    payload: object


@dataclass(frozen=True)
class Reply:
    """The peer answered in a conversation that we opened; it has ended."""

    conversation: int
    payload: object


@dataclass(frozen=True)
class Abort:
    """The peer gave up a conversation that we opened; it has ended."""

    conversation: int
    reason: str


Event = Request | Reply | Abort


class Mux:
    """Both directions of one connection, as its dialer or its acceptor.

    Bytes must reach the wire in the order in which the methods returned them, since each type is described once. After
    :class:`RemoteFault` close the connection; every further :meth:`feed` raises the same.

    :param first: how large the peer's first frame may be, in bytes.
    :param largest: how large its others may be.
    """

    def __init__(self, *, dialer: bool, first: int = MAX_FRAME_BYTES, largest: int = MAX_FRAME_BYTES) -> None:
        self._dialer = dialer
        self._frames = FrameBuffer(first, largest)
        self._encoder = CompiledEncoder()
        self._decoder = CompiledDecoder()
        self._next = 0
        self._open: set[int] = set()
        self._fault: RemoteFault | None = None

    @property
    def open_conversations(self) -> int:
        """How many conversations wait for a reply: the peer's if we dialed, ours if we accepted."""
        return len(self._open)

    def request(self, payload: object, *, reply: bool = True) -> tuple[int, bytes]:
        """Open a conversation; return its number, and the bytes to send.

        :param reply: whether an answer is expected; one to a conversation without is a fault of the peer.
        :raises GobError: ``payload`` cannot be encoded, or is too large for a frame; nothing has changed.
        """
        if not self._dialer:
            raise RuntimeError("only the side that dialed opens conversations")
        number = self._next
        data = self._message(number, PayloadMsg(0, payload))
        self._next += 1
        if reply:
            self._open.add(number)
        return number, data

    def reply(self, conversation: int, payload: object) -> bytes:
        """Answer a request; its conversation has ended.

        :raises GobError: ``payload`` cannot be encoded, or is too large; the conversation is still open.
        """
        data = self._message(conversation, PayloadMsg(0, payload))
        self._open.discard(conversation)
        return data

    def forget(self, conversation: int) -> None:
        """End a conversation of the peer's that gets no reply."""
        self._open.discard(conversation)

    def feed(self, data: bytes) -> list[Event]:
        """Take received bytes, in pieces of any size, and return the events in them.

        :raises RemoteFault: the peer broke the protocol.
        """
        if self._fault is not None:
            raise self._fault
        events = []
        try:
            for chunk in self._frames.feed(data):
                event = self._event(self._decoder.decode(chunk, Msg, self._admit if self._dialer else None))
                if event is not None:
                    events.append(event)
        except GobError as error:
            self._fault = RemoteFault(f"a malformed message: {error}")
            raise self._fault from None
        except RemoteFault as fault:
            self._fault = fault
            raise
        return events

    def _message(self, conversation: int, payload: PayloadMsg) -> bytes:
        return encode_frame(self._encoder.encode(Msg(conversation, payload), MAX_FRAME_BYTES))

    def _admit(self, fields: Mapping[str, object]) -> None:
        """Refuse a message in a conversation that waits for none, before its payload is decoded.

        Gob leaves a number of 0 out.
        """
        if fields.get("conversation", 0) not in self._open:
            raise RemoteFault(f"a message in conversation {fields.get('conversation', 0)}, which waits for none")

    def _event(self, message: Msg) -> Event | None:
        number, demux = message.conversation, message.demux
        known = number in self._open
        if isinstance(demux, AbortMsg):
            self._open.discard(number)
            return Abort(number, error_text(demux.error)) if self._dialer else None
        if not isinstance(demux, PayloadMsg):
            raise RemoteFault(f"a message that is neither payload nor abort: {demux!r}"[:200])
        if self._dialer:
            self._open.discard(number)
            return Reply(number, demux.payload)
        if known or demux.sequence:
            return None
        if len(self._open) >= MAX_OPEN:
            raise RemoteFault(f"more than {MAX_OPEN} open conversations")
        self._open.add(number)
        return Request(number, demux.payload)
