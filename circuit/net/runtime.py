"""What all objects of one client share: its event loop, its connections, its pointers.

Public methods give coroutines to the loop and wait, from any thread, with a time limit. Everything else in here runs on
the loop, which one thread at a time runs, and needs no locks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from circuit.errors import CannotConnect, CircuitError, Closed, NoLifeline, RemoteFault, TimedOut
from circuit.net.ahead import Ahead
from circuit.net.calls import Calls, Results, UnknownPointer
from circuit.net.diagnosis import LOST, PROBE_LIMIT_S, diagnose
from circuit.net.dialed import DialedSessions
from circuit.net.futures import finish
from circuit.net.held import Handle, HeldPointers
from circuit.net.lifeline_watch import LifelineWatch
from circuit.net.pointers import Pointer
from circuit.net.session import OneWrite, to_wire
from circuit.net.shared_loop import LimitReached, SharedLoop
from circuit.wire.address import Address
from circuit.wire.auth import SharedKey
from circuit.wire.messages import LOCUS, METHODS, CallMsg, DialMsg, Peer

_START_PAUSE_S = 0.05
_CANCEL_AGAIN_S = 0.05
_CLOSE_LIMIT_S = 5.0
_IDLE_LIMIT_S = 1.0
_IDLE_PAUSE_S = 0.005

T = TypeVar("T")
E = TypeVar("E", bound=CircuitError)


def named(error: E, what: str) -> E:
    """Return an error of a call that names what was done, as in "view /X5f": errors from below name only the server.

    It is a new one, because all calls that the end of a connection fails share its error.
    """
    words = str(error) if what.rpartition(" ")[2] in str(error) else f"{what}: {error}"
    return type(error)(words).with_traceback(error.__traceback__)


class Runtime:
    """The engine of one client."""

    def __init__(self, shared_key: SharedKey | None, timeout: float) -> None:
        self.timeout = timeout
        """Time limit of calls that are given none, in seconds."""
        self.home: Address | None = None
        """The dialed server."""
        self._own = Address("", 0, os.getpid(), f"Q{secrets.randbits(63):016x}")
        self._locus: Pointer | None = None
        self._shared = SharedLoop("circuit client")
        self._loop = self._shared.loop
        self._dialed = DialedSessions(self._own, shared_key, self._needs)
        self._held = HeldPointers(self._shared, self._dialed)
        self.lifelines = LifelineWatch(self._own, shared_key, self._dialed, self._held.in_use)
        """What servers hold of this client."""
        self.calls = Calls(self._dialed, self._held, self.lifelines, timeout)
        """How methods are called."""
        self.ahead: Ahead[Handle] = Ahead(self._walk_ahead, self.lifelines.losses)
        """Anchors for the next commands."""

    # from any thread

    def run(self, work: Coroutine[Any, Any, T], what: str, timeout: float | None = None) -> T:
        """Run ``work`` on the loop and return its result.

        :param what: names the call in errors, as in "view /X5f".
        :param timeout: seconds; the client's own limit where None, none where infinite.
        :raises TimedOut: there was no result in time.
        :raises Closed: the client was closed before or meanwhile.
        """
        limit = self.timeout if timeout is None else timeout
        try:
            return self._shared.run(work, limit)
        except LimitReached:
            raise TimedOut(f"{what}: no answer within {limit:g} s") from None
        except asyncio.CancelledError:
            raise Closed(f"{what}: the client was closed meanwhile") from None
        except CircuitError as error:
            raise named(error, what) from None

    def close(self) -> None:
        """End every connection and the thread. Pending calls raise :class:`Closed`. Closing again does nothing."""
        with contextlib.suppress(CircuitError, LimitReached, asyncio.CancelledError):
            self._shared.close(self._shut(), _CLOSE_LIMIT_S)

    # on the loop

    async def start(self, home: Address, listen: tuple[str, int] | None, timeout: float) -> None:
        """Listen for lifelines, dial ``home`` and find its locus."""
        await self.lifelines.listen(listen)
        own_ip = listen[0] if listen is not None and listen[0] not in ("0.0.0.0", "::") else "::"
        self._own = Address(own_ip, self.lifelines.port, self._own.pid, self._own.worker)
        self._dialed.source = to_wire(self._own)
        self.home = home
        deadline = self._loop.time() + timeout
        session = await self._dialed.reach(home, timeout)
        # A server that is still starting has no locus yet.
        while True:
            reply = await session.request(DialMsg(LOCUS))
            pointers = self.calls.results(reply, home, "dial locus")
            if pointers and isinstance(pointers[0], Handle):
                self._locus = pointers[0].pointer
                return
            if pointers != (None,):
                raise RemoteFault(f"{home} answered dial locus with {pointers!r}"[:300])
            if self._loop.time() + _START_PAUSE_S > deadline:
                raise CannotConnect(f"cannot connect to {home}: it is still starting after {timeout:g} s")
            await asyncio.sleep(_START_PAUSE_S)

    async def peers(self) -> tuple[Peer, ...]:
        """All servers of the circuit that the dialed one knows, itself included."""
        assert self._locus is not None
        results = await self.call(self._locus, "GetPeers")
        peers = results[0] if results[0] is not None else ()
        if not isinstance(peers, tuple) or not all(isinstance(peer, Peer) for peer in peers):
            raise RemoteFault(f"{self.home} answered GetPeers with {peers!r}"[:300])
        return peers

    async def call(self, pointer: Pointer, method: str, *arguments: object) -> Results:
        """Call a method of the object behind ``pointer``. Pointers among the results come as :class:`Handle`.

        :raises CallFailed: the server answered with an error.
        :raises ClientLost, HostLost: the connection is gone, and what that means.
        :raises NoLifeline: the server has forgotten the pointer, or forgot it before it answered.
        """
        results: asyncio.Future[Results] = self._loop.create_future()
        losses = self.lifelines.losses(pointer.address)
        # Where the caller has left, pointers in the values are released by their collection.
        task = self.calls.submit(pointer, method, arguments, partial(finish, results))
        try:
            values = await self.diagnosed(pointer.address, results)
        finally:
            if task is not None:
                # What was not sent must not be kept for a caller that has left.
                task.cancel()
        if not pointer.permanent:
            await self.check_lifeline(pointer.address, losses)
        return values

    async def check_lifeline(self, address: Address, losses: int) -> None:
        """Check, as :meth:`LifelineWatch.check` does, that a server has not lost its lifeline.

        :raises NoLifeline: it has, and still answers.
        :raises ClientLost, HostLost: the connection to it has ended, too, and what that means.
        """
        try:
            self.lifelines.check(address, losses)
        except NoLifeline:
            # Of a server that is gone, the end of the lifeline may be seen first.
            with contextlib.suppress(asyncio.TimeoutError):
                await self.diagnosed(address, asyncio.wait_for(self._answer_of(address), PROBE_LIMIT_S))
            raise

    async def diagnosed(self, address: Address, results: Coroutine[Any, Any, T] | asyncio.Future[T]) -> T:
        """Return the results of calls to a server.

        :raises ClientLost, HostLost: the connection to it has ended, and what that means.
        :raises NoLifeline: it has forgotten a pointer.
        """
        try:
            return await results
        except LOST as error:
            assert self.home is not None
            raise await diagnose(address, error, self.home, self._ask_home) from None
        except UnknownPointer:
            self.lifelines.check_known(address)
            raise

    def one_write(self, address: Address) -> OneWrite:
        """Send what goes to a server in this context together, at its end. It must not wait for anything."""
        return self._dialed.one_write(address)

    @property
    def most_hosts(self) -> int:
        """How many hosts one caller may use concurrently, so that there is room for the connections of others."""
        return max(self._dialed.most * 3 // 4, 1)

    # connections

    async def until_idle(self, address: Address) -> None:
        """Wait, for a second at most, until no call to a server waits for its reply: its connection can make room."""
        session = self._dialed.find(address.worker)
        deadline = self._loop.time() + _IDLE_LIMIT_S
        while session is not None and not session.idle and self._loop.time() < deadline:
            await asyncio.sleep(_IDLE_PAUSE_S)

    async def _answer_of(self, address: Address) -> None:
        session = await self._dialed.reach(address, PROBE_LIMIT_S)
        await session.request(DialMsg(LOCUS))

    async def _ask_home(self) -> None:
        assert self.home is not None
        assert self._locus is not None
        session = await self._dialed.reach(self.home, PROBE_LIMIT_S)
        await session.request(CallMsg(self._locus.id, METHODS["GetPeers"]))

    def _needs(self, worker: str) -> bool:
        return self.home is None or worker == self.home.worker or self._held.in_use(worker)

    def _walk_ahead(self, parent: Pointer, name: str, found: Callable[[Handle | None], None]) -> None:
        def done(results: Results | None, error: Exception | None) -> None:
            found(results[0] if results is not None and isinstance(results[0], Handle) else None)

        self.calls.submit(parent, "Walk", ([name],), done)

    # the end

    async def _shut(self) -> None:
        self._dialed.close()
        await self.lifelines.close()
        # One turn of the loop lets the connections end and tell their pending calls, which then see why.
        await asyncio.sleep(0)
        # All of them: dials and exchanges outlive the calls that began them. One that is cancelled may begin another,
        # and may have to be told again: asyncio.wait_for swallows a cancellation that meets a result.
        while pending := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in pending:
                task.cancel()
            done, _ = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)
            for task in done:
                # Nobody is left to hear of its failure.
                task.cancelled() or task.exception()
