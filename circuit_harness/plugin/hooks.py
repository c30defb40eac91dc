"""The pytest plugin: options, the hook for services, and what it takes in runs that have any.

PYTEST_DONT_REWRITE: no assertion of a test stands here. Every run of pytest loads it where it is installed, so that all
else is imported once there are services.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from circuit_harness.plugin.command_line import OPTIONS, add_options

if TYPE_CHECKING:
    from circuit_harness.engine.spec import Services

_FIXTURES = "circuit-fixtures"
_CONFIGURED = "configured"


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the hook for services."""
    from circuit_harness.plugin import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    add_options(parser)


def pytest_plugin_registered(plugin: object, plugin_name: str, manager: pytest.PytestPluginManager) -> None:
    """Refuse services of a conftest.py that pytest has come across while it collects tests.

    :raises pytest.UsageError: this is one.
    """
    if hasattr(plugin, "pytest_circuit_services") and hasattr(manager.get_plugin(_FIXTURES), _CONFIGURED):
        raise pytest.UsageError(
            f"{plugin_name} has the hook pytest_circuit_services, and pytest loads it too late: run pytest in its"
            " folder, beside a pytest.ini"
        )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Take the fixtures' place: before those of every conftest, which override them, and before they are known."""
    early_config.pluginmanager.register(ModuleType(_FIXTURES), _FIXTURES)


def pytest_cmdline_main(config: pytest.Config) -> pytest.ExitCode | None:
    """Do what there is to be done instead of running checks, if the options ask for it."""
    if config.option.help or not (config.option.circuit_teardown or config.option.plan):
        return None
    from circuit_harness.plugin import commands, declared
    from circuit_harness.plugin.options import read_options

    options = read_options(config)
    return commands.main(options, declared.services(config, required=options.mode == "plan"))


def pytest_configure(config: pytest.Config) -> None:
    """Prove services and options good before anything is set up. Bad ones end the run with exit status 4."""
    setattr(config.pluginmanager.get_plugin(_FIXTURES), _CONFIGURED, True)
    given = [name for name in OPTIONS if config.getoption(name) not in (None, False, [], "never")]
    if not (given or config.hook.pytest_circuit_services.get_hookimpls()):
        return
    from circuit_harness.plugin import declared

    _set_up(config, declared.services(config, required=True))


def _set_up(config: pytest.Config, services: Services) -> None:
    from circuit_harness.plugin import fixtures
    from circuit_harness.plugin.disruption import MARKER, Disruption
    from circuit_harness.plugin.harness import Harness
    from circuit_harness.plugin.options import read_options

    options = read_options(config)
    # Read, and no longer testinfra's: it would take them for hosts of SSH. Other uses of it are as they are without us.
    config.option.hosts = None
    for service in services.values():
        config.addinivalue_line("markers", f"{service.name}: checks of {service.title}")
    config.addinivalue_line("markers", "cluster: checks of the circuit and its hosts")
    config.addinivalue_line("markers", "on(*services): the fixture host is the host of each of these services")
    config.addinivalue_line(
        "markers", f"{MARKER}: checks that stop what others may be using; on named circuits they need --disruptive"
    )
    coordinator = None
    if not hasattr(config, "workerinput"):
        # Not above: it takes time to load, and xdist's workers do not need it.
        from circuit_harness.plugin.run import Run
        from circuit_harness.report.junit import JUnitProperties

        run = Run(config, options, services)
        config.pluginmanager.register(run, "circuit-run")
        config.pluginmanager.register(JUnitProperties(run.document), "circuit-junit")
        coordinator = run.coordinator
    harness = Harness(config, options, services, coordinator)
    config.pluginmanager.register(harness, "circuit-harness")
    config.pluginmanager.register(Disruption(config, options), "circuit-disruption")
    config.pluginmanager.register(fixtures.HostParameters(services), "circuit-host")
    place = config.pluginmanager.get_plugin(_FIXTURES)
    for number, fixture in enumerate(fixtures.of(services, harness)):
        setattr(place, f"fixture_{number}", fixture)
