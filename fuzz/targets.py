"""What is fuzzed in this process. A target takes bytes and either makes something of them, or raises what it documents.

Each returns a word for what became of its input, which tells new behaviour from old. Whatever else escapes it, and
every broken promise, which is an AssertionError, is a finding.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import zlib
from collections.abc import Callable, Iterator
from functools import cache

from circuit.errors import AddressError, CircuitError, GobError, Refused, RemoteFault
from circuit.net.session import Accepted, Session, from_wire
from circuit.net.transport import Connection
from circuit.node.rc4 import RC4
from circuit.wire.address import parse_address
from circuit.wire.auth import CipherPair, Handshake, SharedKey, decode_key
from circuit.wire.frames import MAX_FRAME_BYTES, FrameBuffer, encode_frame
from circuit.wire.gob import Decoder, Encoder, Opaque
from circuit.wire.messages import Addr, DialMsg, HelloMsg, Msg, PayloadMsg, ReturnMsg, TCPAddr, decode_time, encode_time
from circuit.wire.mux import Abort, Event, Mux, Reply, Request
from circuit.wire.status import parse_exit
from fuzz.corpus import ADDRESSES, EXITS, HALF, HMAC, KEY, PID, WORKER, Odd, hello, recorded, wire
from fuzz.served import served

_OPEN = 8
"""How many conversations a fuzzed dialer has open."""


def _pieces(data: bytes) -> Iterator[bytes]:
    """``data`` in pieces of sizes that depend on it alone."""
    state, start = zlib.crc32(data), 0
    while start < len(data):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        size = (1, 2, 7, 64, 4096)[state >> 16 & 3 if len(data) < 4096 else 4]
        yield data[start : start + size]
        start += size


def _kind(error: Exception) -> str:
    """An error without the particulars."""
    return f"{type(error).__name__}: {re.sub(r'[0-9]+|[^ ]*[^ a-z:,][^ ]*', '#', str(error))[:80]}"


def decoder(data: bytes) -> str:
    """One frame's worth of gob; what it decodes to survives another round."""
    try:
        value = Decoder().decode(data, Msg)
    except GobError as error:
        return _kind(error)
    try:
        again = Encoder().encode(value)
    except GobError as error:
        # Nobody sends such values on, though they can be read.
        return f"decoded; {_kind(error)}"
    # By their words, since a number that is none does not equal itself.
    assert repr(Decoder().decode(again, Msg)) == repr(value), "another round makes another value"
    return type(value.demux).__name__


def frames(data: bytes) -> str:
    """A stream of frames makes the same in pieces as whole."""

    def cut(pieces: Iterator[bytes]) -> tuple[list[bytes], str]:
        buffer, found = FrameBuffer(), list[bytes]()
        try:
            for piece in pieces:
                found += buffer.feed(piece)
        except RemoteFault as error:
            return found, _kind(error)
        return found, ""

    whole, pieces, plain = cut(iter((data,))), cut(_pieces(data)), _plain_frames(data)
    assert whole[1] == pieces[1], "in pieces it ends otherwise"
    assert whole[1] or whole[0] == pieces[0], "in pieces there are other frames"
    assert pieces[0] == plain[: len(pieces[0])], "frames that nobody sent"
    assert whole[1] or pieces[0] == plain, "frames are lost"
    return whole[1] or str(min(len(whole[0]), 3))


def _plain_frames(data: bytes) -> list[bytes]:
    """The complete frames of ``data`` up to one that may not be, told in the plainest way."""
    found: list[bytes] = []
    while match := re.match(rb"[\x80-\xff]{0,9}[\x00-\x7f]", data, re.DOTALL):
        length = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(match[0]))
        data = data[match.end() :]
        if length > MAX_FRAME_BYTES or length > len(data):
            break
        found.append(data[:length])
        data = data[length:]
    return found


def _events(mux: Mux, pieces: Iterator[bytes]) -> tuple[list[Event], str]:
    found = list[Event]()
    try:
        for piece in pieces:
            found += mux.feed(piece)
    except RemoteFault as error:
        try:
            mux.feed(b"")
        except RemoteFault as same:
            if same is error:
                return found, _kind(error)
        raise AssertionError("after a fault it does not raise the same again") from None
    return found, ""


def _dialer() -> Mux:
    mux = Mux(dialer=True)
    for _ in range(_OPEN):
        mux.request(DialMsg())
    return mux


