"""How nodes find one another, and notice that one is gone.

Each node keeps one connection of its own to each other node, and pings it there. A ping, called Meet, introduces its
sender, and its answer lists all nodes that the receiver can reach; each node that is new in either is pinged as well.
So any two nodes that meet end up with the same circuit, also when many join concurrently. A peer is listed as long as
its pings are answered in time. A lost peer is dialed again for some minutes: when the network between two nodes fails,
each gives the other up, and no third node may be left to introduce them again.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, Final

from circuit.errors import CannotConnect, CircuitError, Refused, RemoteFault
from circuit.net.session import Session, from_wire, to_wire
from circuit.node.subscriptions import Topic
from circuit.wire.address import Address
from circuit.wire.auth import SharedKey
from circuit.wire.gob import Named
from circuit.wire.messages import (
    PEERS,
    CallMsg,
    DialMsg,
    Kin,
    Peer,
    PermPtrMsg,
    PermPtrPtrMsg,
    ReturnMsg,
    error_text,
    func_id,
    host_name,
)

SERVICE: Final = "node"
"""The service that nodes dial. A Go server does not have it."""

MEET: Final = "Meet"
"""The only method of that service: takes the caller's own entry, returns those of all live nodes."""

PING_S = 1.0
PING_LIMIT_S = 3.0
"""How often a peer is pinged, and how long it may take to answer before it is given up."""

JOIN_LIMIT_S = 10.0
"""How long it may take until everyone lists a node that joins."""

MAX_PEERS = 1000
"""How many peers a node pings, at most."""

_FIRST_PAUSE_S = 0.02
_COOL_DOWN_S = 2.0
"""How long a lost peer is not dialed again. Nodes that notice later may still name it meanwhile."""

SEEK_S = 5.0
SEEK_FOR_S = 600.0
"""How often a lost peer is dialed again, and for how long, unless another answers at its address."""

_log = logging.getLogger(__name__)


@dataclass
class _Known:
    """A peer that is pinged."""

    peer: Peer
    task: asyncio.Task[None]
    listed: bool = False
    mutual: bool = False
    """Whether it lists us, too."""


