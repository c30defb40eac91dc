"""Undo the changes that the records of hosts list: newest first, each step with a limit, whatever fails."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from circuit import ClientLost, HostLost, NoLifeline
from circuit_harness.errors import CommandFailed, LeaseLost
from circuit_harness.journal import record as records
from circuit_harness.journal.record import Change, Record
from circuit_harness.remedies import Remedy
from circuit_harness.remote.command import root
from circuit_harness.remote.concurrently import on_each
from circuit_harness.remote.host import Host, Process, as_process
from circuit_harness.remote.processes import end
from circuit_harness.steps import Steps

FORCE = "force"
"""A shell variable that is set for a change's command when it may also destroy data that was added since."""

BY_FORCE = "by_force"
"""A shell variable with the remedy that sets :data:`FORCE`, for the command's messages."""

REMARK = "remark: "
"""The beginning of a line that a change's command prints for the user, about something that is not a failure."""

_MOST_REMARKS = 20
_MOST_LEFT = 50
_MOST_BYTES = 1 << 20
"""The limits for the output of undoing: the lines of remarks and of leftovers that are reported, which go to the
terminal and into files, and the bytes that are read."""

_PROOF_LIMIT_S = 15.0


@dataclass(frozen=True)
class Leftover:
    """Something that could not be undone: on which host, and what is known about it."""

    host: str
    what: str

    def __str__(self) -> str:
        return f"on host {self.host}: {self.what}"


def take_down(
    recorded: Sequence[tuple[Host, Record]], steps: Steps, say: Callable[[str], None], *, force: bool
) -> list[Leftover]:
    """Undo the changes in the records of some hosts, and verify that; return what is left.

    Processes are ended first, on all hosts, because they use what is undone next. Each stage runs on all hosts
    concurrently. A record is removed when nothing is left of its changes; until then any run can try again with it.

    :param say: prints a line for each remark of a command.
    :param force: whether to destroy also data that others have added to the deployment.
    """
    hosts = [_TakeDown(host, record, steps, say, force) for host, record in recorded]
    for stage in (_TakeDown.see, _TakeDown.end_processes, _TakeDown.run_commands, _TakeDown.prove):
        on_each(stage, hosts, "take-down")
    return [left for host in hosts for left in host.left]


class _TakeDown:
    """One host's part."""

    def __init__(self, host: Host, record: Record, steps: Steps, say: Callable[[str], None], force: bool) -> None:
        self._host = host
        self._record = record
        self._steps = steps
        self._say = say
        self._variables = f"{FORCE}={'yes' if force else ''}; {BY_FORCE}={shlex.quote(str(Remedy.REPLACE))}"
        self._lost = False
        """Whether to try nothing more, because the host is lost or in use by another run."""
        self.left: list[Leftover] = []

    def see(self) -> None:
        """Read the host's record again: another run may have undone the changes and made its own."""
        self._try("read the record", self._see)

    def _see(self) -> None:
        there = records.read(self._host, self._record.deployment)
        if there is not None and there.run != self._record.run:
            self._lost = True
            self.left.append(
                Leftover(self._host.name, f"{self._record} has lost its lease there, and was taken down by {there}")
            )
        elif there is not None:
            self._record = there
        else:
            # Somebody removed the record, and may have undone all of it or nothing. No other run holds the lease on the
            # host: this one does.
            left = tuple(
                change for change in self._record.changes if self._remains([change]) or self._processes([change])
            )
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
        done = self._host.run(root(f"{self._variables}; {change.command}"), timeout=change.limit, limit=_MOST_BYTES)
        remarks = [line.removeprefix(REMARK) for line in done.text.splitlines() if line.startswith(REMARK)]
        for remark in remarks[:_MOST_REMARKS]:
            # Names of files may contain terminal sequences.
            shown = remark if remark.isprintable() else ascii(remark)[1:-1]
            self._say(f"  host {self._host.name}: {shown}")

    def prove(self) -> None:
        """Find out what is left, whatever the steps reported."""
        self._try("verify the clean-up", self._prove)

    def _prove(self) -> None:
        # A failed step has already reported what it left.
        if self.left:
            return
        changes = self._record.changes
        remains = self._processes(changes)
        if remains:
            remains += self._remains(changes)
        else:
            remains = _lines(records.remove(self._host, self._record, _proofs(changes), _PROOF_LIMIT_S, _MOST_BYTES))
        self.left += [Leftover(self._host.name, line) for line in remains]

    def _remains(self, changes: Sequence[Change]) -> list[str]:
        """Return what is left of changes, according to their proofs, as lines."""
        found = self._host.run(root(_proofs(changes)), timeout=_PROOF_LIMIT_S, check=False, limit=_MOST_BYTES)
        return _lines((found.stdout + found.stderr).decode("utf-8", "replace"))

    def _processes(self, changes: Sequence[Change]) -> list[str]:
        """Return lines about the processes of changes that are still there."""
        ours = (find_process(self._host, change) for change in changes if change.anchor)
        return [f"{process.anchor.path} still has our process" for process in ours if process is not None]

    def _try(self, what: str, action: Callable[[], object]) -> None:
        if self._lost:
            return
        try:
            with self._steps.step(what, self._host.name):
                action()
        # Whatever the host's record or answers cause, the other changes must be undone nevertheless.
        except Exception as error:  # noqa: BLE001
            self._lost = isinstance(error, HostLost | ClientLost | NoLifeline | LeaseLost)
            self.left.append(Leftover(self._host.name, f"{what}: {_reason(error)}"))


def _proofs(changes: Sequence[Change]) -> str:
    """Return shell for root: what proves that changes are undone prints nothing."""
    return "; ".join(change.proof for change in changes if change.proof) or "true"


def _lines(printed: str) -> list[str]:
    """Return the lines that proofs have printed, as many of them as are reported."""
    lines = printed.splitlines()
    if len(lines) > _MOST_LEFT:
        lines = [*lines[:_MOST_LEFT], f"{len(lines) - _MOST_LEFT} more lines of what is left"]
    return lines


def find_process(host: Host, change: Change) -> Process | None:
    """Return the process of a change, recognized by its arguments; None where it is not at its anchor."""
    process = as_process(host.element(change.anchor))
    if process is not None and any(change.mark in argument for argument in process.peek().cmd.args):
        return process
    return None


def end_process(host: Host, change: Change) -> None:
    """End the process of a change, if it exists.

    :raises CircuitError: it did not end, or its host is lost.
    """
    process = find_process(host, change)
    if process is not None:
        end(host, change.anchor, process)


def _reason(error: Exception) -> str:
    """Return why a step failed, in one line: the output of a failed command, if it printed something."""
    return error.said if isinstance(error, CommandFailed) else " ".join(str(error).split())