def dialer(data: bytes) -> str:
    """What a server says to its client."""
    events, fault = _events(_dialer(), _pieces(data))
    assert len({event.conversation for event in events}) == len(events) <= _OPEN, "a conversation with two ends"
    assert all(isinstance(event, (Reply, Abort)) for event in events), "a dialer is asked"
    whole = _events(_dialer(), iter((data,)))
    assert bool(whole[1]) == bool(fault), "in pieces it ends otherwise"
    assert fault or repr(whole[0]) == repr(events), "in pieces there are other events"
    return f"{len(events)} {fault}"


def acceptor(data: bytes) -> str:
    """What a client says to its server."""
    events, fault = _events(Mux(dialer=False), _pieces(data))
    assert all(isinstance(event, Request) for event in events), "an acceptor is answered"
    return f"{min(len(events), 5)} {fault}"


class _Transport(asyncio.Transport):
    """A connection to nobody."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__({"socket": sock, "peername": ("127.0.0.1", 1)})
        self.over = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send it nowhere."""

    def abort(self) -> None:
        """End it."""
        self.over = True

    def close(self) -> None:
        """End it."""
        self.over = True


@cache
def _socket() -> socket.socket:
    return socket.socket()


def _deliver(connection: Connection, transport: _Transport, data: bytes) -> str:
    for piece in _pieces(data):
        if transport.over:
            break
        connection.take(piece)
    connection.connection_lost(None)
    return "closed" if transport.over else "open"


def _serve(host: _Host, shared_key: SharedKey | None, data: bytes) -> str:
    connection, transport = Connection(Accepted(WORKER, PID, host), shared_key), _Transport(_socket())
    connection.connection_made(transport)
    return _deliver(connection, transport, data)


class _Host:
    """Answers every request with what was asked."""

    def __init__(self) -> None:
        self.served = 0
        self.ending = ""

    def hello(self, session: Accepted) -> None:
        """Note it."""
        self.served += 1

    def request(self, session: Accepted, conversation: int, payload: object) -> None:
        """Answer."""
        self.served += 1
        try:
            session.reply(conversation, ReturnMsg((payload,)))
        except GobError:
            session.forget(conversation)

    def gone(self, session: Accepted, error: CircuitError) -> None:
        """Note why."""
        self.ending = _kind(error)


def accepted(data: bytes) -> str:
    """A connection that somebody dialed, from its hello on."""
    host = _Host()
    outcome = _serve(host, None, data)
    assert host.ending, "nobody is told of its end"
    return f"{min(host.served, 5)} {outcome} {host.ending}"


def secured(data: bytes) -> str:
    """A connection that somebody dialed with a key, from its greeting on."""
    host = _Host()
    outcome = _serve(host, SharedKey(KEY, RC4), data)
    assert not host.served, "served without the key"
    return f"{outcome} {host.ending}"


def session(data: bytes) -> str:
    """A connection that we dialed, from the answer to the hello on."""

    async def answer() -> str:
        dialed = Session(parse_address(ADDRESSES[0].decode()), False)
        connection, transport = Connection(dialed, None), _Transport(_socket())
        connection.connection_made(transport)
        futures = [dialed.request(DialMsg()) for _ in range(_OPEN)]
        _deliver(connection, transport, data)
        assert dialed.ended.done(), "nobody is told of its end"
        assert all(future.done() for future in futures), "a request without an end"
        kinds = {type(future.exception()).__name__ for future in futures}
        return f"{sorted(kinds)} {_kind(dialed.ended.result())}"

    return asyncio.run(answer())


def handshake(data: bytes) -> str:
    """The HMAC greeting."""

    def greet(pieces: Iterator[bytes]) -> CipherPair | None:
        side, done = Handshake(KEY, HALF, RC4), None
        for piece in pieces:
            if done is None:
                done = side.feed(piece)
        return done

    try:
        done = greet(_pieces(data))
    except (RemoteFault, Refused) as error:
        return _kind(error)
    return "incomplete" if done is None else "greeted"


def address(data: bytes) -> str:
    """A circuit address."""
    try:
        parsed = parse_address(data.decode("utf-8", "surrogateescape"))
    except AddressError as error:
        return _kind(error)
    assert parse_address(str(parsed)) == parsed, "written down it is another"
    return "parsed"


