"""The repository's own options, the services that it deploys, and where its fixtures are."""

from __future__ import annotations

import os
import re

import pytest

from circuit_harness.plugin.command_line import check_arguments
from circuit_harness.plugin.options import clash
from circuit_harness.services.parameters import PORTS as FREE_PORTS
from circuit_harness.services.protocol import Service
from deploy.services import API_PORT, MYSQL_PORT, services

pytest_plugins = ["fixtures.connections", "fixtures.services"]

COMPAT = "--tutorial-compat"
SELFCHECK = "selfcheck"
_LEFT_OUT = pytest.StashKey[int]()
PORTS = {"--mysql-port": ("MySQL", MYSQL_PORT), "--api-port": ("the API", API_PORT)}


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the options of the tutorial's services.

    :raises pytest.UsageError: one is written so that pytest would take it for something else.
    """
    add_options(parser)
    check_arguments(pluginmanager, values=PORTS, flags=(COMPAT, f"--{SELFCHECK}"))


def add_options(parser: pytest.Parser) -> None:
    """Add the options, in a group of their own."""
    group = parser.getgroup("tutorial", "the tutorial's services")
    for name, (what, default) in PORTS.items():
        group.addoption(name, metavar="PORT", help=f"the port that {what} is to listen on (default: {default})")
    group.addoption(
        COMPAT,
        action="store_true",
        help="admit MySQL's user 'tutorial' as the tutorial does: from everywhere, without a password, with or without"
        " TLS, for the database 'tutorial' alone. Without it, the user has a generated password and is admitted from"
        " the API's host alone",
    )
    group.addoption(
        f"--{SELFCHECK}",
        action="store_true",
        help="run the checks of the harness's own work, too (marker selfcheck): records, leases, how things start",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the checks of the harness's own work, unless they are asked for, by marker, name or option."""
    named = config.option.keyword or any("::" in argument for argument in config.args)
    if config.getoption(f"--{SELFCHECK}") or SELFCHECK in config.option.markexpr or named:
        return
    left_out = [item for item in items if item.get_closest_marker(SELFCHECK)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
        config.stash[_LEFT_OUT] = len(left_out)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Say which checks were left out, and how to run them."""
    left_out = config.stash.get(_LEFT_OUT, 0)
    return [f"checks of the harness's own work left out: {left_out}; --{SELFCHECK} runs them"] if left_out else []


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give the cache to the owner of this checkout: a run by sudo writes it as root, and the next one could not."""
    checkout, cache = config.rootpath.stat(), config.rootpath / ".pytest_cache"
    if os.geteuid() != 0 or checkout.st_uid == 0 or cache.is_symlink() or not cache.exists():
        return
    for path in (cache, *cache.rglob("*")):
        os.chown(path, checkout.st_uid, checkout.st_gid, follow_symlinks=False)


def pytest_circuit_services(config: pytest.Config) -> list[Service]:
    """Return the tutorial's services, as the options have them.

    :raises pytest.UsageError: an option is no good, or makes no sense with another; said in one line.
    """
    for mode in ("--attach", "--circuit-teardown"):
        for other in (COMPAT, *PORTS) if config.getoption(mode) else ():
            if config.getoption(other) not in (None, False):
                raise pytest.UsageError(clash(mode, other))
    ports = [_read_port(config, name, default) for name, (_, default) in PORTS.items()]
    return services(*ports, compat=bool(config.getoption(COMPAT)))


def _read_port(config: pytest.Config, name: str, default: int) -> int:
    given: str | None = config.getoption(name)
    if given is None:
        return default
    port = int(given) if re.fullmatch("[0-9]{1,5}", given) else 0
    if not 1 <= port <= 65535:
        raise pytest.UsageError(f"{name}: {given!r} is not a valid TCP port; they are 1 to 65535")
    if port not in FREE_PORTS:
        raise pytest.UsageError(
            f"{name}: {port} is for privileged programs, and what is deployed runs without privileges: choose one from"
            f" {FREE_PORTS.start} to 65535"
        )
    return port
