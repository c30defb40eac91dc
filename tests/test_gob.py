"""circuit.wire.gob: round trips, edges, and what a decoder refuses."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit.errors import GobError
from circuit.wire import gob
from circuit.wire.gob import (
    ANYS,
    BOOL,
    BYTES,
    COMPLEX,
    FLOAT,
    INT,
    INTERFACE,
    MAX_DEPTH,
    MAX_DESCRIBED_BYTES,
    MAX_TYPES,
    MAX_VALUES,
    STRING,
    STRINGS,
    UINT,
    Decoder,
    Encoder,
    Named,
    Opaque,
    Unknown,
)


@gob.struct("Point", "*test.Point", X=INT, Y=INT)
@dataclass(frozen=True)
class Point:
    x: int = 0
    y: int = 0


@gob.struct("Empty", "*test.Empty")
@dataclass(frozen=True)
class Empty:
    pass


COUNTS = gob.Map("map[string]int", STRING, INT)
POINTS = gob.Slice("[]*test.Point", gob.struct_of(Point))


@gob.struct(
    "Everything",
    "*test.Everything",
    Bool=BOOL,
    Int=INT,
    Uint=UINT,
    Float=FLOAT,
    Bytes=BYTES,
    Text=STRING,
    Texts=STRINGS,
    Anys=ANYS,
    Point=gob.struct_of(Point),
    Points=POINTS,
    Counts=COUNTS,
    Any=INTERFACE,
    When=gob.Encoded("Time"),
)
@dataclass(frozen=True)
class Everything:
    flag: bool = False
    number: int = 0
    count: int = 0
    ratio: float = 0.0
    data: bytes = b""
    text: str = ""
    texts: tuple[str, ...] = ()
    anys: tuple[object, ...] = ()
    point: Point = Point()
    points: tuple[Point, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    content: object = None
    when: Opaque | None = None


@gob.struct("Box", "*test.Box", Content=INTERFACE)
@dataclass(frozen=True)
class Box:
    content: object = None


@gob.struct("Number", "*test.Number", N=UINT)
@dataclass(frozen=True)
class Number:
    n: int = 0


ints = st.integers(-(1 << 63), (1 << 63) - 1)
uints = st.integers(0, (1 << 64) - 1)
points = st.builds(Point, ints, ints)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), ints, st.text(), st.binary(), st.lists(st.text()).map(tuple), points),
    lambda inner: st.builds(Box, inner),
    max_leaves=4,
)
everything = st.builds(
    Everything,
    flag=st.booleans(),
    number=ints,
    count=uints,
    ratio=st.floats(allow_nan=False),
    data=st.binary(),
    text=st.text(),
    texts=st.lists(st.text(), max_size=3).map(tuple),
    anys=st.lists(anything, max_size=3).map(tuple),
    point=points,
    points=st.lists(points, max_size=3).map(tuple),
    counts=st.dictionaries(st.text(), ints, max_size=3),
    content=anything,
    when=st.one_of(st.none(), st.builds(Opaque, st.binary())),
)


def through(value: object) -> object:
    return Decoder().decode(Encoder().encode(value), type(value))


def message(number: int, body: bytes) -> bytes:
    """One gob message, with its byte count; ``number`` is the type's id, negative where ``body`` describes it."""
    content = integer(number) + body
    return unsigned(len(content)) + content


def integer(value: int) -> bytes:
    """A signed integer."""
    return unsigned(~value << 1 | 1 if value < 0 else value << 1)


def unsigned(value: int) -> bytes:
    """An unsigned integer, such as a count."""
    size = (value.bit_length() + 7) // 8
    return bytes((value,)) if value < 0x80 else bytes((256 - size,)) + value.to_bytes(size, "big")


def common(name: bytes, number: int) -> bytes:
    return b"\x01\x01" + bytes((len(name),)) + name + b"\x01" + integer(number) + b"\x00"


def slice_of(number: int, element: int) -> bytes:
    """The description of type ``number``: a slice."""
    return message(-number, b"\x02" + common(b"S", number) + b"\x01" + integer(element) + b"\x00\x00")


# -- values -----------------------------------------------------------------------------------------------------------


@given(everything)
def test_every_value_survives(value: Everything) -> None:
    assert through(value) == value


