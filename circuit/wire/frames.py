"""Frames: a uvarint length (LEB128, little groups first), then that many bytes. Nothing here does IO."""

from __future__ import annotations

from circuit.errors import RemoteFault

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""Largest frame accepted or sent. The largest legitimate one is a stream write, of at most about 1 MB."""

MAX_HELLO_BYTES = 64 * 1024
"""Largest first frame of a connection, whose sender is not known yet. A hello or its answer takes about 500
bytes."""

_MAX_UVARINT_BYTES = 10
_ONE_BYTE = [bytes((length,)) for length in range(0x80)]


def encode_frame(chunk: bytes) -> bytes:
    """Return ``chunk`` with its length in front.

    :raises ValueError: ``chunk`` is larger than :data:`MAX_FRAME_BYTES`.
    """
    length = len(chunk)
    if length > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {length} bytes is over the limit of {MAX_FRAME_BYTES}")
    if length < 0x80:
        return _ONE_BYTE[length] + chunk
    prefix = bytearray()
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + chunk


class FrameBuffer:
    """Cuts a byte stream, fed in pieces of any size, into frames.

    :param first: how large the first frame may be, in bytes.
    :param largest: how large the others may be.
    """

    def __init__(self, first: int = MAX_FRAME_BYTES, largest: int = MAX_FRAME_BYTES) -> None:
        self._limit = first
        self._largest = largest
        self._buffer = bytearray()
        """What arrived of the next frame."""
        self._wanted = 1
        """How many bytes the buffer must hold before it can have another frame."""

    def feed(self, data: bytes) -> list[bytes]:
        """Add ``data`` and return the frames that are now complete, oldest first.

        :raises RemoteFault: a length prefix is over-long or announces more than the limit.
        """
        if self._buffer or len(data) < self._wanted:
            self._buffer += data
            if len(self._buffer) < self._wanted:
                return []
            data = bytes(self._buffer)
            self._buffer.clear()
        frames = []
        position = 0
        self._wanted = 1
        while position < len(data):
            start, length = self._length(data, position)
            if length is None or len(data) - start < length:
                self._buffer += memoryview(data)[position:]
                self._wanted = start - position + length if length is not None else len(self._buffer) + 1
                break
            position = start + length
            frames.append(data[start:position])
            self._limit = self._largest
        return frames

    def _length(self, data: bytes, start: int) -> tuple[int, int | None]:
        """Return where the frame at ``start`` begins behind its length, and the length, None while it is incomplete."""
        length = 0
        end = min(len(data), start + _MAX_UVARINT_BYTES)
        for position in range(start, end):
            byte = data[position]
            length |= (byte & 0x7F) << (7 * (position - start))
            if byte < 0x80:
                if length > self._limit:
                    raise RemoteFault(f"a frame of {length} bytes was announced, the limit is {self._limit}")
                return position + 1, length
        if end == start + _MAX_UVARINT_BYTES:
            raise RemoteFault(f"a frame length of more than {_MAX_UVARINT_BYTES} bytes")
        return end, None
