"""What can go wrong in a deployment. Losses of hosts and connections are :class:`circuit.CircuitError`."""

from __future__ import annotations

from circuit import printable
from circuit_harness.secret import mask

_SHOWN_BYTES = 4000
_SHOWN_LINES = 20
_MASKED_BYTES = 1000
"""How much before what is shown is looked through for secrets: no piece by which one is known is written longer."""


class DeployError(Exception):
    """Root of this package's errors. Messages say what was tried, on which host, what came back, what to do next.

    They may have several lines; what hosts wrote into them is made printable.
    """

    def __str__(self) -> str:
        return printable(super().__str__(), keep="\n\t")


class NoHosts(DeployError):
    """The circuit has no live host."""


class Conflict(DeployError):
    """Something is there already that a deployment would destroy or collide with. Nothing was changed."""


class Unfit(DeployError):
    """A host lacks what a deployment needs: a program, a right, a usable answer. Nothing was changed."""


class NotReady(DeployError):
    """What was started did not come up in time, or died. The message shows the last thing seen of it."""


class Occupied(DeployError):
    """Another run holds the hosts, and did not let go of them in time. Nothing was changed."""


class Lost(DeployError):
    """A record on a host cannot be made sense of, or the lease on it ended. The message says what to do."""


class LeaseLost(Lost):
    """The lease on a host has ended: the host may be another run's by now, and nothing more is changed there."""


class Stopped(DeployError):
    """The deployment was told to stop before it was done."""


class CommandFailed(DeployError):
    """A shell command on a host ended with a status other than 0.

    ``host`` is the host's anchor name, ``exit_status`` 128 + n for a death by signal n; both streams are bytes.
    """

    def __init__(self, host: str, command: str, exit_status: int, stdout: bytes, stderr: bytes) -> None:
        super().__init__(_story(host, command, f"exit status {exit_status}", stdout, stderr))
        self.host = host
        self.command = command
        self.exit_status = exit_status
        self.stdout = stdout
        self.stderr = stderr

    @property
    def said(self) -> str:
        """Why it failed, in one line: what it wrote on standard error; its status where that is nothing."""
        return " ".join(tail(self.stderr).split()) or f"exit status {self.exit_status}"


class CommandTimedOut(DeployError, TimeoutError):
    """A shell command exceeded its time limit, and was ended with everything that it had started.

    ``stdout`` and ``stderr`` hold what came before.
    """

    def __init__(self, host: str, command: str, limit: float, stdout: bytes, stderr: bytes, note: str = "") -> None:
        super().__init__(_story(host, command, f"no end within {limit:g} s, so it was ended{note}", stdout, stderr))
        self.host = host
        self.command = command
        self.limit = limit
        self.stdout = stdout
        self.stderr = stderr


class OutputTooLong(DeployError):
    """A shell command wrote more than its limit of bytes to an output, and was ended with everything it had started.

    ``stdout`` and ``stderr`` hold what was collected until then.
    """

    def __init__(
        self, host: str, command: str, limit: int, seen: str, stdout: bytes, stderr: bytes, note: str = ""
    ) -> None:
        """:param seen: which output it was."""
        outcome = f"an output over the limit of {limit} bytes ({seen}), so it was ended{note}"
        super().__init__(_story(host, command, outcome, stdout, stderr))
        self.host = host
        self.command = command
        self.limit = limit
        self.stdout = stdout
        self.stderr = stderr


def tail(data: bytes) -> str:
    """The last lines of an output, marked where something was cut off, printable, and without secrets."""
    # Masked before it is cut, lest half a secret be left; but not all of it, which a host can make so long that it
    # would take minutes.
    last = data[-(4 * _SHOWN_BYTES + _MASKED_BYTES) :]
    text = printable(mask(last.decode("utf-8", "replace"))[-_SHOWN_BYTES:].rstrip(), keep="\n\t")
    lines = text.splitlines()
    cut = len(data) > _SHOWN_BYTES or len(lines) > _SHOWN_LINES
    return ("... " if cut else "") + "\n".join(lines[-_SHOWN_LINES:])


def _story(host: str, command: str, outcome: str, stdout: bytes, stderr: bytes) -> str:
    lines = [f"command on host {host}: {outcome}", f"  command: {command}"]
    for name, data in (("stdout", stdout), ("stderr", stderr)):
        lines.append(f"  {name}: {tail(data) or '(empty)'}")
    return mask("\n".join(lines))
