"""The lease on a host: at most one run holds it, and it ends by itself when that run is gone.

It is a process element at ``/HOST/tutorial-lease``, because only one of several clients can make an element at an
anchor. The process reads its standard input, which the owner's client holds open: when that client is gone, its server
closes the input, the process ends, and the server removes its element. So nothing needs to be renewed.

A machine can have several circuit servers, each with its own anchor. So the process can also hold a lock of the kernel,
which excludes all runs that use another anchor, and which ends with the process, however that ends.
"""

from __future__ import annotations

import contextlib
import math
import shlex
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from circuit import CallFailed, CircuitError, Cmd, ElementExists, printable
from circuit_harness.errors import NotReady, Occupied, Unfit
from circuit_harness.remedies import Remedy
from circuit_harness.remote.concurrently import on_each
from circuit_harness.remote.host import Host, Process, as_process
from circuit_harness.remote.processes import end, looked_at
from circuit_harness.remote.script import Scripts
from circuit_harness.remote.shell import clean
from circuit_harness.remote.waiting import growing
from circuit_harness.steps import Steps

ANCHOR = "tutorial-lease"

_SCRIPTS = Scripts.beside(__file__)
_CLAIM = {"claim_s": 20, "claim_bytes": 32_000}
_CLAIM_BYTES = _CLAIM["claim_bytes"]
_HOLD = f"{clean()}\n{_SCRIPTS.text('hold', **_CLAIM)}"
_AS_ROOT = f"{clean()}\n{_SCRIPTS.text('lock_as_root', claim_bytes=_CLAIM_BYTES)}\n{_HOLD}"
_ENDED = "a run that has just ended"
_ANSWER_S = 30.0
_END_S = 5.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True)
class Lease:
    """A lease on ``host`` that this run holds. ``locked`` is whether root has locked the machine for it."""

    host: Host
    proc: Process
    locked: bool = False

    def is_held(self) -> bool:
        """Return whether this run still holds it."""
        try:
            with looked_at(self.host, ANCHOR) as element:
                return element is not None and element.same(self.proc) and self.proc.peek().exit is None
        except CircuitError:
            return False

    def wait(self) -> None:
        """Wait until this run no longer holds it, for whatever reason."""
        with contextlib.suppress(CircuitError):
            self.proc.wait(math.inf)

    def give_up(self) -> None:
        """Release the lease; another run can take it immediately."""
        # A lost host has released it, or will.
        with contextlib.suppress(CircuitError, NotReady):
            _end(self.host, self.proc)
        self.proc.release()
        self.proc.anchor.release()


def take(host: Host, owner: str, lock: str = "") -> Lease | None:
    """Take the lease on a host; return None where another run holds it.

    :param owner: who takes it, and for what, for other users to read.
    :param lock: root's folder to lock on the machine, made where it does not exist; "" for the element alone. Where the
        circuit's user cannot act as root, nothing is locked, because nothing can be changed either.
    :raises Unfit: the folder cannot be locked, by this run or any other.
    """
    lease = _take(host, owner, lock)
    return lease if isinstance(lease, Lease) else None


def _take(host: Host, owner: str, lock: str) -> Lease | str:
    """Return the lease on a host, or the name of its holder."""
    # The owner is one of the arguments, which every client can read.
    arguments = ["-c", _AS_ROOT, owner, _lock(lock)] if lock else ["-c", _HOLD, owner]
    cmd = Cmd("/bin/sh", arguments, dir="/", scrub=True)
    try:
        proc: Process = host.start(ANCHOR, cmd)
    except ElementExists:
        if not _clear(host):
            return holder(host) or _ENDED
        try:
            proc = host.start(ANCHOR, cmd)
        except ElementExists:
            return holder(host) or _ENDED
    lease = Lease(host, proc)
    held = False
    try:
        if lock:
            answer, _, rest = _answer(proc).partition(" ")
            if answer == "held":
                return printable(rest)
            if answer not in ("locked", "powerless"):
                reason = printable(rest) or "no answer"
                raise Unfit(f"host {host.name}: cannot lock {lock}, which keeps other runs away: {reason}")
            lease = replace(lease, locked=answer == "locked")
        proc.stdin.write(bytes(_CLAIM_BYTES))
        held = True
    finally:
        if not held:
            lease.give_up()
    return lease


def _lock(folder: str) -> str:
    """Shell, for root: lock a folder, and hold the lock."""
    return f"{clean()}\n{_SCRIPTS.text('lock_machine', folder=folder, **_CLAIM)}"


def _answer(proc: Process) -> str:
    """Return what the process prints about its attempt to lock the machine."""
    answer = b""
    while len(answer) < _CLAIM_BYTES and (block := proc.stdout.read(_ANSWER_S)):
        answer += block
    return answer.decode("utf-8", "replace").strip()


