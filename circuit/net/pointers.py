"""Which pointers of servers a client holds, and when a server must be told to drop one.

A server hands out the same pointer to one client each time, and one drop ends it for all who use it. So the client
counts the uses, and sends a drop only when the last one ends and no call can be about to bring the pointer again. This
is a state machine without IO: its methods return the pointers to drop.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from circuit.wire.address import Address

_REMEMBERED_DROPS = 256


@dataclass(frozen=True)
class Pointer:
    """An object inside a circuit server. ``permanent`` ones are never dropped."""

    address: Address
    id: int
    permanent: bool


@dataclass
class _Server:
    """What a client holds of one server."""

    uses: dict[int, int] = field(default_factory=dict)
    """How often each pointer is in use."""
    unused: set[int] = field(default_factory=set)
    """Pointers that were released while a call was in progress, and are to be dropped unless it returns them."""
    calls: int = 0
    """How many calls are in progress that may return a pointer that was handed out before."""


class PointerCounts:
    """The ordinary pointers of one client, by the worker IDs of their servers and their numbers."""

    def __init__(self) -> None:
        self._servers: dict[str, _Server] = {}
        self._dropped: deque[tuple[str, int]] = deque(maxlen=_REMEMBERED_DROPS)

    def take(self, worker: str, number: int) -> None:
        """A server has handed out a pointer: count one more use."""
        server = self._servers.setdefault(worker, _Server())
        server.uses[number] = server.uses.get(number, 0) + 1
        server.unused.discard(number)

    def release(self, worker: str, number: int) -> tuple[int, ...]:
        """One use has ended; return the pointers to drop."""
        server = self._servers[worker]
        server.uses[number] -= 1
        if not server.uses[number]:
            del server.uses[number]
            server.unused.add(number)
        return self._droppable(worker, server)

    def begin_call(self, worker: str) -> None:
        """A call begins that may return a pointer which is in use, or was."""
        self._servers.setdefault(worker, _Server()).calls += 1

    def end_call(self, worker: str) -> tuple[int, ...]:
        """Such a call has ended, and what it returned was taken; return the pointers to drop."""
        server = self._servers[worker]
        server.calls -= 1
        return self._droppable(worker, server)

    def drop_sent(self, worker: str, number: int) -> None:
        """The drop of a pointer was sent. The server serves requests in any order, so it may serve later ones first."""
        self._dropped.append((worker, number))

    def is_being_dropped(self, worker: str, number: int) -> bool:
        """Whether a pointer in a reply is one whose drop was sent before.

        An object that a server hands out after it has served the drop has a new number.
        """
        return (worker, number) in self._dropped

    def in_use(self, worker: str) -> bool:
        """Whether the client holds a pointer of this server."""
        return worker in self._servers

    def _droppable(self, worker: str, server: _Server) -> tuple[int, ...]:
        if server.calls:
            return ()
        unused, server.unused = tuple(sorted(server.unused)), set()
        if not server.uses:
            del self._servers[worker]
        return unused
