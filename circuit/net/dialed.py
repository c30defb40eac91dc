"""The sessions of one client, dialed when they are first needed. There may be only so many."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable

from circuit.errors import CannotConnect, Closed
from circuit.net.connections import files_for
from circuit.net.futures import mark_retrieved
from circuit.net.session import OneWrite, Session, to_wire
from circuit.wire.address import Address
from circuit.wire.auth import SharedKey

MAX_SESSIONS = 512
"""How many servers a client is connected to at once; fewer where the process may open few files."""


class DialedSessions:
    """One session to each server that is in use, by the worker IDs of the servers."""

    def __init__(self, own: Address, shared_key: SharedKey | None, is_needed: Callable[[str], bool]) -> None:
        """:param own: where servers dial back to.
        :param is_needed: whether a session must not be closed to make room for another.
        """
        self.source = to_wire(own)
        self._shared_key = shared_key
        self._is_needed = is_needed
        self.most = min(MAX_SESSIONS, files_for(4))
        """How many there may be."""
        self._dials: dict[str, asyncio.Task[Session]] = {}
        self._up: dict[str, Session] = {}
        """Those that came to be; they may have ended."""
        self._waiting: collections.Counter[str] = collections.Counter()
        """How many calls wait for each."""
        self._uses = 0
        self._closed = False

    def __contains__(self, worker: str) -> bool:
        return worker in self._dials

    def find(self, worker: str) -> Session | None:
        """Return the session to this server, if it is up."""
        session = self._up.get(worker)
        if session is None or session.ended.done():
            return None
        self._uses += 1
        session.last_use = self._uses
        return session

    def one_write(self, address: Address) -> OneWrite:
        """Send what goes to a server in this context together, at its end. It must not wait for anything."""
        session = self.find(address.worker)
        return OneWrite(None) if session is None else session.one_write()

    def peer(self, worker: str) -> str:
        """Return the IP address that a server was reached at; empty where it was not."""
        session = self._up.get(worker)
        return "" if session is None else session.peer

    async def reach(self, address: Address, timeout: float) -> Session:
        """Return the session to a server once it is up and the server takes what is sent to it.

        :raises CircuitError: it cannot be dialed.
        """
        self._waiting[address.worker] += 1
        try:
            # Shielded: several calls share one dial, and one that runs out of time must not cancel it for the others.
            session = self._up[address.worker] = await asyncio.shield(self._dial(address, timeout))
            await session.writable()
            return session
        finally:
            self._waiting[address.worker] -= 1
            if not self._waiting[address.worker]:
                del self._waiting[address.worker]

    def close(self) -> None:
        """End all of them, and those that are being dialed."""
        self._closed = True
        for dial in self._dials.values():
            if not dial.done():
                dial.cancel()
            elif not dial.cancelled() and dial.exception() is None:
                dial.result().close(Closed("the client was closed meanwhile"))

    def _dial(self, address: Address, timeout: float) -> asyncio.Task[Session]:
        if self._closed:
            raise Closed("the client was closed meanwhile")
        dial = self._dials.get(address.worker)
        if dial is None or _is_over(dial):
            self._make_room(address.worker)
            dial = asyncio.get_running_loop().create_task(Session.dial(address, self.source, self._shared_key, timeout))
            dial.add_done_callback(mark_retrieved)
            self._dials[address.worker] = dial
        return dial

    def _make_room(self, worker: str) -> None:
        """Have one session less than there may be, by closing the one that has been idle for longest.

        :raises CannotConnect: all are in use.
        """
        self._dials = {name: dial for name, dial in self._dials.items() if name == worker or not _is_over(dial)}
        self._up = {name: session for name, session in self._up.items() if name in self._dials}
        if len(self._dials) < self.most:
            return
        for name, session in sorted(self._up.items(), key=lambda item: item[1].last_use):
            if session.idle and not (name in self._waiting or self._is_needed(name)):
                del self._dials[name], self._up[name]
                session.close(Closed("the client needed room for another connection"))
                return
        raise CannotConnect(
            f"cannot connect to another host: {len(self._dials)} are in use, and this process may open no more"
            " (ulimit -n)"
        )


def _is_over(dial: asyncio.Task[Session]) -> bool:
    """Whether a session has ended, or never came to be."""
    return dial.done() and (dial.cancelled() or dial.exception() is not None or dial.result().ended.done())
