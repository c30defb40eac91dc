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
import weakref
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

from circuit.errors import (
    CallFailed,
    CannotConnect,
    CircuitError,
    ClientLost,
    Closed,
    ConnectionLost,
    HostLost,
    NoLifeline,
    Refused,
    RemoteFault,
    TimedOut,
)
from circuit.net.connections import files_for
from circuit.net.lifeline import Lifelines
from circuit.net.pointers import Pointer, PointerCounts
from circuit.net.session import Session, from_wire, to_wire
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

PROBE_LIMIT_S = 3.0
"""How long the dialed server may take to answer when it is asked whether a lost host or the client itself is lost."""

MAX_SESSIONS = 512
"""How many servers a client is connected to at once; fewer where the process may open few files."""

_START_PAUSE_S = 0.05
_CANCEL_AGAIN_S = 0.05
_CLOSE_LIMIT_S = 5.0
_POINTER_METHODS = frozenset({METHODS["Make"], METHODS["Get"]})

T = TypeVar("T")


class Handle:
    """A counted use of a pointer. When the last handle of a pointer is released, or collected, the server is told."""

    def __init__(self, runtime: Runtime, pointer: Pointer) -> None:
        self.pointer = pointer
        self._finalizer = None if pointer.permanent else weakref.finalize(self, runtime.release_soon, pointer)

    def release(self) -> None:
        """Let go. Calls through this handle fail from now on."""
        if self._finalizer is not None:
            self._finalizer()

    @property
    def released(self) -> bool:
        """Whether :meth:`release` was called."""
        return self._finalizer is not None and not self._finalizer.alive


