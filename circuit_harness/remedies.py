"""What users can do about an error. A message names the remedy; the program that prints it knows how it is typed."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum


class Remedy(Enum):
    """A way out of an error. In a message it stands as the user types it, or else in words."""

    REPLACE = "replacing it"
    INSTALL = "installing it"
    KEEP = "keeping it"
    ATTACH = "attaching"
    TEAR_DOWN = "taking it down"
    TEAR_DOWN_CRASHED = "taking down what crashed"
    WAIT = "the limit for waiting"
    NAME_HOSTS = "naming hosts"
    PRIVATE_ADDRESS = "the given private address"
    PUBLIC_ADDRESS = "the given public address"

    def __str__(self) -> str:
        return self.on("")

    def on(self, what: str) -> str:
        """Return the remedy for a host, or for hosts whose names are joined by commas; "" means no particular one."""
        return _spell(self, what)


def _in_words(remedy: Remedy, what: str) -> str:
    return f"{remedy.value} on {what}" if what else str(remedy.value)


_spell: Callable[[Remedy, str], str] = _in_words


def spell_by(spell: Callable[[Remedy, str], str]) -> None:
    """Have remedies in this process's messages spelled by a function of the remedy and of what it is for."""
    global _spell
    _spell = spell
