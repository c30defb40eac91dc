"""The pytest plugin: options, the hook for services, and the set-up of runs that declare services.

PYTEST_DONT_REWRITE: there is no assertion of a test here. Every run of pytest loads this where it is installed, so it
imports all else only where services are declared.
"""

from __future__ import annotations

import gc
from collections.abc import Generator
from types import ModuleType

import pytest

from circuit_harness.plugin.command_line import FILES, FLAGS, OPTIONS, REPEATED, VALUES, add_options, check_arguments

FIXTURES = "circuit-fixtures"
_CONFIGURED = "configured"


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the hook for services."""
    from circuit_harness.plugin import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the options.

    :raises pytest.UsageError: one is written so that pytest would take it for something else.
    """
    add_options(parser)
    check_arguments(pluginmanager, values=VALUES, flags=FLAGS, repeated=REPEATED, files=FILES)


def pytest_plugin_registered(plugin: object, plugin_name: str, manager: pytest.PytestPluginManager) -> None:
    """Refuse services of a conftest.py that pytest loads only while it collects tests.

    :raises pytest.UsageError: this is one.
    """
    if hasattr(plugin, "pytest_circuit_services") and hasattr(manager.get_plugin(FIXTURES), _CONFIGURED):
        raise pytest.UsageError(
            f"{plugin_name} has the hook pytest_circuit_services, and pytest loads it too late: run pytest in its"
            " folder, beside a pytest.ini"
        )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> Generator[None, object, object]:
    """Register an empty plugin for the fixtures, before every conftest.py, so that those can override them.

    Where a conftest.py declares services, tracebacks are short by default: any other ``--tb`` comes later and wins.
    """
    early_config.pluginmanager.register(ModuleType(FIXTURES), FIXTURES)
    # Modules stay once they are loaded: the garbage collector would look through them in vain, now and later.
    collects = gc.isenabled()
    gc.disable()
    try:
        result = yield
        if early_config.hook.pytest_circuit_services.get_hookimpls():
            gc.freeze()
            args.insert(0, "--tb=short")
    finally:
        if collects:
            gc.enable()
    return result


def pytest_cmdline_main(config: pytest.Config) -> pytest.ExitCode | None:
    """Take down deployments instead of running checks, if the options say so."""
    if config.option.help:
        return None
    if config.option.plan:
        # xdist decides before this, and would run checks in workers.
        config.option.dist = "no"
    if not config.option.circuit_teardown and config.option.workspace in (None, "check"):
        return None
    from circuit_harness.plugin import declared, options

    services = declared.services(config, required=config.option.workspace == "up")
    given = options.read_for(config, services)
    if given.mode == "teardown":
        from circuit_harness.plugin import taking_down

        return taking_down.main(given)
    from circuit_harness.plugin import workspace

    return workspace.main(given, services)


def pytest_configure(config: pytest.Config) -> None:
    """Set up a run with services. A service or an option that is not valid ends it with exit status 4."""
    if config.option.help:
        # It must not depend on the options that it explains.
        return
    place = config.pluginmanager.get_plugin(FIXTURES)
    if place is None:
        # A plugin that a conftest.py names in pytest_plugins is loaded after that hook.
        place = ModuleType(FIXTURES)
        config.pluginmanager.register(place, FIXTURES)
    setattr(place, _CONFIGURED, True)
    given = [name for name in OPTIONS if config.getoption(name) not in (None, False, [], "never")]
    if given or config.hook.pytest_circuit_services.get_hookimpls():
        from circuit_harness.plugin import set_up

        set_up.set_up(config, place)