class Runtime:
    """The engine of one client."""

    def __init__(self, shared_key: SharedKey | None, timeout: float) -> None:
        self.timeout = timeout
        """Time limit of calls that are given none, in seconds."""
        self.home: Address | None = None
        """The dialed server."""
        self._shared_key = shared_key
        self._worker = f"Q{secrets.randbits(63):016x}"
        self._pid = os.getpid()
        self._locus: Pointer | None = None
        self._sessions: dict[str, asyncio.Task[Session]] = {}
        self._watched: set[str] = set()
        self._pointers = PointerCounts()
        self._closed = False
        self._shared = SharedLoop("circuit client")
        self._loop = self._shared.loop
        self._lifelines = Lifelines(
            self._worker, self._pid, shared_key, self._lifeline_changed, lambda worker: worker in self._sessions
        )
        self._most_sessions = min(MAX_SESSIONS, files_for(4))
        self._calls: collections.Counter[str] = collections.Counter()
        """How many calls to each server are under way."""
        self._lifeline_losses: collections.Counter[str] = collections.Counter()
        self._at_risk_replies: dict[str, set[asyncio.Future[object]]] = {}
        """Of each server, the replies that are awaited and that it may never give once its lifeline has ended."""
        self._source = to_wire(Address("", 0, self._pid, self._worker))

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
            # Errors from below name the server; what was being done there is only known here. Calls that a connection
            # ended together share its error, so each raises one of its own.
            words = str(error) if what.rpartition(" ")[2] in str(error) else f"{what}: {error}"
            raise type(error)(words).with_traceback(error.__traceback__) from None

    def release_soon(self, pointer: Pointer) -> None:
        """Let go of one use of ``pointer``; callable from finalizers, which run on any thread."""
        # A closed loop has nothing left to release: the servers forget a client's pointers when it leaves.
        self._shared.call_soon(partial(self._release, pointer))

    def close(self) -> None:
        """End every connection and the thread. Pending calls raise :class:`Closed`. Closing again does nothing."""
        with contextlib.suppress(CircuitError, LimitReached, asyncio.CancelledError):
            self._shared.close(self._shut(), _CLOSE_LIMIT_S)

    # on the loop

    async def start(self, home: Address, listen: tuple[str, int] | None, timeout: float) -> None:
        """Listen for lifelines, dial ``home`` and find its locus."""
        port = await self._lifelines.listen(listen)
        own_ip = listen[0] if listen is not None and listen[0] not in ("0.0.0.0", "::") else "::"
        self._source = to_wire(Address(own_ip, port, self._pid, self._worker))
        self.home = home
        deadline = self._loop.time() + timeout
        session = await self._session(home, timeout)
        # A server that is still starting has no locus yet.
        while True:
            reply = await session.round_trip(DialMsg(LOCUS))
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

    async def call(self, pointer: Pointer, method: str, *arguments: object) -> tuple[Any, ...]:
        """Call a method of the object behind ``pointer``. Pointers among the results come as :class:`Handle`.

        :raises CallFailed: the server answered with an error.
        :raises ClientLost, HostLost: the connection is gone, and what that means.
        :raises NoLifeline: the server has forgotten the pointer, or forgot it before it answered.
        """
        func = METHODS[method]
        worker = pointer.address.worker
        losses = self._lifeline_losses[worker]
        returns_pointer = func in _POINTER_METHODS
        if returns_pointer:
            self._pointers.begin_call(worker)
        self._calls[worker] += 1
        try:
            session = await self._session(pointer.address, self.timeout)
            # The last in the order of use.
            self._sessions[worker] = self._sessions.pop(worker)
            at_risk = None if pointer.permanent else partial(self._put_at_risk, worker)
            reply = await session.round_trip(CallMsg(pointer.id, func, arguments), at_risk)
            while method == "Get" and self._being_dropped(reply, pointer.address):
                reply = await session.round_trip(CallMsg(pointer.id, func, arguments), at_risk)
            results = self._results(reply, pointer.address, method)
            # A server without lifeline closes the client's streams, so that this may be an end that is none.
            if not pointer.permanent and self._lifeline_losses[worker] != losses:
                raise self._no_lifeline(pointer.address, "has lost its connection back meanwhile")
            return results
        except (ConnectionLost, CannotConnect, Refused) as error:
            raise await self._diagnose(pointer.address, error) from None
        finally:
            self._calls[worker] -= 1
            if not self._calls[worker]:
                del self._calls[worker]
            if returns_pointer:
                self._drop(pointer.address, self._pointers.end_call(worker))

    def lifeline(self, address: Address) -> bool:
        """Whether the server at ``address`` holds a lifeline to this client."""
        return self._lifelines.holds(address.worker)

    def handle(self, value: object, exporter: Address) -> Handle | None:
        """Take hold of a pointer that ``exporter`` sent; None where ``value`` is none."""
        if isinstance(value, PermPtrMsg):
            return Handle(self, Pointer(exporter, value.id, True))
        if isinstance(value, PermPtrPtrMsg):
            return Handle(self, Pointer(from_wire(value.source, self._peer(exporter)), value.id, True))
        if not isinstance(value, PtrMsg):
            return None
        self._pointers.take(exporter.worker, value.id)
        self._watch(exporter)
        return Handle(self, Pointer(exporter, value.id, False))

    # connections

    def _peer(self, address: Address) -> str:
        """The IP address that a server was reached at; empty where it is not connected."""
        task = self._sessions.get(address.worker)
        reached = task is not None and task.done() and not task.cancelled() and task.exception() is None
        return task.result().peer if task is not None and reached else ""

    async def _session(self, address: Address, timeout: float) -> Session:
        if self._closed:
            raise Closed("the client was closed meanwhile")
        worker = address.worker
        task = self._sessions.get(worker)
        if task is None or _is_over(task):
            self._make_room(worker)
            task = self._loop.create_task(
                Session.dial(
                    address, self._source, self._shared_key, timeout, lambda reply: self._orphan(reply, address)
                )
            )
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._sessions[worker] = task
        # Shielded: several calls share one dial, and one that runs out of time must not cancel it for the others.
        return await asyncio.shield(task)

    def _make_room(self, worker: str) -> None:
        """Have one session less than there may be, by closing the one that has been idle for longest.

        :raises CannotConnect: all are in use.
        """
        self._sessions = {name: task for name, task in self._sessions.items() if name == worker or not _is_over(task)}
        if len(self._sessions) < self._most_sessions:
            return
        for name, task in self._sessions.items():
            used = name in self._calls or self._pointers.in_use(name)
            if self.home is not None and not used and name != self.home.worker and task.done() and task.result().idle:
                del self._sessions[name]
                task.result().close(Closed("the client needed room for another connection"))
                return
        raise CannotConnect(
            f"cannot connect to another host: {len(self._sessions)} are in use, and this process may open no more"
            " (ulimit -n)"
        )

    async def _diagnose(self, address: Address, error: CircuitError) -> CircuitError:
        """The tutorial's rule: if the dialed server still answers, it was the host; otherwise it is the client."""
        home = self.home
        assert home is not None
        if address.worker == home.worker:
            return ClientLost(f"the circuit server {home} is lost: {error}")
        probe = self._loop.create_task(self._probe(home))
        try:
            await asyncio.wait_for(probe, PROBE_LIMIT_S)
        except (CircuitError, asyncio.TimeoutError) as silence:
            reason = str(silence) or f"no answer within {PROBE_LIMIT_S:g} s"
            return ClientLost(f"the circuit server {home} is lost ({reason}), and so is {address}: {error}")
        return HostLost(f"the host of {address} is lost, the circuit server {home} still answers: {error}")

    async def _probe(self, home: Address) -> None:
        assert self._locus is not None
        session = await self._session(home, PROBE_LIMIT_S)
        await session.round_trip(CallMsg(self._locus.id, METHODS["GetPeers"]))

    def _put_at_risk(self, worker: str, reply: asyncio.Future[object]) -> None:
        self._at_risk_replies.setdefault(worker, set()).add(reply)
        reply.add_done_callback(partial(self._end_risk, worker))

    def _end_risk(self, worker: str, reply: asyncio.Future[object]) -> None:
        at_risk = self._at_risk_replies.get(worker, set())
        at_risk.discard(reply)
        if not at_risk:
            self._at_risk_replies.pop(worker, None)

    def _lifeline_changed(self, worker: str) -> None:
        if not self._lifelines.holds(worker):
            self._lifeline_losses[worker] += 1
            if not self._closed and worker in self._sessions:
                task = self._loop.create_task(self._give_up(worker, self._at_risk_replies.pop(worker, set())))
                task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _give_up(self, worker: str, at_risk: set[asyncio.Future[object]]) -> None:
        """Fail the calls that were under way when a lifeline ended, if the server is there: it may never answer them.

        If it is not, the end of its connection tells more.
        """
        session = await asyncio.shield(self._sessions[worker])
        await session.round_trip(DialMsg(LOCUS))
        for future in list(at_risk):
            if not future.done():
                future.set_exception(self._no_lifeline(session.address, "has lost its connection back meanwhile"))

    def _watch(self, address: Address) -> None:
        """Expect a lifeline of a server that just handed out a pointer."""
        worker = address.worker
        if worker not in self._watched and not self._lifelines.holds(worker):
            self._watched.add(worker)
            self._loop.call_later(LIFELINE_LIMIT_S, self._expect_lifeline, address)

    def _expect_lifeline(self, address: Address) -> None:
        self._watched.discard(address.worker)
        if self._closed or self._lifelines.holds(address.worker):
            return
        task = self._sessions.get(address.worker)
        if task is None or not task.done() or task.cancelled() or task.exception() is not None:
            return
        if not self._pointers.in_use(address.worker):
            return
        task.result().close(self._no_lifeline(address, f"has made no connection back within {LIFELINE_LIMIT_S:g} s"))

    def _no_lifeline(self, address: Address, what: str) -> NoLifeline:
        return NoLifeline(
            f"no lifeline: {address} {what}; let it reach port {self._source.tcp.port} of this machine,"
            " or listen on one that it can"
        )

    # pointers

    def _results(self, reply: object, exporter: Address, method: str) -> tuple[Any, ...]:
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

    def _orphan(self, reply: object, exporter: Address) -> None:
        """Let go of what a call returned after its caller had left."""
        if isinstance(reply, ReturnMsg):
            for value in reply.results:
                for item in value.values() if isinstance(value, dict) else (value,):
                    if handle := self.handle(item, exporter):
                        handle.release()

    def _being_dropped(self, reply: object, exporter: Address) -> bool:
        """Whether a reply holds a pointer that the server was told to drop, and is about to.

        It serves requests in any order, so that a Get may overtake the drop that was sent before it. An object that is
        handed out after its drop has a new number.
        """
        return isinstance(reply, ReturnMsg) and any(
            isinstance(value, PtrMsg) and self._pointers.is_being_dropped(exporter.worker, value.id)
            for value in reply.results
        )

    def _release(self, pointer: Pointer) -> None:
        self._drop(pointer.address, self._pointers.release(pointer.address.worker, pointer.id))

    def _drop(self, address: Address, numbers: tuple[int, ...]) -> None:
        task = self._sessions.get(address.worker)
        if task is not None and task.done() and not task.cancelled() and task.exception() is None:
            for number in numbers:
                task.result().post(DropPtrMsg(number))
                self._pointers.drop_sent(address.worker, number)

    # the end

    async def _shut(self) -> None:
        self._closed = True
        for task in self._sessions.values():
            if not task.done():
                task.cancel()
            elif not task.cancelled() and task.exception() is None:
                task.result().close(Closed("the client was closed meanwhile"))
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


def _is_over(task: asyncio.Task[Session]) -> bool:
    """Whether a session has ended, or never came to be."""
    return task.done() and (task.cancelled() or task.exception() is not None or task.result().ended.done())
