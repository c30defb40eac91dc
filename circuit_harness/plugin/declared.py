"""Collect the services that the repository declares by the hook, in each process of a run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from circuit_harness.engine.spec import Services
from circuit_harness.errors import DeployError
from circuit_harness.plugin.fault import fault
from circuit_harness.services.protocol import Service

_TAKEN = (
    *("request", "host", "hosts", "harness", "addresses", "circuit_client"),
    *("on", "disruptive", "cluster", "skip", "skipif", "xfail", "parametrize", "usefixtures", "filterwarnings"),
    *("circuit", "lost"),
)
"""Names of the harness's own fixtures, markers and requests, and of pytest's markers."""


def services(config: pytest.Config, *, required: bool) -> Services:
    """Return the services that were declared.

    :param required: whether there must be one.
    :raises pytest.UsageError: there is none, a hook returned no list, or a service is not valid; the message is one
        line.
    """
    hook = config.hook.pytest_circuit_services
    try:
        found = hook(config=config)
    except DeployError as error:
        raise pytest.UsageError(str(error)) from None
    except pytest.UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - the hook is any user's code
        raise pytest.UsageError(f"pytest_circuit_services: {fault(error)}") from None
    if len(found) < len(hook.get_hookimpls()):
        raise pytest.UsageError("pytest_circuit_services of a conftest.py returned nothing: let it return its services")
    for of_one in found:
        if not isinstance(of_one, Sequence) or not all(hasattr(service, "plan") for service in of_one):
            raise pytest.UsageError(
                f"pytest_circuit_services of a conftest.py returned {of_one!r}: let it return a list of services"
            )
    # The hook of the conftest.py that was loaded last is called first.
    declared: list[Service] = [service for of_one in reversed(found) for service in of_one]
    if required and not declared:
        where = f"rootdir {config.rootpath}, {config.inipath or 'no ini file'}"
        raise pytest.UsageError(
            f"no conftest.py that pytest loads at its start has the hook pytest_circuit_services ({where}): run"
            " pytest in the folder of the one that has, beside a pytest.ini"
        )
    for service in declared:
        if service.name in _TAKEN:
            raise pytest.UsageError(
                f"a service cannot be called {service.name}, as a fixture or a marker of the harness or of pytest is"
            )
    try:
        return Services(declared)
    except DeployError as error:
        raise pytest.UsageError(str(error)) from None
