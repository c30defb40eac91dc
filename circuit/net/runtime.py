"""What all objects of one client share: its event loop, its connections, its pointers.

Public methods give coroutines to the loop and wait, from any thread, with a time limit. Everything else in here runs on
the loop, which one thread at a time runs, and needs no locks.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import secrets
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from circuit.errors import CallFailed, CannotConnect, CircuitError, Closed, NoLifeline, RemoteFault, TimedOut
from circuit.net.ahead import Ahead
from circuit.net.diagnosis import LOST, PROBE_LIMIT_S, diagnose
from circuit.net.dialed import DialedSessions
from circuit.net.futures import finish, mark_retrieved
from circuit.net.lifeline import Lifelines
from circuit.net.pointers import Pointer, PointerCounts
from circuit.net.session import OneWrite, Session, Settle, from_wire, to_wire
from circuit.net.shared_loop import LimitReached, SharedLoop
from circuit.wire.address import Address
from circuit.wire.auth import SharedKey
from circuit.wire.messages import (
    LOCUS,
    METHODS,
    NO_HANDLE,
    RESULTS,
    CallMsg,
    DialMsg,
    DropPtrMsg,
    Peer,
    PermPtrMsg,
    PermPtrPtrMsg,
    PtrMsg,
    ReturnMsg,
    error_text,
    is_error,
)

LIFELINE_LIMIT_S = 3.0
"""How long a server may take to dial back after its first pointer. While a dial-back hangs in a firewall the server
dials nobody else and its peers delist it after about 6 s, so the client hangs up before that."""

_START_PAUSE_S = 0.05
_CANCEL_AGAIN_S = 0.05
_CLOSE_LIMIT_S = 5.0
_DROP_TOGETHER_S = 0.001
"""How long released pointers wait for others, to be dropped together, and out of the way of calls."""

_POINTER_METHODS = frozenset({"Make", "Get"})

T = TypeVar("T")
E = TypeVar("E", bound=CircuitError)

Results = tuple[Any, ...]
Done = Callable[["Results | None", "Exception | None"], None]
"""Gets the results of a call, or None and why there are none."""


def named(error: E, what: str) -> E:
    """Return an error of a call that names what was done, as in "view /X5f": errors from below name only the server.

    It is a new one, because all calls that the end of a connection fails share its error.
    """
    words = str(error) if what.rpartition(" ")[2] in str(error) else f"{what}: {error}"
    return type(error)(words).with_traceback(error.__traceback__)


class Handle:
    """A counted use of a pointer. When the last handle of a pointer is released, or collected, the server is told."""

    def __init__(self, runtime: Runtime, pointer: Pointer) -> None:
        self.pointer = pointer
        self.released = False
        """Whether it is of no further use; a permanent one always is."""
        self._runtime = runtime

    def __del__(self) -> None:
        self.release()

    def release(self) -> None:
        """Let go. Calls through this handle fail from now on."""
        if self._give_up():
            self._runtime.release_soon(self.pointer)

    def release_later(self) -> None:
        """Let go, and tell the server when that is in nobody's way."""
        if self._give_up():
            self._runtime.release_later(self.pointer)

    def _give_up(self) -> bool:
        is_last, self.released = not (self.released or self.pointer.permanent), not self.pointer.permanent
        return is_last


