"""RC4 for a node: that of pycryptodome, as Debian packages it, where the host has it; else plain Python's, which
encrypts some MB a second.
"""

from __future__ import annotations

from circuit.wire.auth import Stream


class _Key(list[int]):
    """A key that no variable shows."""

    def __repr__(self) -> str:
        return "***"


def rc4(key: bytes) -> Stream:
    """Return a keystream.

    :raises ValueError: ``key`` is empty or longer than 256 bytes.
    """
    try:
        from Cryptodome.Cipher import ARC4

        stream: Stream = ARC4.new(key)
    except (ImportError, ValueError):
        # Its older versions take no key of less than 5 bytes.
        return RC4(key)
    return stream


class RC4:
    """One keystream in plain Python; it continues from call to call."""

    def __init__(self, key: bytes) -> None:
        """:raises ValueError: ``key`` is empty or longer than 256 bytes."""
        drawn = _Key(key)
        del key
        if not 0 < len(drawn) <= 256:
            raise ValueError(f"an RC4 key has 1 to 256 bytes, not {len(drawn)}")
        # As secret as the key. No call below can fail, so no report shows the variables here and in encrypt; a plain
        # list is faster by half than one that hides its items.
        state = list(range(256))
        j = 0
        for i in range(256):
            j = (j + state[i] + drawn[i % len(drawn)]) & 0xFF
            state[i], state[j] = state[j], state[i]
        self._state = state
        self._i = self._j = 0

    def encrypt(self, data: bytes, /) -> bytes:
        """Return ``data`` combined with as much keystream; decryption is the same operation."""
        state, i, j = self._state, self._i, self._j
        stream = bytearray(len(data))
        for index in range(len(data)):
            i = (i + 1) & 0xFF
            x = state[i]
            j = (j + x) & 0xFF
            y = state[j]
            state[i] = y
            state[j] = x
            stream[index] = state[(x + y) & 0xFF]
        self._i, self._j = i, j
        # One operation on two large integers beats an XOR per byte.
        mixed = int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")
        return mixed.to_bytes(len(data), "big")
