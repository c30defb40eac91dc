"""What must hold of the shop."""

from __future__ import annotations

import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from testinfra.host import Host

from circuit_harness import RunningMySQL, RunningProgram


def ask(shop: RunningProgram, path: str, body: object = None) -> tuple[int, object]:
    """Return status and answer of a request: a POST where there is a body."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"{shop.url}{path}", data, {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.shop
def test_lists_its_products(shop: RunningProgram) -> None:
    assert ask(shop, "/products") == (200, [{"name": "coffee", "cents": 790}, {"name": "tea", "cents": 450}])


@pytest.mark.shop
@pytest.mark.on("mysql")
def test_stores_a_purchase(shop: RunningProgram, mysql: RunningMySQL, host: Host) -> None:
    status, answer = ask(shop, "/purchases", {"product": "tea", "pieces": 2})
    assert status == 201
    assert isinstance(answer, dict)
    query = f"SELECT pieces FROM {mysql.database}.purchase WHERE id = {answer['id']}"
    with host.sudo():
        assert host.check_output(f"{mysql.client} -N -e '{query}'") == "2"


@pytest.mark.shop
@pytest.mark.parametrize(
    ("body", "status"), [({"product": "milk", "pieces": 1}, 404), ({"product": "tea", "pieces": 0}, 400), ([], 400)]
)
def test_refuses_what_it_cannot_sell(shop: RunningProgram, body: object, status: int) -> None:
    assert ask(shop, "/purchases", body)[0] == status


@pytest.mark.mysql
@pytest.mark.on("mysql")
def test_the_tables_are_bound_privately(mysql: RunningMySQL, host: Host) -> None:
    sockets = [socket for socket in host.socket.get_listening_sockets() if socket.endswith(f":{mysql.port}")]
    assert sockets == [f"tcp://{mysql.address}:{mysql.port}"]
