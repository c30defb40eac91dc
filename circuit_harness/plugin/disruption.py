"""Checks with the marker ``disruptive`` run only where they harm nobody, and one at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from circuit_harness.plugin.options import Options
from circuit_harness.plugin.turns import NoTurn, Turns

MARKER = "disruptive"

_WORKER_INPUT = "circuit-turns"
_REASON = "it stops what others may be using; on hosts that were not made for this run it needs --disruptive"

TURN_LIMIT_S = 900.0
"""How long a check waits for its turn, which may include a deployment in another worker."""


class Disruption:
    """The plugin of one run, or of one of its workers."""

    def __init__(self, config: pytest.Config, options: Options) -> None:
        self._allowed = options.disruptive
        self._limit = options.lease_wait + TURN_LIMIT_S
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._turn = ExitStack()
        workerinput: dict[str, Any] = getattr(config, "workerinput", {})
        # Without workers, checks run one at a time anyway.
        self._turns = Turns(Path(workerinput[_WORKER_INPUT]), self._limit) if workerinput else None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give a worker the folder of the locks."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="circuit-turns-")
        node.workerinput[_WORKER_INPUT] = self._folder.name

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Skip disruptive checks where they may not run."""
        if not self._allowed:
            for item in items:
                if item.get_closest_marker(MARKER):
                    item.add_marker(pytest.mark.skip(reason=_REASON))

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Wait for the check's turn."""
        if self._turns is not None:
            try:
                alone = item.get_closest_marker(MARKER) is not None
                self._turn.enter_context(self._turns.take(alone=alone))
            except NoTurn as error:
                pytest.fail(str(error), pytrace=False)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self) -> Generator[None, None, None]:
        """End the turn, once the check's fixtures have ended."""
        try:
            return (yield)
        finally:
            self._turn.close()

    def pytest_unconfigure(self) -> None:
        """Remove the locks."""
        if self._folder is not None:
            self._folder.cleanup()
