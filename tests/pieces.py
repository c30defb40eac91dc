"""Every piece of a secret, in the forms that programs write bytes in; apart from the product's own list of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

PIECE = 8


def pieces(secret: bytes) -> Iterator[str]:
    """Each run of 8 of its bytes: as text, as Python, JSON and hexadecimal write it, and what base64 has of it."""
    for start in range(len(secret) - PIECE + 1):
        run = secret[start : start + PIECE]
        text = run.decode("latin-1")
        python = repr(run)[2:-1]
        yield from (text, python, python.replace("\\", "\\\\"), json.dumps(text)[1:-1], run.hex(), run.hex().upper())
        yield ", ".join(str(byte) for byte in run)
    for skip in range(3):
        # Ten characters are seven bytes and a half.
        written = base64.b64encode(secret[skip : len(secret) - (len(secret) - skip) % 3]).decode()
        yield from (written[at : at + 10] for at in range(len(written) - 9))


def found(secret: bytes, text: str) -> list[str]:
    """Which pieces of a secret stand in a text, with what is around each."""
    places = ((piece, text.find(piece)) for piece in pieces(secret))
    return [f"{piece!r} in ...{text[max(at - 80, 0) : at + 80]!r}" for piece, at in places if at >= 0]
