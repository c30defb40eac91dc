"""Calls of methods: how they are sent, and what their replies hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from circuit.errors import CallFailed, CircuitError, Closed, RemoteFault
from circuit.net.dialed import DialedSessions
from circuit.net.held import Handle, HeldPointers
from circuit.net.lifeline_watch import LifelineWatch
from circuit.net.pointers import Pointer
from circuit.net.session import Session, from_wire
from circuit.wire.address import Address
from circuit.wire.messages import (
    METHODS,
    NO_HANDLE,
    RESULTS,
    CallMsg,
    PermPtrMsg,
    PermPtrPtrMsg,
    PtrMsg,
    ReturnMsg,
    error_text,
    is_error,
)

_POINTER_METHODS = frozenset({"Make", "Get"})

Results = tuple[Any, ...]
Done = Callable[["Results | None", "Exception | None"], None]
"""Gets the results of a call, or None and why there are none."""


class UnknownPointer(CallFailed):
    """The server does not know the pointer. A turn of the loop later, the end of the lifeline may be the reason."""


class Calls:
    """The calls of one client; on the loop."""

    def __init__(self, dialed: DialedSessions, held: HeldPointers, lifelines: LifelineWatch, dial_limit: float) -> None:
        """:param dial_limit: seconds that it may take to dial a server."""
        self.held = held
        self._dialed = dialed
        self._lifelines = lifelines
        self._dial_limit = dial_limit

    def submit(
        self, pointer: Pointer, method: str, arguments: tuple[object, ...], done: Done
    ) -> asyncio.Task[None] | None:
        """Call a method, at once if the server takes what is sent; ``done`` gets what :meth:`Runtime.call` does.

        The end of the connection comes as it is: see :meth:`Runtime.diagnosed`. That of the lifeline does not come: see
        :meth:`LifelineWatch.check`.

        :return: what waits until the call can be sent, and may be cancelled.
        """
        call = _Call(self, pointer, method, arguments, done)
        session = self._dialed.find(pointer.address.worker)
        if session is not None and session.is_writable:
            call.send(session)
            return None
        task = asyncio.get_running_loop().create_task(self._submit_later(call))
        task.add_done_callback(call.was_submitted)
        return task

    async def _submit_later(self, call: _Call) -> None:
        try:
            call.send(await self._dialed.reach(call.pointer.address, self._dial_limit))
        except CircuitError as error:
            call.settle(None, error)

    # replies

    def results(self, reply: object, exporter: Address, method: str) -> Results:
        """Return the results in a reply; pointers among them come as :class:`Handle`.

        :raises CallFailed: it is an error, of the subclass :class:`UnknownPointer` where that is it.
        :raises NoLifeline: the server has forgotten the pointer.
        :raises RemoteFault: it is not a reply to this method.
        """
        if not isinstance(reply, ReturnMsg):
            raise RemoteFault(f"{exporter} answered {method} with {reply!r}"[:300])
        if reply.error is not None:
            if not is_error(reply.error):
                raise RemoteFault(f"{exporter} answered {method} with the error {reply.error!r}"[:300])
            text = error_text(reply.error).split("\n", 1)[0]
            words = f"{exporter} answered {method} with: {text}"
            if text == NO_HANDLE:
                self._lifelines.check_known(exporter)
                raise UnknownPointer(words)
            raise CallFailed(words)
        if method in RESULTS and len(reply.results) != RESULTS[method]:
            raise RemoteFault(f"{exporter} answered {method} with {len(reply.results)} values, not {RESULTS[method]}")
        return tuple([self._import(value, exporter) for value in reply.results])

    def handle(self, value: object, exporter: Address) -> Handle | None:
        """Take hold of a pointer that ``exporter`` sent; None where ``value`` is none."""
        if isinstance(value, PtrMsg):
            self._lifelines.expect(exporter)
            return self.held.take(exporter, value.id)
        if isinstance(value, PermPtrMsg):
            return self.held.permanent(exporter, value.id)
        if isinstance(value, PermPtrPtrMsg):
            return self.held.permanent(from_wire(value.source, self._dialed.peer(exporter.worker)), value.id)
        return None

    def _import(self, value: object, exporter: Address) -> object:
        if isinstance(value, dict):
            return {name: self._import(item, exporter) for name, item in value.items()}
        return self.handle(value, exporter) or value


class _Call:
    """A call that waits for its reply, or to be sent."""

    def __init__(self, calls: Calls, pointer: Pointer, method: str, arguments: tuple[object, ...], done: Done) -> None:
        self.pointer = pointer
        self.method = method
        self._calls = calls
        self._arguments = arguments
        self._done = done
        self._session: Session | None = None
        self._is_over = False
        if method in _POINTER_METHODS:
            calls.held.begin_call(pointer.address)

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
        address = self.pointer.address
        if error is None and self.method == "Get" and self._calls.held.is_being_dropped(reply, address):
            assert self._session is not None
            self.send(self._session)
            return
        results: Results | None = None
        failure: Exception | None = error
        if error is None:
            try:
                # Of a call that is over, too: its pointers are released when they are collected.
                results = self._calls.results(reply, address, self.method)
            except Exception as fault:  # noqa: BLE001 - whatever it is, the caller gets it
                failure = fault
        self._end(results, failure)

    def _end(self, results: Results | None, error: Exception | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self.method in _POINTER_METHODS:
            self._calls.held.end_call(self.pointer.address)
        self._done(results, error)