@given(anything)
def test_a_value_in_an_interface_keeps_its_type(value: object) -> None:
    box = through(Box(value))
    assert isinstance(box, Box)
    assert repr(box.content) == repr(value)


@given(st.lists(everything, min_size=2, max_size=4))
def test_a_stream_goes_on(values: list[Everything]) -> None:
    encoder, decoder = Encoder(), Decoder()
    assert [decoder.decode(encoder.encode(value), Everything) for value in values] == values


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (1, "01"),
        (127, "7f"),
        (128, "ff80"),
        (255, "ffff"),
        (256, "fe0100"),
        ((1 << 32) - 1, "fcffffffff"),
        ((1 << 64) - 1, "f8ffffffffffffffff"),
    ],
)
def test_unsigned_integers_look_as_in_go(value: int, wire: str) -> None:
    assert Encoder().encode(Number(value)).endswith(bytes.fromhex(f"01{wire}00"))
    assert through(Number(value)) == Number(value)


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (1, "02"),
        (-1, "01"),
        (63, "7e"),
        (-64, "7f"),
        (64, "ff80"),
        (-129, "fe0101"),
        ((1 << 63) - 1, "f8fffffffffffffffe"),
        (-(1 << 63), "f8ffffffffffffffff"),
    ],
)
def test_signed_integers_look_as_in_go(value: int, wire: str) -> None:
    assert Encoder().encode(Point(value)).endswith(bytes.fromhex(f"01{wire}00"))
    assert through(Point(value)) == Point(value)


def test_floats_look_as_in_go() -> None:
    assert b"\xfe\x31\x40" in Encoder().encode(Everything(ratio=17.0))


def test_text_that_is_no_utf8_survives() -> None:
    name = b"caf\xe9\xff"
    sent = Box(name.decode("utf-8", "surrogateescape"))
    assert name in Encoder().encode(sent)
    assert through(sent) == sent


def test_zero_fields_are_left_out() -> None:
    assert Encoder().encode(Everything()).endswith(b"\x00")
    encoder = Encoder()
    encoder.encode(Point(1, 2))
    assert len(encoder.encode(Point(0, 1))) < len(encoder.encode(Point(1, 1)))


def test_a_slice_keeps_its_zeros() -> None:
    value = Everything(texts=("", "a", ""), anys=(None, 0, False, ""), points=(Point(), Point(1)))
    assert through(value) == value


def test_a_named_value_bears_its_name() -> None:
    gob.register(COUNTS.name, COUNTS)
    assert through(Box(Named(COUNTS.name, COUNTS, {"a": 1}))) == Box({"a": 1})
    assert b"map[string]int" in Encoder().encode(Box(Named(COUNTS.name, COUNTS, {})))


# -- types on a stream ------------------------------------------------------------------------------------------------


def test_a_type_is_described_once() -> None:
    encoder, decoder = Encoder(), Decoder()
    first, second = encoder.encode(Box(Point(1, 2))), encoder.encode(Box(Point(1, 2)))
    assert b"\x05Point" in first
    assert b"\x05Point" not in second
    assert [decoder.decode(chunk, Box) for chunk in (first, second)] == [Box(Point(1, 2))] * 2


def test_each_stream_describes_for_itself() -> None:
    assert Encoder().encode(Point(1)) == Encoder().encode(Point(1))
    encoder = Encoder()
    encoder.encode(Point(1))
    with pytest.raises(GobError):
        Decoder().decode(encoder.encode(Point(1)))


def test_an_undeclared_struct_comes_with_its_name_and_fields() -> None:
    assert Decoder().decode(Encoder().encode(Point(7, 0))) == Unknown("Point", {"X": 7})


def test_fields_pair_up_by_name() -> None:
    """A sender whose struct has other fields, in another order, as another version of a server might."""

    @gob.struct("Point", None, Z=STRING, Y=INT)
    @dataclass(frozen=True)
    class OtherPoint:
        z: str = ""
        y: int = 0

    chunk = Encoder().encode(OtherPoint("deep", 5))
    assert Decoder().decode(chunk, Point) == Point(0, 5)


def test_a_struct_without_a_common_field_is_refused() -> None:
    with pytest.raises(GobError, match="no field of Point"):
        Decoder().decode(Encoder().encode(Number(1)), Point)


