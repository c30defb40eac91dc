"""The errors of a deployment. The loss of a host or a connection is a :class:`circuit.CircuitError`."""

from __future__ import annotations

from circuit import printable
from circuit_harness.secret import mask

_SHOWN_BYTES = 4000
_SHOWN_LINES = 20
_SHOWN_COMMAND = 500
"""How many characters of a command a message has; the log of commands has all of it."""

_MASKED_BYTES = 1000
"""The bytes in front of the shown ones that are masked with them: no form of a secret's piece is longer than this."""


class DeployError(Exception):
    """Root of this package's errors. A message has what was tried, on which host, what came back, what to do next.

    It may have several lines; unprintable characters, which may be a host's, are made visible.
    """

    def __str__(self) -> str:
        return printable(super().__str__(), keep="\n\t")


class NoHosts(DeployError):
    """The circuit has no live host."""


class Conflict(DeployError):
    """A host already has something that a deployment would destroy or collide with. The run changed nothing."""


class Unfit(DeployError):
    """A host lacks something that a deployment needs: a program, a right, a usable answer. The run changed nothing."""


class NotReady(DeployError):
    """A started service was not ready in time, or died. The message shows its last known state."""


class Occupied(DeployError):
    """Another run holds the leases on the hosts, and did not release them in time. This run changed nothing."""


class Lost(DeployError):
    """A record on a host cannot be read, or the lease on the host has ended. The message has what to do."""


class LeaseLost(Lost):
    """The lease on a host has ended. Another run may use the host now, so this run changes nothing more there."""


class Stopped(DeployError):
    """The deployment was stopped before it was complete."""


class CommandFailed(DeployError):
    """A shell command on a host ended with a status other than 0.

    ``host`` is the host's anchor name, ``exit_status`` 128 + n for a death by signal n; both streams are bytes.
    """

    def __init__(self, host: str, command: str, exit_status: int, stdout: bytes, stderr: bytes) -> None:
        super().__init__(_describe(host, command, f"exit status {exit_status}", stdout, stderr))
        self.host = host
        self.command = command
        self.exit_status = exit_status
        self.stdout = stdout
        self.stderr = stderr

    @property
    def said(self) -> str:
        """The reason in one line: the command's standard error, or its exit status where that is empty."""
        return " ".join(tail(self.stderr).split()) or f"exit status {self.exit_status}"


class CommandTimedOut(DeployError, TimeoutError):
    """A shell command exceeded its time limit, and was ended with all processes that it had started.

    ``stdout`` and ``stderr`` hold its output until then.
    """

    def __init__(self, host: str, command: str, limit: float, stdout: bytes, stderr: bytes, note: str = "") -> None:
        super().__init__(_describe(host, command, f"no end within {limit:g} s, so it was ended{note}", stdout, stderr))
        self.host = host
        self.command = command
        self.limit = limit
        self.stdout = stdout
        self.stderr = stderr


class OutputTooLong(DeployError):
    """A shell command wrote more bytes to an output than its limit, and was ended with all processes it had started.

    ``stdout`` and ``stderr`` hold the output that was read until then.
    """

    def __init__(
        self, host: str, command: str, limit: int, seen: str, stdout: bytes, stderr: bytes, note: str = ""
    ) -> None:
        """:param seen: the output that exceeded the limit, in words."""
        outcome = f"an output over the limit of {limit} bytes ({seen}), so it was ended{note}"
        super().__init__(_describe(host, command, outcome, stdout, stderr))
        self.host = host
        self.command = command
        self.limit = limit
        self.stdout = stdout
        self.stderr = stderr


def tail(data: bytes) -> str:
    """Return the last lines of an output, printable and without secrets, with a mark where it was cut."""
    # Masked before the cut, so that no half of a secret remains; but only the end of it, because a host can send so
    # much that masking all of it would take minutes.
    last = data[-(4 * _SHOWN_BYTES + _MASKED_BYTES) :]
    text = printable(mask(last.decode("utf-8", "replace"))[-_SHOWN_BYTES:].rstrip(), keep="\n\t")
    lines = text.splitlines()
    cut = len(data) > _SHOWN_BYTES or len(lines) > _SHOWN_LINES
    return ("... " if cut else "") + "\n".join(lines[-_SHOWN_LINES:])


def _describe(host: str, command: str, outcome: str, stdout: bytes, stderr: bytes) -> str:
    # Masked before the cut, so that no half of a secret remains.
    masked = mask(command)
    shown = masked if len(masked) <= _SHOWN_COMMAND else f"{masked[:_SHOWN_COMMAND]}... (cut)"
    lines = [f"command on host {host}: {outcome}", f"  command: {shown}"]
    for name, data in (("stdout", stdout), ("stderr", stderr)):
        lines.append(f"  {name}: {tail(data) or '(empty)'}")
    return mask("\n".join(lines))
