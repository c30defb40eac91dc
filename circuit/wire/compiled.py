"""The gob coders of :mod:`circuit.wire.gob`, faster: a function for each type that a stream has described.

A stream describes a type once and then sends it thousands of times. So these coders build a function from each
description, with its ids and names filled in, and run that. Such a function handles the usual value only, and raises
:class:`_Unusual` for everything else: new types, unexpected Python types, malformed bytes. Then the plain coder does
the whole message again, and raises the error if there is one. A test compares both on drawn messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar

from circuit.display import Hidden
from circuit.errors import GobError
from circuit.wire.gob import (
    ANYS,
    BOOL,
    BYTES,
    INT,
    INTERFACE,
    MAX_DEPTH,
    MAX_VALUES,
    STRING,
    STRINGS,
    UINT,
    Basic,
    Decoder,
    Encoder,
    Map,
    Named,
    Reader,
    Slice,
    Struct,
    Type,
    Unknown,
    WireKind,
    declared,
    encode_int,
    encode_text,
    encode_uint,
    registered_type,
    struct_of,
)

_T = TypeVar("_T")
_Write = Callable[[Any, bytearray], None]
"""Appends a value to a message. A large one that was returned instead would be copied at each level."""
_Read = Callable[[bytes, int, int, list[int]], tuple[Any, int]]
"""Reads a value of ``data`` at a position and depth; returns it with the position behind it. The last argument holds
one number, how many values were begun, to which a reader adds what it consists of."""

_MAX_NAMES = 256
"""How many names of interface values get functions of their own in one stream. A circuit server uses about thirty."""


class _Unusual(Exception):
    """Only the plain coder handles this."""


# -- encoding ---------------------------------------------------------------------------------------------------------


class CompiledEncoder(Encoder):
    """One direction of a connection, outgoing."""

    def __init__(self) -> None:
        super().__init__()
        self._writers: dict[type, tuple[bytes, _Write]] = {}
        """Of each class that was sent, what comes in front of the byte count at top level, and its function."""
        self._holders: dict[type | str, tuple[bytes, Type, _Write]] = {}
        """Of each class inside an interface: name and id, type, and its function. A :class:`Named` counts by name."""

    def encode(self, value: object, limit: int | None = None) -> bytes:
        """Return one frame's worth of gob. See :meth:`Encoder.encode`."""
        try:
            type_id, write = self._writers.get(type(value)) or self._writer(type(value))
            message = bytearray(type_id)
            write(value, message)
            chunk = encode_uint(len(message)) + message
            if limit is None or len(chunk) <= limit:
                return chunk
        except (_Unusual, GobError, UnicodeError):
            pass
        return super().encode(value, limit)

    def _writer(self, cls: type) -> tuple[bytes, _Write]:
        _, spec = declared(cls) or (None, None)
        if spec is None:
            raise _Unusual
        self._writers[cls] = found = encode_int(self._described(spec)), self._of(spec)
        return found

    def _described(self, spec: Type) -> int:
        """Return the id of a type that the stream has described."""
        if isinstance(spec, Basic):
            return spec.id
        if spec not in self._ids:
            raise _Unusual
        return self._ids[spec]

    def _of(self, spec: Type) -> _Write:
        """Return the function for a type."""
        if isinstance(spec, Struct):
            return self._of_struct(spec)
        if isinstance(spec, Slice):
            return self._of_slice(spec)
        if spec is INTERFACE:
            return self._interface_value
        if isinstance(spec, Basic) and spec in _BASIC_WRITERS:
            return _BASIC_WRITERS[spec]
        return _write_nothing

    def _of_struct(self, spec: Struct) -> _Write:
        cls = spec.cls
        fields = tuple(
            (number, attrgetter(attribute), _ZERO.get(of), self._of(of))
            for number, (attribute, (_, of)) in enumerate(zip(spec.attributes, spec.fields, strict=True))
        )

        def write(value: Any, message: bytearray) -> None:
            if type(value) is not cls:
                raise _Unusual
            last = -1
            for number, get, zero, write_field in fields:
                item = get(value)
                if item is None:
                    continue
                if zero is not None and item == zero:
                    if type(item) is not type(zero):
                        raise _Unusual
                    continue
                message += encode_uint(number - last)
                write_field(item, message)
                last = number
            message += b"\x00"

        return write

    def _of_slice(self, spec: Slice) -> _Write:
        write_element = self._of(spec.element)

        def write(value: Any, message: bytearray) -> None:
            if type(value) is not tuple:
                raise _Unusual
            message += encode_uint(len(value))
            for item in value:
                write_element(item, message)

        return write

    def _interface_value(self, value: Any, message: bytearray) -> None:
        if value is None:
            message += b"\x00"
            return
        if type(value) is Named:
            front, spec, write = self._holders.get(value.name) or self._named(value)
            if value.type is not spec:
                raise _Unusual
            value = value.value
        else:
            front, _, write = self._holders.get(type(value)) or self._holder(type(value))
        start = len(message)
        write(value, message)
        message[start:start] = front + encode_uint(len(message) - start)

    def _holder(self, cls: type) -> tuple[bytes, Type, _Write]:
        name, spec = declared(cls) or _BASIC_HOLDERS.get(cls) or (None, None)
        if name is None or spec is None:
            raise _Unusual
        write = self._of(spec)
        if cls is list:
            tuples = write

            def write(value: Any, message: bytearray) -> None:
                tuples(tuple(value), message)

        self._holders[cls] = found = self._held(name, spec, write)
        return found

    def _named(self, value: Named) -> tuple[bytes, Type, _Write]:
        if len(self._holders) >= _MAX_NAMES:
            raise _Unusual
        self._holders[value.name] = found = self._held(value.name, value.type, self._of(value.type))
        return found

    def _held(self, name: str, spec: Type, write: _Write) -> tuple[bytes, Type, _Write]:
        front = encode_text(name) + encode_int(self._described(spec))
        if isinstance(spec, Struct):
            return front, spec, write

        def write_alone(value: Any, message: bytearray) -> None:
            # A value outside a struct has a zero byte in front.
            message += b"\x00"
            write(value, message)

        return front, spec, write_alone


