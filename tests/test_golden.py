"""Recorded exchanges with real servers: what this package makes of them, whole, in pieces, cut off and altered."""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest
from Crypto.Cipher import ARC4
from hypothesis import given
from hypothesis import strategies as st

from circuit import RemoteFault
from circuit.errors import GobError
from circuit.node.rc4 import RC4
from circuit.wire import gob
from circuit.wire.auth import Cipher, Handshake
from circuit.wire.frames import MAX_HELLO_BYTES, FrameBuffer, encode_frame
from circuit.wire.gob import INTERFACE, Decoder, Encoder
from circuit.wire.messages import (
    AbortMsg,
    Addr,
    CallMsg,
    CmdValue,
    DialMsg,
    DontReplyMsg,
    DropPtrMsg,
    Error,
    ErrorString,
    HelloMsg,
    Msg,
    PayloadMsg,
    Peer,
    PermPtrMsg,
    PermPtrPtrMsg,
    PtrMsg,
    RejectMsg,
    ReturnMsg,
    StatValue,
    WelcomeMsg,
)
from circuit.wire.mux import Abort, Mux, Reply, Request
from fuzz.mutate import mutate

GOLDEN = Path(__file__).parent / "golden"
SESSIONS = sorted(path.stem for path in GOLDEN.glob("*.json") if path.stem != "hmac")
HMAC = json.loads((GOLDEN / "hmac.json").read_text())

REGISTERED = {
    PayloadMsg: "*blend.PayloadMsg",
    AbortMsg: "*blend.AbortMsg",
    Addr: "*tele.Addr",
    HelloMsg: "*tele.HelloMsg",
    WelcomeMsg: "*tele.WelcomeMsg",
    RejectMsg: "*tele.RejectMsg",
    DialMsg: "*lang.dialMsg",
    CallMsg: "*lang.callMsg",
    ReturnMsg: "*lang.returnMsg",
    DropPtrMsg: "*lang.dropPtrMsg",
    DontReplyMsg: "*lang.dontReplyMsg",
    PtrMsg: "*lang.ptrMsg",
    PermPtrMsg: "*lang.permPtrMsg",
    PermPtrPtrMsg: "*lang.permPtrPtrMsg",
    ErrorString: "*lang.errorString",
    Error: "*errors.Error",
    Peer: "*locus.Peer",
    CmdValue: "github.com/gocircuit/circuit/element/proc.Cmd",
    StatValue: "github.com/gocircuit/circuit/element/proc.Stat",
}
"""What each struct is called inside an interface."""

DECODE_LIMIT_S = 0.5
"""How long any one altered frame may take. The largest takes a millisecond."""


@dataclass(frozen=True)
class Frame:
    """One recorded frame."""

    side: str
    chunk: bytes
    value: Any


@cache
def session(name: str) -> list[Frame]:
    """The frames of one recorded session, in order."""
    recorded = json.loads((GOLDEN / f"{name}.json").read_text())["frames"]
    return [Frame(frame["from"], bytes.fromhex(frame["hex"]), frame["value"]) for frame in recorded]


def decoded(name: str, side: str) -> list[Msg]:
    """What one side said."""
    decoder = Decoder()
    return [decoder.decode(frame.chunk, Msg) for frame in session(name) if frame.side == side]


