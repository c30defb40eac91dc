"""The server element: what a host's own anchor holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from circuit.elements.element import Element, Place, check, expect
from circuit.elements.streams import ReadStream
from circuit.errors import GobError, RemoteFault
from circuit.net.held import Handle
from circuit.net.runtime import Runtime
from circuit.wire.messages import ServerStatValue, decode_time


@dataclass(frozen=True)
class ServerStat:
    """A circuit server: its address, and since when it is part of the circuit (UTC)."""

    address: str
    joined: datetime


class Server(Element):
    """The circuit server of a host."""

    def __init__(self, runtime: Runtime, anchor: Place, handle: Handle) -> None:
        super().__init__(runtime, anchor, "server", handle)

    def peek(self) -> ServerStat:
        """Return its address, and since when it is part of the circuit."""
        return self._runtime.run(self._peek(), f"peek {self.anchor.path}")

    def describe(self) -> dict[str, object]:
        """Return the same as :meth:`peek`, as plain values."""
        stat = self.peek()
        return {"kind": self.kind, "address": stat.address, "joined": stat.joined.isoformat()}

    def rejoin(self, address: str) -> None:
        """Make it join the circuit of the server at ``address``.

        :raises CallFailed: it could not join.
        """
        self._runtime.run(self._rejoin(address), f"rejoin {self.anchor.path} to {address}")

    def profile(self, name: str, timeout: float | None = None) -> bytes:
        """Return a profile of the server's process, by Go's name for it: goroutine, heap, threadcreate, block.

        :raises CallFailed: the profile does not exist.
        """
        return self._runtime.run(self._profile(name), f"profile {name} of {self.anchor.path}", timeout)

    # on the loop

    async def _peek(self) -> ServerStat:
        what = f"peek {self.anchor.path}"
        value = expect((await self._call("Peek"))[0], ServerStatValue, what)
        try:
            if value.joined is not None:
                return ServerStat(value.addr, decode_time(value.joined))
        except GobError as error:
            raise RemoteFault(f"{what}: {error}") from None
        raise RemoteFault(f"{what} was answered without a time")

    async def _rejoin(self, address: str) -> None:
        check((await self._call("Rejoin", address))[0], f"rejoin {self.anchor.path} to {address}")

    async def _profile(self, name: str) -> bytes:
        what = f"profile {name} of {self.anchor.path}"
        handle, error = await self._call("Profile", name)
        check(error, what)
        stream = ReadStream(self._runtime, what, expect(handle, Handle, what))
        try:
            await stream.drain()
        finally:
            stream.release()
        return bytes(stream.collected)
