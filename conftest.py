"""Command-line options, and where the fixtures are."""

from __future__ import annotations

import pytest

from fixtures.disruption import Disruption
from fixtures.harness import Harness
from fixtures.options import add_options, read_options

pytest_plugins = ["fixtures.deployment", "fixtures.connections", "fixtures.services"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add this project's options to pytest's."""
    add_options(parser)


def pytest_cmdline_main(config: pytest.Config) -> pytest.ExitCode | None:
    """Do what there is to be done instead of running checks, if the options ask for it."""
    if config.option.help or not (config.option.circuit_teardown or config.option.plan):
        return None
    from fixtures import instead

    return instead.main(read_options(config))


def pytest_configure(config: pytest.Config) -> None:
    """Prove the options good before anything is set up. Bad ones end the run with exit status 4."""
    options = read_options(config)
    coordinator = None
    if not hasattr(config, "workerinput"):
        # Not above: it takes time to load, and xdist's workers do not need it.
        from fixtures.junit import JUnitProperties
        from fixtures.run import Run

        run = Run(config, options)
        config.pluginmanager.register(run, "circuit-run")
        config.pluginmanager.register(JUnitProperties(run.document), "circuit-junit")
        coordinator = run.coordinator
    config.pluginmanager.register(Harness(config, options, coordinator), "circuit-harness")
    config.pluginmanager.register(Disruption(config, options), "circuit-disruption")
