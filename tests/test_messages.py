"""circuit.wire.messages: every struct of the protocol, there and back."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from circuit.errors import GobError
from circuit.wire import gob, messages
from circuit.wire.gob import (
    ANYS,
    BOOL,
    BYTES,
    INT,
    INTERFACE,
    STRING,
    UINT,
    Decoder,
    Encoded,
    Encoder,
    Map,
    Opaque,
    Slice,
)
from circuit.wire.messages import (
    EOF,
    METHODS,
    PEERS,
    RESULTS,
    VIEW,
    AbortMsg,
    Error,
    ErrorString,
    Msg,
    PayloadMsg,
    PtrMsg,
    decode_time,
    encode_time,
    error_text,
    is_error,
)

STRUCTS: dict[str, type] = {
    name: cls
    for name, cls in sorted(vars(messages).items())
    if isinstance(cls, type) and cls.__module__ == messages.__name__
}
"""Every class of the module. Each is a struct of the protocol; what is none cannot be told to gob, and fails below."""

texts = st.one_of(
    st.text(max_size=20), st.binary(max_size=20).map(lambda data: data.decode("utf-8", "surrogateescape"))
)
BASIC: dict[gob.Type, SearchStrategy[Any]] = {
    BOOL: st.booleans(),
    INT: st.integers(-(1 << 63), (1 << 63) - 1),
    UINT: st.integers(0, (1 << 64) - 1),
    BYTES: st.binary(max_size=40),
    STRING: texts,
}
pointers = st.builds(PtrMsg, BASIC[UINT], BASIC[UINT])
plain = st.one_of(
    st.none(), *(BASIC[basic] for basic in (BOOL, INT, BYTES, STRING)), st.lists(texts, max_size=3).map(tuple), pointers
)
"""What an interface can hold, without what is deep."""


def values(spec: gob.Type, inside: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Values of a type; interfaces in it hold those of ``inside``."""
    if spec is INTERFACE:
        return inside
    if isinstance(spec, Slice):
        return st.lists(values(spec.element, inside), max_size=3).map(tuple)
    if isinstance(spec, Map):
        return st.dictionaries(values(spec.key, inside), values(spec.element, inside), max_size=3)
    if isinstance(spec, gob.Struct):
        return st.builds(spec.cls, *(values(field, inside) for _, field in spec.fields))
    if isinstance(spec, Encoded):
        return st.one_of(st.none(), st.binary(max_size=20).map(Opaque))
    return BASIC[spec]


registered = [cls for cls in STRUCTS.values() if gob._by_class[cls][0] is not None]
anything = st.one_of(plain, *(values(gob.struct_of(cls), plain) for cls in registered))
"""What an interface can hold: any registered struct among it."""


def through(value: object) -> object:
    return Decoder().decode(Encoder().encode(value), type(value))


def test_there_are_structs() -> None:
    assert len(STRUCTS) >= 25
    assert len(registered) >= 20


@pytest.mark.parametrize("cls", STRUCTS.values(), ids=list(STRUCTS))
@given(data=st.data())
def test_every_struct_survives(cls: type, data: st.DataObject) -> None:
    value = data.draw(values(gob.struct_of(cls), anything))
    assert through(value) == value


@pytest.mark.parametrize("cls", registered, ids=lambda cls: str(cls.__name__))
@given(data=st.data())
def test_every_registered_struct_survives_as_a_payload(cls: type, data: st.DataObject) -> None:
    message = Msg(1, PayloadMsg(0, data.draw(values(gob.struct_of(cls), plain))))
    assert through(message) == message


@pytest.mark.parametrize("cls", STRUCTS.values(), ids=list(STRUCTS))
def test_no_field_passes_for_another(cls: type) -> None:
    """Values that differ in one field alone differ still, behind the wire."""
    spec = gob.struct_of(cls)
    odd: dict[gob.Type, object] = {BOOL: True, INT: -5, UINT: 5, BYTES: b"\xff", STRING: "odd", INTERFACE: "odd"}
    for (_, of), part in zip(spec.fields, fields(cls), strict=True):
        if of in odd:
            value = cls(**{part.name: odd[of]})
            assert through(value) == value != cls()


@given(st.lists(anything, max_size=6))
def test_a_stream_of_messages_survives(payloads: list[object]) -> None:
    """Types are described where they first stand, whichever message that is."""
    encoder, decoder = Encoder(), Decoder()
    for number, payload in enumerate(payloads):
        message = Msg(number, PayloadMsg(0, payload))
        assert decoder.decode(encoder.encode(message), Msg) == message


@given(st.lists(values(PEERS.element, pointers), max_size=4).map(tuple), st.dictionaries(texts, pointers, max_size=4))
def test_peers_and_views_survive(peers: tuple[object, ...], view: dict[str, object]) -> None:
    for name, spec, value in ((PEERS.name, PEERS, peers), (VIEW.name, VIEW, view), (ANYS.name, ANYS, ("a", None))):
        sent = Msg(0, PayloadMsg(0, gob.Named(name, spec, value)))
        assert through(sent) == Msg(0, PayloadMsg(0, value))


# -- errors -----------------------------------------------------------------------------------------------------------


@given(texts)
def test_the_words_of_an_error(text: str) -> None:
    assert error_text(Error(body=text)) == error_text(ErrorString(text)) == text


def test_what_is_an_error() -> None:
    foreign = Decoder().decode(Encoder().encode(Error(body=EOF)))
    assert all(map(is_error, (Error(), ErrorString(), foreign)))
    assert not any(map(is_error, (None, "", "EOF", 5, (), PtrMsg(), AbortMsg())))


# -- times ------------------------------------------------------------------------------------------------------------


@given(st.datetimes(timezones=st.just(timezone.utc)))
def test_times_survive(moment: datetime) -> None:
    assert decode_time(encode_time(moment)) == moment


@given(st.binary(max_size=20))
def test_any_bytes_are_a_time_or_refused(data: bytes) -> None:
    try:
        moment = decode_time(Opaque(data))
    except GobError:
        return
    assert decode_time(encode_time(moment)) == moment


# -- methods ----------------------------------------------------------------------------------------------------------


def test_every_method_has_its_results_and_a_number_of_its_own() -> None:
    assert set(RESULTS) == set(METHODS)
    assert len(set(METHODS.values())) == len(METHODS)
