"""Mutation of bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

MAX_BYTES = 1 << 16
"""No input gets longer than this."""

_LENGTHS = (
    # As a frame's length prefix, and as gob writes large counts.
    b"\x00",
    b"\x7f",
    b"\xff\x7f",
    b"\x80\x80\x80\x08",
    b"\x81\x80\x80\x08",
    b"\xff" * 9 + b"\x01",
    b"\x80" * 11,
    b"\xff\xff",
    b"\xfe\xff\xff",
    b"\xfc\xff\xff\xff\xff",
    b"\xf8" + b"\xff" * 8,
    b"\xf8\x7f" + b"\xff" * 7,
    b"\xf7" + b"\x01" * 9,
)


def mutate(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """``data`` with a few changes.

    :param others: what parts may be taken from.
    """
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        rng.choice(_CHANGES)(result, others, rng)
    return bytes(result[:MAX_BYTES])


def _flip(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xF8, 0xFE, 0xFF, rng.randrange(256)))


def _nudge(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    if data:
        index = rng.randrange(len(data))
        data[index] = (data[index] + rng.choice((-2, -1, 1, 2))) & 0xFF


def _insert(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    index = rng.randrange(len(data) + 1)
    data[index:index] = rng.randbytes(rng.choice((1, 1, 2, 4, 16)))


def _delete(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    start = rng.randrange(len(data) + 1)
    del data[start : start + rng.choice((1, 1, 2, 4, 16, 200))]


def _repeat(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    start = rng.randrange(len(data) + 1)
    part = data[start : start + rng.choice((1, 4, 16, 200))]
    data[start:start] = part * rng.choice((1, 1, 2, 50))


def _truncate(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _length(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    index = rng.randrange(len(data) + 1)
    data[index : index + rng.randrange(3)] = rng.choice(_LENGTHS)


def _splice(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    other = rng.choice(others)
    start = rng.randrange(len(other) + 1)
    index = rng.randrange(len(data) + 1)
    data[index : index + rng.randrange(3) * 8] = other[start : start + rng.choice((4, 16, 64, 1024))]


def _crossover(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    other = rng.choice(others)
    data[rng.randrange(len(data) + 1) :] = other[rng.randrange(len(other) + 1) :]


_CHANGES: tuple[Callable[[bytearray, Sequence[bytes], random.Random], None], ...] = (
    *(_flip, _set, _nudge, _insert, _delete, _repeat, _truncate, _length, _length, _splice, _crossover),
)
