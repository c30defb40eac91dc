"""Go's ``encoding/gob``: values to bytes and back, one type table a direction.

A gob stream describes each struct, slice or map type once, under an id of its own numbering, before the first value
of it; :class:`Encoder` and :class:`Decoder` therefore keep state and live as long as one direction of a connection.

Python and Go values correspond like this:

========================  ==========================================================================
Go                        Python
========================  ==========================================================================
bool, int, uint, float    ``bool``, ``int``, ``float``
string                    ``str``; bytes that are not UTF-8 survive as surrogate escapes
[]byte                    ``bytes``
slice, array              ``tuple``
map                       ``dict``
struct                    a class declared with :func:`struct`; undeclared ones become :class:`Unknown`
interface                 whatever it holds, or None
GobEncoder, time.Time     :class:`Opaque`
========================  ==========================================================================

A value inside an interface travels with the name that its Go type is registered under. Source: the documentation of
``encoding/gob``, and exchanges with real servers (``tests/golden``).
"""

from __future__ import annotations

import dataclasses
import struct as _struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeVar

from circuit.display import Hidden
from circuit.errors import GobError

MAX_DEPTH = 24
"""How deep values, or type descriptions, may nest. What circuit servers send nests about ten deep."""

MAX_TYPES = 1000
"""How many types one stream may describe. A circuit server describes about thirty."""

MAX_DESCRIBED_BYTES = 64 * 1024
"""How much the descriptions of one stream may take together: they are kept as long as it lives. A circuit server's take
about 3 KB."""

MAX_VALUES = 100_000
"""How many values one message may consist of, each element and field counted. In Python a value takes some hundred
times the byte that it can take on the wire. The largest legitimate message is a view, with five for each anchor."""

_C = TypeVar("_C", bound=type)


# -- types ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Basic:
    """A type that has a fixed id in every stream."""

    name: str
    id: int


BOOL = Basic("bool", 1)
INT = Basic("int", 2)
UINT = Basic("uint", 3)
FLOAT = Basic("float", 4)
BYTES = Basic("[]uint8", 5)
STRING = Basic("string", 6)
COMPLEX = Basic("complex", 7)
INTERFACE = Basic("interface", 8)


@dataclass(frozen=True)
class Slice:
    """``[]element``."""

    name: str
    element: Type


@dataclass(frozen=True)
class Map:
    """``map[key]element``."""

    name: str
    key: Type
    element: Type


@dataclass(frozen=True)
class Struct:
    """A Go struct and the Python class that stands for it; fields pair up in order."""

    name: str
    fields: tuple[tuple[str, Type], ...]
    cls: type
    attributes: tuple[str, ...]


@dataclass(frozen=True)
class Encoded:
    """A type that encodes itself (``GobEncoder``): its value is opaque bytes."""

    name: str


Type = Basic | Slice | Map | Struct | Encoded

STRINGS = Slice("[]string", STRING)
ANYS = Slice("[]interface {}", INTERFACE)


@dataclass(frozen=True)
class Unknown:
    """A struct of an undeclared type: its name on the wire and its non-zero fields."""

    name: str
    fields: Mapping[str, object]


@dataclass(frozen=True)
class Opaque:
    """The bytes of a self-encoding value, such as a ``time.Time``."""

    data: bytes


@dataclass(frozen=True)
class Named:
    """A non-struct value for an interface, under a registered name that does not follow from its Python type."""

    name: str
    type: Type
    value: object


_by_class: dict[type, tuple[str | None, Struct]] = {}
_registered: dict[str, Type] = {}


