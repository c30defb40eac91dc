"""The Node.js API: a process element on its host, reachable over HTTP, storing what it is told in MySQL."""

from __future__ import annotations

import pytest
import testinfra

from circuit import Proc
from deploy.nodejs import API_HOST, NodeJS
from fixtures.connections import Api, Connection, rows

pytestmark = pytest.mark.nodejs


def _stored(connection: Connection, name: str) -> list[tuple[object, ...]]:
    return rows(connection, "SELECT name, value FROM NameValue WHERE name = %s", name)


def test_element_is_a_running_process(nodejs: NodeJS) -> None:
    element = nodejs.anchor.get()
    assert isinstance(element, Proc)
    assert element.peek().phase == "running"


def test_element_is_at_the_documented_anchor(nodejs: NodeJS) -> None:
    assert nodejs.anchor.path == f"/{nodejs.host.name}/nodejs"
    assert "nodejs" in nodejs.host.view()


def test_process_is_node_itself(nodejs_host: testinfra.host.Host, nodejs: NodeJS) -> None:
    """No shell around it that would take the signals."""
    concerned = [process.args for process in nodejs_host.process.filter() if nodejs.folder in process.args]
    assert concerned == [" ".join(nodejs.command)]


def test_api_listens_on_every_address(nodejs_host: testinfra.host.Host, nodejs: NodeJS) -> None:
    assert nodejs_host.socket(f"tcp://{API_HOST}:{nodejs.port}").is_listening


def test_log_says_where_it_listens_and_no_more(nodejs_host: testinfra.host.Host, nodejs: NodeJS) -> None:
    log = nodejs_host.file(nodejs.log)
    assert log.exists
    assert log.content_string.splitlines() == [f"Listening on {API_HOST}:{nodejs.port}"]


def test_http_answers_from_here(api: Api, key: str) -> None:
    assert api.get(key).status == 404


def test_http_missing_name_is_json(api: Api, key: str) -> None:
    assert api.get(key).json() == {"status": "error", "error": "no such name"}


def test_http_put_is_seen_in_mysql(api: Api, key: str, mysql_connection: Connection) -> None:
    answer = api.put(key, "in MySQL")
    assert (answer.status, answer.json()) == (200, {"status": "ok"})
    assert _stored(mysql_connection, key) == [(key, "in MySQL")]


def test_http_put_replaces(api: Api, key: str, mysql_connection: Connection) -> None:
    api.put(key, "first")
    api.put(key, "second")
    assert _stored(mysql_connection, key) == [(key, "second")]


def test_http_get_tells_what_mysql_has(api: Api, key: str, mysql_connection: Connection) -> None:
    rows(mysql_connection, "INSERT INTO NameValue (name, value) VALUES (%s, 'told by MySQL')", key)
    assert api.get(key).json() == {"status": "ok", "result": [{"name": key, "value": "told by MySQL"}]}


def test_http_del_is_seen_in_mysql(api: Api, key: str, mysql_connection: Connection) -> None:
    api.put(key, "value")
    assert api.delete(key).json() == {"status": "ok"}
    assert _stored(mysql_connection, key) == []
    assert api.get(key).status == 404


@pytest.mark.parametrize("value", ["'; DROP TABLE NameValue; --", "100 %", 'a "b" \\c', "a/b?c#d", "snow ☃ \U0001f600"])
def test_http_value_comes_back_as_it_was(api: Api, key: str, value: str) -> None:
    api.put(key, value)
    assert api.get(key).json() == {"status": "ok", "result": [{"name": key, "value": value}]}
