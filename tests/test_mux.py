"""circuit.wire.mux and circuit.wire.messages: conversations, numbers, faults."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit import RemoteFault
from circuit.errors import GobError
from circuit.wire.frames import MAX_FRAME_BYTES, encode_frame
from circuit.wire.gob import Decoder, Encoder
from circuit.wire.messages import (
    METHODS,
    TYPES,
    AbortMsg,
    CallMsg,
    CmdValue,
    DialMsg,
    DontReplyMsg,
    Error,
    ErrorString,
    Msg,
    PayloadMsg,
    ReturnMsg,
    error_text,
    host_name,
)
from circuit.wire.mux import MAX_OPEN, Abort, Mux, Reply, Request


def connect() -> tuple[Mux, Mux]:
    return Mux(dialer=True), Mux(dialer=False)


def frame(encoder: Encoder, message: object) -> bytes:
    return encode_frame(encoder.encode(message))


def test_a_request_and_its_reply_meet() -> None:
    dialer, acceptor = connect()
    number, wire = dialer.request(DialMsg("locus"))
    assert acceptor.feed(wire) == [Request(number, DialMsg("locus"))]
    assert dialer.feed(acceptor.reply(number, ReturnMsg((1,)))) == [Reply(number, ReturnMsg((1,)))]
    assert (dialer.open_conversations, acceptor.open_conversations) == (0, 0)


def test_the_dialer_numbers_its_conversations_from_zero() -> None:
    dialer, _ = connect()
    assert [dialer.request(DialMsg())[0] for _ in range(3)] == [0, 1, 2]


@given(st.permutations(range(6)), st.integers(1, 50))
def test_replies_come_in_any_order_and_in_any_pieces(order: list[int], size: int) -> None:
    dialer, acceptor = connect()
    requests = b"".join(dialer.request(CallMsg(number, -number, (str(number),)))[1] for number in range(6))
    received = list(itertools.chain.from_iterable(acceptor.feed(piece) for piece in pieces(requests, size)))
    assert received == [Request(number, CallMsg(number, -number, (str(number),))) for number in range(6)]
    replies = b"".join(acceptor.reply(number, ReturnMsg((f"to {number}",))) for number in order)
    answers = list(itertools.chain.from_iterable(dialer.feed(piece) for piece in pieces(replies, size)))
    assert answers == [Reply(number, ReturnMsg((f"to {number}",))) for number in order]


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def test_only_the_dialer_opens_conversations() -> None:
    _, acceptor = connect()
    with pytest.raises(RuntimeError, match="only the side that dialed"):
        acceptor.request(DialMsg())


def test_a_message_in_an_unknown_conversation_is_a_fault() -> None:
    for message in (PayloadMsg(0, ReturnMsg()), AbortMsg()):
        for number in (0, 7):
            dialer, _ = connect()
            with pytest.raises(RemoteFault, match=f"conversation {number}, which waits for none"):
                dialer.feed(frame(Encoder(), Msg(number, message)))


def test_what_nobody_asked_for_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends it must not keep the client from others: its payload can take half a second."""
    decoded = []
    decode = Decoder._interface

    def interface(self: Decoder, reader: object, depth: int) -> object:
        decoded.append(depth)
        return decode(self, reader, depth)  # type: ignore[arg-type]

    dialer, _ = connect()
    wire = frame(Encoder(), Msg(7, PayloadMsg(0, ReturnMsg(tuple(range(10_000))))))
    monkeypatch.setattr(Decoder, "_interface", interface)
    with contextlib.suppress(RemoteFault):
        dialer.feed(wire)
    assert decoded == []


def test_a_second_reply_is_a_fault() -> None:
    dialer, _ = connect()
    encoder = Encoder()
    number, _ = dialer.request(DialMsg())
    assert dialer.feed(frame(encoder, Msg(number, PayloadMsg(0, ReturnMsg((1,)))))) != []
    with pytest.raises(RemoteFault, match="which waits for none"):
        dialer.feed(frame(encoder, Msg(number, PayloadMsg(1, ReturnMsg((2,))))))


def test_a_reply_to_what_wants_none_is_a_fault() -> None:
    dialer, acceptor = connect()
    number, wire = dialer.request(DontReplyMsg(), reply=False)
    acceptor.feed(wire)
    assert dialer.open_conversations == 0
    with pytest.raises(RemoteFault, match="which waits for none"):
        dialer.feed(acceptor.reply(number, ReturnMsg()))


def test_later_messages_of_a_conversation_are_ignored() -> None:
    _, acceptor = connect()
    encoder = Encoder()
    assert acceptor.feed(frame(encoder, Msg(3, PayloadMsg(0, DialMsg())))) == [Request(3, DialMsg())]
    assert acceptor.feed(frame(encoder, Msg(3, PayloadMsg(1, DialMsg())))) == []
    assert acceptor.feed(frame(encoder, Msg(4, PayloadMsg(1, DialMsg())))) == []


def test_an_abort_ends_a_conversation_with_its_reason() -> None:
    dialer, _ = connect()
    encoder = Encoder()
    number, _ = dialer.request(DialMsg())
    abort = Msg(number, AbortMsg(ErrorString("out of order")))
    assert dialer.feed(frame(encoder, abort)) == [Abort(number, "out of order")]
    assert dialer.open_conversations == 0
    with pytest.raises(RemoteFault, match="which waits for none"):
        dialer.feed(frame(encoder, abort))


