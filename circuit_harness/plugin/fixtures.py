"""Fixtures: the circuit, the hosts, one for each service, and testinfra's ``host``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import testinfra

from circuit import Anchor, Client
from circuit_harness.engine.spec import Services
from circuit_harness.plugin.backend import get_host
from circuit_harness.plugin.harness import ROLE, Harness
from circuit_harness.plugin.questions import ADDRESSES, HOSTS_PICKED
from circuit_harness.remote.address import Addresses
from circuit_harness.remote.circuit_host import CircuitHost
from circuit_harness.services.protocol import Running, Service

MARKER = "on"


class HostParameters:
    """A plugin that runs a test that uses ``host`` once for the host of each service."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrize the fixture ``host``."""
        if ROLE in metafunc.fixturenames:
            metafunc.parametrize(ROLE, _roles(metafunc, self._services), indirect=True, scope="session")


def of(services: Services, harness: Harness) -> Sequence[object]:
    """Return all fixtures."""

    @pytest.fixture(scope="session", name="harness")
    def this_run() -> Harness:
        """This run."""
        return harness

    @pytest.fixture(scope="session", name="circuit_client")
    def circuit_client() -> Client:
        """A client of the circuit that was named, or of one made on this machine for this session."""
        return harness.client()

    @pytest.fixture(scope="session", name="hosts")
    def hosts(circuit_client: Client) -> list[Anchor]:
        """The hosts of the deployment, in the order of their services; fewer where the circuit has too few."""
        return [circuit_client.walk(name) for name in harness.ask(HOSTS_PICKED)["names"]]

    @pytest.fixture(scope="session", name="addresses")
    def addresses() -> dict[str, Addresses]:
        """The addresses of these hosts, by host name, as found before the deployment."""
        return {name: Addresses(**described) for name, described in harness.ask(ADDRESSES).items()}

    @pytest.fixture(scope="session", name=ROLE)
    def role(request: pytest.FixtureRequest) -> str:
        """The service whose host the fixture ``host`` is."""
        name: str = request.param
        return name

    @pytest.fixture(scope="session", name="host")
    def host(request: pytest.FixtureRequest, circuit_client: Client, _circuit_role: str) -> testinfra.host.Host:
        """The host of each service, in testinfra's vocabulary, or of those that the marker ``on`` names."""
        running: Running = request.getfixturevalue(_circuit_role)
        return get_host(circuit_client, running.host.name)

    made = (this_run, circuit_client, hosts, addresses, role, host)
    return [*made, *(_service_fixture(service, harness) for service in services.values())]


def _roles(metafunc: pytest.Metafunc, services: Services) -> list[str]:
    """Return the services on whose hosts a test runs.

    :raises pytest.UsageError: its marker names an unknown one.
    """
    marker = metafunc.definition.get_closest_marker(MARKER)
    if marker is None:
        return list(services)
    unknown = [name for name in marker.args if name not in services]
    if unknown or not marker.args:
        named = ", ".join(map(repr, unknown)) or "nothing"
        pytest.fail(
            f"{metafunc.definition.nodeid}: its marker on names {named}; the services are {', '.join(services)}",
            pytrace=False,
        )
    return list(marker.args)


def _service_fixture(service: Service, harness: Harness) -> Any:
    """Return the session fixture of a service, which depends on those of the services that it uses."""

    def provide(circuit_client: Client, **used: Running) -> Running:
        answer = harness.ask(service.name)
        running = service.find(CircuitHost(circuit_client.walk(answer["host"])), answer["service"])
        harness.provided(service.name, running)
        return running

    names = ("circuit_client", *service.uses)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    function: Callable[..., Running] = provide
    function.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
    function.__doc__ = f"{service.title}, deployed: {type(service).__name__}."
    return pytest.fixture(scope="session", name=service.name)(function)