def struct(name: str, registered: str | None = None, **fields: Type) -> Callable[[_C], _C]:
    """Declare a dataclass as the Go struct ``name``; ``fields`` give its Go fields, in the dataclass's order.

    ``registered`` is the name it bears inside an interface; without one it only occurs inside other structs. Each
    dataclass field needs a default value, since gob leaves out zero values; decoders do not call ``__init__``.
    """

    def declare(cls: _C) -> _C:
        if not dataclasses.is_dataclass(cls):
            raise TypeError(f"{cls.__name__} is not a dataclass")
        attributes = tuple(f.name for f in dataclasses.fields(cls))
        if len(attributes) != len(fields):
            raise TypeError(f"{cls.__name__} has {len(attributes)} fields, {name} has {len(fields)}")
        spec = Struct(name, tuple(fields.items()), cls, attributes)
        _by_class[cls] = (registered, spec)
        if registered is not None:
            register(registered, spec)
        return cls

    return declare


def register(name: str, spec: Type) -> None:
    """Declare the type of a value that is registered as ``name`` inside an interface."""
    _registered[name] = spec


def struct_of(cls: type) -> Struct:
    """The declared type of ``cls``, to use as the type of another struct's field."""
    return _by_class[cls][1]


def declared(cls: type) -> tuple[str | None, Struct] | None:
    """Return the registered name, if any, and the type that ``cls`` was declared as, or None."""
    return _by_class.get(cls)


def registered_type(name: str) -> Type | None:
    """Return the declared type of values that are registered as ``name``, or None."""
    return _registered.get(name)


# -- encoding ---------------------------------------------------------------------------------------------------------

_FIRST_ID = 65
_ONE_BYTE = [bytes((value,)) for value in range(0x80)]


class WireKind(IntEnum):
    """What a type description describes: its field number in Go's ``wireType``."""

    ARRAY = 1
    SLICE = 2
    STRUCT = 3
    MAP = 4
    GOB_ENCODER = 5
    BINARY_MARSHALER = 6
    TEXT_MARSHALER = 7


def encode_uint(value: int) -> bytes:
    """Return an unsigned integer's bytes: itself if it is small, or its length, negated, and big-endian bytes.

    :raises GobError: it does not fit 64 bits.
    """
    if value < 0x80:
        return _ONE_BYTE[value]
    size = (value.bit_length() + 7) // 8
    if size > 8:
        raise GobError(f"{value} does not fit 64 bits")
    return bytes((256 - size,)) + value.to_bytes(size, "big")


def encode_int(value: int) -> bytes:
    """Return a signed integer's bytes: those of an unsigned one whose lowest bit is the sign.

    :raises GobError: it does not fit 64 bits.
    """
    if not -(1 << 63) <= value < 1 << 63:
        raise GobError(f"{value} does not fit 64 bits")
    return encode_uint(~value << 1 | 1 if value < 0 else value << 1)


def _blob(data: bytes) -> bytes:
    return encode_uint(len(data)) + data


def encode_text(value: str) -> bytes:
    """Return a string's bytes: its length in UTF-8, and it."""
    return _blob(value.encode("utf-8", "surrogateescape"))