def test_a_field_of_another_type_is_refused() -> None:
    @gob.struct("Point", None, X=STRING, Y=INT)
    @dataclass(frozen=True)
    class TextPoint:
        x: str = ""
        y: int = 0

    with pytest.raises(GobError, match="a string where a int was expected"):
        Decoder().decode(Encoder().encode(TextPoint("1")), Point)


def test_a_type_may_be_described_inside_an_interface_value() -> None:
    """As Go's encoder does it: name, description, the byte count of the message that goes on, id, length, value."""
    encoder = Encoder()
    *_, box_only = encoder.encode(Box()), encoder.encode(Box())
    decoder = Decoder()
    decoder.decode(Encoder().encode(Box()))
    described = Encoder().encode(Point(3, 4))
    length = described[0] + 1
    description = described[1:length].replace(integer(-65), integer(-70), 1).replace(integer(65), integer(70))
    value = b"\x01\x06\x01\x08\x00"
    seam = integer(70) + bytes((len(value),)) + value + b"\x00"
    inner = b"\x0b*test.Point" + description + bytes((len(seam),)) + seam
    assert box_only == message(65, b"\x00")
    assert decoder.decode(message(65, b"\x01" + inner), Box) == Box(Point(3, 4))
    assert decoder.decode(message(65, b"\x00"), Box) == Box()


@pytest.mark.parametrize(
    ("chunk", "complaint"),
    [
        (b"", "1 bytes expected, 0 left"),
        (b"\x05\x02", "5 bytes announced, 1 left"),
        (message(66, b"\x00"), "type 66, which was not described"),
        (message(6, b"\x00\x01a\x00"), "another length"),
        (message(6, b"\x01\x01a"), "without its zero byte"),
        (message(6, b"\x00\x02a"), "2 bytes expected, 1 left"),
        (message(3, b"\x00\xf7123456789"), "an integer of 9 bytes"),
        (slice_of(66, 6) * 2, "described twice"),
        (message(-6, b"\x02" + common(b"S", 6) + b"\x01\x0c\x00\x00"), "described twice"),
        (slice_of(66, 6) + message(66, b"\x00\x7f\x01a"), "127 elements in 2 bytes"),
        (message(-66, b"\x08\x00\x00"), "unknown kind 8"),
        (message(-66, b"\x02\x00\x01"), "two kinds"),
        (message(-66, b"\x02\x04\x00\x00"), "field 4"),
        (message(-66, b"\x02\x00\x00\x00"), "another length than announced"),
        (message(-66, b"\x01\x02\x0c\x01\x06\x00\x00") + message(66, b"\x00\x01\x01a"), "1 elements in an array of 3"),
        (message(-66, b"\x04\x02\x10\x01\x0c\x00\x00") + slice_of(67, 6), "1 bytes expected, 0 left"),
    ],
)
def test_malformed_bytes_are_refused(chunk: bytes, complaint: str) -> None:
    with pytest.raises(GobError, match=complaint):
        Decoder().decode(chunk)


def test_a_map_key_that_cannot_be_one_is_refused() -> None:
    described = slice_of(66, 67) + message(-67, b"\x04\x02" + integer(66) + b"\x01\x0c\x00\x00")
    chunk = described + message(67, b"\x00\x01\x01\x00\x01a")
    with pytest.raises(GobError, match="another type than text"):
        Decoder().decode(chunk)


def test_complex_numbers_are_read() -> None:
    assert Decoder().decode(message(COMPLEX.id, b"\x00\xfe\xf0\x3f\xff\x40")) == complex(1.0, 2.0)


# -- limits -----------------------------------------------------------------------------------------------------------


def boxes(count: int) -> Box:
    box = Box()
    for _ in range(count - 1):
        box = Box(box)
    return box


def test_values_nest_up_to_the_limit() -> None:
    """A box in a box is two levels deeper: the field, and the struct in it."""
    deepest = MAX_DEPTH // 2
    assert through(boxes(deepest)) == boxes(deepest)
    with pytest.raises(GobError, match=f"nest deeper than {MAX_DEPTH}"):
        through(boxes(deepest + 2))


def test_a_type_that_holds_itself_nests_up_to_the_limit() -> None:
    chunk = slice_of(66, 66) + message(66, b"\x00" + b"\x01" * 100 + b"\x00")
    with pytest.raises(GobError, match=f"nest deeper than {MAX_DEPTH}"):
        Decoder().decode(chunk)


