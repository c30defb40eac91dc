"""Secrets: values that no command line, log, report or error message may contain."""

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
"""The shortest run of a secret's bytes that is masked. Programs that print a long value may leave out its middle, so a
secret can appear in pieces."""

_MASK = "***"

_known: dict[str, frozenset[str]] = {}
"""What may not be shown: by the digest of each secret, all forms of all its pieces."""

E = TypeVar("E", bound=BaseException)


class Secret:
    """A value that only :meth:`reveal` shows.

    Everything that this process writes about a run goes through :func:`mask`, which masks every value of this class.
    """

    __slots__ = ("_hidden",)

    def __init__(self, value: str | Hidden) -> None:
        self._hidden = value if isinstance(value, Hidden) else Hidden(value.encode("utf-8", "surrogateescape"))
        know(self._hidden)

    def reveal(self) -> str:
        """Return the value. Do not keep it in a variable: a report may print the variables of a frame."""
        return self._hidden.reveal().decode("utf-8", "surrogateescape")

    def within(self, template: str) -> Secret:
        """Return ``template`` with the value in the place of ``{}``; the result is a secret, too."""
        return Secret(template.replace("{}", self.reveal()))

    def hidden(self) -> Hidden:
        """Return the value as bytes, for a command's standard input."""
        return self._hidden

    def __repr__(self) -> str:
        return f"Secret({_MASK})"


def generate() -> Secret:
    """Return a password of 144 random bits, in characters that need no quoting anywhere.

    It has letters of both cases, a digit and a special character, because servers can be configured to require these.
    """
    return Secret(f"{secrets.token_urlsafe(24)}-aA1")


def know(secret: Hidden) -> None:
    """Let :func:`mask` mask a secret from now on."""
    # Every text contains the empty string, so an empty secret cannot be masked.
    if len(secret):
        name = hashlib.sha256(secret.reveal()).hexdigest()
        if name not in _known:
            _known[name] = frozenset(_pieces(secret.reveal()))


def mask(text: str) -> str:
    """Return the text with every known secret masked, in all forms that programs write, and every piece of one."""
    hidden = bytearray(len(text))
    # A copy, because other threads may add secrets meanwhile.
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
    """Return a JSON value with :func:`mask` applied to each string in it, and to each key.

    Do not mask the document's text instead: there, a secret with a quote or a backslash is escaped, or may match the
    document's own punctuation.
    """
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {mask_tree(key): mask_tree(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask_tree(item) for item in value]
    return value


def without_frames(error: E) -> E:
    """Return an error without its traceback, cause and context: their frames may hold secrets, which reports print."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _pieces(secret: bytes) -> Iterator[str]:
    """Yield every piece of a secret in all forms in which programs write bytes and text: plain, escaped, hexadecimal,
    base64, numbers."""
    for start in range(max(1, len(secret) - PIECE_BYTES + 1)):
        piece = secret[start : start + PIECE_BYTES]
        for encoding in ("utf-8", "latin-1"):
            text = piece.decode(encoding, "backslashreplace")
            for written in (text, json.dumps(text)[1:-1], repr(text)[1:-1], ascii(text)[1:-1]):
                yield written
                # Escaped twice, as a text inside another text is.
                yield written.replace("\\", "\\\\")
        escaped = "".join(_escaped(byte) for byte in piece)
        yield from (escaped, escaped.replace("\\", "\\\\"), escaped.replace("'", "\\'"))
        for separator in ("", " ", ":"):
            yield piece.hex(separator) if separator else piece.hex()
            yield (piece.hex(separator) if separator else piece.hex()).upper()
        yield ", ".join(map(str, piece))
        for before in range(3):
            # Only the characters that encode nothing but these bytes, at each of the three offsets of base64.
            text = base64.b64encode(bytes(before) + piece).decode().rstrip("=")
            whole = text[(8 * before + 5) // 6 : (8 * (before + len(piece))) // 6]
            yield from (whole, whole.replace("+", "-").replace("/", "_"))


@cache
def _escaped(byte: int) -> str:
    """Return a byte as ``repr`` of bytes writes it."""
    return repr(bytes((byte,)))[2:-1].replace("\\'", "'")