def _clear(host: Host) -> bool:
    """Empty the anchor of an element that holds no lease: an ended process, or no process. Return whether it is empty.

    A client that dies before it has opened the input leaves an element for ever, because its server waits for the end
    of that input. This closes the input, so that the server removes the element: to scrub it instead could hit one that
    another run has just made.
    """
    with looked_at(host, ANCHOR) as element:
        process = as_process(element)
        try:
            if process is not None and process.peek().exit is None:
                return False
            if process is not None:
                _end(host, process)
            elif element is not None:
                # Nobody owns it: such an element stays when its client is gone. If this hits a lease that another run
                # has just made there, the machine's lock still keeps others away.
                element.scrub()
        except (CallFailed, NotReady, TimeoutError):
            return False
    return True


def _end(host: Host, proc: Process) -> None:
    """End a process that holds a lease: by the end of its input, so that it removes what it made, else by signals."""
    proc.discard_streams()
    with contextlib.suppress(CallFailed, TimeoutError):
        proc.wait(_END_S)
    end(host, ANCHOR, proc)


def holder(host: Host) -> str | None:
    """Return who holds the lease on a host; None where nobody does. An element that is not a process is not a lease,
    because it does not end with its client."""
    with looked_at(host, ANCHOR) as element:
        process = as_process(element)
        if process is None:
            return None
        with contextlib.suppress(CircuitError):
            stat = process.peek()
            if stat.exit is not None:
                return None
            return printable(next(iter(stat.cmd.args[2:]), shlex.join(stat.cmd.args)))
        return _ENDED


def take_some(
    hosts: Sequence[Host],
    n: int,
    owner: str,
    steps: Steps,
    timeout: float,
    say: Callable[[str], None],
    lock: str = "",
) -> list[Lease]:
    """Take the leases on ``n`` of some hosts; wait while fewer are free.

    This takes the first ``n`` at once, since most often all are free. Where they are not, it takes them in the order of
    the hosts' names, and releases them as soon as they cannot be enough, so that two runs never wait for each other.

    :param timeout: seconds to wait; 0: do not wait.
    :param say: prints a line for the user: who holds the hosts, whenever that changes.
    :param lock: see :func:`take`.
    :raises Occupied: fewer than ``n`` were free all that time; the message has who held the others.
    :raises Unfit: a machine's folder cannot be locked, by this run or any other.
    """
    deadline = time.monotonic() + timeout
    printed = ""
    hosts = sorted(hosts, key=lambda host: host.name)
    # If two runs each get one of two hosts, both fail here, and a run that does not wait would give up.
    if timeout and n <= len(hosts) and (leases := take_all(hosts[:n], owner, lock)):
        return leases
    for pause in growing(_FIRST_PAUSE_S, _LONGEST_PAUSE_S):
        leases, held = _try(hosts, n, owner, lock)
        if len(leases) == n:
            return leases
        holders = "; ".join(f"host {host.name} is held by {who}" for host, who in held)
        if time.monotonic() >= deadline:
            waited = f"after {timeout:g} s " if timeout else ""
            raise Occupied(
                f"{waited}{holders}: wait for that run to end ({Remedy.WAIT}), or name other hosts"
                f" ({Remedy.NAME_HOSTS})"
            )
        if holders != printed:
            say(f"  waiting up to {max(deadline - time.monotonic(), 0):.0f} s ({Remedy.WAIT}): {holders}")
            printed = holders
        steps.pause(min(pause, max(deadline - time.monotonic(), 0)))
    raise AssertionError("unreachable")


def take_all(hosts: Sequence[Host], owner: str, lock: str = "") -> list[Lease]:
    """Take the leases on all of some hosts concurrently, or none. Two runs that both try this can both fail.

    :param lock: see :func:`take`.
    :raises Unfit: a machine's folder cannot be locked, by this run or any other.
    """
    with ThreadPoolExecutor(len(hosts), thread_name_prefix="lease") as pool:
        taking = [pool.submit(_take, host, owner, lock) for host in hosts]
    leases = [lease for each in taking if not each.exception() and isinstance(lease := each.result(), Lease)]
    if len(leases) == len(hosts):
        return leases
    give_up_all(leases)
    for each in taking:
        each.result()
    return []


def give_up_all(leases: Sequence[Lease]) -> None:
    """Release the leases on some hosts, concurrently."""
    on_each(Lease.give_up, leases, "lease")


def _try(hosts: Sequence[Host], n: int, owner: str, lock: str) -> tuple[list[Lease], list[tuple[Host, str]]]:
    """Take ``n`` leases, or none: release those taken where they are fewer. Also return who holds which host."""
    leases: list[Lease] = []
    held: list[tuple[Host, str]] = []
    done = False
    try:
        for index, host in enumerate(hosts):
            if len(leases) == n or len(leases) + len(hosts) - index < n:
                break
            lease = _take(host, owner, lock)
            if isinstance(lease, Lease):
                leases.append(lease)
            else:
                held.append((host, lease))
        done = len(leases) == n
    finally:
        if not done:
            give_up_all(leases)
    return leases if done else [], held
