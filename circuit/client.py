"""The client: dial any server of a circuit, see all its hosts as anchors, and start processes on them."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from circuit.display import Hidden
from circuit.elements.chan import Chan
from circuit.elements.element import Element, call, check, expect
from circuit.elements.proc import Cmd, Proc, to_value
from circuit.elements.server import Server
from circuit.elements.subscription import Subscription
from circuit.errors import CannotConnect, CircuitError, ElementExists, HostLost
from circuit.net.held import Handle
from circuit.net.runtime import Runtime
from circuit.wire.address import Address, parse_address
from circuit.wire.auth import SharedKey, Stream
from circuit.wire.messages import ELEMENT_EXISTS, error_text, host_name


def dial(
    addr: str | Sequence[str],
    hmac_key: bytes | Hidden | None = None,
    timeout: float = 10.0,
    listen: tuple[str, int] | None = None,
) -> Client:
    """Connect to a circuit.

    :param addr: what a server prints when it starts, ``circuit://HOST:PORT/PID/WORKERID``; several are tried in
        turn.
    :param hmac_key: the decoded key of a circuit that runs with one; hidden from whatever prints this frame.
    :param timeout: seconds, for the dial as a whole and then for each call without a limit of its own.
    :param listen: IP and port that all servers can dial back to; None for any port of every interface. A port of 0
        means any.
    :raises AddressError: an address does not parse.
    :raises CannotConnect: no server answers at any of the addresses.
    :raises Refused: another process listens there now, or the key is wrong or missing.
    """
    hmac_key = None if hmac_key is None else Hidden(hmac_key)
    addresses = [parse_address(a) for a in ([addr] if isinstance(addr, str) else addr)]
    if not addresses:
        raise CannotConnect("no circuit address was given")
    shared_key = SharedKey(hmac_key, _rc4) if hmac_key is not None else None
    failures: list[CircuitError] = []
    for address in addresses:
        runtime = Runtime(shared_key, timeout)
        try:
            limit = timeout / len(addresses)
            # A little longer than the dial's own limit, whose error says more.
            runtime.run(runtime.start(address, listen, limit), f"dial {address}", limit + 0.5)
            return Client(runtime, address)
        except CircuitError as error:
            runtime.close()
            failures.append(error)
        except BaseException:
            runtime.close()
            raise
    if len(failures) == 1:
        raise failures[0]
    raise CannotConnect("; ".join(str(failure) for failure in failures))


def _rc4(key: bytes) -> Stream:
    # Imported here: a host that runs the node imports this package, and has only the standard library.
    from Crypto.Cipher import ARC4

    return ARC4.new(key)


class Client:
    """A connection to a circuit, and the root of its anchors. Safe to use from several threads."""

    def __init__(self, runtime: Runtime, address: Address) -> None:
        self._runtime = runtime
        self._address = address

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<circuit client of {self._address}>"

    @property
    def address(self) -> str:
        """The address of the dialed server."""
        return str(self._address)

    def view(self) -> dict[str, Anchor]:
        """Return the hosts that are live now, by name.

        A killed host is listed for about a second more, a new one within two.
        """
        return self._runtime.run(self._view(), "view /")

    def walk(self, *names: str) -> Anchor:
        """Return the anchor at ``/names[0]/names[1]/...``; the first is a host's name. Walking makes missing anchors.

        :raises HostLost: the host does not exist.
        """
        return self._runtime.run(self._walk(names), f"walk {'/'.join(('', *names))}")

    def close(self) -> None:
        """Leave the circuit. The servers then forget this client's pointers, and close its streams."""
        self._runtime.close()

    async def _view(self) -> dict[str, Anchor]:
        anchors = {}
        for peer in await self._runtime.peers():
            handle = expect(self._runtime.calls.handle(peer.term, self._address), Handle, f"view / of {self._address}")
            name = host_name(peer.kin.id)
            anchors[name] = Anchor(self._runtime, (name,), handle)
        return anchors

    async def _walk(self, names: tuple[str, ...]) -> Anchor:
        if not names:
            raise ValueError("the root is the client itself: name a host")
        hosts = await self._view()
        if names[0] not in hosts:
            raise HostLost(f"there is no host {names[0]}; live are: {', '.join(sorted(hosts)) or 'none'}")
        return await hosts[names[0]]._walk(names[1:])


