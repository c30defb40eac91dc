"""What a service can know of others: all of it once they are ready, and placeholders in a plan."""

from __future__ import annotations

from typing import Any

import pytest

from circuit_harness.errors import DeployError
from circuit_harness.remote.address import Addresses
from circuit_harness.secret import Secret
from circuit_harness.services.protocol import Peer, Running, Site
from tests.unit.fakes import FakeHost
from tests.unit.invented import Started

ADDRESSES = Addresses("10.0.0.1", "option", "192.0.2.7", "option")


def site(ready: dict[str, Running], *, planned: bool = False, secrets: dict[str, Secret] | None = None) -> Site:
    """The site of a worker that uses a queue."""
    peer = Peer("queue", "10.0.0.2", 5000, lambda: ready.get("queue"), planned)
    return Site("0a1b2c3d", "X1", ADDRESSES, {"queue": peer}, {} if secrets is None else secrets, name="worker")


@pytest.mark.parametrize("planned", [False, True])
def test_address_and_port_are_known_at_once(planned: bool) -> None:
    queue = site({}, planned=planned)["queue"]
    assert (queue.address, queue.port) == ("10.0.0.2", 5000)


def test_what_is_not_known_is_a_placeholder_in_a_plan() -> None:
    queue = site({}, planned=True)["queue"]
    assert [queue.tls, f"{queue.jobs} jobs"] == ["<tls>", "<jobs> jobs"]


def test_what_is_not_known_yet_is_an_error_in_a_run() -> None:
    ready: dict[str, Running] = {}
    queue = site(ready)["queue"]
    with pytest.raises(DeployError, match=r"^jobs of queue is not known before queue is ready$"):
        _ = queue.jobs
    ready["queue"] = Started(FakeHost("X2", "10.0.0.2"), "10.0.0.2", 5000, "", {"jobs": "3"})
    assert queue.jobs == "3"
    with pytest.raises(AttributeError, match="tls"):
        _ = queue.tls


@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize("name", ["page", "worker", ""])
def test_one_that_is_not_used_is_not_known(name: str, planned: bool) -> None:
    with pytest.raises(DeployError, match=f"^worker does not use {name}: name it in uses$"):
        _ = site({}, planned=planned)[name]


def test_a_password_is_made_once_for_all_who_may_have_it() -> None:
    secrets: dict[str, Secret] = {}
    one, again = site({}, secrets=secrets), site({}, secrets=secrets)
    assert one.secret is again.secret
    assert one.secret is one.secret_of("worker")
    assert one.secret_of("queue") is again.secret_of("queue")
    assert one.secret.reveal() != one.secret_of("queue").reveal()
    assert set(secrets) == {"worker", "queue"}
    with pytest.raises(DeployError, match="worker does not use page"):
        one.secret_of("page")
    assert set(secrets) == {"worker", "queue"}


def test_a_site_tells_its_host() -> None:
    recorded: dict[str, Any] = {"port": 5001}
    own = Site("0a1b2c3d", "X1", ADDRESSES, {}, {}, name="worker", clients=["10.0.0.9"], recorded=recorded)
    assert (own.run, own.host, own.addresses) == ("0a1b2c3d", "X1", ADDRESSES)
    assert (own.clients, own.replace, own.recorded) == (("10.0.0.9",), False, recorded)