class Encoder:
    """One direction of a connection, outgoing."""

    def __init__(self) -> None:
        self._ids: dict[Type, int] = {}

    def encode(self, value: object, limit: int | None = None) -> bytes:
        """Return one frame's worth of gob: descriptions of types that are new to the stream, then ``value``.

        ``value`` is an instance of a declared class. A value that cannot be encoded leaves the stream as it was.

        :param limit: how many bytes that may take.
        :raises GobError: some part of ``value`` has no gob form, or it takes more than ``limit``.
        """
        found = declared(type(value))
        if found is None:
            raise GobError(f"{type(value).__name__} is not a declared struct")
        before = dict(self._ids)
        try:
            descriptions: list[bytes] = []
            type_id = self._describe(found[1], descriptions)
            body = self._value(found[1], value, descriptions)
            chunk = b"".join(descriptions) + _blob(encode_int(type_id) + body)
            if limit is not None and len(chunk) > limit:
                raise GobError(f"a {found[1].name} of {len(chunk)} bytes is over the limit of {limit}")
        except BaseException:
            self._ids = before
            raise
        return chunk

    def _describe(self, spec: Type, out: list[bytes]) -> int:
        """The stream's id of ``spec``; a first use appends its description, after those of what it consists of."""
        if isinstance(spec, Basic):
            return spec.id
        known = self._ids.get(spec)
        if known is not None:
            return known
        type_id = self._ids[spec] = _FIRST_ID + len(self._ids)
        common = b"\x01" + encode_text(spec.name) + b"\x01" + encode_int(type_id) + b"\x00"
        if isinstance(spec, Struct):
            kind = WireKind.STRUCT
            entries = [
                b"\x01" + encode_text(name) + b"\x01" + encode_int(self._describe(inner, out)) + b"\x00"
                for name, inner in spec.fields
            ]
            # An empty struct's field list is a zero value, and zero values are left out.
            rest = b"\x01" + encode_uint(len(entries)) + b"".join(entries) if entries else b""
        elif isinstance(spec, Slice):
            kind = WireKind.SLICE
            rest = b"\x01" + encode_int(self._describe(spec.element, out))
        elif isinstance(spec, Map):
            kind = WireKind.MAP
            key, element = (encode_int(self._describe(part, out)) for part in (spec.key, spec.element))
            rest = b"\x01" + key + b"\x01" + element
        else:
            kind = WireKind.GOB_ENCODER
            rest = b""
        wire_type = bytes((kind,)) + b"\x01" + common + rest + b"\x00\x00"
        out.append(_blob(encode_int(-type_id) + wire_type))
        return type_id

    def _value(self, spec: Type, value: Any, out: list[bytes]) -> bytes:
        try:
            if isinstance(spec, Struct):
                return self._struct(spec, value, out)
            if isinstance(spec, Slice):
                return encode_uint(len(value)) + b"".join(self._value(spec.element, item, out) for item in value)
            if isinstance(spec, Map):
                return encode_uint(len(value)) + b"".join(
                    self._value(spec.key, key, out) + self._value(spec.element, item, out)
                    for key, item in value.items()
                )
            if isinstance(spec, Encoded):
                return _blob(value.data)
            return self._basic(spec, value, out)
        except (AttributeError, TypeError, UnicodeError, OverflowError, _struct.error) as error:
            raise GobError(f"{value!r} is not a {spec.name}: {error}") from None

    def _basic(self, spec: Basic, value: Any, out: list[bytes]) -> bytes:
        if spec is INTERFACE:
            return self._interface(value, out)
        if spec is STRING:
            return encode_text(value)
        if spec is BYTES:
            return _blob(value.reveal() if isinstance(value, Hidden) else bytes(memoryview(value)))
        if spec is FLOAT:
            return encode_uint(int.from_bytes(_struct.pack("<d", value), "big"))
        if spec is BOOL:
            return b"\x01" if value else b"\x00"
        if spec is INT:
            return encode_int(value)
        if value < 0:
            raise GobError(f"{value} is not a uint")
        return encode_uint(value)

    def _struct(self, spec: Struct, value: Any, out: list[bytes]) -> bytes:
        if type(value) is not spec.cls:
            raise GobError(f"{value!r} is not a {spec.name}")
        parts, last = [], -1
        for index, attribute in enumerate(spec.attributes):
            item = getattr(value, attribute)
            # Zero values are left out, as Go does; a struct's own zero value is not, which is legal. The only one of an
            # interface is nil: what it holds travels even if that is zero.
            if item is None or (
                spec.fields[index][1] is not INTERFACE
                and (item is False or item == 0 or item == "" or item == b"" or item == () or item == {})
            ):
                continue
            parts.append(encode_uint(index - last) + self._value(spec.fields[index][1], item, out))
            last = index
        return b"".join(parts) + b"\x00"

    def _interface(self, value: Any, out: list[bytes]) -> bytes:
        if value is None:
            return b"\x00"
        name, spec, value = _dynamic_type(value)
        type_id = self._describe(spec, out)
        body = self._value(spec, value, out)
        if not isinstance(spec, Struct):
            body = b"\x00" + body
        return encode_text(name) + encode_int(type_id) + _blob(body)


