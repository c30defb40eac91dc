"""Set up a run with services: its plugins, markers and fixtures."""

from __future__ import annotations

import pytest

from circuit_harness.plugin import declared, fixtures, options
from circuit_harness.plugin.disruption import MARKER, Disruption
from circuit_harness.plugin.harness import Harness


def set_up(config: pytest.Config, place: object) -> None:
    """Register them.

    :param place: a plugin whose fixtures pytest has not read yet.
    :raises pytest.UsageError: a service or an option is not valid; the message is one line.
    """
    services = declared.services(config, required=True)
    given = options.read_for(config, services)
    # Otherwise testinfra, whose option this is, would dial them by SSH.
    config.option.hosts = None
    for service in services.values():
        config.addinivalue_line("markers", f"{service.name}: checks of {service.title}")
    config.addinivalue_line("markers", "cluster: checks of the circuit and its hosts")
    config.addinivalue_line(
        "markers", f"{fixtures.MARKER}(*services): the fixture host is the host of each of these services"
    )
    config.addinivalue_line(
        "markers", f"{MARKER}: checks that stop what others may be using; on named circuits they need --disruptive"
    )
    coordinator = None
    if not hasattr(config, "workerinput"):
        # Imported here because xdist's workers do not need it, and it is slow to load.
        from circuit_harness.plugin.run import Run
        from circuit_harness.report.junit import JUnitProperties

        run = Run(config, given, services)
        config.pluginmanager.register(run, "circuit-run")
        config.pluginmanager.register(JUnitProperties(run.document), "circuit-junit")
        coordinator = run.coordinator
        if given.mode == "plan":
            from circuit_harness.plugin.planning import Planning

            config.pluginmanager.register(Planning(coordinator, run.terminal), "circuit-planning")
    harness = Harness(config, given, services, coordinator)
    config.pluginmanager.register(harness, "circuit-harness")
    config.pluginmanager.register(Disruption(config, given), "circuit-disruption")
    config.pluginmanager.register(fixtures.HostParameters(services), "circuit-host")
    for number, fixture in enumerate(fixtures.of(services, harness)):
        setattr(place, f"fixture_{number}", fixture)
