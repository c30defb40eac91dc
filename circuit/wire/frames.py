"""Frames: a uvarint length (LEB128, little groups first), then that many bytes. Nothing here does IO."""

from __future__ import annotations

from circuit.errors import RemoteFault

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""Largest frame accepted or sent. The largest legitimate one is a stream write, of at most about 1 MB."""

MAX_HELLO_BYTES = 64 * 1024
"""Largest first frame of a connection, whose sender is not known yet. A hello or its answer takes about 500
bytes."""

_MAX_UVARINT_BYTES = 10


def encode_frame(chunk: bytes) -> bytes:
    """Return ``chunk`` with its length in front.

    :raises ValueError: ``chunk`` is larger than :data:`MAX_FRAME_BYTES`.
    """
    length = len(chunk)
    if length > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {length} bytes is over the limit of {MAX_FRAME_BYTES}")
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
        self._body: int | None = None
        """Length of the frame that is being collected; None while its prefix is incomplete."""

    def feed(self, data: bytes) -> list[bytes]:
        """Add ``data`` and return the frames that are now complete, oldest first.

        :raises RemoteFault: a length prefix is over-long or announces more than the limit.
        """
        self._buffer += data
        frames = []
        while (frame := self._next()) is not None:
            frames.append(frame)
        return frames

    def _next(self) -> bytes | None:
        if self._body is None:
            self._body = self._take_length()
        if self._body is None or len(self._buffer) < self._body:
            return None
        frame = bytes(self._buffer[: self._body])
        del self._buffer[: self._body]
        self._body = None
        self._limit = self._largest
        return frame

    def _take_length(self) -> int | None:
        length = 0
        for index, byte in enumerate(self._buffer[:_MAX_UVARINT_BYTES]):
            length |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if length > self._limit:
                    raise RemoteFault(f"a frame of {length} bytes was announced, the limit is {self._limit}")
                del self._buffer[: index + 1]
                return length
        if len(self._buffer) >= _MAX_UVARINT_BYTES:
            raise RemoteFault(f"a frame length of more than {_MAX_UVARINT_BYTES} bytes")
        return None
