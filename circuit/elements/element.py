"""Elements: what an anchor can hold, whatever its kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from circuit.errors import CallFailed, Closed, NotSupported, RemoteFault
from circuit.net.calls import Done
from circuit.net.held import Handle
from circuit.net.runtime import Runtime
from circuit.wire.messages import error_text, is_error

T = TypeVar("T")


class Place(Protocol):
    """The anchor of an element, without the methods that make elements.

    :class:`circuit.Anchor` imports the kinds of elements, so they cannot import it.
    """

    @property
    def path(self) -> str:
        """The path from the root, such as ``/X5f2a.../nodejs``."""

    @property
    def name(self) -> str:
        """The last part of the path."""

    @property
    def host(self) -> str:
        """The name of the host that it is on: the first part of the path."""

    @property
    def address(self) -> str:
        """The address of the host's circuit server."""

    def view(self) -> Mapping[str, Place]:
        """Return the sub-anchors, by name."""

    def walk(self, *names: str) -> Place:
        """Return the anchor at this path below."""

    def get(self) -> Element | None:
        """Return the element that is here now."""

    def scrub(self) -> None:
        """Remove the element, if there is one."""

    def release(self) -> None:
        """Let go of the anchor."""

    async def holds(self, element: Element) -> bool:
        """Whether ``element`` is still here; on the loop."""


class Element:
    """What an anchor holds; :attr:`kind` is the server's name for it.

    An element without a class of its own, such as a container or a name server, can only be listed and scrubbed.
    """

    def __init__(self, runtime: Runtime, anchor: Place, kind: str, handle: Handle) -> None:
        self.kind = kind
        self.anchor = anchor
        self._runtime = runtime
        self._handle = handle

    def __repr__(self) -> str:
        return f"<{self.kind} at {self.anchor.path}>"

    def describe(self) -> dict[str, object]:
        """Return the state of the element, as plain values.

        :raises NotSupported: this client knows only the name of the kind.
        """
        raise NotSupported(
            f"{self.anchor.path}: elements of kind {self.kind} are not supported, only listed and scrubbed"
        )

    def scrub(self) -> None:
        """Remove the element from its anchor. A running process keeps running, and can no longer be found."""
        self.anchor.scrub()

    def release(self) -> None:
        """Let go of the element, which stays where it is. Happens by itself when this object is collected."""
        self._handle.release()

    def same(self, other: Element) -> bool:
        """Whether both are one element of one server."""
        return self._handle.pointer == other._handle.pointer

    # on the loop

    async def _call(self, method: str, *arguments: object) -> tuple[Any, ...]:
        return await call(self._runtime, self._handle, self.anchor.path, method, *arguments)


async def call(runtime: Runtime, handle: Handle, what: str, method: str, *arguments: object) -> tuple[Any, ...]:
    """Call a method through a handle.

    :param what: what the handle leads to, for the message.
    :raises Closed: the handle was released.
    """
    if handle.released:
        raise Closed(f"{method} of {what}: it was released")
    return await runtime.call(handle.pointer, method, *arguments)


def submit(runtime: Runtime, handle: Handle, what: str, method: str, arguments: tuple[object, ...], done: Done) -> None:
    """Call a method through a handle at once; ``done`` gets the results, or what :func:`call` raises.

    The end of the connection comes as it is: see :meth:`circuit.net.runtime.Runtime.diagnosed`.
    """
    if handle.released:
        done(None, Closed(f"{method} of {what}: it was released"))
    else:
        runtime.calls.submit(handle.pointer, method, arguments, done)


def check(error: object, what: str) -> None:
    """Raise :class:`CallFailed` for an error that a method returned.

    :param what: what was done, to which anchor.
    :raises RemoteFault: ``error`` is not an error.
    """
    if error is None:
        return
    if not is_error(error):
        raise RemoteFault(f"{what} was answered with the error {error!r}"[:300])
    raise CallFailed(f"{what}: {error_text(error)}")


def expect(value: object, kind: type[T], what: str) -> T:
    """Return ``value``, which must be of this class.

    :raises RemoteFault: it is not.
    """
    if not isinstance(value, kind):
        raise RemoteFault(f"{what} was answered with {value!r}"[:300])
    return value