def pointer(data: bytes) -> str:
    """An address in a pointer, of a server elsewhere: what is let through can be dialed, and is not here."""
    fields = data.split(b"\n", 4)
    if len(fields) != 5:
        return "short"
    worker, pid, port, ip, peer = fields
    sent = Addr(
        worker.decode("utf-8", "surrogateescape"),
        int.from_bytes(pid[:8], "big", signed=True),
        TCPAddr(ip, int.from_bytes(port[:8], "big", signed=True)),
    )
    try:
        found = from_wire(sent, peer.decode("latin-1"))
    except RemoteFault as error:
        return _kind(error)
    assert parse_address(str(found)) == found, "it is no address"
    where = ipaddress.ip_address(found.host)
    assert not where.is_unspecified, "nobody can be dialed there"
    assert not where.is_multicast, "many can be dialed there"
    if where.is_loopback or where.is_link_local:
        near = ipaddress.ip_address(peer.decode("latin-1"))
        mapped = near.ipv4_mapped if isinstance(near, ipaddress.IPv6Address) else None
        assert (mapped or near).is_loopback or (mapped or near).is_link_local, "it is here, and its peer is not"
    return "let through"


def key(data: bytes) -> str:
    """The content of a key file."""
    try:
        return str(len(decode_key(data)) > HALF[0])
    except ValueError as error:
        if not str(error).startswith(("does not hold", "is empty", "holds")):
            raise
        return _kind(error)


def time(data: bytes) -> str:
    """A ``time.Time``."""
    try:
        moment = decode_time(Opaque(data))
    except GobError:
        return "refused"
    assert decode_time(encode_time(moment)) == moment, "written down it is another"
    return "read"


def end(data: bytes) -> str:
    """The words for how a process ended."""
    parsed = parse_exit(data.decode("utf-8", "surrogateescape"))
    assert parsed.returncode >= 0, "no exit status"
    return "status" if parsed.status is not None else "signal" if parsed.signal is not None else "error"


Target = Callable[[bytes], str]

TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        decoder,
        frames,
        dialer,
        acceptor,
        accepted,
        secured,
        session,
        served,
        handshake,
        address,
        pointer,
        key,
        time,
        end,
    )
}


def _alone(message: object) -> bytes:
    """A message with the descriptions of all its types; nothing where it has no gob form."""
    return b"".join(FrameBuffer().feed(wire([message])))


def seeds(odd: Odd) -> dict[str, list[bytes]]:
    """What to mutate, for each target."""
    sides: dict[str, list[bytes]] = {"client": [], "server": []}
    chunks = []
    for side, spoken in recorded():
        sides[side].append(b"".join(map(encode_frame, spoken)))
        reader = Decoder()
        chunks += [_alone(reader.decode(chunk, Msg)) for chunk in spoken]
        chunks.append(spoken[0])
    drawn = [wire(odd.session()) for _ in range(50)]
    welcome = wire([hello(), *odd.session()])
    answers = [wire([ReturnMsg((HelloMsg(),))] * _OPEN), wire([PayloadMsg(0, None)])]
    greeting = HMAC["their_greeting"].encode()
    return {
        "decoder": [*chunks, *(_alone(odd.message()) for _ in range(200))],
        "frames": [*sides["client"], *sides["server"], *drawn, b"\x80\x00\x05hello"],
        "dialer": [*sides["server"], *drawn, *answers],
        "acceptor": [*sides["client"], *drawn],
        "accepted": [*sides["client"], *drawn, welcome],
        "secured": [greeting, Handshake(KEY, HALF[::-1], RC4).greeting],
        "session": [*sides["server"], *drawn, *answers],
        "served": [bytes((number,)) * 4 for number in range(16)],
        "handshake": [greeting, HMAC["our_greeting"].encode(), b'{"hmac":"","pad":"AA=="}', b"{" * 900],
        "address": list(ADDRESSES),
        "pointer": [
            b"\n".join((worker, b"\x10", port, ip, peer))
            for worker in (b"Qfeedfacefeedface", b"Q\r")
            for port in (b"\x2b\x0e", b"\x01\0\0")
            for ip in (
                b"\x0b\0\0\x01",
                b"\x7f\0\0\x01",
                b"\xe0\0\0\x01",
                bytes(4),
                bytes(15) + b"\x01",
                b"\xfe\x80" + bytes(14),
            )
            for peer in (b"127.0.0.1", b"192.0.2.1", b"::1", b"")
        ],
        "key": [HMAC["key_base64"].encode() + b"\n"],
        "time": [encode_time(decode_time(Opaque(b"\x01" + bytes(14)))).data, b"\x02" + bytes(15)],
        "end": list(EXITS),
    }
