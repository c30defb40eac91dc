"""What people see: bytes that print as stars, and others' text without what could do harm."""

from __future__ import annotations

from typing import NoReturn


class Hidden:
    """Bytes that print as stars: a key, a password on its way to a host.

    Whatever prints the variables of a frame, such as a debugger or pytest's ``--showlocals``, shows the stars. Only
    :meth:`reveal` returns the bytes.
    """

    __slots__ = ("_data",)

    def __init__(self, data: bytes | Hidden) -> None:
        self._data: bytes = data._data if isinstance(data, Hidden) else bytes(data)

    def reveal(self) -> bytes:
        """Return the bytes. Do not keep them in a variable."""
        return self._data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, part: slice) -> Hidden:
        return Hidden(self._data[part])

    def __repr__(self) -> str:
        return "Hidden(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("hidden bytes cannot be pickled")


def printable(text: str, keep: str = "") -> str:
    """Return ``text`` with the characters that break lines, control a terminal or change the direction of text written
    as in Python: ``\\x1b``.

    :param keep: characters that stay, such as line ends.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else ascii(char)[1:-1] for char in text)
