"""The pointers that clients hold to streams."""

from __future__ import annotations

from circuit.node.exports import Exportable
from circuit.node.pipes import Readable, Writable


class Reader(Exportable):
    """One client's pointer to the reading side of a stream. Closing, or losing, any of them closes it for all."""

    type_name = "io.XReadCloser"

    def __init__(self, stream: Readable) -> None:
        self.stream = stream

    def released(self) -> None:
        """Close the stream."""
        self.stream.close()


class Writer(Exportable):
    """One client's pointer to the writing side of a stream. Closing, or losing, any of them closes it for all."""

    type_name = "io.XWriteCloser"

    def __init__(self, stream: Writable) -> None:
        self.stream = stream

    def released(self) -> None:
        """Close the stream."""
        self.stream.close()
