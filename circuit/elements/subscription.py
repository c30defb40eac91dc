"""Subscriptions: which hosts join the circuit, or leave it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from circuit.elements.element import Element, Place, expect
from circuit.elements.streams import Ongoing
from circuit.errors import Closed, TimedOut
from circuit.net.held import Handle
from circuit.net.runtime import Runtime
from circuit.wire.messages import SubscriptionStatValue


@dataclass(frozen=True)
class SubscriptionStat:
    """A subscription at one moment: its source, how many events wait, whether no more will arrive."""

    source: str
    pending: int
    closed: bool


class Subscription(Element):
    """The stream of hosts that join, or leave. Each event is the name of a host's anchor, and goes to one caller.

    A subscription to joins starts with the existing hosts.
    """

    def __init__(self, runtime: Runtime, anchor: Place, kind: str, handle: Handle) -> None:
        super().__init__(runtime, anchor, kind, handle)
        self._consuming = Ongoing(self._consume)

    def next(self, timeout: float | None = None) -> str:
        """Return the next host.

        :raises TimedOut: none arrived; the next call gets the one that arrives later.
        :raises Closed: no more will arrive.
        """
        return self._runtime.run(self._consuming.result(), f"next event of {self.anchor.path}", timeout)

    def events(self, timeout: float) -> Iterator[str]:
        """Iterate over hosts until none arrives for ``timeout`` seconds, or no more will."""
        while True:
            try:
                yield self.next(timeout)
            except (TimedOut, Closed):
                return

    def peek(self) -> SubscriptionStat:
        """Return the state of the subscription right now."""
        return self._runtime.run(self._peek(), f"peek {self.anchor.path}")

    def describe(self) -> dict[str, object]:
        """Return the state of the subscription right now, as plain values."""
        return {"kind": self.kind, **asdict(self.peek())}

    # on the loop

    async def _consume(self) -> str:
        event, more = await self._call("Consume")
        if not expect(more, bool, f"next event of {self.anchor.path}"):
            raise Closed(f"next event of {self.anchor.path}: no more will arrive")
        return expect(event, str, f"next event of {self.anchor.path}").strip("/")

    async def _peek(self) -> SubscriptionStat:
        value = expect((await self._call("Peek"))[0], SubscriptionStatValue, f"peek {self.anchor.path}")
        return SubscriptionStat(value.source, value.pending, value.closed)
