"""What the records of hosts tell is undone: newest first, each step bounded, no matter what fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from circuit import ClientLost, HostLost, NoLifeline
from circuit_harness.errors import CommandFailed, LeaseLost
from circuit_harness.journal import record as records
from circuit_harness.journal.record import Change, Record
from circuit_harness.remote.command import root
from circuit_harness.remote.host import Host, Process, as_process
from circuit_harness.remote.processes import end
from circuit_harness.steps import Steps

FORCE = "force"
"""A shell variable that is set for a change's command where data that came to be since may be destroyed, too."""

REMARK = "remark: "
"""What a line that a change's command prints begins with, if it is for the user: it tells of what is no failure."""

_MOST_REMARKS = 20
_MOST_LEFT = 50
_MOST_BYTES = 1 << 20
"""How much of what undoing prints is heard; and told, since it goes to the terminal and into files."""

_PROOF_LIMIT_S = 15.0


@dataclass(frozen=True)
class Leftover:
    """Something that could not be undone: on which host, and what is known of it."""

    host: str
    what: str

    def __str__(self) -> str:
        return f"on host {self.host}: {self.what}"


def take_down(
    recorded: Sequence[tuple[Host, Record]], steps: Steps, say: Callable[[str], None], *, force: bool
) -> list[Leftover]:
    """Undo what the records of some hosts tell, and see that it is undone; return what is left.

    Processes are ended first, on all hosts, as they use what is undone next, host by host side by side. A record goes
    once nothing is left of what it tells; until then whoever reads it can try again.

    :param say: gets a line for each remark of a command.
    :param force: whether to destroy data, too, that others have put into what was deployed.
    """
    hosts = [_TakeDown(host, record, steps, say, force) for host, record in recorded]
    with ThreadPoolExecutor(max(len(hosts), 1), thread_name_prefix="take-down") as pool:
        for stage in (_TakeDown.see, _TakeDown.end_processes, _TakeDown.run_commands, _TakeDown.prove):
            list(pool.map(stage, hosts))
    return [left for host in hosts for left in host.left]


class _TakeDown:
    """One host's part."""

    def __init__(self, host: Host, record: Record, steps: Steps, say: Callable[[str], None], force: bool) -> None:
        self._host = host
        self._record = record
        self._steps = steps
        self._say = say
        self._force = f"{FORCE}={'yes' if force else ''}"
        self._lost = False
        """Whether nothing more is to be tried, the host being lost, or another run's."""
        self.left: list[Leftover] = []

    def see(self) -> None:
        """See that what stands on the host is what is to be undone: another run may have done that, and more."""
        self._try("read the record", self._see)

    def _see(self) -> None:
        there = records.read(self._host)
        if there is not None and there.run != self._record.run:
            self._lost = True
            self.left.append(
                Leftover(self._host.name, f"{self._record} has lost its lease there, and was cleared away by {there}")
            )
        elif there is not None:
            self._record = there
        else:
            # Somebody removed it, who may have undone all, or nothing. No other run holds the host: this one does.
            left = tuple(change for change in self._record.changes if self._remains([change]))
            self._record = replace(self._record, changes=left)

    def end_processes(self) -> None:
        for change in reversed(self._record.changes):
            if change.anchor:
                self._try(change.what, partial(self._end_process, change))

    def _end_process(self, change: Change) -> None:
        try:
            if change.command:
                self._host.run(root(change.command), timeout=change.limit, limit=_MOST_BYTES)
        finally:
            end_process(self._host, change)

    def run_commands(self) -> None:
        for change in reversed(self._record.changes):
            if change.command and not change.anchor:
                self._try(change.what, partial(self._run, change))

    def _run(self, change: Change) -> None:
        done = self._host.run(root(f"{self._force}; {change.command}"), timeout=change.limit, limit=_MOST_BYTES)
        remarks = [line.removeprefix(REMARK) for line in done.text.splitlines() if line.startswith(REMARK)]
        for remark in remarks[:_MOST_REMARKS]:
            # Names of files, which the terminal is not to obey.
            shown = remark if remark.isprintable() else ascii(remark)[1:-1]
            self._say(f"  host {self._host.name}: {shown}")

    def prove(self) -> None:
        """See what is left, whatever the steps said."""
        self._try("verify the clean-up", self._prove)

    def _prove(self) -> None:
        # A step that failed has told of what it left.
        seen = self._remains(self._record.changes)
        if not self.left:
            self.left += [Leftover(self._host.name, line) for line in seen]
        if not self.left:
            records.remove(self._host, self._record.run)

    def _remains(self, changes: Sequence[Change]) -> list[str]:
        """What is left of changes, by their proofs; a line each."""
        proofs = "; ".join(change.proof for change in changes if change.proof) or "true"
        found = self._host.run(root(proofs), timeout=_PROOF_LIMIT_S, check=False, limit=_MOST_BYTES)
        seen = (found.stdout + found.stderr).decode("utf-8", "replace").splitlines()
        if len(seen) > _MOST_LEFT:
            seen = [*seen[:_MOST_LEFT], f"{len(seen) - _MOST_LEFT} more lines of what is left"]
        ours = (find_process(self._host, change) for change in changes if change.anchor)
        return seen + [f"{process.anchor.path} still has our process" for process in ours if process is not None]

    def _try(self, what: str, action: Callable[[], object]) -> None:
        if self._lost:
            return
        try:
            with self._steps.step(what, self._host.name):
                action()
        # Whatever the host's record or answers bring about, the others are undone all the same.
        except Exception as error:  # noqa: BLE001
            self._lost = isinstance(error, HostLost | ClientLost | NoLifeline | LeaseLost)
            self.left.append(Leftover(self._host.name, f"{what}: {_reason(error)}"))


def find_process(host: Host, change: Change) -> Process | None:
    """The process of a change, which its arguments tell from any other's; None where it is not at its anchor."""
    process = as_process(host.element(change.anchor))
    if process is not None and any(change.mark in argument for argument in process.peek().cmd.args):
        return process
    return None


def end_process(host: Host, change: Change) -> None:
    """End the process of a change, if it is there.

    :raises CircuitError: it did not end, or its host is lost.
    """
    process = find_process(host, change)
    if process is not None:
        end(host, change.anchor, process)


def _reason(error: Exception) -> str:
    """Why a step failed, in one line: what a command said where it said something."""
    return error.said if isinstance(error, CommandFailed) else " ".join(str(error).split())
