"""What a run does with ``--plan``: print what deploying for the selected checks would do, and run none of them."""

from __future__ import annotations

import pytest

from circuit import CircuitError
from circuit_harness.engine.plan import plan
from circuit_harness.errors import DeployError
from circuit_harness.plugin.coordinator import Coordinator, spec_of
from circuit_harness.plugin.harness import needs
from circuit_harness.plugin.terminal import Terminal
from circuit_harness.remote.circuit_host import CircuitHosts
from localhosts import LocalHostsError


class Planning:
    """The plugin that takes the place of pytest's loop over the selected checks."""

    def __init__(self, coordinator: Coordinator, terminal: Terminal) -> None:
        self._coordinator = coordinator
        self._terminal = terminal

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Print the plan. The run has failed where something is in the way of deploying now."""
        if session.testsfailed:
            # Without all checks, it is not known what they need. Pytest reports that.
            return None
        names = frozenset(name for name in self._coordinator.declared if needs(session.items, name))
        if not names:
            self._terminal.line("nothing to deploy: no check that is selected asks for a service")
            return True
        try:
            circuit = CircuitHosts(self._coordinator.client(names))
            planned = plan(circuit, spec_of(self._coordinator.options, self._coordinator.declared, names))
        except (DeployError, CircuitError, LocalHostsError, OSError) as error:
            self._terminal.line(f"ERROR: {error}", red=True)
            session.testsfailed = 1
            return True
        if (options := self._coordinator.options).in_workspace:
            self._terminal.line(f"on the hosts that are up for {options.folder}; a run that deploys makes its own")
        for obstacle in planned.obstacles:
            self._terminal.line(f"not now: {obstacle}", red=True)
        for line in planned.lines:
            self._terminal.line(line)
        session.testsfailed = len(planned.obstacles)
        return True
