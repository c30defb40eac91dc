"""The tree of anchors, each a place for one element.

Walking makes an anchor; it disappears when no client holds it and it has neither element nor children.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import ClassVar

from circuit.node.exports import Exportable
from circuit.wire.address import Address
from circuit.wire.messages import ServerStatValue, encode_time


class Element(Exportable):
    """What an anchor can hold."""

    kind: str
    """The name that Make and Get know it by."""
    lasting: ClassVar[bool] = False
    """Whether scrubbing the anchor leaves it in place."""

    def scrub(self) -> None:
        """The element has been removed from its anchor."""


class Server(Element):
    """The element of a host's root anchor."""

    type_name = "server.XServer"
    kind = "server"
    lasting = True

    def __init__(self, address: Address) -> None:
        """:param address: what the host's clients dial."""
        self._address = address
        self._joined = datetime.now(timezone.utc)

    def peek(self) -> ServerStatValue:
        """Return the host's address, and since when it is part of the circuit."""
        return ServerStatValue(str(self._address), encode_time(self._joined))


class Anchor:
    """A place in the tree."""

    def __init__(self, name: str, parent: Anchor | None = None) -> None:
        self.element: Element | None = None
        self.children: dict[str, Anchor] = {}
        self._name = name
        self._parent = parent
        self._holds = 0

    @property
    def path(self) -> str:
        """The path from the circuit's root: the first part is the host's name."""
        names = []
        anchor: Anchor | None = self
        while anchor is not None:
            names.append(anchor._name)
            anchor = anchor._parent
        return "/" + "/".join(reversed(names))

    def walk(self, names: Sequence[str]) -> Anchor:
        """Return the anchor at a path below; make it if it does not exist. Hold it, or :meth:`prune` it."""
        anchor = self
        for name in names:
            if name not in anchor.children:
                anchor.children[name] = Anchor(name, anchor)
            anchor = anchor.children[name]
        return anchor

    def hold(self) -> None:
        """Keep the anchor in the tree until :meth:`release`."""
        self._holds += 1

    def release(self) -> None:
        """End one :meth:`hold`."""
        self._holds -= 1
        self.prune()

    def scrub(self, element: Element | None = None) -> None:
        """Remove the element, if there is one, and if it is ``element`` where that is given."""
        found = self.element
        if found is None or found.lasting or (element is not None and found is not element):
            return
        self.element = None
        found.scrub()
        self.prune()

    def prune(self) -> None:
        """Remove the anchor and those above it that nothing keeps."""
        anchor = self
        while (parent := anchor._parent) and not (anchor._holds or anchor.element or anchor.children):
            if parent.children.get(anchor._name) is anchor:
                del parent.children[anchor._name]
            anchor = parent

    def count(self) -> int:
        """Return how many anchors there are here and below."""
        total, left = 0, [self]
        while left:
            anchor = left.pop()
            total += 1
            left += anchor.children.values()
        return total


class Terminal(Exportable):
    """One client's hold on an anchor."""

    type_name = "anchor.XTerminal"

    def __init__(self, anchor: Anchor) -> None:
        anchor.hold()
        self.anchor = anchor

    def released(self) -> None:
        """The client no longer holds the anchor."""
        self.anchor.release()
