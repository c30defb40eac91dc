"""circuit.wire.compiled: on every message, what the plain coders do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit.display import Hidden
from circuit.errors import GobError, RemoteFault
from circuit.wire import gob
from circuit.wire.compiled import CompiledDecoder, CompiledEncoder
from circuit.wire.gob import ANYS, MAX_DEPTH, MAX_VALUES, Decoder, Encoder, Named
from circuit.wire.messages import (
    METHODS,
    PEERS,
    VIEW,
    AbortMsg,
    Addr,
    CallMsg,
    CmdValue,
    DropPtrMsg,
    Error,
    ErrorString,
    Kin,
    Msg,
    PayloadMsg,
    Peer,
    PermPtrMsg,
    PermPtrPtrMsg,
    PtrMsg,
    ReturnMsg,
    StatValue,
    TCPAddr,
)
from tests.test_gob import Box, Everything, Point, anything, everything

FOLDER = Path(__file__).parent / "golden"
GOLDEN = [file for file in sorted(FOLDER.glob("*.json")) if "frames" in json.loads(file.read_text())]

numbers = st.integers(0, (1 << 64) - 1)
text = st.text(max_size=8)
tcp = st.builds(TCPAddr, st.binary(max_size=16), st.integers(0, 1))
addresses = st.builds(Addr, text, st.integers(0, 1 << 31), tcp)
pointers = st.one_of(
    st.builds(PtrMsg, numbers, numbers),
    st.builds(PermPtrMsg, numbers, numbers),
    st.builds(PermPtrPtrMsg, numbers, numbers, addresses),
)
commands = st.builds(CmdValue, st.tuples(text), text, text, st.tuples(text, text), st.booleans())
errors = st.one_of(
    st.none(), st.builds(ErrorString, text), st.builds(Error, text, st.integers(-(1 << 63), (1 << 63) - 1), text, text)
)
peers = st.lists(st.builds(Peer, st.builds(Kin, pointers, numbers), pointers), max_size=5).map(tuple)
results = st.one_of(
    *(st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1), text, st.binary(max_size=300)),
    *(pointers, errors, st.builds(StatValue, commands, errors, text), everything, anything),
    st.lists(text, max_size=2),
    st.lists(text, max_size=2).map(tuple),
    st.binary(max_size=8).map(Hidden),
    st.builds(bytearray, st.binary(max_size=8)),
    peers.map(lambda listed: Named(PEERS.name, PEERS, listed)),
    st.dictionaries(text, pointers, max_size=2).map(lambda view: Named(VIEW.name, VIEW, view)),
)
payloads = st.one_of(
    st.builds(CallMsg, numbers, st.sampled_from(list(METHODS.values())), st.lists(results, max_size=2).map(tuple)),
    st.builds(ReturnMsg, st.lists(results, max_size=3).map(tuple), errors),
    st.builds(DropPtrMsg, numbers),
    st.none(),
)
demuxes = st.one_of(st.builds(PayloadMsg, st.integers(0, 200), payloads), st.builds(AbortMsg, errors))
messages = st.builds(Msg, numbers, demuxes)

wrong = st.sampled_from(
    [
        *(Msg(-1), Msg(1 << 64), Msg(True), Msg("one"), Msg(1.0), Msg(0, object()), "no message"),  # type: ignore[arg-type]
        *(Msg(1, PayloadMsg(0, CallMsg(1, 2, arguments))) for arguments in ([1], "ab", 7)),  # type: ignore[arg-type]
        Msg(1, PayloadMsg(0, Point("x"))),  # type: ignore[arg-type]
        Msg(1, PayloadMsg(0, Named("[]*test.Point", gob.Slice("[]*test.Point", gob.struct_of(Point)), ("p",)))),
        Msg(1, PayloadMsg(0, Named(PEERS.name, ANYS, ()))),
        Msg(1, PayloadMsg(0, Everything(text="\ud800"))),
        Msg(1, PayloadMsg(0, Box([1, 2]))),
        Msg(1, PayloadMsg(0, Error(body="x" * 500))),
    ]
)
"""What has no gob form, or an unusual one, or is over :data:`LIMIT`."""

LIMIT = 400


def outcome(work: Callable[..., object], *arguments: object) -> tuple[object, str]:
    """What it returns, or the text of its error."""
    try:
        return work(*arguments), ""
    except (GobError, RemoteFault) as error:
        return None, str(error)


@given(st.lists(st.one_of(messages, messages, wrong), max_size=12))
def test_both_encoders_write_the_same(stream: list[object]) -> None:
    plain, compiled = Encoder(), CompiledEncoder()
    for value in stream * 2:
        assert outcome(compiled.encode, value, LIMIT) == outcome(plain.encode, value, LIMIT)


class Watched:
    """Notes what it is called with, and refuses odd conversations."""

    def __init__(self) -> None:
        self.seen: list[dict[str, object]] = []

    def __call__(self, fields: Mapping[str, object]) -> None:
        if dict(fields) not in self.seen:
            self.seen.append(dict(fields))
        number: Any = fields.get("conversation", 0)
        if number % 5 == 4:
            raise RemoteFault(f"{number} is not open")


def assert_same(chunks: list[bytes], expected: type | None = Msg) -> None:
    """Both decoders do the same with the chunks of a stream, up to the first error."""
    plain, compiled = Decoder(), CompiledDecoder()
    for chunk in chunks:
        admit, admit_too = Watched(), Watched()
        found = outcome(plain.decode, chunk, expected, admit)
        assert outcome(compiled.decode, chunk, expected, admit_too) == found
        assert admit_too.seen == admit.seen
        if found[1]:
            return


@given(st.lists(messages, max_size=8))
def test_both_decoders_read_the_same(stream: list[Msg]) -> None:
    encoder = Encoder()
    assert_same([encoder.encode(value) for value in stream * 3])


@given(st.lists(messages, min_size=1, max_size=4), st.data())
def test_both_decoders_refuse_the_same(stream: list[Msg], data: st.DataObject) -> None:
    encoder = Encoder()
    chunks = [encoder.encode(value) for value in stream * 3]
    # The first ones describe types, too.
    del chunks[data.draw(st.integers(1, len(chunks))) :]
    broken = bytearray(chunks[-1])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(broken) - 1))
        broken[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(broken)))
    for last in (bytes(broken), bytes(broken[:cut]), chunks[-1] + bytes(cut % 3)):
        assert_same([*chunks[:-1], last])


@pytest.mark.parametrize("file", GOLDEN, ids=[file.stem for file in GOLDEN])
def test_both_decoders_read_a_go_server_the_same(file: Path) -> None:
    frames = json.loads(file.read_text())["frames"]
    for side in {frame["from"] for frame in frames}:
        assert_same([bytes.fromhex(frame["hex"]) for frame in frames if frame["from"] == side])


@pytest.mark.parametrize("expected", [Box, None])
def test_both_decoders_have_the_same_limits(expected: type | None) -> None:
    for depth in range(MAX_DEPTH // 2 - 1, MAX_DEPTH // 2 + 2):
        encoder, value = Encoder(), Box(1)
        for _ in range(depth):
            value = Box(value)
        assert_same([encoder.encode(value) for _ in range(3)], expected)
    for count in range(MAX_VALUES - 4, MAX_VALUES + 1):
        encoder = Encoder()
        assert_same([encoder.encode(Box(Named(ANYS.name, ANYS, (None,) * count))) for _ in range(2)], expected)


def test_what_a_stream_names_takes_bounded_memory() -> None:
    encoder, decoder = CompiledEncoder(), CompiledDecoder()
    for number in range(1000):
        value = Box(Named(f"[]name{number}", gob.STRINGS, ("x",)))
        assert decoder.decode(encoder.encode(value), Box) == Box(("x",))
    assert len(decoder._by_name) <= 256
    assert len(encoder._holders) <= 256


def test_most_of_a_list_is_compiled_though_its_types_are_described_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = PermPtrMsg(1, 2), PermPtrPtrMsg(1, 2, Addr("Q0000000000000001", 1, TCPAddr(bytes(16), 1)))
    peers = tuple(Peer(Kin(pointer, 3), pointer) for pointer in (near, *[far] * 1000))
    message = Msg(1, PayloadMsg(0, ReturnMsg((Named(PEERS.name, PEERS, peers),))))
    structs = 0
    plain = Decoder._struct

    def count(*arguments: Any) -> object:
        nonlocal structs
        structs += 1
        return plain(*arguments)

    monkeypatch.setattr(Decoder, "_struct", count)
    found = CompiledDecoder().decode(Encoder().encode(message), Msg)
    assert found.demux.payload.results == (peers,)
    assert structs < 50


def test_the_plain_coders_are_left_alone_once_types_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    address = Addr("Q0000000000000001", 1, TCPAddr(bytes(16), 1))
    pointer, far = PtrMsg(1 << 40, 1 << 63), PermPtrPtrMsg(1, 2, address)
    command = CmdValue((), "/", "/bin/sh", ("-c", "true"), True)
    usual = [
        *(CallMsg(1 << 40, METHODS["Peek"]), CallMsg(1, METHODS["Read"], (32_000,)), CallMsg(1, 2, (["a", "b"],))),
        *(CallMsg(1, METHODS["Make"], ("proc", command)), CallMsg(1, METHODS["Write"], (Hidden(b"x"),))),
        *(ReturnMsg((pointer, None)), ReturnMsg((b"block", Error(body="EOF"))), ReturnMsg((StatValue(command),))),
        *(ReturnMsg((Named(PEERS.name, PEERS, (Peer(Kin(far, 3), far),)),)), ReturnMsg((), ErrorString("no func"))),
        ReturnMsg((Named(VIEW.name, VIEW, {"a": pointer}),)),
    ]
    encoder, decoder = CompiledEncoder(), CompiledDecoder()

    def send(number: int) -> list[object]:
        return [decoder.decode(encoder.encode(Msg(number, PayloadMsg(0, payload))), Msg).demux for payload in usual]

    first = send(0)

    def unexpected(*_: object) -> None:
        raise AssertionError("the plain coder was used")

    for side in (Encoder, Decoder):
        for method in ("_value", "_describe", "_define", "_struct"):
            if hasattr(side, method):
                monkeypatch.setattr(side, method, unexpected)
    # Maps are decoded so, but only nodes send them.
    del usual[-1]
    assert send(300) == first[:-1]