def test_an_abort_by_the_dialer_ends_its_request() -> None:
    _, acceptor = connect()
    encoder = Encoder()
    acceptor.feed(frame(encoder, Msg(3, PayloadMsg(0, DialMsg()))))
    assert acceptor.feed(frame(encoder, Msg(9, AbortMsg()))) == []
    assert acceptor.open_conversations == 1
    assert acceptor.feed(frame(encoder, Msg(3, AbortMsg()))) == []
    assert acceptor.open_conversations == 0


def test_a_request_that_gets_no_reply_can_be_forgotten() -> None:
    dialer, acceptor = connect()
    number, wire = dialer.request(DontReplyMsg(), reply=False)
    acceptor.feed(wire)
    acceptor.forget(number)
    assert acceptor.open_conversations == 0


def test_conversations_are_open_up_to_the_limit() -> None:
    _, acceptor = connect()
    encoder = Encoder()
    for number in range(MAX_OPEN):
        assert acceptor.feed(frame(encoder, Msg(number, PayloadMsg(0, None))))
    assert acceptor.open_conversations == MAX_OPEN
    with pytest.raises(RemoteFault, match=f"more than {MAX_OPEN} open conversations"):
        acceptor.feed(frame(encoder, Msg(MAX_OPEN, PayloadMsg(0, None))))


@pytest.mark.parametrize(
    ("wire", "complaint"),
    [
        (b"\x01\x00", "a malformed message"),
        (b"\xff" * 10, "a frame length of more than 10 bytes"),
        (b"HTTP/1.0 400 Bad Request\r\n\r\n" + bytes(100), "a malformed message"),
        (frame(Encoder(), Msg(0, DialMsg())), "neither payload nor abort"),
        (frame(Encoder(), Msg(0, None)), "neither payload nor abort"),
        (frame(Encoder(), DialMsg("locus")), "a malformed message"),
    ],
    ids=["bytes", "length", "HTTP", "no envelope", "nothing", "another struct"],
)
def test_after_a_fault_nothing_is_taken_any_more(wire: bytes, complaint: str) -> None:
    dialer, acceptor = connect()
    number, request = dialer.request(DialMsg())
    acceptor.feed(request)
    good = acceptor.reply(number, ReturnMsg())
    with pytest.raises(RemoteFault, match=complaint) as first:
        dialer.feed(wire)
    with pytest.raises(RemoteFault) as second:
        dialer.feed(good)
    assert second.value is first.value


@pytest.mark.parametrize(
    "payload",
    [
        CallMsg(1, 2, (object(),)),
        CallMsg(1, 2, (CmdValue(args=("\ud800",)),)),
        CallMsg(1, 2, (bytes(MAX_FRAME_BYTES),)),
    ],
    ids=["no gob form", "no text", "too large"],
)
def test_what_cannot_be_sent_changes_nothing(payload: CallMsg) -> None:
    dialer, acceptor = connect()
    with pytest.raises(GobError):
        dialer.request(payload)
    assert dialer.open_conversations == 0
    number, wire = dialer.request(CallMsg(1, 2, (CmdValue(path="/bin/true"),)))
    assert number == 0
    assert acceptor.feed(wire) == [Request(0, CallMsg(1, 2, (CmdValue(path="/bin/true"),)))]
    with pytest.raises(GobError):
        acceptor.reply(0, payload)
    assert acceptor.open_conversations == 1
    assert dialer.feed(acceptor.reply(0, ReturnMsg((b"fine",)))) == [Reply(0, ReturnMsg((b"fine",)))]


# -- numbers ----------------------------------------------------------------------------------------------------------


def test_methods_have_the_numbers_that_servers_know_them_by() -> None:
    assert dict(METHODS) == {
        "GetPeers": -17338754,
        "Self": 740924107,
        "Path": -25886007,
        "Walk": 1282032558,
        "View": 1142397370,
        "Make": 1933943202,
        "Get": -148112638,
        "Scrub": 988504962,
        "Wait": 1044933230,
        "Signal": -1041076592,
        "Stdin": 1312279827,
        "Stdout": -2132037128,
        "Stderr": 1816949083,
        "Peek": -323641110,
        "GetCmd": -1800244161,
        "GetEnv": -1919891324,
        "IsDone": 481156165,
        "Read": 1363524158,
        "Write": 1727822095,
        "Close": 872051063,
        "Rejoin": -668464511,
        "Profile": -1780196411,
        "Send": 2060780629,
        "Recv": -2023224565,
        "Cap": -1709576608,
        "Stat": -1318242559,
        "Consume": -245951387,
    }


def test_pointers_have_the_types_that_go_clients_know() -> None:
    assert dict(TYPES) == {
        "anchor.XTerminal": 10869423734332257728,
        "proc.XProc": 13707428442764717265,
        "io.XWriteCloser": 9683144434073769812,
        "io.XReadCloser": 6158354540835531408,
        "locus.XLocus": 9670924241095345526,
        "tissue.XKin": 2320159928032816990,
        "server.XServer": 11664011152423658275,
        "locus.peerSubscription": 14383450095079981782,
        "valve.XValve": 6199555242595578081,
    }


def test_a_host_is_named_after_its_kin() -> None:
    assert host_name(0xA1E5A44CDADF28E8) == "Xa1e5a44cdadf28e8"
    assert host_name(0xB6) == "X00000000000000b6"


def test_errors_have_words() -> None:
    assert error_text(Error("x.go", 7, "f", "EOF")) == "EOF"
    assert error_text(ErrorString("no func")) == "no func"
    assert error_text(17) == "17"
