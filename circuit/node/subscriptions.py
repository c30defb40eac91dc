"""Subscriptions: the hosts that join the circuit, or leave it, for clients to consume."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from circuit.node.anchors import Element
from circuit.node.wait_queue import WaitQueue
from circuit.wire.messages import SubscriptionStatValue

MAX_PENDING = 10_000
"""How many unconsumed events a subscription keeps; it drops the oldest of more."""


class Topic:
    """Something that hosts do, and the subscriptions to it."""

    def __init__(self, name: str, so_far: Callable[[], Iterable[str]]) -> None:
        """:param so_far: the hosts that a new subscription starts with."""
        self.name = name
        self._so_far = so_far
        self._subscriptions: set[Subscription] = set()

    def subscribe(self) -> Subscription:
        """Return a new subscription. It lasts until it is scrubbed."""
        subscription = Subscription(self)
        self._subscriptions.add(subscription)
        for host in self._so_far():
            subscription.publish(host)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop publishing to a subscription."""
        self._subscriptions.discard(subscription)

    def publish(self, host: str) -> None:
        """A host did it."""
        for subscription in self._subscriptions:
            subscription.publish(host)


class Subscription(Element):
    """Events in their order, each for one consumer."""

    type_name = "locus.peerSubscription"

    def __init__(self, topic: Topic) -> None:
        self.kind = f"@{topic.name}"
        self._topic = topic
        self._events: deque[str] = deque(maxlen=MAX_PENDING)
        self._consumers: WaitQueue[str] = WaitQueue(self._put_back)
        self._closed = False

    def peek(self) -> SubscriptionStatValue:
        """Return the state of the subscription. The real server leaves one event uncounted."""
        return SubscriptionStatValue(self._topic.name, len(self._events), self._closed)

    def publish(self, host: str) -> None:
        """Add an event: the host joined, or left."""
        if not self._consumers.give(host):
            self._events.append(host)

    async def consume(self) -> str | None:
        """Wait for the next event; None when no more will arrive."""
        if self._events:
            return self._events.popleft()
        if self._closed:
            return None
        return await self._consumers.wait()

    def scrub(self) -> None:
        """End the subscription: the events that are left can be consumed, and no more will arrive.

        The real server would leave those who wait for an event waiting forever.
        """
        self._closed = True
        self._topic.unsubscribe(self)
        self._consumers.end()

    def _put_back(self, host: str) -> None:
        if not self._consumers.give(host):
            self._events.appendleft(host)