def as_json(value: object, in_interface: bool = False) -> object:
    """A decoded value in the form in which the recordings spell values."""
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, tuple):
        return [as_json(item) for item in value]
    if isinstance(value, dict):
        return {key: as_json(item, True) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    assert is_dataclass(value)
    assert not isinstance(value, type)
    declared = gob.struct_of(type(value))
    spelled: dict[str, object] = {"$type": REGISTERED[type(value)] if in_interface else declared.name}
    for (name, spec), part in zip(declared.fields, fields(value), strict=True):
        item = getattr(value, part.name)
        if item == part.default:
            continue
        if spec is gob.ANYS:
            spelled[name] = [as_json(element, True) for element in item]
        else:
            spelled[name] = as_json(item, spec is INTERFACE)
    return spelled


# -- as they are ------------------------------------------------------------------------------------------------------


def test_there_are_recordings() -> None:
    assert len(SESSIONS) >= 5
    assert sum(len(session(name)) for name in SESSIONS) > 100


@pytest.mark.parametrize("name", SESSIONS)
def test_every_frame_decodes_to_its_value(name: str) -> None:
    decoders = {"client": Decoder(), "server": Decoder()}
    for frame in session(name):
        assert as_json(decoders[frame.side].decode(frame.chunk, Msg)) == frame.value


@pytest.mark.parametrize("size", [1, 2, 3, 7, 61, 1 << 20])
@pytest.mark.parametrize("name", SESSIONS)
def test_frames_may_come_in_pieces(name: str, size: int) -> None:
    for side in ("client", "server"):
        chunks = [frame.chunk for frame in session(name) if frame.side == side]
        wire = b"".join(map(encode_frame, chunks))
        buffer = FrameBuffer()
        assert [chunk for piece in pieces(wire, size) for chunk in buffer.feed(piece)] == chunks


@pytest.mark.parametrize("size", [1, 2, 3, 7, 61, 1 << 20])
@pytest.mark.parametrize("name", SESSIONS)
def test_a_mux_makes_events_of_pieces(name: str, size: int) -> None:
    opener = session(name)[0].side
    requests = decoded(name, opener)
    replies = decoded(name, "server" if opener == "client" else "client")
    dialer, acceptor = Mux(dialer=True), Mux(dialer=False)
    for request in requests:
        assert dialer.request(payload(request))[0] == request.conversation
    assert [event for piece in pieces(wire(name, opener), size) for event in acceptor.feed(piece)] == [
        Request(request.conversation, payload(request)) for request in requests
    ]
    answers = wire(name, "server" if opener == "client" else "client")
    assert [event for piece in pieces(answers, size) for event in dialer.feed(piece)] == [
        Reply(reply.conversation, payload(reply)) for reply in replies
    ]


@pytest.mark.parametrize("name", SESSIONS)
def test_what_we_encode_decodes_to_the_same(name: str) -> None:
    encoder, decoder = Encoder(), Decoder()
    for message in decoded(name, "client"):
        assert decoder.decode(encoder.encode(message), Msg) == message


def payload(message: Msg) -> object:
    assert isinstance(message.demux, PayloadMsg)
    return message.demux.payload


def wire(name: str, side: str) -> bytes:
    return b"".join(encode_frame(frame.chunk) for frame in session(name) if frame.side == side)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


# -- secured ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cipher", [ARC4.new, RC4], ids=["pycryptodome", "node"])
def test_the_greeting_and_what_follows_it_are_byte_for_byte(cipher: Cipher) -> None:
    key, half = base64.b64decode(HMAC["key_base64"]), bytes.fromhex(HMAC["our_half_hex"])
    handshake = Handshake(key, half, cipher)
    assert json.loads(handshake.greeting) == json.loads(HMAC["our_greeting"])
    their_wire = bytes.fromhex(HMAC["their_first_frame_wire_hex"])
    secured = handshake.feed(HMAC["their_greeting"].encode() + their_wire)
    assert secured is not None
    assert secured.rest == their_wire
    ours = secured.writer.encrypt(bytes.fromhex(HMAC["our_first_frame_plain_hex"]))
    assert ours.hex() == HMAC["our_first_frame_wire_hex"]
    assert secured.reader.encrypt(their_wire).hex() == HMAC["their_first_frame_plain_hex"]


def test_the_other_side_of_the_greeting_agrees() -> None:
    key, half = base64.b64decode(HMAC["key_base64"]), bytes.fromhex(HMAC["their_half_hex"])
    handshake = Handshake(key, half, RC4)
    assert json.loads(handshake.greeting) == json.loads(HMAC["their_greeting"])
    secured = handshake.feed(HMAC["our_greeting"].encode())
    assert secured is not None
    plain = secured.reader.encrypt(bytes.fromhex(HMAC["our_first_frame_wire_hex"]))
    (frame,) = FrameBuffer().feed(plain)
    assert isinstance(payload(Decoder().decode(frame, Msg)), HelloMsg)


@pytest.mark.parametrize("name", SESSIONS)
def test_a_stream_may_be_cut_in_two_anywhere(name: str) -> None:
    """And where it ends instead, there is no event and no fault."""
    for side in ("client", "server"):
        chunks = [encode_frame(frame.chunk) for frame in session(name) if frame.side == side]
        state = Mux(dialer=False)
        for chunk in chunks:
            whole = fork(state).feed(chunk)
            for cut in range(1, len(chunk)):
                mux = fork(state)
                assert mux.feed(chunk[:cut]) == []
                assert mux.feed(chunk[cut:]) == whole
            assert state.feed(chunk) == whole


def fork(mux: Mux) -> Mux:
    """A second mux that has received the same."""
    copied = copy.copy(mux)
    copied._frames = copy.deepcopy(mux._frames)
    copied._decoder = copy_of(mux._decoder)
    copied._open = set(mux._open)
    return copied


# -- damaged ----------------------------------------------------------------------------------------------------------


def states(name: str) -> Iterator[tuple[Frame, Decoder]]:
    """Each frame, with a decoder that has read what came before it."""
    decoders = {"client": Decoder(), "server": Decoder()}
    for frame in session(name):
        yield frame, decoders[frame.side]
        decoders[frame.side].decode(frame.chunk, Msg)


D = TypeVar("D", bound=Decoder)


def copy_of(decoder: D) -> D:
    other = type(decoder)()
    other._types = dict(decoder._types)
    other._described = decoder._described
    return other


def decode_or_refuse(decoder: Decoder, chunk: bytes) -> bool:
    """Whether ``chunk`` is refused. Any other error than the decoder's own is the test's failure."""
    started = time.perf_counter()
    try:
        message = copy_of(decoder).decode(chunk, Msg)
    except GobError:
        return True
    finally:
        assert time.perf_counter() - started < DECODE_LIMIT_S
    assert isinstance(message, Msg)
    return False


@pytest.mark.parametrize("name", SESSIONS)
def test_a_frame_that_is_cut_off_anywhere_is_refused(name: str) -> None:
    for frame, decoder in states(name):
        for length in range(len(frame.chunk)):
            assert decode_or_refuse(decoder, frame.chunk[:length]), (frame, length)


@pytest.mark.parametrize("name", SESSIONS)
@pytest.mark.parametrize("change", [0x01, 0x80])
def test_a_frame_with_an_altered_byte_decodes_or_is_refused(name: str, change: int) -> None:
    for frame, decoder in states(name):
        for index in range(len(frame.chunk)):
            altered = bytearray(frame.chunk)
            altered[index] ^= change
            decode_or_refuse(decoder, bytes(altered))


@pytest.mark.parametrize("name", SESSIONS)
@pytest.mark.parametrize("dialer", [True, False])
def test_an_altered_stream_makes_events_or_a_fault(name: str, dialer: bool) -> None:
    original = wire(name, "server" if dialer else "client")
    for index in range(0, len(original), 41):
        altered = bytearray(original)
        altered[index] ^= 0x55
        mux = Mux(dialer=dialer)
        if dialer:
            mux.request(DialMsg())
        with contextlib.suppress(RemoteFault):
            mux.feed(bytes(altered))


streams = [(name, side) for name in SESSIONS for side in ("client", "server") if wire(name, side)]


@given(st.sampled_from(streams), st.randoms(use_true_random=False), st.booleans(), st.integers(1, 4096))
def test_a_mutated_stream_makes_events_or_one_lasting_fault(
    stream: tuple[str, str], rng: Random, dialer: bool, size: int
) -> None:
    altered = mutate(wire(*stream), [wire(*other) for other in streams], rng)
    mux = Mux(dialer=dialer, first=MAX_HELLO_BYTES)
    for _ in range(8 if dialer else 0):
        mux.request(DialMsg())
    faults: list[RemoteFault] = []
    for piece in (*pieces(altered, size), b""):
        try:
            for event in mux.feed(piece):
                assert not faults
                assert isinstance(event, (Reply, Abort) if dialer else Request)
        except RemoteFault as fault:
            faults.append(fault)
    assert all(fault is faults[0] for fault in faults)
