"""Secrets: values that stand in no command line, log, report or error message."""

from __future__ import annotations

import secrets
from typing import Any

_MASK = "***"

_known: set[str] = set()


class Secret:
    """A value that shows itself only to who asks for it.

    Whatever this process writes about a run goes through :func:`mask`, which knows every value of this class.
    """

    def __init__(self, value: str) -> None:
        self._value = value
        # Nothing is in every text.
        if value:
            _known.add(value)

    def reveal(self) -> str:
        """The value."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({_MASK})"


def generate() -> Secret:
    """A password of 144 random bits, of characters that need no quoting anywhere.

    It has letters of both cases, digits and a sign, as servers can be told to ask for.
    """
    return Secret(f"{secrets.token_urlsafe(24)}-aA1")


def mask(text: str) -> str:
    """The text without any secret that this process knows."""
    # Other threads may make some meanwhile.
    for value in tuple(_known):
        text = text.replace(value, _MASK)
    return text


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
