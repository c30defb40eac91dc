"""Everything that can go wrong between a client and a circuit, as one tree.

Callers catch :class:`CircuitError` for all of it, or a leaf for the one case that they can act on. Every message
reports what was tried, where, and what came back, in one line: what others wrote into it is made printable.
"""

from __future__ import annotations

from circuit.display import printable


class CircuitError(Exception):
    """Root of all errors of this package."""

    def __str__(self) -> str:
        return printable(super().__str__())


class AddressError(CircuitError, ValueError):
    """A circuit address does not parse."""


class CannotConnect(CircuitError):
    """No server could be reached at an address: refused, unreachable, or silent."""


class Refused(CircuitError):
    """A server answered and refuses us: it is another process (PID or worker), or our key is wrong or missing."""


class RemoteFault(CircuitError):
    """The other side broke the protocol: a malformed frame, value or greeting. Its connection is closed."""


class ConnectionLost(CircuitError):
    """An established connection ended. Raised as :class:`ClientLost` or :class:`HostLost` once we know which."""


class ClientLost(ConnectionLost):
    """The dialed server is gone: the client and all its anchors are useless now."""


class HostLost(ConnectionLost):
    """One host is gone, the dialed server still answers: the client still works with the other hosts."""


class TooMuchOutput(CircuitError):
    """A stream held more than its reader takes; the rest is not collected."""


class NoLifeline(CircuitError):
    """A server could not dial back to this client, or lost that connection: the pointers it handed out are invalid."""


class CallFailed(CircuitError):
    """The server received a call and answered with an error."""


class ElementExists(CallFailed):
    """The anchor already has an element."""


class ExecFailed(CallFailed):
    """The host could not start the command: the program or directory does not exist, or permission is missing."""


class NotSupported(CircuitError):
    """This client can only list and scrub elements of this kind."""


class TimedOut(CircuitError, TimeoutError):
    """A call or wait reached its time limit. Whatever it was waiting for may still happen."""


class Closed(CircuitError):
    """The client, stream or element was closed on this side before the call."""


class GobError(ValueError):
    """Bytes are not valid gob, or a value has no gob form. Connections report the former as :class:`RemoteFault`."""
