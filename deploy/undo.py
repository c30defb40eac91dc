"""What was changed, and how to put it back: newest first, each step bounded, none stopping the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from circuit import CircuitError
from deploy.errors import DeployError
from deploy.steps import Steps


@dataclass(frozen=True)
class _Entry:
    what: str
    host: str
    action: Callable[[], object]


class UndoFailed(DeployError):
    """Some of what a run changed could not be put back. The message lists it."""


class Undo:
    """Collects, before each change, how to reverse it."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._entries: list[_Entry] = []

    def add(self, what: str, host: str, action: Callable[[], object]) -> None:
        """Remember ``action``, which must be harmless where the change did not come about, and bounded in time.

        :param what: what the action does, as a line of the report: "drop database tutorial".
        :param host: the name of the host that it works on.
        """
        self._entries.append(_Entry(what, host, action))

    def run(self) -> None:
        """Put everything back, newest first.

        :raises UndoFailed: after all steps were tried, if any failed.
        """
        failures = []
        while self._entries:
            entry = self._entries.pop()
            try:
                with self._steps.step(entry.what, entry.host):
                    entry.action()
            except (DeployError, CircuitError) as error:
                failures.append(f"on host {entry.host}: {entry.what}: {error}")
        if failures:
            raise UndoFailed("left behind, to be undone by hand:\n" + "\n".join(failures))
