"""The objects that clients hold pointers to, and the lifelines that show when a client is gone."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Final

from circuit.errors import CannotConnect, CircuitError
from circuit.net.session import Session
from circuit.wire.address import Address
from circuit.wire.auth import SharedKey
from circuit.wire.messages import TYPES, Addr, DontReplyMsg, PermPtrMsg, PtrMsg

DIAL_BACK_LIMIT_S = 10.0
"""How long a client may leave its dial-back unanswered before its pointers are forgotten."""

NODE_TYPE: Final = "node.XNode"
"""The type that nodes of this package call one another through. No Go program ever gets a pointer to it."""

_TYPE_IDS: Final = {**TYPES, NODE_TYPE: 0x6E6F6465}

_log = logging.getLogger(__name__)


class Exportable:
    """An object that clients can hold pointers to."""

    type_name: ClassVar[str]
    """Its Go type, as clients see it."""

    def released(self) -> None:
        """A client that held a pointer to this let go of it, or is gone."""


class _Importer:
    """What one client holds."""

    def __init__(self) -> None:
        self.objects: dict[int, Exportable] = {}
        self.ids: dict[Exportable, int] = {}
        self.lifeline: asyncio.Task[None] | None = None


class Exports:
    """The pointers of all clients.

    The first ordinary pointer that goes to a client makes the node dial it back and keep that connection. When it
    cannot be made, or ends, every ordinary pointer of the client is forgotten.
    """

    def __init__(
        self, source: Addr, shared_key: SharedKey | None, dial_back: bool, forgotten: Callable[[str], None]
    ) -> None:
        """:param forgotten: gets the worker ID of each client whose pointers are forgotten, before they are."""
        self._source = source
        self._shared_key = shared_key
        self._dial_back = dial_back
        self._forgotten = forgotten
        self._closed = False
        self._permanent: dict[int, Exportable] = {}
        self._permanent_ids: dict[Exportable, int] = {}
        self._ordinary: dict[int, Exportable] = {}
        self._importers: dict[str, _Importer] = {}

    @property
    def pointers(self) -> int:
        """How many ordinary pointers clients hold."""
        return len(self._ordinary)

    @property
    def lifelines(self) -> int:
        """How many clients are being, or have been, dialed back."""
        return sum(importer.lifeline is not None for importer in self._importers.values())

    def permanent(self, target: Exportable) -> PermPtrMsg:
        """Return a pointer that is valid as long as the node."""
        number = self._permanent_ids.get(target)
        if number is None:
            number = self._permanent_ids[target] = self._choose_id()
            self._permanent[number] = target
        return PermPtrMsg(number, _TYPE_IDS[target.type_name])

    def ordinary(self, target: Exportable, client: Address) -> PtrMsg:
        """Return a pointer for one client; the same object gives the same pointer each time."""
        importer = self._importers.setdefault(client.worker, _Importer())
        number = importer.ids.get(target)
        if number is None:
            number = importer.ids[target] = self._choose_id()
            importer.objects[number] = self._ordinary[number] = target
        if importer.lifeline is None and self._dial_back and not self._closed:
            importer.lifeline = asyncio.get_running_loop().create_task(self._keep(client, importer))
        return PtrMsg(number, _TYPE_IDS[target.type_name])

    def find(self, number: int) -> Exportable | None:
        """Return the object behind a pointer."""
        return self._ordinary.get(number) or self._permanent.get(number)

    def drop(self, number: int, client: Address) -> None:
        """Drop a client's pointer. One that it was not given is ignored."""
        importer = self._importers.get(client.worker)
        target = importer.objects.pop(number, None) if importer is not None else None
        if importer is not None and target is not None:
            del importer.ids[target]
            del self._ordinary[number]
            target.released()

    def close(self) -> None:
        """End every lifeline."""
        # Cancelling is not enough: asyncio.wait_for swallows a cancellation that meets a result.
        self._closed = True
        for importer in self._importers.values():
            if importer.lifeline is not None:
                importer.lifeline.cancel()

    async def _keep(self, client: Address, importer: _Importer) -> None:
        session = None
        try:
            if not 0 < client.port < 1 << 16:
                raise CannotConnect(f"{client} does not have a valid port")
            session = await Session.dial(client, self._source, self._shared_key, DIAL_BACK_LIMIT_S)
            if not self._closed:
                # Before anything is answered that the client asks for when it has seen the end, too.
                session.on_end = partial(self._forget, client, importer)
                session.post(DontReplyMsg())
                # Shielded: the future is the session's, which still completes it when this task is cancelled.
                await asyncio.shield(session.ended)
        except CircuitError as error:
            _log.info("no lifeline: %s", error)
        finally:
            if session is not None:
                session.close()
            self._forget(client, importer)

    def _forget(self, client: Address, importer: _Importer) -> None:
        if self._importers.get(client.worker) is not importer:
            return
        self._forgotten(client.worker)
        del self._importers[client.worker]
        if importer.objects:
            _log.info("client %s is gone, and held %d pointers", client, len(importer.objects))
        for number, target in importer.objects.items():
            del self._ordinary[number]
            target.released()

    def _choose_id(self) -> int:
        while not (number := secrets.randbits(63)) or self.find(number) is not None:
            pass
        return number
