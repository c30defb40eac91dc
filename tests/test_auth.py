"""circuit.wire.auth: the HMAC greeting, with the project's two implementations of RC4."""

from __future__ import annotations

import base64
import json

import pytest
from Crypto.Cipher import ARC4
from hypothesis import given
from hypothesis import strategies as st

from circuit import Refused, RemoteFault
from circuit.node.rc4 import RC4
from circuit.wire.auth import MAX_GREETING_BYTES, MAX_KEY_BYTES, Cipher, Handshake

KEY = bytes(range(64))
OUR_HALF = b"ours" * 16
THEIR_HALF = b"them" * 16

CIPHERS: dict[str, Cipher] = {"pycryptodome": ARC4.new, "node": RC4}


@pytest.mark.parametrize("client", list(CIPHERS.values()), ids=list(CIPHERS))
@pytest.mark.parametrize("server", list(CIPHERS.values()), ids=list(CIPHERS))
def test_both_sides_read_what_the_other_writes(client: Cipher, server: Cipher) -> None:
    ours, theirs = Handshake(KEY, OUR_HALF, client), Handshake(KEY, THEIR_HALF, server)
    here, there = ours.feed(theirs.greeting), theirs.feed(ours.greeting)
    assert here is not None
    assert there is not None
    for text in (b"hello", b"", b"a second message goes on where the first ended"):
        assert there.reader.encrypt(here.writer.encrypt(text)) == text
        assert here.reader.encrypt(there.writer.encrypt(text)) == text


def test_the_directions_have_streams_of_their_own() -> None:
    here = Handshake(KEY, OUR_HALF, RC4).feed(Handshake(KEY, THEIR_HALF, RC4).greeting)
    assert here is not None
    assert here.reader.encrypt(bytes(16)) != here.writer.encrypt(bytes(16))


def test_the_key_and_the_half_are_not_readable_in_a_greeting() -> None:
    greeting = Handshake(KEY, OUR_HALF, RC4).greeting
    parts = [base64.b64decode(part) for part in json.loads(greeting).values()]
    assert all(OUR_HALF[:8] not in part and KEY[:8] not in part for part in [greeting, *parts])


@given(st.integers(1, 250), st.binary(max_size=40))
def test_a_greeting_may_come_in_pieces_and_what_follows_is_kept(cut: int, rest: bytes) -> None:
    wire = Handshake(KEY, THEIR_HALF, RC4).greeting + rest
    ours = Handshake(KEY, OUR_HALF, RC4)
    cut = min(cut, len(wire) - len(rest) - 1)
    assert ours.feed(wire[:cut]) is None
    secured = ours.feed(wire[cut:])
    assert secured is not None
    assert secured.rest == rest


def test_another_key_is_refused() -> None:
    with pytest.raises(Refused, match="HMAC key is not ours"):
        Handshake(KEY, OUR_HALF, RC4).feed(Handshake(KEY[::-1], THEIR_HALF, RC4).greeting)


def test_an_altered_half_is_refused() -> None:
    greeting = json.loads(Handshake(KEY, THEIR_HALF, RC4).greeting)
    pad = bytearray(base64.b64decode(greeting["pad"]))
    pad[0] ^= 1
    greeting["pad"] = base64.b64encode(pad).decode()
    with pytest.raises(Refused, match="HMAC key is not ours"):
        Handshake(KEY, OUR_HALF, RC4).feed(json.dumps(greeting).encode())


def test_our_own_greeting_sent_back_is_refused() -> None:
    ours = Handshake(KEY, OUR_HALF, RC4)
    with pytest.raises(Refused, match="greeting is ours"):
        ours.feed(ours.greeting)


@pytest.mark.parametrize("size", [1, 64, MAX_KEY_BYTES])
def test_a_greeting_fills_the_block_that_a_go_server_throws_away(size: int) -> None:
    """One that is shorter makes it lose what follows."""
    greeting = Handshake(bytes(size), OUR_HALF, RC4).greeting
    assert len(greeting) == 512
    assert greeting.endswith(b"}")


def greeting_with(**parts: object) -> bytes:
    return json.dumps(json.loads(Handshake(KEY, THEIR_HALF, RC4).greeting) | parts).encode()


NO_GREETINGS = {
    "no text": b"\x00",
    "another protocol": b"SSH-2.0-OpenSSH_9.2",
    "white space": b" " * (MAX_GREETING_BYTES + 1),
    "no end": b"{" + b" " * MAX_GREETING_BYTES,
    "empty": b"{}",
    "only an end": b"}",
    "no JSON": b"{]}",
    "a number": b"1}",
    "an object inside": b'{"hmac": {}',
    "very deep": b'{"hmac": ' + b"[" * 100_000 + b"}",
    "empty pad": greeting_with(pad=""),
    "no base64": greeting_with(pad="!!"),
    "no text in it": greeting_with(pad=7),
    "null": greeting_with(hmac=None),
    "no ASCII": greeting_with(hmac="\u00e9"),
    "long pad": greeting_with(pad=base64.b64encode(bytes(129)).decode()),
}


@pytest.mark.parametrize("wire", list(NO_GREETINGS.values()), ids=list(NO_GREETINGS))
def test_what_is_no_greeting_is_a_fault(wire: bytes) -> None:
    with pytest.raises(RemoteFault, match="HMAC greeting"):
        Handshake(KEY, OUR_HALF, RC4).feed(wire)


@given(st.binary(min_size=1).map(lambda data: b"{" + data + b"}"))
def test_any_bytes_are_incomplete_or_refused(wire: bytes) -> None:
    with pytest.raises((Refused, RemoteFault)):
        Handshake(KEY, OUR_HALF, RC4).feed(wire)
