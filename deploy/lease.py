"""The lease on a host: held by at most one run, and ending by itself once that run is gone.

It is a process element at ``/HOST/tutorial-lease``, since a server gives an anchor's element to just one of several
clients that ask. The process reads its standard input, which the owner's client holds open: when that client is gone,
its server closes what it held, the process ends, and its element goes with it. Nothing is to be renewed or swept.
"""

from __future__ import annotations

import contextlib
import math
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from circuit import Anchor, CircuitError, Cmd, ElementExists, Proc
from deploy.changes import end
from deploy.errors import Occupied
from deploy.shell import clean
from deploy.steps import Steps

ANCHOR = "tutorial-lease"

_CLAIM_S = 20
# A client can die before it has opened the input, which would then stay open for ever. So the process ends unless the
# owner has written to it soon, and as much as the server needs to pass it on.
_CLAIM_BYTES = 32_000
_HOLD = f"{clean()}; timeout {_CLAIM_S} head -c {_CLAIM_BYTES} >/dev/null && exec cat >/dev/null"
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True)
class Lease:
    """A lease that is held on ``host``."""

    host: Anchor
    proc: Proc

    def is_held(self) -> bool:
        """Whether it is still held."""
        try:
            anchor = self.host.view().get(ANCHOR)
            element = None if anchor is None else anchor.get()
            return element is not None and element.same(self.proc) and self.proc.peek().exit is None
        except CircuitError:
            return False

    def wait(self) -> None:
        """Return when it is no longer held, whyever that is."""
        with contextlib.suppress(CircuitError):
            self.proc.wait(math.inf)

    def give_up(self) -> None:
        """Let go of the lease; it is another run's to take at once."""
        # A host that is lost has let go of it, or will.
        with contextlib.suppress(CircuitError):
            self.proc.discard_streams()
            end(self.proc)
        self.proc.release()
        self.proc.anchor.release()


def take(host: Anchor, owner: str) -> Lease | None:
    """Take the lease on a host; None where it is held.

    :param owner: who wants it, and for what, for others to read.
    """
    anchor = host.walk(ANCHOR)
    try:
        # The owner stands in the arguments, where every client can see it.
        proc = anchor.make_proc(Cmd("/bin/sh", ["-c", _HOLD, owner], dir="/", scrub=True))
    except ElementExists:
        return None
    proc.stdin.write(bytes(_CLAIM_BYTES))
    return Lease(host, proc)


def holder(host: Anchor) -> str | None:
    """Who holds the lease on a host; None where nobody does."""
    # Viewed first: to walk to an anchor makes it.
    anchor = host.view().get(ANCHOR)
    element = None if anchor is None else anchor.get()
    if element is None:
        return None
    if isinstance(element, Proc):
        with contextlib.suppress(CircuitError):
            return next(iter(element.peek().cmd.args[2:]), shlex.join(element.peek().cmd.args))
    return f"a {element.kind} element"


def take_some(
    hosts: Sequence[Anchor], n: int, owner: str, steps: Steps, timeout: float, say: Callable[[str], None]
) -> list[Lease]:
    """Take the leases on ``n`` of some hosts; wait while fewer are free.

    They are taken in the order of the hosts' names, and given up again as soon as they cannot be enough, so that two
    runs never wait for each other.

    :param timeout: seconds to wait; 0 not to.
    :param say: told what is waited for, once.
    :raises Occupied: fewer than ``n`` were free all that time; the message says who held the others.
    """
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE_S
    said = ""
    while True:
        leases, held = _try(sorted(hosts, key=lambda host: host.name), n, owner)
        if len(leases) == n:
            return leases
        seen = "; ".join(f"host {host.name} is held by {who}" for host, who in held)
        if time.monotonic() >= deadline:
            waited = f"after {timeout:g} s " if timeout else ""
            raise Occupied(f"{waited}{seen}: wait for that run to end (--lease-wait), or name other hosts (--hosts)")
        if seen != said:
            say(f"  waiting up to {max(deadline - time.monotonic(), 0):.0f} s (--lease-wait): {seen}")
            said = seen
        steps.pause(min(pause, max(deadline - time.monotonic(), 0)))
        pause = min(pause * 1.5, _LONGEST_PAUSE_S)


def _try(hosts: Sequence[Anchor], n: int, owner: str) -> tuple[list[Lease], list[tuple[Anchor, str]]]:
    """Take up to ``n`` leases; all of them are given up again where they are fewer."""
    leases: list[Lease] = []
    held: list[tuple[Anchor, str]] = []
    done = False
    try:
        for index, host in enumerate(hosts):
            if len(leases) == n or len(leases) + len(hosts) - index < n:
                break
            lease = take(host, owner)
            if lease is not None:
                leases.append(lease)
            else:
                held.append((host, holder(host) or "a run that has just ended"))
        done = len(leases) == n
    finally:
        if not done:
            for lease in leases:
                lease.give_up()
    return leases if done else [], held
