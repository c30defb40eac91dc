"""Secrets: values that stand in no command line, log, report or error message."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar

from circuit import Hidden

PIECE_BYTES = 8
"""So many bytes of a secret in a row are masked: what prints a long value leaves out its middle."""

_MASK = "***"

_known: dict[str, frozenset[str]] = {}
"""What may not be shown of each secret: by its digest, all forms of all its pieces."""

E = TypeVar("E", bound=BaseException)


class Secret:
    """A value that shows itself only to who asks for it.

    Whatever this process writes about a run goes through :func:`mask`, which knows every value of this class.
    """

    __slots__ = ("_hidden",)

    def __init__(self, value: str | Hidden) -> None:
        self._hidden = value if isinstance(value, Hidden) else Hidden(value.encode("utf-8", "surrogateescape"))
        know(self._hidden)

    def reveal(self) -> str:
        """The value. Do not keep it in a variable."""
        return self._hidden.reveal().decode("utf-8", "surrogateescape")

    def within(self, template: str) -> Secret:
        """Return a text that holds the value in the place of ``{}``, and is as secret."""
        return Secret(template.replace("{}", self.reveal()))

    def hidden(self) -> Hidden:
        """The value as bytes, to be sent as they are."""
        return self._hidden

    def __repr__(self) -> str:
        return f"Secret({_MASK})"


def generate() -> Secret:
    """A password of 144 random bits, of characters that need no quoting anywhere.

    It has letters of both cases, digits and a sign, as servers can be told to ask for.
    """
    return Secret(f"{secrets.token_urlsafe(24)}-aA1")


def know(secret: Hidden) -> None:
    """Have :func:`mask` know a secret."""
    # Nothing is in every text.
    if len(secret):
        name = hashlib.sha256(secret.reveal()).hexdigest()
        if name not in _known:
            _known[name] = frozenset(_pieces(secret.reveal()))


def mask(text: str) -> str:
    """The text without any secret that this process knows, in whatever form it is written, nor any piece of one."""
    hidden = bytearray(len(text))
    # Other threads may learn some meanwhile.
    for pieces in tuple(_known.values()):
        for piece in pieces:
            start = text.find(piece)
            while start >= 0:
                hidden[start : start + len(piece)] = b"\x01" * len(piece)
                start = text.find(piece, start + 1)
    if not any(hidden):
        return text
    parts, at = [], 0
    while (start := hidden.find(1, at)) >= 0:
        end = hidden.find(0, start)
        parts += [text[at:start], _MASK]
        at = len(text) if end < 0 else end
    return "".join([*parts, text[at:]])


def mask_tree(value: Any) -> Any:
    """A value as JSON has it, with :func:`mask` applied to each string in it, and to each key.

    The text of a document is no place to mask: there, a secret with a quote or a backslash is written otherwise, or is
    part of the document's own signs.
    """
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {mask_tree(key): mask_tree(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask_tree(item) for item in value]
    return value


def without_frames(error: E) -> E:
    """An error as if it had been made here: the frames that it came through may hold secrets, which reports print."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _pieces(secret: bytes) -> Iterator[str]:
    """Every piece of a secret, as programs write bytes and text: plain, escaped, in hexadecimal, base64, numbers."""
    for start in range(max(1, len(secret) - PIECE_BYTES + 1)):
        piece = secret[start : start + PIECE_BYTES]
        for encoding in ("utf-8", "latin-1"):
            text = piece.decode(encoding, "backslashreplace")
            for written in (text, json.dumps(text)[1:-1], repr(text)[1:-1], ascii(text)[1:-1]):
                yield written
                # Once more, as text in a text is.
                yield written.replace("\\", "\\\\")
        escaped = "".join(_escaped(byte) for byte in piece)
        yield from (escaped, escaped.replace("\\", "\\\\"), escaped.replace("'", "\\'"))
        for separator in ("", " ", ":"):
            yield piece.hex(separator) if separator else piece.hex()
            yield (piece.hex(separator) if separator else piece.hex()).upper()
        yield ", ".join(map(str, piece))
        for before in range(3):
            # Characters that are of these bytes alone, wherever in a longer text the piece stands.
            text = base64.b64encode(bytes(before) + piece).decode().rstrip("=")
            whole = text[(8 * before + 5) // 6 : (8 * (before + len(piece))) // 6]
            yield from (whole, whole.replace("+", "-").replace("/", "_"))


@cache
def _escaped(byte: int) -> str:
    """A byte as ``repr`` of bytes writes it."""
    return repr(bytes((byte,)))[2:-1].replace("\\'", "'")