def _write_nothing(_value: Any, _message: bytearray) -> None:
    raise _Unusual


def _write_bool(value: Any, message: bytearray) -> None:
    if type(value) is not bool:
        raise _Unusual
    message += b"\x01" if value else b"\x00"


def _write_int(value: Any, message: bytearray) -> None:
    if type(value) is not int:
        raise _Unusual
    message += encode_int(value)


def _write_uint(value: Any, message: bytearray) -> None:
    if type(value) is not int or value < 0:
        raise _Unusual
    message += encode_uint(value)


def _write_text(value: Any, message: bytearray) -> None:
    if type(value) is not str:
        raise _Unusual
    message += encode_text(value)


def _write_bytes(value: Any, message: bytearray) -> None:
    if type(value) is Hidden:
        value = value.reveal()
    elif type(value) is not bytes:
        raise _Unusual
    message += encode_uint(len(value))
    message += value


_BASIC_WRITERS: dict[Basic, _Write] = {
    BOOL: _write_bool,
    INT: _write_int,
    UINT: _write_uint,
    STRING: _write_text,
    BYTES: _write_bytes,
}

_ZERO: dict[Type, object] = {BOOL: False, INT: 0, UINT: 0, STRING: "", BYTES: b"", STRINGS: (), ANYS: ()}
"""What a field leaves out. Other types are written even if they are empty, which is legal."""

_BASIC_HOLDERS: dict[type, tuple[str, Type]] = {
    bool: (BOOL.name, BOOL),
    int: (INT.name, INT),
    str: (STRING.name, STRING),
    bytes: (BYTES.name, BYTES),
    Hidden: (BYTES.name, BYTES),
    list: (STRINGS.name, STRINGS),
    tuple: (STRINGS.name, STRINGS),
}


# -- decoding ---------------------------------------------------------------------------------------------------------