class Anchor:
    """A place in the circuit's tree. It has any number of sub-anchors, and at most one element.

    An anchor that no client holds, and that has neither element nor sub-anchors, disappears.
    """

    def __init__(self, runtime: Runtime, names: tuple[str, ...], handle: Handle) -> None:
        self._runtime = runtime
        self._names = names
        self._handle = handle

    def __repr__(self) -> str:
        return f"<anchor {self.path}>"

    @property
    def path(self) -> str:
        """The path from the root, such as ``/X5f2a.../nodejs``."""
        return "/" + "/".join(self._names)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self._names[-1]

    @property
    def host(self) -> str:
        """The name of the host that it is on: the first part of the path."""
        return self._names[0]

    @property
    def address(self) -> str:
        """The address of the host's circuit server, which can be dialed, too."""
        return str(self._handle.pointer.address)

    def view(self) -> dict[str, Anchor]:
        """Return the sub-anchors, by name."""
        return self._runtime.run(self._view(), f"view {self.path}")

    def walk(self, *names: str) -> Anchor:
        """Return the anchor at this path below; make it if it does not exist."""
        return self._runtime.run(self._walk(names), f"walk {'/'.join((self.path, *names))}")

    def get(self) -> Element | None:
        """Return the element, or None: a :class:`Proc`, :class:`Chan`, :class:`Server` or :class:`Subscription`.

        One of another kind is a plain :class:`Element`.
        """
        return self._runtime.run(self._get(), f"get {self.path}")

    def make_proc(self, cmd: Cmd) -> Proc:
        """Start a process as this anchor's element.

        Does not fail if the command cannot be started: :meth:`Proc.peek`, ``wait`` and ``communicate`` report that.

        :raises ElementExists: the anchor has an element. Of several concurrent clients, only one succeeds.
        """
        return self._runtime.run(self._make_proc(cmd), f"make proc {self.path}")

    def make_chan(self, capacity: int = 0) -> Chan:
        """Make a channel that holds ``capacity`` messages as this anchor's element.

        :raises ElementExists: the anchor has an element.
        """
        return self._runtime.run(self._make_chan(capacity), f"make chan {self.path}")

    def make_on_join(self) -> Subscription:
        """Make a subscription to hosts that join as this anchor's element.

        :raises ElementExists: the anchor has an element.
        """
        return self._runtime.run(self._subscribe("@join"), f"make @join {self.path}")

    def make_on_leave(self) -> Subscription:
        """Make a subscription to hosts that leave as this anchor's element.

        :raises ElementExists: the anchor has an element.
        """
        return self._runtime.run(self._subscribe("@leave"), f"make @leave {self.path}")

    def scrub(self) -> None:
        """Remove the element, if there is one. A running process keeps running, and can no longer be found."""
        self._runtime.run(self._call("Scrub"), f"scrub {self.path}")

    def release(self) -> None:
        """Let go of the anchor. Happens by itself when this object is collected."""
        self._handle.release()

    # on the loop

    async def holds(self, element: Element) -> bool:
        """Whether ``element`` is still this anchor's."""
        found = await self._get()
        if found is None:
            return False
        found.release()
        return found.same(element)

    async def _view(self) -> dict[str, Anchor]:
        what = f"view {self.path}"
        view = expect((await self._call("View"))[0], dict, what)
        return {
            expect(name, str, what): Anchor(self._runtime, (*self._names, name), expect(handle, Handle, what))
            for name, handle in view.items()
        }

    async def _walk(self, names: tuple[str, ...]) -> Anchor:
        if not names:
            return self
        if any(not name or "/" in name for name in names):
            raise ValueError(f"no anchor name may be empty or hold a slash: {names!r}")
        handle = (await self._call("Walk", list(names)))[0]
        return Anchor(self._runtime, (*self._names, *names), expect(handle, Handle, f"walk from {self.path}"))

    async def _get(self) -> Element | None:
        kind, handle = await self._call("Get")
        name = expect(kind, str, f"get {self.path}")
        return None if handle is None else self._element(name, expect(handle, Handle, f"get {self.path}"))

    def _element(self, kind: str, handle: Handle) -> Element:
        if kind in ("@join", "@leave"):
            return Subscription(self._runtime, self, kind, handle)
        typed: dict[str, type[Proc] | type[Chan] | type[Server]] = {"proc": Proc, "chan": Chan, "server": Server}
        if kind in typed:
            return typed[kind](self._runtime, self, handle)
        return Element(self._runtime, self, kind, handle)

    async def _make_proc(self, cmd: Cmd) -> Proc:
        return Proc(self._runtime, self, await self._make("proc", to_value(cmd)))

    async def _make_chan(self, capacity: int) -> Chan:
        if capacity < 0:
            raise ValueError(f"a channel's capacity cannot be {capacity}")
        return Chan(self._runtime, self, await self._make("chan", capacity))

    async def _subscribe(self, kind: str) -> Subscription:
        return Subscription(self._runtime, self, kind, await self._make(kind, ""))

    async def _make(self, kind: str, argument: object) -> Handle:
        what = f"make {kind} {self.path}"
        handle, error = await self._call("Make", kind, argument)
        if error is not None and error_text(error) == ELEMENT_EXISTS:
            raise ElementExists(f"{what}: {ELEMENT_EXISTS}")
        check(error, what)
        return expect(handle, Handle, what)

    async def _call(self, method: str, *arguments: object) -> tuple[object, ...]:
        return await call(self._runtime, self._handle, self.path, method, *arguments)
