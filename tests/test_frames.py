"""circuit.wire.frames: lengths in front, streams cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit import RemoteFault
from circuit.wire.frames import MAX_FRAME_BYTES, MAX_HELLO_BYTES, FrameBuffer, encode_frame


@pytest.mark.parametrize(
    ("length", "prefix"),
    [
        (0, b"\x00"),
        (1, b"\x01"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (300, b"\xac\x02"),
        (16383, b"\xff\x7f"),
        (16384, b"\x80\x80\x01"),
        (MAX_FRAME_BYTES, b"\x80\x80\x80\x08"),
    ],
)
def test_the_length_goes_in_front_little_groups_first(length: int, prefix: bytes) -> None:
    chunk = bytes(length)
    frame = encode_frame(chunk)
    assert frame == prefix + chunk
    assert FrameBuffer().feed(frame) == [chunk]


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 40), min_size=1))
def test_frames_survive_any_cut(chunks: list[bytes], sizes: list[int]) -> None:
    wire = b"".join(map(encode_frame, chunks))
    buffer = FrameBuffer()
    received: list[bytes] = []
    turn = 0
    while wire:
        size = sizes[turn % len(sizes)]
        received += buffer.feed(wire[:size])
        wire = wire[size:]
        turn += 1
    assert received == chunks


def test_an_incomplete_frame_is_no_frame_yet() -> None:
    buffer = FrameBuffer()
    assert buffer.feed(b"\x80") == []
    assert buffer.feed(b"\x01" + bytes(127)) == []
    assert buffer.feed(b"\x07\x00") == [bytes(127) + b"\x07", b""]


def test_a_larger_frame_than_the_limit_is_not_sent() -> None:
    with pytest.raises(ValueError, match=f"over the limit of {MAX_FRAME_BYTES}"):
        encode_frame(bytes(MAX_FRAME_BYTES + 1))


def test_a_larger_frame_than_the_limit_is_refused_before_it_comes() -> None:
    with pytest.raises(RemoteFault, match=f"{MAX_FRAME_BYTES + 1} bytes was announced"):
        FrameBuffer().feed(b"\x81\x80\x80\x08")


def test_an_endless_length_is_refused() -> None:
    buffer = FrameBuffer()
    assert buffer.feed(b"\x80" * 9) == []
    with pytest.raises(RemoteFault, match="more than 10 bytes"):
        buffer.feed(b"\x80")


def test_the_first_frame_may_have_a_limit_of_its_own() -> None:
    first, second = bytes(MAX_HELLO_BYTES), bytes(MAX_HELLO_BYTES + 1)
    buffer = FrameBuffer(MAX_HELLO_BYTES)
    assert buffer.feed(encode_frame(first) + encode_frame(second)) == [first, second]
    with pytest.raises(RemoteFault, match=f"the limit is {MAX_HELLO_BYTES}"):
        FrameBuffer(MAX_HELLO_BYTES).feed(encode_frame(second)[:3])
