"""Anchors that are asked for before there is a command for them: each saves its command a round trip.

Only while commands follow one another on a host. When none comes for a moment, such anchors are let go of, and the
server removes them.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from circuit.net.pointers import Pointer
from circuit.wire.address import Address

IDLE_S = 0.25
"""How soon one command must follow another for an anchor to be asked for ahead, and to be kept."""

MARK_BYTES = 12
"""How much of an anchor's name is random."""

H = TypeVar("H")

Walk = Callable[[Pointer, str, Callable[["H | None"], None]], None]
"""Walks from an anchor to the one of a name below it, and passes on its handle, or None where that failed."""


@dataclass
class _Place(Generic[H]):
    """The anchors below one, with names of one beginning."""

    last: float
    """When it was last of use."""
    commands: int = 0
    """How many commands have followed one another."""
    anchors: list[tuple[int, str, H]] = field(default_factory=list)
    """How many lifelines the server had lost when an anchor was asked for, its name, and its handle."""


class Ahead(Generic[H]):
    """The anchors of one client that were asked for ahead; on the loop."""

    def __init__(self, walk: Walk[H], lifeline_losses: Callable[[Address], int]) -> None:
        self._walk = walk
        self._lifeline_losses = lifeline_losses
        self._places: dict[tuple[Pointer, str], _Place[H]] = {}

    def take(self, parent: Pointer, prefix: str) -> tuple[str, H | None]:
        """Return the name of a new anchor below ``parent`` for a command, and its handle, if it was asked for ahead."""
        place = self._place(parent, prefix)
        place.commands += 1
        while place.anchors:
            losses, name, handle = place.anchors.pop()
            if losses == self._lifeline_losses(parent.address):
                return name, handle
        return _new_name(prefix), None

    def ask(self, parent: Pointer, prefix: str) -> None:
        """Ask for an anchor for the next command, if there have been several."""
        place = self._place(parent, prefix)
        if place.commands > 1:
            name = _new_name(prefix)
            losses = self._lifeline_losses(parent.address)
            self._walk(parent, name, partial(self._found, (parent, prefix), losses, name))

    def _place(self, parent: Pointer, prefix: str) -> _Place[H]:
        loop = asyncio.get_running_loop()
        if not self._places:
            loop.call_later(IDLE_S, self._let_go)
        place = self._places.setdefault((parent, prefix), _Place(loop.time()))
        place.last = loop.time()
        return place

    def _found(self, key: tuple[Pointer, str], losses: int, name: str, handle: H | None) -> None:
        place = self._places.get(key)
        if place is not None and handle is not None:
            place.anchors.append((losses, name, handle))

    def _let_go(self) -> None:
        """Forget the anchors that are of no use any more; their handles are released by their collection."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._places = {key: place for key, place in self._places.items() if now - place.last < IDLE_S}
        if self._places:
            loop.call_later(IDLE_S, self._let_go)


def _new_name(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(MARK_BYTES)}"
