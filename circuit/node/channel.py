"""Channels: messages that go from one client to another, each through a stream of its own."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from circuit.node.anchors import Element
from circuit.node.pipes import Message, Sink
from circuit.node.wait_queue import WaitQueue
from circuit.wire.messages import ChanStatValue

CLOSED = "channel closed"
CLOSED_BEFORE = "channel already closed"
ABORTED = "channel aborted"


class ChannelError(Exception):
    """A channel's refusal, in the words of the real server."""


class Channel(Element):
    """A channel. It matches senders with receivers; messages are written and read only then.

    No caller waits in :meth:`recv` while a message is held or a sender waits.
    """

    type_name = "valve.XValve"
    kind = "chan"

    def __init__(self, capacity: int) -> None:
        """:param capacity: how many unreceived messages are held."""
        self.capacity = capacity
        self._held: deque[Message] = deque()
        self._senders: OrderedDict[Message, asyncio.Future[bool]] = OrderedDict()
        """Messages without room, and what their senders wait for: True for room, False for an abort."""
        self._receivers: WaitQueue[Message] = WaitQueue(self._put_back)
        self._closed = self._aborted = False
        self._sent = self._received = 0

    @property
    def done(self) -> bool:
        """What IsDone answers: only a scrub ends a channel."""
        return self._aborted

    def stat(self) -> ChanStatValue:
        """Return the state of the channel."""
        return ChanStatValue(self.capacity, True, self._closed, self._aborted, self._sent, self._received)

    async def send(self) -> Sink:
        """Wait until a message is received, or there is room to hold it; return what to write it to.

        :raises ChannelError: the channel is closed, or was aborted.
        """
        if self._closed:
            raise ChannelError(CLOSED)
        if self._aborted:
            raise ChannelError(ABORTED)
        message = Message()
        if self._receivers.give(message):
            self._sent += 1
            self._received += 1
        elif len(self._held) < self.capacity:
            self._hold(message)
        else:
            await self._wait_for_room(message)
        return message.sink

    async def recv(self) -> Message:
        """Wait for a message. A closed channel still gives those that it holds, and those whose senders wait.

        :raises ChannelError: the channel is closed, and no message is left, or it was aborted.
        """
        if self._aborted:
            raise ChannelError(ABORTED)
        if not self._held:
            self._admit()
        if self._held:
            message = self._held.popleft()
            self._received += 1
            if len(self._held) < self.capacity:
                self._admit()
            return message
        if self._closed:
            raise ChannelError(CLOSED)
        received = await self._receivers.wait()
        if received is None:
            raise ChannelError(self._reason())
        return received

    def close(self) -> None:
        """Take no more messages. Senders that wait already are still served.

        :raises ChannelError: it was closed before.
        """
        if self._closed:
            raise ChannelError(CLOSED_BEFORE)
        self._closed = True
        self._receivers.end()

    def scrub(self) -> None:
        """Abort all who wait, and discard what was not received."""
        self._aborted = True
        self._receivers.end()
        for accepted in self._senders.values():
            if not accepted.done():
                accepted.set_result(False)
        self._senders.clear()
        for message in self._held:
            message.close()
        self._held.clear()

    def _reason(self) -> str:
        """Return why no message will arrive."""
        return ABORTED if self._aborted else CLOSED

    def _hold(self, message: Message) -> None:
        self._held.append(message)
        self._sent += 1

    def _admit(self) -> None:
        """Hold the message of the sender that has waited longest."""
        while self._senders:
            message, accepted = self._senders.popitem(last=False)
            # A cancelled one may not have noticed yet.
            if not accepted.done():
                accepted.set_result(True)
                self._hold(message)
                return

    async def _wait_for_room(self, message: Message) -> None:
        accepted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._senders[message] = accepted
        try:
            if not await accepted:
                raise ChannelError(ABORTED)
        except asyncio.CancelledError:
            self._senders.pop(message, None)
            # If it was accepted just now, its receiver finds it empty, like that of a sender that leaves later.
            message.sink.close()
            raise

    def _put_back(self, message: Message) -> None:
        self._received -= 1
        if self._aborted:
            message.close()
        elif self._receivers.give(message):
            self._received += 1
        else:
            self._held.appendleft(message)
