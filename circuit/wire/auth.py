"""The optional security layer: an HMAC greeting each way, then RC4.

Each side draws a random half, and sends it encrypted and signed with the shared key, as one JSON object without a
delimiter: ``{"hmac": b64(HMAC-SHA512(key, half)), "pad": b64(RC4(key, half))}``. From then on each direction is an RC4
stream keyed with both halves, the reader's own first. There is no integrity check after the greeting.

The cipher and the random half are passed in: this module has no secrets and no clock of its own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from circuit.display import Hidden
from circuit.errors import Refused, RemoteFault

HALF_BYTES = 64
"""Length of the random half that each side draws."""

GREETING_BYTES = 512
"""The length of our greeting, filled up with blanks. A Go server reads it through a JSON decoder that takes blocks of
this size, and throws away what the block holds behind it. That may be all of the hello, which the server then awaits
forever, or a part of it, and then it takes ciphertext for a frame's length, panics and is gone.
"""

MAX_GREETING_BYTES = 1024
"""A Go side's greeting takes about 200 bytes; a peer that sends this many without completing one is at fault."""

MAX_KEY_BYTES = 256
"""What RC4 takes. gocircuit's own keys have 64 bytes."""

_MAX_PAD_BYTES = 128


class Stream(Protocol):
    """A running cipher: the keystream continues from call to call."""

    def encrypt(self, data: bytes, /) -> bytes:
        """Return ``data`` combined with as much keystream; decryption is the same operation."""


Cipher = Callable[[bytes], Stream]
"""Makes an RC4 stream from a key."""


@dataclass(frozen=True)
class SharedKey:
    """The shared key of a circuit, and the RC4 implementation to use with it."""

    key: bytes | Hidden
    """Always hidden, also if plain bytes were given."""
    cipher: Cipher

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", Hidden(self.key))


def decode_key(text: bytes) -> Hidden:
    """Decode the content of a key file, base64 with or without line ends.

    :raises ValueError: it does not hold a key; the message follows the file's name.
    """
    content = Hidden(text)
    del text
    try:
        key = Hidden(base64.b64decode(b"".join(content.reveal().split()), validate=True))
    except binascii.Error:
        raise ValueError("does not hold a key in base64") from None
    if not len(key):
        raise ValueError("is empty")
    if len(key) > MAX_KEY_BYTES:
        raise ValueError(f"holds {len(key)} bytes, a key has at most {MAX_KEY_BYTES}")
    return key


class Handshake:
    """One side of the greeting: send :attr:`greeting`, then :meth:`feed` until it is complete."""

    def __init__(self, key: bytes | Hidden, half: bytes | Hidden, cipher: Cipher) -> None:
        key, half = Hidden(key), Hidden(half)
        self._key = key
        self._half = half
        self._cipher = cipher
        self._received = bytearray()
        text = json.dumps(
            {"hmac": _b64(self._sign(half)), "pad": _b64(cipher(key.reveal()).encrypt(half.reveal()))},
            separators=(",", ":"),
        )
        self.greeting = f"{text[:-1]:{GREETING_BYTES - 1}}}}".encode()

    def feed(self, data: bytes) -> CipherPair | None:
        """Take received bytes; return the cipher streams once the peer's greeting is complete.

        Nothing behind the greeting is consumed: what came along with it is :attr:`CipherPair.rest`.

        :raises Refused: the greeting is signed with another key.
        :raises RemoteFault: it is not a greeting.
        """
        self._received += data
        text = self._received.decode("latin-1")
        if "}" not in text:
            if len(text) > MAX_GREETING_BYTES or not "{".startswith(text[:1]):
                raise RemoteFault(f"not an HMAC greeting: {bytes(self._received[:16])!r}")
            return None
        try:
            greeting, end = json.JSONDecoder().raw_decode(text)
            mac = base64.b64decode(greeting["hmac"], validate=True)
            pad = base64.b64decode(greeting["pad"], validate=True)
        except (ValueError, TypeError, KeyError, RecursionError, binascii.Error):
            raise RemoteFault(f"a malformed HMAC greeting: {bytes(self._received[:16])!r}...") from None
        if not 0 < len(pad) <= _MAX_PAD_BYTES:
            raise RemoteFault(f"an HMAC greeting with a pad of {len(pad)} bytes")
        theirs = Hidden(self._cipher(self._key.reveal()).encrypt(pad))
        if not hmac.compare_digest(self._sign(theirs), mac):
            raise Refused("the other side's HMAC key is not ours")
        if theirs.reveal() == self._half.reveal():
            # Without the key, a peer can still send our own greeting back, which is signed with it.
            raise Refused("the other side's HMAC greeting is ours")
        return CipherPair(
            reader=self._cipher(self._half.reveal() + theirs.reveal()),
            writer=self._cipher(theirs.reveal() + self._half.reveal()),
            rest=bytes(self._received[end:]),
        )

    def _sign(self, half: Hidden) -> bytes:
        return hmac.new(self._key.reveal(), half.reveal(), hashlib.sha512).digest()


class CipherPair:
    """The outcome of a greeting: a stream each way, and the still encrypted bytes that followed the greeting."""

    def __init__(self, reader: Stream, writer: Stream, rest: bytes) -> None:
        self.reader = reader
        self.writer = writer
        self.rest = rest


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