class Membership:
    """The node's view of its circuit."""

    def __init__(self, address: Address, own: Peer, shared_key: SharedKey | None) -> None:
        self.own = own
        """The node's entry, as its own clients get it."""
        self.arrivals = Topic("join", self._paths)
        self.departures = Topic("leave", tuple)
        self._address = address
        self._source = to_wire(address)
        self._shared_key = shared_key
        self._entry = Peer(Kin(self._abroad(own.kin.pointer), own.kin.id), self._abroad(own.term))
        self._known: dict[str, _Known] = {}
        self._given_up: dict[str, float] = {}
        self._sought: dict[str, float] = {}
        """Until when each lost peer is dialed again."""
        self._changed = asyncio.Event()
        self._closed = False

    def listed(self) -> Named:
        """Return the answer to GetPeers: this node, and the others that are live."""
        return Named(PEERS.name, PEERS, (self.own, *self._live()))

    def count(self) -> int:
        """Return how many nodes :meth:`listed` lists."""
        return 1 + len(self._live())

    def meet(self, newcomer: object) -> Named:
        """Answer a ping."""
        self._learn(newcomer)
        return Named(PEERS.name, PEERS, (self._entry, *self._live()))

    async def join(self, target: Address) -> None:
        """Join the circuit of the node at ``target``; return when the nodes that can be reached list this one.

        :raises CircuitError: the node does not exist, or cannot reach this one.
        """
        if target == self._address:
            return
        deadline = asyncio.get_running_loop().time() + JOIN_LIMIT_S
        # Wait for it below, even if it was lost before.
        self._sought.pop(target.worker, None)
        session = await Session.dial(target, self._source, self._shared_key, JOIN_LIMIT_S)
        try:
            service = await self._service(session)
            for peer in await self._ping(session, service):
                self._learn(peer)
        except asyncio.TimeoutError:
            raise CannotConnect(f"cannot join {target}: no answer within {PING_LIMIT_S:g} s") from None
        finally:
            session.close()
        await self._settle(deadline)
        found = self._known.get(target.worker)
        if found is None or not found.mutual:
            raise CannotConnect(f"cannot join {target}: it has not reached {self._address} within {JOIN_LIMIT_S:g} s")

    def close(self) -> None:
        """Leave."""
        # Cancelling is not enough: asyncio.wait_for swallows a cancellation that meets a result.
        self._closed = True
        self._changed.set()
        for known in self._known.values():
            known.task.cancel()

    async def _settle(self, deadline: float) -> None:
        while not (
            self._closed or all(known.mutual for name, known in self._known.items() if name not in self._sought)
        ):
            left = deadline - asyncio.get_running_loop().time()
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except asyncio.TimeoutError:
                return

    def _live(self) -> list[Peer]:
        return sorted((known.peer for known in self._known.values() if known.listed), key=lambda peer: peer.kin.id)

    def _paths(self) -> list[str]:
        return [_path(peer) for peer in (self.own, *self._live())]

    def _abroad(self, pointer: object) -> PermPtrPtrMsg:
        assert isinstance(pointer, PermPtrMsg)
        return PermPtrPtrMsg(pointer.id, pointer.type_id, self._source)

    def _learn(self, value: object) -> None:
        """Start to ping a peer, unless it is known."""
        address = _address(value, self._address.host)
        assert isinstance(value, Peer)
        worker, now = address.worker, asyncio.get_running_loop().time()
        if self._closed or worker == self._address.worker or worker in self._known or len(self._known) >= MAX_PEERS:
            return
        self._given_up = {name: since for name, since in self._given_up.items() if now - since < _COOL_DOWN_S}
        if worker not in self._given_up:
            task = asyncio.get_running_loop().create_task(self._attend(address))
            self._known[worker] = _Known(value, task)

    async def _attend(self, address: Address) -> None:
        known = self._known[address.worker]
        name, session, reason = host_name(known.peer.kin.id), None, "this node leaves"
        try:
            session = await Session.dial(address, self._source, self._shared_key, PING_LIMIT_S)
            service = await self._service(session)
            pause = _FIRST_PAUSE_S
            while not (self._closed or session.ended.done()):
                answer = await self._ping(session, service)
                if not known.listed:
                    _log.info("peer %s at %s is there", name, address)
                    known.listed = True
                    self._sought.pop(address.worker, None)
                    self.arrivals.publish(_path(known.peer))
                known.mutual = any(_address(peer, self._address.host).worker == self._address.worker for peer in answer)
                self._changed.set()
                for peer in answer:
                    self._learn(peer)
                # Until it lists us as well, ping again soon: a joining node waits for that.
                pause = PING_S if known.mutual else min(2 * pause, PING_S)
                await asyncio.wait((session.ended,), timeout=pause)
            if session.ended.done():
                reason = str(session.ended.result())
        except Refused as error:
            reason = str(error)
            self._sought.pop(address.worker, None)
        except CircuitError as error:
            reason = str(error)
        except asyncio.TimeoutError:
            reason = f"no answer within {PING_LIMIT_S:g} s"
        finally:
            del self._known[address.worker]
            self._given_up[address.worker] = asyncio.get_running_loop().time()
            self._changed.set()
            if session is not None:
                session.close()
            if address.worker not in self._sought:
                _log.info("peer %s at %s is %s: %s", name, address, "gone" if known.listed else "not reached", reason)
            if not self._closed:
                self._lost(known, address)

    def _lost(self, known: _Known, address: Address) -> None:
        """Handle the loss of a peer; if it was listed, dial it again later."""
        loop = asyncio.get_running_loop()
        if known.listed:
            self.departures.publish(_path(known.peer))
            if len(self._sought) < MAX_PEERS:
                self._sought[address.worker] = loop.time() + SEEK_FOR_S
        until = self._sought.get(address.worker)
        if until is None:
            return
        if loop.time() < until:
            loop.call_later(SEEK_S, self._learn, known.peer)
        else:
            del self._sought[address.worker]

    async def _service(self, session: Session) -> int:
        results = await self._request(session, DialMsg(SERVICE))
        if not results or not isinstance(results[0], PermPtrMsg):
            raise CannotConnect(
                f"joining a Go circuit server is not supported: only clients can talk to {session.address}"
            )
        return results[0].id

    async def _ping(self, session: Session, service: int) -> tuple[object, ...]:
        results = await self._request(session, CallMsg(service, func_id(MEET, "", ""), (self._entry,)))
        if not results or not isinstance(results[0], tuple):
            raise RemoteFault(f"{session.address} answered a ping with {results!r}"[:300])
        return results[0]

    async def _request(self, session: Session, payload: object) -> tuple[Any, ...]:
        reply = await asyncio.wait_for(session.request(payload), PING_LIMIT_S)
        if not isinstance(reply, ReturnMsg):
            raise RemoteFault(f"{session.address} answered with {reply!r}"[:300])
        if reply.error is not None:
            raise RemoteFault(f"{session.address} answered with: {error_text(reply.error)}"[:300])
        return reply.results


def _path(peer: Peer) -> str:
    return f"/{host_name(peer.kin.id)}"


def _address(value: object, own: str) -> Address:
    """Return the address of a peer that another node named.

    :param own: this node's IP address; the nodes of a circuit are on one machine, or none is named by its loopback.
    :raises RemoteFault: ``value`` is not a peer with an address.
    """
    if not isinstance(value, Peer) or not isinstance(value.term, PermPtrPtrMsg):
        raise RemoteFault(f"not a peer: {value!r}"[:200])
    return from_wire(value.term.source, own)