class CompiledDecoder(Decoder):
    """One direction of a connection, incoming. After an error it is of no further use."""

    def __init__(self) -> None:
        super().__init__()
        self._readers: dict[tuple[int, Type | None], _Read] = {}
        self._by_name: dict[tuple[bytes, int], tuple[_Read, bool]] = {}
        """The functions of interface values by name and type, and whether a zero byte precedes the value."""
        self._expected: dict[tuple[int, type], _Fields] = {}
        self._compiled_for = 0
        """How many bytes of descriptions the stream had sent when these functions were compiled."""

    def decode(
        self, chunk: bytes, expected: type | None = None, admit: Callable[[Mapping[str, object]], None] | None = None
    ) -> Any:
        """Return the value of one frame. See :meth:`Decoder.decode`."""
        if expected is not None:
            try:
                return self._fast(chunk, expected, admit)
            except (_Unusual, IndexError):
                pass
        return super().decode(chunk, expected, admit)

    def _elements(self, count: int, type_id: int, spec: Type | None, reader: Reader, depth: int) -> tuple[object, ...]:
        """Read the elements of a slice; compiled once their types have been described, in the first ones."""
        elements: list[object] = []
        while len(elements) < count:
            described = self._described
            elements.append(self._value(type_id, spec, reader, depth))
            if self._described == described and depth < MAX_DEPTH:
                self._read_usual(count, type_id, spec, reader, depth, elements)
        return tuple(elements)

    def _read_usual(
        self, count: int, type_id: int, spec: Type | None, reader: Reader, depth: int, elements: list[object]
    ) -> None:
        """Add elements up to ``count``, or to the first one that only the plain coder handles."""
        self._renew()
        read = self._of(type_id, spec, 0)
        tally = [reader.values]
        try:
            while len(elements) < count:
                tally[0] += 1
                element, position = read(reader.data, reader.position, depth, tally)
                if tally[0] > MAX_VALUES:
                    raise _Unusual
                elements.append(element)
                reader.position, reader.values = position, tally[0]
        except (_Unusual, IndexError):
            pass

    def _renew(self) -> None:
        """Forget functions where a type was described since: one may stand for a type that refers to it."""
        if self._compiled_for != self._described:
            self._compiled_for = self._described
            self._readers.clear()
            self._by_name.clear()
            self._expected.clear()

    def _fast(self, chunk: bytes, expected: type, admit: Callable[[Mapping[str, object]], None] | None) -> Any:
        size, position = _read_uint(chunk, 0, 0, [])
        if position + size != len(chunk):
            raise _Unusual
        type_id, position = _read_int(chunk, position, 0, [])
        self._renew()
        fields = self._expected.get((type_id, expected))
        if fields is None:
            fields = self._expected[type_id, expected] = self._fields(type_id, struct_of(expected), 0)
        tally = [1]
        values: dict[str, object] = {}
        number = 0
        while delta := chunk[position]:
            if delta >= 0x80:
                raise _Unusual
            number += delta
            attribute, read = fields[number]
            if admit is not None and read == self._interface_value:
                admit(values)
            tally[0] += 1
            value, position = read(chunk, position + 1, 1, tally)
            if attribute is not None:
                values[attribute] = value
        if position + 1 != len(chunk) or tally[0] > MAX_VALUES:
            raise _Unusual
        return _make(expected, values)

    def _of(self, type_id: int, spec: Type | None, nesting: int) -> _Read:
        """Return the function for a type that the stream has described, as the declared type ``spec``."""
        key = (type_id, spec)
        read = self._readers.get(key)
        if read is None:
            # A type that holds itself finds this function, which the plain coder stands in for.
            self._readers[key] = _read_nothing
            read = self._readers[key] = self._compile(type_id, spec, nesting)
        return read

    def _compile(self, type_id: int, spec: Type | None, nesting: int) -> _Read:
        if type_id in _BASIC_READERS or type_id == INTERFACE.id:
            if spec is not None and not (isinstance(spec, Basic) and spec.id == type_id):
                return _read_nothing
            return self._interface_value if type_id == INTERFACE.id else _BASIC_READERS[type_id]
        wire = self._types.get(type_id)
        if wire is None or nesting > MAX_DEPTH:
            return _read_nothing
        if wire.kind == WireKind.STRUCT and (spec is None or isinstance(spec, Struct)):
            make = partial(_make, spec.cls) if spec else partial(Unknown, wire.name)
            return _struct_reader(self._fields(type_id, spec, nesting), make)
        if wire.kind == WireKind.SLICE and (spec is None or isinstance(spec, Slice)):
            return _slice_reader(self._of(wire.element, spec.element if spec else None, nesting + 1))
        if wire.kind == WireKind.MAP and (spec is None or isinstance(spec, Map)):
            key, element = (spec.key, spec.element) if spec else (None, None)
            return _map_reader(self._of(wire.key, key, nesting + 1), self._of(wire.element, element, nesting + 1))
        return _read_nothing

    def _fields(self, type_id: int, spec: Struct | None, nesting: int) -> _Fields:
        """Return, by number, the attribute and function of each field; without attribute it is decoded and ignored."""
        wire = self._types.get(type_id)
        if wire is None or wire.kind != WireKind.STRUCT:
            raise _Unusual
        if spec is not None:
            try:
                self._check(wire, spec)
            except GobError:
                raise _Unusual from None
        of: dict[str, tuple[str, Type]] = {}
        if spec is not None:
            of = {name: (attr, of) for (name, of), attr in zip(spec.fields, spec.attributes, strict=True)}
        fields: _Fields = [(None, _read_nothing)]
        for name, field_id in wire.fields:
            attribute, inner = of.get(name, (None if spec else name, None))
            fields.append((attribute, self._of(field_id, inner, nesting + 1)))
        return fields

    def _interface_value(self, data: bytes, position: int, depth: int, tally: list[int]) -> tuple[Any, int]:
        size = data[position]
        if size == 0:
            return None, position + 1
        if size >= 0x80 or depth >= MAX_DEPTH:
            raise _Unusual
        start = position + 1
        position = start + size
        # Negative where the type is described right here.
        type_id, position = _read_int(data, position, 0, tally)
        size, position = _read_uint(data, position, 0, tally)
        end = position + size
        name = data[start : start + data[start - 1]]
        found = self._by_name.get((name, type_id))
        if found is None:
            found = self._name(name, type_id)
        read, zero = found
        if zero:
            if data[position] != 0:
                raise _Unusual
            position += 1
        tally[0] += 1
        value, position = read(data, position, depth + 1, tally)
        if position != end:
            raise _Unusual
        return value, position

    def _name(self, name: bytes, type_id: int) -> tuple[_Read, bool]:
        if len(self._by_name) >= _MAX_NAMES:
            raise _Unusual
        spec = registered_type(name.decode("utf-8", "surrogateescape"))
        wire = self._types.get(type_id)
        found = self._of(type_id, spec, 0), wire is None or wire.kind != WireKind.STRUCT
        self._by_name[name, type_id] = found
        return found


