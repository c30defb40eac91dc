"""The repository's own options, the services that it deploys, and where its fixtures are."""

from __future__ import annotations

import pytest

from circuit_harness.plugin.options import FIRST_FREE_PORT, clash
from circuit_harness.services.protocol import Service
from deploy.services import API_PORT, MYSQL_PORT, services

pytest_plugins = ["fixtures.connections", "fixtures.services"]

COMPAT = "--tutorial-compat"
PORTS = {"--mysql-port": ("MySQL", MYSQL_PORT), "--api-port": ("the API", API_PORT)}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the tutorial's services."""
    group = parser.getgroup("tutorial", "the tutorial's services")
    for name, (what, default) in PORTS.items():
        group.addoption(
            name, type=int, metavar="PORT", help=f"the port that {what} is to listen on (default: {default})"
        )
    group.addoption(
        COMPAT,
        action="store_true",
        help="set MySQL up as the tutorial does: user 'tutorial' has no password and is admitted from everywhere."
        " Without it the user has a generated password, and is admitted from the API's host alone",
    )


def pytest_circuit_services(config: pytest.Config) -> list[Service]:
    """Return the tutorial's services, as the options have them.

    :raises pytest.UsageError: an option is no good, or makes no sense with another; said in one line.
    """
    for mode in ("--attach", "--circuit-teardown"):
        for other in (COMPAT, *PORTS) if config.getoption(mode) else ():
            if config.getoption(other):
                raise pytest.UsageError(clash(mode, other))
    ports = [_read_port(config, name, default) for name, (_, default) in PORTS.items()]
    return services(*ports, compat=bool(config.getoption(COMPAT)))


def _read_port(config: pytest.Config, name: str, default: int) -> int:
    given: int | None = config.getoption(name)
    if given is None:
        return default
    if not 1 <= given <= 65535:
        raise pytest.UsageError(f"{name}: {given} is no TCP port; they are 1 to 65535")
    if given < FIRST_FREE_PORT:
        raise pytest.UsageError(
            f"{name}: {given} is for privileged programs, and what is deployed runs without privileges: choose one from"
            f" {FIRST_FREE_PORT} to 65535"
        )
    return given
