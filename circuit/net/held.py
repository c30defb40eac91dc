"""The pointers that one client holds: the handles to them, and the drops of those that nobody holds any more."""

from __future__ import annotations

import asyncio
import contextlib

from circuit.net.dialed import DialedSessions
from circuit.net.pointers import Pointer, PointerCounts
from circuit.net.shared_loop import SharedLoop
from circuit.wire.address import Address
from circuit.wire.messages import DropPtrMsg, PtrMsg, ReturnMsg

_DROP_TOGETHER_S = 0.001
"""How long released pointers wait for others, to be dropped together, and out of the way of calls."""


class Handle:
    """A counted use of a pointer. When the last handle of a pointer is released, or collected, the server is told."""

    def __init__(self, held: HeldPointers, pointer: Pointer) -> None:
        self.pointer = pointer
        self.released = False
        """Whether it is of no further use; a permanent one always is."""
        self._held = held

    def __del__(self) -> None:
        self.release()

    def release(self) -> None:
        """Let go. Calls through this handle fail from now on."""
        if self._give_up():
            self._held.release_soon(self.pointer)

    def release_later(self) -> None:
        """Let go, and tell the server when that is in nobody's way."""
        if self._give_up():
            self._held.release_later(self.pointer)

    def _give_up(self) -> bool:
        is_last, self.released = not (self.released or self.pointer.permanent), not self.pointer.permanent
        return is_last


class HeldPointers:
    """All pointers of one client."""

    def __init__(self, shared: SharedLoop, dialed: DialedSessions) -> None:
        self._shared = shared
        self._dialed = dialed
        self._counts = PointerCounts()
        self._released: list[Pointer] = []

    # from any thread

    def release_soon(self, pointer: Pointer) -> None:
        """Let go of one use of ``pointer``; callable from finalizers, which run on any thread."""
        self._released.append(pointer)
        if len(self._released) == 1:
            # A closed loop has nothing left to release: the servers forget a client's pointers when it leaves.
            self._shared.call_soon(self.drop_released)
        self._shared.attend()

    def release_later(self, pointer: Pointer) -> None:
        """Let go of one use of ``pointer`` when nobody waits for a call, or together with others."""
        self._released.append(pointer)
        if len(self._released) > 1:
            return
        if asyncio._get_running_loop() is self._shared.loop:
            self._drop_released_later()
        else:
            self._shared.call_soon(self._drop_released_later)

    # on the loop

    def take(self, exporter: Address, number: int) -> Handle:
        """Take hold of a pointer that a server has handed out."""
        self._counts.take(exporter.worker, number)
        return Handle(self, Pointer(exporter, number, False))

    def permanent(self, exporter: Address, number: int) -> Handle:
        """Take hold of a pointer that is never dropped."""
        return Handle(self, Pointer(exporter, number, True))

    def in_use(self, worker: str) -> bool:
        """Whether the client holds a pointer of this server."""
        # What was released, and waits for others, is not in use.
        self.drop_released()
        return self._counts.in_use(worker)

    def begin_call(self, address: Address) -> None:
        """A call begins that may return a pointer which is in use, or was."""
        self._counts.begin_call(address.worker)

    def end_call(self, address: Address) -> None:
        """Such a call has ended, and what it returned was taken."""
        self._drop(address, self._counts.end_call(address.worker))

    def is_being_dropped(self, reply: object, exporter: Address) -> bool:
        """Whether a reply holds a pointer that the server was told to drop, and is about to.

        It serves requests in any order, so that a Get may overtake the drop that was sent before it. An object that is
        handed out after its drop has a new number.
        """
        return isinstance(reply, ReturnMsg) and any(
            isinstance(value, PtrMsg) and self._counts.is_being_dropped(exporter.worker, value.id)
            for value in reply.results
        )

    def drop_released(self) -> None:
        """Have the servers drop what was released."""
        released, self._released = self._released, []
        with contextlib.ExitStack() as together:
            for address in {pointer.address for pointer in released}:
                together.enter_context(self._dialed.one_write(address))
            for pointer in released:
                self._drop(pointer.address, self._counts.release(pointer.address.worker, pointer.id))

    def _drop_released_later(self) -> None:
        self._shared.loop.call_later(_DROP_TOGETHER_S, self.drop_released)

    def _drop(self, address: Address, numbers: tuple[int, ...]) -> None:
        session = self._dialed.find(address.worker) if numbers else None
        if session is not None:
            for number in numbers:
                session.post(DropPtrMsg(number))
                self._counts.drop_sent(address.worker, number)
