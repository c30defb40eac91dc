"""Which servers have lost their lifeline to one client, and what that means for its pointers and calls."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable

from circuit.errors import NoLifeline
from circuit.net.dialed import DialedSessions
from circuit.net.futures import mark_retrieved
from circuit.net.lifeline import Lifelines
from circuit.net.session import Session, Settle
from circuit.wire.address import Address
from circuit.wire.auth import SharedKey
from circuit.wire.messages import LOCUS, DialMsg

LIFELINE_LIMIT_S = 3.0
"""How long a server may take to dial back after its first pointer. While a dial-back hangs in a firewall the server
dials nobody else and its peers delist it after about 6 s, so the client hangs up before that."""


class LifelineWatch:
    """The lifelines of one client; on the loop."""

    def __init__(
        self, own: Address, shared_key: SharedKey | None, dialed: DialedSessions, in_use: Callable[[str], bool]
    ) -> None:
        """:param in_use: whether the client holds a pointer of a server."""
        self.port = 0
        """Where the client listens for lifelines."""
        self._lifelines = Lifelines(own.worker, own.pid, shared_key, self._changed, dialed.__contains__)
        self._dialed = dialed
        self._in_use = in_use
        self._losses: collections.Counter[str] = collections.Counter()
        self._expected: set[str] = set()
        self._closed = False

    async def listen(self, where: tuple[str, int] | None) -> None:
        """Listen for lifelines; see :meth:`Lifelines.listen`."""
        self.port = await self._lifelines.listen(where)

    async def close(self) -> None:
        """End every lifeline."""
        self._closed = True
        await self._lifelines.close()

    def holds(self, address: Address) -> bool:
        """Whether the server at ``address`` holds a lifeline to this client."""
        return self._lifelines.holds(address.worker)

    def losses(self, address: Address) -> int:
        """How often the server at ``address`` has lost its lifeline, and with it the pointers that it handed out."""
        return self._losses[address.worker]

    def check(self, address: Address, losses: int) -> None:
        """Check that the server has not lost its lifeline, a turn of the loop after the replies that are in question.

        Without one it closes the client's streams, so that what looks like an end is none. The loop may have taken
        these replies before it saw the end of the lifeline.

        :param losses: how many lifelines it had lost before.
        :raises NoLifeline: it has.
        """
        if self._losses[address.worker] != losses or self._lifelines.is_losing(address.worker):
            raise self._no_lifeline(address, "has lost its connection back meanwhile")

    def expect(self, address: Address) -> None:
        """Expect a lifeline of a server that just handed out a pointer."""
        worker = address.worker
        if not self._lifelines.holds(worker) and worker not in self._expected:
            self._expected.add(worker)
            asyncio.get_running_loop().call_later(LIFELINE_LIMIT_S, self._give_up_expected, address)

    def check_known(self, address: Address) -> None:
        """Check that a server which does not know a pointer has not forgotten it with its lifeline.

        :raises NoLifeline: it has.
        """
        worker = address.worker
        if not self._lifelines.holds(worker):
            # One that ended before it said hello is noticed only here.
            self._losses[worker] += 1
            raise self._no_lifeline(address, "has forgotten this client's pointers, having no connection back")
        if self._losses[worker]:
            raise NoLifeline(
                f"{address} has forgotten what it handed out before its connection back ended: look it up again"
            )

    def _changed(self, worker: str) -> None:
        if not self._lifelines.holds(worker):
            self._losses[worker] += 1
            session = self._dialed.find(worker)
            if not self._closed and session is not None:
                task = asyncio.get_running_loop().create_task(self._fail(session, session.at_risk()))
                task.add_done_callback(mark_retrieved)

    async def _fail(self, session: Session, at_risk: list[Settle]) -> None:
        """Fail the calls that were under way when a lifeline ended, if the server is there: it may never answer them.

        If it is not, the end of its connection tells more.
        """
        await session.writable()
        await session.request(DialMsg(LOCUS))
        for settle in at_risk:
            settle(None, self._no_lifeline(session.address, "has lost its connection back meanwhile"))

    def _give_up_expected(self, address: Address) -> None:
        worker = address.worker
        self._expected.discard(worker)
        if self._closed or self._lifelines.holds(worker) or not self._in_use(worker):
            return
        if (session := self._dialed.find(worker)) is not None:
            session.close(self._no_lifeline(address, f"has made no connection back within {LIFELINE_LIMIT_S:g} s"))

    def _no_lifeline(self, address: Address, what: str) -> NoLifeline:
        return NoLifeline(
            f"no lifeline: {address} {what}; let it reach port {self.port} of this machine,"
            " or listen on one that it can"
        )