_Fields = list[tuple[str | None, _Read]]


def _make(cls: type[_T], values: dict[str, object]) -> _T:
    """Return an instance with these attributes; others have the defaults of its class.

    The ``__init__`` of a frozen dataclass would take half of the time of decoding.
    """
    made = cls.__new__(cls)
    object.__setattr__(made, "__dict__", values)
    return made


def _struct_reader(fields: _Fields, make: Callable[[dict[str, object]], object]) -> _Read:
    def read(data: bytes, position: int, depth: int, tally: list[int]) -> tuple[Any, int]:
        if depth >= MAX_DEPTH:
            raise _Unusual
        values: dict[str, object] = {}
        number = count = 0
        while delta := data[position]:
            if delta >= 0x80:
                raise _Unusual
            number += delta
            count += 1
            attribute, read_field = fields[number]
            value, position = read_field(data, position + 1, depth + 1, tally)
            if attribute is not None:
                values[attribute] = value
        tally[0] += count
        if tally[0] > MAX_VALUES:
            raise _Unusual
        return make(values), position + 1

    return read


def _slice_reader(read_element: _Read) -> _Read:
    def read(data: bytes, position: int, depth: int, tally: list[int]) -> tuple[Any, int]:
        count, position = _read_uint(data, position, depth, tally)
        tally[0] += count
        if depth >= MAX_DEPTH or tally[0] > MAX_VALUES:
            raise _Unusual
        elements = []
        for _ in range(count):
            element, position = read_element(data, position, depth + 1, tally)
            elements.append(element)
        return tuple(elements), position

    return read


def _map_reader(read_key: _Read, read_element: _Read) -> _Read:
    def read(data: bytes, position: int, depth: int, tally: list[int]) -> tuple[Any, int]:
        count, position = _read_uint(data, position, depth, tally)
        tally[0] += 2 * count
        if depth >= MAX_DEPTH or tally[0] > MAX_VALUES:
            raise _Unusual
        result = {}
        for _ in range(count):
            key, position = read_key(data, position, depth + 1, tally)
            if not isinstance(key, (str, bytes, int, float)):
                raise _Unusual
            result[key], position = read_element(data, position, depth + 1, tally)
        return result, position

    return read


def _read_nothing(*_: object) -> tuple[Any, int]:
    raise _Unusual


def _read_uint(data: bytes, position: int, _depth: int, _tally: list[int]) -> tuple[int, int]:
    first = data[position]
    if first < 0x80:
        return first, position + 1
    end = position + 257 - first
    if first < 0xF8 or end > len(data):
        raise _Unusual
    return int.from_bytes(data[position + 1 : end], "big"), end


def _read_int(data: bytes, position: int, depth: int, tally: list[int]) -> tuple[int, int]:
    value = data[position]
    if value < 0x80:
        position += 1
    else:
        value, position = _read_uint(data, position, depth, tally)
    return ~(value >> 1) if value & 1 else value >> 1, position


def _read_bool(data: bytes, position: int, depth: int, tally: list[int]) -> tuple[bool, int]:
    value, position = _read_uint(data, position, depth, tally)
    return value != 0, position


def _read_bytes(data: bytes, position: int, depth: int, tally: list[int]) -> tuple[bytes, int]:
    size = data[position]
    if size < 0x80:
        position += 1
    else:
        size, position = _read_uint(data, position, depth, tally)
    end = position + size
    if end > len(data):
        raise _Unusual
    return data[position:end], end


def _read_text(data: bytes, position: int, depth: int, tally: list[int]) -> tuple[str, int]:
    text, position = _read_bytes(data, position, depth, tally)
    return str(text, "utf-8", "surrogateescape"), position


_BASIC_READERS: dict[int, _Read] = {
    BOOL.id: _read_bool,
    INT.id: _read_int,
    UINT.id: _read_uint,
    STRING.id: _read_text,
    BYTES.id: _read_bytes,
}