class Runtime:
    """The engine of one client."""

    def __init__(self, shared_key: SharedKey | None, timeout: float) -> None:
        self.timeout = timeout
        """Time limit of calls that are given none, in seconds."""
        self.home: Address | None = None
        """The dialed server."""
        self._own = Address("", 0, os.getpid(), f"Q{secrets.randbits(63):016x}")
        self._locus: Pointer | None = None
        self._watched: set[str] = set()
        self._pointers = PointerCounts()
        self._released: list[Pointer] = []
        self._closed = False
        self._shared = SharedLoop("circuit client")
        self._loop = self._shared.loop
        self._dialed = DialedSessions(self._own, shared_key, self._needs)
        self._lifelines = Lifelines(
            self._own.worker, self._own.pid, shared_key, self._lifeline_changed, self._dialed.__contains__
        )
        self._lifeline_losses: collections.Counter[str] = collections.Counter()
        self.ahead = Ahead(self._walk_ahead, self.lifeline_losses)
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

    def release_soon(self, pointer: Pointer) -> None:
        """Let go of one use of ``pointer``; callable from finalizers, which run on any thread."""
        self._released.append(pointer)
        if len(self._released) == 1:
            # A closed loop has nothing left to release: the servers forget a client's pointers when it leaves.
            self._shared.call_soon(self._release_all)
        self._shared.attend()

    def release_later(self, pointer: Pointer) -> None:
        """Let go of one use of ``pointer`` when nobody waits for a call, or together with others."""
        self._released.append(pointer)
        if len(self._released) > 1:
            return
        if asyncio._get_running_loop() is self._loop:
            self._release_all_later()
        else:
            self._shared.call_soon(self._release_all_later)

    def close(self) -> None:
        """End every connection and the thread. Pending calls raise :class:`Closed`. Closing again does nothing."""
        with contextlib.suppress(CircuitError, LimitReached, asyncio.CancelledError):
            self._shared.close(self._shut(), _CLOSE_LIMIT_S)

    # on the loop

    async def start(self, home: Address, listen: tuple[str, int] | None, timeout: float) -> None:
        """Listen for lifelines, dial ``home`` and find its locus."""
        port = await self._lifelines.listen(listen)
        own_ip = listen[0] if listen is not None and listen[0] not in ("0.0.0.0", "::") else "::"
        self._own = Address(own_ip, port, self._own.pid, self._own.worker)
        self._dialed.source = to_wire(self._own)
        self.home = home
        deadline = self._loop.time() + timeout
        session = await self._dialed.reach(home, timeout)
        # A server that is still starting has no locus yet.
        while True:
            reply = await session.request(DialMsg(LOCUS))
            pointers = self._results(reply, home, "dial locus")
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
        losses = self._lifeline_losses[pointer.address.worker]
        # Where the caller has left, pointers in the values are released by their collection.
        task = self.submit(pointer, method, arguments, partial(finish, results))
        try:
            values = await self.diagnosed(pointer.address, results)
        finally:
            if task is not None:
                # What was not sent must not be kept for a caller that has left.
                task.cancel()
        if not pointer.permanent:
            self.check_lifeline(pointer.address, losses)
        return values

    def submit(
        self, pointer: Pointer, method: str, arguments: tuple[object, ...], done: Done
    ) -> asyncio.Task[None] | None:
        """Call a method, at once if the server takes what is sent; ``done`` gets what :meth:`call` returns or raises.

        The end of the connection comes as it is: see :meth:`diagnosed`. That of the lifeline does not come: see
        :meth:`check_lifeline`.

        :return: what waits until the call can be sent, and may be cancelled.
        """
        call = _Call(self, pointer, method, arguments, done)
        session = self._dialed.find(pointer.address.worker)
        if session is not None and session.is_writable:
            call.send(session)
            return None
        task = self._loop.create_task(self._submit_later(call))
        task.add_done_callback(call.was_submitted)
        return task

    async def diagnosed(self, address: Address, results: Coroutine[Any, Any, T] | asyncio.Future[T]) -> T:
        """Return the results of calls to a server.

        :raises ClientLost, HostLost: the connection to it has ended, and what that means.
        """
        try:
            return await results
        except LOST as error:
            assert self.home is not None
            raise await diagnose(address, error, self.home, self._ask_home) from None

    def one_write(self, address: Address) -> OneWrite:
        """Send what goes to a server in this context together, at its end. It must not wait for anything."""
        session = self._dialed.find(address.worker)
        return OneWrite(None) if session is None else session.one_write()

    def lifeline(self, address: Address) -> bool:
        """Whether the server at ``address`` holds a lifeline to this client."""
        return self._lifelines.holds(address.worker)

    def lifeline_losses(self, address: Address) -> int:
        """How often the server at ``address`` has lost its lifeline, and with it the pointers that it handed out."""
        return self._lifeline_losses[address.worker]

    def check_lifeline(self, address: Address, losses: int) -> None:
        """Check that the server has not lost its lifeline, a turn of the loop after the replies that are in question.

        Without one it closes the client's streams, so that what looks like an end is none. The loop may have taken
        these replies before it saw the end of the lifeline.

        :param losses: how many lifelines it had lost before.
        :raises NoLifeline: it has.
        """
        worker = address.worker
        if self._lifeline_losses[worker] != losses or self._lifelines.is_losing(worker):
            raise self._no_lifeline(address, "has lost its connection back meanwhile")

    @property
    def most_hosts(self) -> int:
        """How many hosts one caller may use concurrently, so that there is room for the connections of others."""
        return max(self._dialed.most * 3 // 4, 1)

    @property
    def lifeline_port(self) -> int:
        """Where the client listens for lifelines."""
        return self._own.port

    def handle(self, value: object, exporter: Address) -> Handle | None:
        """Take hold of a pointer that ``exporter`` sent; None where ``value`` is none."""
        if isinstance(value, PtrMsg):
            self._pointers.take(exporter.worker, value.id)
            self._watch(exporter)
            return Handle(self, Pointer(exporter, value.id, False))
        if isinstance(value, PermPtrMsg):
            return Handle(self, Pointer(exporter, value.id, True))
        if isinstance(value, PermPtrPtrMsg):
            source = from_wire(value.source, self._dialed.peer(exporter.worker))
            return Handle(self, Pointer(source, value.id, True))
        return None

    # connections

    async def _submit_later(self, call: _Call) -> None:
        try:
            call.send(await self._dialed.reach(call.pointer.address, self.timeout))
        except CircuitError as error:
            call.settle(None, error)

    async def _ask_home(self) -> None:
        assert self.home is not None
        assert self._locus is not None
        session = await self._dialed.reach(self.home, PROBE_LIMIT_S)
        await session.request(CallMsg(self._locus.id, METHODS["GetPeers"]))

    def _needs(self, worker: str) -> bool:
        # What was released, and is to be dropped together with others, must not keep a session.
        self._release_all()
        return self.home is None or worker == self.home.worker or self._pointers.in_use(worker)

    def _walk_ahead(self, parent: Pointer, name: str, found: Callable[[Handle | None], None]) -> None:
        def done(results: Results | None, error: Exception | None) -> None:
            found(results[0] if results is not None and isinstance(results[0], Handle) else None)

        self.submit(parent, "Walk", ([name],), done)

    # lifelines

    def _lifeline_changed(self, worker: str) -> None:
        if not self._lifelines.holds(worker):
            self._lifeline_losses[worker] += 1
            session = self._dialed.find(worker)
            if not self._closed and session is not None:
                task = self._loop.create_task(self._give_up(session, session.at_risk()))
                task.add_done_callback(mark_retrieved)

    async def _give_up(self, session: Session, at_risk: list[Settle]) -> None:
        """Fail the calls that were under way when a lifeline ended, if the server is there: it may never answer them.

        If it is not, the end of its connection tells more.
        """
        await session.writable()
        await session.request(DialMsg(LOCUS))
        for settle in at_risk:
            settle(None, self._no_lifeline(session.address, "has lost its connection back meanwhile"))

    def _watch(self, address: Address) -> None:
        """Expect a lifeline of a server that just handed out a pointer."""
        worker = address.worker
        if not self._lifelines.holds(worker) and worker not in self._watched:
            self._watched.add(worker)
            self._loop.call_later(LIFELINE_LIMIT_S, self._expect_lifeline, address)

    def _expect_lifeline(self, address: Address) -> None:
        worker = address.worker
        self._watched.discard(worker)
        if self._closed or self._lifelines.holds(worker) or not self._pointers.in_use(worker):
            return
        if (session := self._dialed.find(worker)) is not None:
            session.close(self._no_lifeline(address, f"has made no connection back within {LIFELINE_LIMIT_S:g} s"))

    def _no_lifeline(self, address: Address, what: str) -> NoLifeline:
        return NoLifeline(
            f"no lifeline: {address} {what}; let it reach port {self.lifeline_port} of this machine,"
            " or listen on one that it can"
        )

    # pointers

    def _results(self, reply: object, exporter: Address, method: str) -> Results:
        if not isinstance(reply, ReturnMsg):
            raise RemoteFault(f"{exporter} answered {method} with {reply!r}"[:300])
        if reply.error is not None:
            if not is_error(reply.error):
                raise RemoteFault(f"{exporter} answered {method} with the error {reply.error!r}"[:300])
            text = error_text(reply.error).split("\n", 1)[0]
            if text == NO_HANDLE and not self._lifelines.holds(exporter.worker):
                # One that ended before it said hello is noticed only here.
                self._lifeline_losses[exporter.worker] += 1
                raise self._no_lifeline(exporter, "has forgotten this client's pointers, having no connection back")
            if text == NO_HANDLE and self._lifeline_losses[exporter.worker]:
                raise NoLifeline(
                    f"{exporter} has forgotten what it handed out before its connection back ended: look it up again"
                )
            raise CallFailed(f"{exporter} answered {method} with: {text}")
        if method in RESULTS and len(reply.results) != RESULTS[method]:
            raise RemoteFault(f"{exporter} answered {method} with {len(reply.results)} values, not {RESULTS[method]}")
        return tuple(self._import(value, exporter) for value in reply.results)

    def _import(self, value: object, exporter: Address) -> object:
        if isinstance(value, dict):
            return {name: self._import(item, exporter) for name, item in value.items()}
        return self.handle(value, exporter) or value

    def _being_dropped(self, reply: object, exporter: Address) -> bool:
        """Whether a reply holds a pointer that the server was told to drop, and is about to.

        It serves requests in any order, so that a Get may overtake the drop that was sent before it. An object that is
        handed out after its drop has a new number.
        """
        return isinstance(reply, ReturnMsg) and any(
            isinstance(value, PtrMsg) and self._pointers.is_being_dropped(exporter.worker, value.id)
            for value in reply.results
        )

    def _release_all_later(self) -> None:
        self._loop.call_later(_DROP_TOGETHER_S, self._release_all)

    def _release_all(self) -> None:
        released, self._released = self._released, []
        with contextlib.ExitStack() as together:
            for address in {pointer.address for pointer in released}:
                together.enter_context(self.one_write(address))
            for pointer in released:
                self._drop(pointer.address, self._pointers.release(pointer.address.worker, pointer.id))

    def _drop(self, address: Address, numbers: tuple[int, ...]) -> None:
        session = self._dialed.find(address.worker) if numbers else None
        if session is not None:
            for number in numbers:
                session.post(DropPtrMsg(number))
                self._pointers.drop_sent(address.worker, number)

    # the end

    async def _shut(self) -> None:
        self._closed = True
        self._dialed.close()
        await self._lifelines.close()
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


class _Call:
    """A call that waits for its reply, or to be sent."""

    def __init__(
        self, runtime: Runtime, pointer: Pointer, method: str, arguments: tuple[object, ...], done: Done
    ) -> None:
        self.pointer = pointer
        self.method = method
        self._runtime = runtime
        self._arguments = arguments
        self._done = done
        self._session: Session | None = None
        self._is_over = False
        if method in _POINTER_METHODS:
            runtime._pointers.begin_call(pointer.address.worker)

    def send(self, session: Session) -> None:
        """Send it."""
        self._session = session
        message = CallMsg(self.pointer.id, METHODS[self.method], self._arguments)
        try:
            session.send(message, self.settle, at_risk=not self.pointer.permanent)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets it
            self._end(None, error)

    def was_submitted(self, task: asyncio.Task[None]) -> None:
        """What was to send it has ended."""
        if task.cancelled():
            self._end(None, Closed(f"{self.method}: given up before it was sent"))

    def settle(self, reply: object, error: CircuitError | None) -> None:
        """The reply has arrived, or will not."""
        runtime, address = self._runtime, self.pointer.address
        if error is None and self.method == "Get" and runtime._being_dropped(reply, address):
            assert self._session is not None
            self.send(self._session)
            return
        results: Results | None = None
        failure: Exception | None = error
        if error is None:
            try:
                # Of a call that is over, too: its pointers are released when they are collected.
                results = runtime._results(reply, address, self.method)
            except Exception as fault:  # noqa: BLE001 - whatever it is, the caller gets it
                failure = fault
        self._end(results, failure)

    def _end(self, results: Results | None, error: Exception | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self.method in _POINTER_METHODS:
            address = self.pointer.address
            self._runtime._drop(address, self._runtime._pointers.end_call(address.worker))
        self._done(results, error)