def _dynamic_type(value: object) -> tuple[str, Type, object]:
    if isinstance(value, Named):
        return value.name, value.type, value.value
    found = declared(type(value))
    if found is not None and found[0] is not None:
        return found[0], found[1], value
    if isinstance(value, bool):
        return "bool", BOOL, value
    if isinstance(value, int):
        return "int", INT, value
    if isinstance(value, str):
        return "string", STRING, value
    if isinstance(value, (bytes, bytearray, memoryview, Hidden)):
        return "[]uint8", BYTES, value
    if isinstance(value, Sequence):
        return "[]string", STRINGS, value
    raise GobError(f"{value!r} has no registered name")


# -- decoding ---------------------------------------------------------------------------------------------------------


@dataclass
class Reader:
    """A cursor over one chunk. Reading past the end is an error, never a short or padded result."""

    data: bytes
    position: int = 0
    seams: int = 0
    """How many type descriptions stood inside interface values so far."""
    values: int = 0
    """How many values were begun so far."""
    admit: Callable[[Mapping[str, object]], None] | None = None

    @property
    def left(self) -> int:
        return len(self.data) - self.position

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise GobError(f"{count} bytes expected, {self.left} left")
        start = self.position
        self.position += count
        return self.data[start : self.position]

    def unsigned(self) -> int:
        first = self.take(1)[0]
        if first < 0x80:
            return first
        size = 256 - first
        if size > 8:
            raise GobError(f"an integer of {size} bytes")
        return int.from_bytes(self.take(size), "big")

    def signed(self) -> int:
        value = self.unsigned()
        return ~(value >> 1) if value & 1 else value >> 1

    def blob(self) -> bytes:
        return self.take(self.unsigned())

    def text(self) -> str:
        return self.blob().decode("utf-8", "surrogateescape")


@dataclass
class WireType:
    """A type as the sender described it."""

    kind: int
    name: str
    element: int = 0
    key: int = 0
    length: int | None = None
    fields: list[tuple[str, int]] = field(default_factory=list)
    checked: set[Struct] = field(default_factory=set)
    """Declared structs whose fields were found to agree with this description."""


_BASIC_IDS = {basic.id: basic for basic in (BOOL, INT, UINT, FLOAT, BYTES, STRING, COMPLEX, INTERFACE)}