def test_types_are_described_up_to_the_limit() -> None:
    decoder = Decoder()
    end = message(6, b"\x00\x00")
    for number in range(66, 66 + MAX_TYPES):
        assert decoder.decode(slice_of(number, 6) + end) == ""
    with pytest.raises(GobError, match=f"more than {MAX_TYPES} types"):
        decoder.decode(slice_of(66 + MAX_TYPES, 6) + end)


def test_descriptions_take_up_to_the_limit() -> None:
    decoder = Decoder()
    end = message(6, b"\x00\x00")
    name = bytes(MAX_DESCRIBED_BYTES - 30)
    long = b"\x02\x01\x01" + unsigned(len(name)) + name + b"\x00\x00\x00"
    assert decoder.decode(message(-66, long) + end) == ""
    assert decoder.decode(slice_of(67, 6) + end) == ""
    with pytest.raises(GobError, match=f"more than {MAX_DESCRIBED_BYTES} bytes"):
        decoder.decode(slice_of(68, 6) + end)


def test_a_struct_of_more_fields_than_the_limit_is_refused_before_they_are_read() -> None:
    many = MAX_DESCRIBED_BYTES + 1
    with pytest.raises(GobError, match=f"more than {MAX_DESCRIBED_BYTES} bytes"):
        Decoder().decode(message(-66, b"\x03\x02" + unsigned(many) + bytes(many)))


def test_a_message_holds_values_up_to_the_limit() -> None:
    largest = Everything(texts=("",) * (MAX_VALUES - 3))
    assert through(largest) == largest
    with pytest.raises(GobError, match=f"more than {MAX_VALUES} values"):
        through(Everything(texts=("",) * (MAX_VALUES - 2)))


# -- what has no gob form ---------------------------------------------------------------------------------------------


NO_GOB_FORM: dict[str, Any] = {
    "no struct": object(),
    "text at top level": "text",
    "int over 64 bits": Point(1 << 63),
    "int under 64 bits": Point(-(1 << 63) - 1),
    "uint over 64 bits": Number(1 << 64),
    "negative uint": Number(-1),
    "text as int": Point(cast(int, "1")),
    "float as int": Point(cast(int, 1.5)),
    "object in an interface": Box(object()),
    "float in an interface": Box(1.5),
    "mixed slice": Box(("a", 1)),
    "no text": Box("\ud800"),
    "int as bytes": Everything(data=cast(bytes, 5)),
    "bytes as text": Everything(text=cast(str, b"bytes")),
    "text as float": Everything(ratio=cast(float, "1")),
    "float out of range": Everything(ratio=10**400),
    "another struct": Everything(points=(cast(Point, Number(1)),)),
    "another key": Everything(counts=cast("dict[str, int]", {1: 1})),
    "bytes as an opaque value": Everything(when=cast(Opaque, b"bytes")),
}


@pytest.mark.parametrize("value", list(NO_GOB_FORM.values()), ids=list(NO_GOB_FORM))
def test_a_value_without_a_gob_form_leaves_the_stream_as_it_was(value: object) -> None:
    encoder, decoder = Encoder(), Decoder()
    with pytest.raises(GobError):
        encoder.encode(value)
    fine = Everything(content=Box(Point(1)), counts={"a": 1})
    assert decoder.decode(encoder.encode(fine), Everything) == fine
    with pytest.raises(GobError):
        encoder.encode(value)
    assert decoder.decode(encoder.encode(Number(5)), Number) == Number(5)


def test_a_value_over_the_limit_leaves_the_stream_as_it_was() -> None:
    encoder, decoder = Encoder(), Decoder()
    with pytest.raises(GobError, match="over the limit of 100"):
        encoder.encode(Everything(data=bytes(200)), 100)
    assert decoder.decode(encoder.encode(Everything(number=1)), Everything) == Everything(number=1)


def test_only_a_dataclass_with_as_many_fields_can_be_declared() -> None:
    with pytest.raises(TypeError, match="is not a dataclass"):
        gob.struct("X")(int)
    with pytest.raises(TypeError, match="has 2 fields, Pair has 1"):
        gob.struct("Pair", A=INT)(dataclass(frozen=True)(type("Pair", (), {"__annotations__": {"a": int, "b": int}})))


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    with contextlib.suppress(GobError):
        Decoder().decode(data, Everything)