class Decoder:
    """One direction of a connection, incoming. After an error it is of no further use."""

    def __init__(self) -> None:
        self._types: dict[int, WireType] = {}
        self._described = 0

    def decode(
        self, chunk: bytes, expected: type | None = None, admit: Callable[[Mapping[str, object]], None] | None = None
    ) -> Any:
        """Return the value of one frame: any type descriptions, then exactly one value.

        :param expected: the declared class of the value; without one, a struct comes back as :class:`Unknown`.
        :param admit: called with the fields decoded so far, before an interface field, which can be large; what it
            raises ends the decoding.
        :raises GobError: the bytes are malformed, or their types do not agree with the declared ones.
        """
        reader = Reader(chunk, admit=admit)
        while True:
            end = self._end(reader)
            type_id = reader.signed()
            if type_id >= 0:
                break
            self._define(-type_id, reader)
            if reader.position != end:
                raise GobError("a type description of another length than announced")
        spec = struct_of(expected) if expected is not None else None
        if type_id not in self._types or self._types[type_id].kind != WireKind.STRUCT:
            if reader.unsigned() != 0:
                raise GobError("a value outside a struct without its zero byte")
            if spec is not None:
                raise GobError(f"a {spec.name} was expected")
        value = self._value(type_id, spec, reader, 0)
        if reader.left or (end != reader.position and not reader.seams):
            raise GobError("a value of another length than announced")
        return value

    @staticmethod
    def _end(reader: Reader) -> int:
        """Where what starts with this byte count ends."""
        size = reader.unsigned()
        if size > reader.left:
            raise GobError(f"{size} bytes announced, {reader.left} left")
        return reader.position + size

    # type descriptions

    def _define(self, type_id: int, reader: Reader) -> None:
        if type_id in self._types or type_id in _BASIC_IDS:
            raise GobError(f"type {type_id} is described twice")
        if len(self._types) >= MAX_TYPES:
            raise GobError(f"more than {MAX_TYPES} types in one stream")
        start = reader.position
        kind = reader.unsigned()
        if not WireKind.ARRAY <= kind <= WireKind.TEXT_MARSHALER:
            raise GobError(f"a type of unknown kind {kind}")
        wire = WireType(kind, "")
        for number in self._field_numbers(reader):
            if number == 1:
                wire.name = self._common(reader)
            elif kind == WireKind.STRUCT and number == 2:
                count = self._count(reader)
                self._check_described(count)
                wire.fields = [self._field(reader) for _ in range(count)]
            elif kind in (WireKind.ARRAY, WireKind.SLICE) and number == 2:
                wire.element = reader.signed()
            elif kind == WireKind.ARRAY and number == 3:
                wire.length = reader.signed()
            elif kind == WireKind.MAP and number == 2:
                wire.key = reader.signed()
            elif kind == WireKind.MAP and number == 3:
                wire.element = reader.signed()
            else:
                raise GobError(f"field {number} in the description of a type of kind {kind}")
        if reader.unsigned() != 0:
            raise GobError("a type of two kinds")
        self._check_described(reader.position - start)
        self._described += reader.position - start
        self._types[type_id] = wire

    def _check_described(self, more: int) -> None:
        if self._described + more > MAX_DESCRIBED_BYTES:
            raise GobError(f"type descriptions of more than {MAX_DESCRIBED_BYTES} bytes in one stream")

    @staticmethod
    def _field_numbers(reader: Reader) -> Any:
        number = 0
        while delta := reader.unsigned():
            number += delta
            yield number

    def _common(self, reader: Reader) -> str:
        name = ""
        for number in self._field_numbers(reader):
            if number == 1:
                name = reader.text()
            elif number == 2:
                reader.signed()
            else:
                raise GobError(f"field {number} in a common type")
        return name

    def _field(self, reader: Reader) -> tuple[str, int]:
        name, type_id = "", 0
        for number in self._field_numbers(reader):
            if number == 1:
                name = reader.text()
            elif number == 2:
                type_id = reader.signed()
            else:
                raise GobError(f"field {number} in the description of a field")
        return name, type_id

    @staticmethod
    def _count(reader: Reader) -> int:
        """An element count. Each element takes a byte at least, which bounds what a liar can make us allocate."""
        count = reader.unsigned()
        if count > reader.left:
            raise GobError(f"{count} elements in {reader.left} bytes")
        return count

    # values

    def _value(self, type_id: int, spec: Type | None, reader: Reader, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise GobError(f"values nest deeper than {MAX_DEPTH}")
        reader.values += 1
        if reader.values > MAX_VALUES:
            raise GobError(f"a message of more than {MAX_VALUES} values")
        basic = _BASIC_IDS.get(type_id)
        if basic is not None:
            if spec is not None and spec != basic:
                raise GobError(f"a {basic.name} where a {spec.name} was expected")
            return self._basic(basic, reader, depth)
        wire = self._types.get(type_id)
        if wire is None:
            raise GobError(f"a value of type {type_id}, which was not described")
        if wire.kind == WireKind.STRUCT:
            return self._struct(wire, spec, reader, depth)
        if wire.kind in (WireKind.ARRAY, WireKind.SLICE):
            if spec is not None and not isinstance(spec, Slice):
                raise GobError(f"a {wire.name} where a {spec.name} was expected")
            count = self._count(reader)
            if wire.length is not None and wire.length != count:
                raise GobError(f"{count} elements in an array of {wire.length}")
            inner = spec.element if spec is not None else None
            return self._elements(count, wire.element, inner, reader, depth + 1)
        if wire.kind == WireKind.MAP:
            return self._map(wire, spec, reader, depth)
        if spec is not None and not isinstance(spec, Encoded):
            raise GobError(f"a {wire.name} where a {spec.name} was expected")
        return Opaque(reader.blob())

    def _elements(self, count: int, type_id: int, spec: Type | None, reader: Reader, depth: int) -> tuple[object, ...]:
        return tuple([self._value(type_id, spec, reader, depth) for _ in range(count)])

    def _basic(self, basic: Basic, reader: Reader, depth: int) -> object:
        if basic is INTERFACE:
            return self._interface(reader, depth)
        if basic is STRING:
            return reader.text()
        if basic is BYTES:
            return reader.blob()
        if basic is INT:
            return reader.signed()
        if basic is UINT:
            return reader.unsigned()
        if basic is BOOL:
            return reader.unsigned() != 0
        if basic is FLOAT:
            return self._float(reader)
        return complex(self._float(reader), self._float(reader))

    @staticmethod
    def _float(reader: Reader) -> float:
        value: float = _struct.unpack("<d", reader.unsigned().to_bytes(8, "big"))[0]
        return value

    def _map(self, wire: WireType, spec: Type | None, reader: Reader, depth: int) -> dict[object, object]:
        if spec is not None and not isinstance(spec, Map):
            raise GobError(f"a {wire.name} where a {spec.name} was expected")
        key, element = (spec.key, spec.element) if spec is not None else (None, None)
        result: dict[object, object] = {}
        for _ in range(self._count(reader)):
            name = self._value(wire.key, key, reader, depth + 1)
            # Others may be unhashable, or can be chosen to have one hash, and a large map of those takes minutes.
            if not isinstance(name, (str, bytes, int, float)):
                raise GobError(f"a key of another type than text, bytes or number in {wire.name}")
            result[name] = self._value(wire.element, element, reader, depth + 1)
        return result

    def _struct(self, wire: WireType, spec: Type | None, reader: Reader, depth: int) -> object:
        if spec is not None and not isinstance(spec, Struct):
            raise GobError(f"a {wire.name} where a {spec.name} was expected")
        if spec is not None and spec not in wire.checked:
            self._check(wire, spec)
        fields = {}
        if spec is not None:
            fields = {name: (attr, of) for (name, of), attr in zip(spec.fields, spec.attributes, strict=True)}
        values: dict[str, object] = {}
        for number in self._field_numbers(reader):
            if number > len(wire.fields):
                raise GobError(f"field {number} of {wire.name}, which has {len(wire.fields)}")
            name, type_id = wire.fields[number - 1]
            attribute, of = fields.get(name, (name, None))
            if depth == 0 and reader.admit is not None and type_id == INTERFACE.id:
                reader.admit(values)
            value = self._value(type_id, of, reader, depth + 1)
            if spec is None or name in fields:
                values[attribute] = value
        return Unknown(wire.name, values) if spec is None else spec.cls(**values)

    def _check(self, wire: WireType, spec: Struct) -> None:
        """Refuse a description that shares a declared struct's name and none of its fields, as Go does."""
        if spec.fields and wire.fields and not {name for name, _ in wire.fields} & {name for name, _ in spec.fields}:
            raise GobError(f"a {wire.name} has no field of {spec.name}")
        wire.checked.add(spec)

    def _interface(self, reader: Reader, depth: int) -> object:
        name = reader.text()
        if not name:
            return None
        # Go's encoder may describe the concrete type right here: the message ends with the description, and another
        # goes on behind it. The byte counts around such a seam reach only to it or from it, so they cannot be checked.
        while (type_id := reader.signed()) < 0:
            self._define(-type_id, reader)
            self._end(reader)
            reader.seams += 1
        seams = reader.seams
        end = self._end(reader)
        wire = self._types.get(type_id)
        if (wire is None or wire.kind != WireKind.STRUCT) and reader.unsigned() != 0:
            raise GobError(f"a {name} without its zero byte")
        value = self._value(type_id, _registered.get(name), reader, depth + 1)
        if reader.position != end and reader.seams == seams:
            raise GobError(f"a {name} of another length than announced")
        return value
