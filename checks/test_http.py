"""The Node.js API over HTTP: reachable, it stores values in MySQL, and refuses what is not valid."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import testinfra

from circuit_harness.services.mysql import RunningMySQL
from circuit_harness.services.program import RunningProgram
from fixtures.connections import AT_ONCE, Admin, Api, Reader, Row, described, rows
from fixtures.services import Eventually, MySQLService

pytestmark = pytest.mark.nodejs

NAME_CHARACTERS = 100
VALUE_BYTES = 65_535
URL_VALUE_BYTES = 12 * 1024
REQUESTS = 200

AWKWARD = {
    "quotes": "it's \"so\" `here` \\'",
    "percent": "100 % of %s %41 %",
    "emoji": "snow ☃ \U0001f600 é",
    "sql": "'; DROP TABLE NameValue; --",
    "url": "a/b?c=d&e+f#g ../h",
    "blanks": " a\tb\r\nc\0d ",
}
"""Values that are broken by whoever builds SQL, URLs or JSON of them by hand."""

awkward = pytest.mark.parametrize("value", list(AWKWARD.values()), ids=list(AWKWARD))


def _stored(connection: Reader, name: str) -> list[Row]:
    return rows(connection, "SELECT name, value FROM NameValue WHERE name = %s", name)


def test_http_answers_from_here(api: Api, key: str) -> None:
    answer = api.get(key)
    assert answer.status == 404, described(answer)


def test_http_is_ready_with_a_new_connection_to_mysql(api: Api) -> None:
    answer = api.request("/ready")
    assert answer.status == 200, described(answer)


def test_http_answers_from_the_other_host(
    mysql_host: testinfra.host.Host, nodejs: RunningProgram, mysql: RunningMySQL
) -> None:
    if mysql.host.name == nodejs.host.name:
        pytest.skip(f"MySQL and the API share host {nodejs.host.name}: there is no other host")
    url = f"{nodejs.url}/no-such-route"
    answer = mysql_host.run("curl -sS --noproxy '*' --max-time 10 %s", url)
    assert answer.stdout == '{"status":"error","error":"no such route"}', (
        f"host {mysql.host.name} asked {url}: {answer.stderr.strip() or answer.stdout}"
    )


def test_http_answers_are_json_and_not_to_be_kept(api: Api, key: str) -> None:
    answer = api.put(key, "value")
    headers = {name: answer.headers.get(name) for name in ("Content-Type", "Cache-Control")}
    assert headers == {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}


def test_http_missing_name_is_json(api: Api, key: str) -> None:
    answer = api.get(key)
    assert (answer.status, answer.json()) == (404, {"status": "error", "error": "no such name"})


@pytest.mark.parametrize("path", ["/", "/get", "/get/", "/put/name", "/del/", "/get/name/more"])
def test_http_missing_route_is_json(api: Api, path: str) -> None:
    answer = api.request(path)
    assert (answer.status, answer.json()) == (404, {"status": "error", "error": "no such route"})


def test_http_name_may_be_as_long_as_the_column(api: Api, key: str) -> None:
    name = key.ljust(NAME_CHARACTERS, "é")
    stored = api.put(name, "value")
    assert stored.status == 200, described(stored)
    assert api.get(name).json() == {"status": "ok", "result": [{"name": name, "value": "value"}]}
    removed = api.delete(name)
    assert removed.status == 200, described(removed)


def test_http_name_that_is_longer_is_refused(api: Api) -> None:
    name = "é" * (NAME_CHARACTERS + 1)
    for answer in (api.put(name, "value"), api.post(name, b"value"), api.get(name), api.delete(name)):
        assert (answer.status, answer.json()) == (400, {"status": "error", "error": "name is over 100 characters"})


def test_http_names_differ_by_case(api: Api, key: str) -> None:
    api.put(key, "value")
    answer = api.get(key.upper())
    assert answer.status == 404, f"a name in capitals is found: {described(answer)}"


def test_http_put_is_seen_in_mysql(api: Api, key: str, mysql_connection: Reader) -> None:
    answer = api.put(key, "in MySQL")
    assert (answer.status, answer.json()) == (200, {"status": "ok"})
    assert _stored(mysql_connection, key) == [(key, "in MySQL")]


def test_http_put_replaces(api: Api, key: str, mysql_connection: Reader) -> None:
    api.put(key, "first")
    api.put(key, "second")
    assert _stored(mysql_connection, key) == [(key, "second")]


def test_http_post_is_seen_in_mysql(api: Api, key: str, mysql_connection: Reader) -> None:
    answer = api.post(key, b"in MySQL")
    assert (answer.status, answer.json()) == (200, {"status": "ok"})
    assert _stored(mysql_connection, key) == [(key, "in MySQL")]


def test_http_get_tells_what_mysql_has(api: Api, key: str, mysql_admin: Admin) -> None:
    mysql_admin("INSERT INTO NameValue (name, value) VALUES (%s, 'stored by MySQL')", key)
    assert api.get(key).json() == {"status": "ok", "result": [{"name": key, "value": "stored by MySQL"}]}


def test_http_del_is_seen_in_mysql(api: Api, key: str, mysql_connection: Reader) -> None:
    api.put(key, "value")
    answer = api.delete(key)
    assert (answer.status, answer.json()) == (200, {"status": "ok"})
    assert _stored(mysql_connection, key) == []


def test_http_del_of_a_missing_name_is_fine(api: Api, key: str) -> None:
    answer = api.delete(key)
    assert (answer.status, answer.json()) == (200, {"status": "ok"})


@awkward
def test_http_value_by_url_comes_back_as_it_was(api: Api, key: str, value: str) -> None:
    api.put(key, value)
    assert api.get(key).json() == {"status": "ok", "result": [{"name": key, "value": value}]}


@awkward
def test_http_value_by_post_comes_back_as_it_was(api: Api, key: str, value: str) -> None:
    api.post(key, value.encode())
    assert api.get(key).json() == {"status": "ok", "result": [{"name": key, "value": value}]}


def test_http_value_may_be_empty(api: Api, key: str) -> None:
    api.post(key, b"")
    assert api.get(key).json() == {"status": "ok", "result": [{"name": key, "value": ""}]}


def test_http_value_of_12_kib_by_url(api: Api, key: str) -> None:
    """Of characters that take the most room in a URL, a percent sign and two digits for each byte."""
    value = "é" * (URL_VALUE_BYTES // 2)
    stored = api.put(key, value)
    assert stored.status == 200, described(stored)
    assert api.get(key).json() == {"status": "ok", "result": [{"name": key, "value": value}]}


@pytest.mark.parametrize("letter", ["x", "€"], ids=["ascii", "utf-8"])
def test_http_value_that_fills_the_column(api: Api, key: str, letter: str) -> None:
    value = letter * (VALUE_BYTES // len(letter.encode()))
    assert len(value.encode()) == VALUE_BYTES, "the value does not fill the column"
    stored = api.post(key, value.encode())
    assert stored.status == 200, described(stored)
    assert api.get(key).json() == {"status": "ok", "result": [{"name": key, "value": value}]}


def test_http_value_that_is_too_long_is_refused(api: Api, key: str) -> None:
    api.post(key, b"before")
    answer = api.post(key, b"x" * (VALUE_BYTES + 1))
    assert (answer.status, answer.json()["status"]) == (413, "error"), described(answer)
    assert api.get(key).json() == {"status": "ok", "result": [{"name": key, "value": "before"}]}


def test_http_value_that_is_no_text_is_refused(api: Api, key: str) -> None:
    answer = api.post(key, b"\xff\xfe")
    assert (answer.status, answer.json()) == (400, {"status": "error", "error": "value is not text in UTF-8"})


def test_http_many_requests_at_once_lose_no_write(api: Api, mysql_key: str, mysql_connection: Reader) -> None:
    values = {f"{mysql_key}-{number}": f"value {number}" for number in range(REQUESTS)}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda item: api.put(*item), values.items()))
    refused = [described(answer) for answer in answers if answer.status != 200]
    assert not refused, f"{len(refused)} of {REQUESTS} writes failed; the first: {refused[0]}"
    found = rows(mysql_connection, "SELECT name, value FROM NameValue WHERE name LIKE %s", f"{mysql_key}-%")
    lost = sorted(set(values.items()) - set(found))
    assert not lost, f"{len(lost)} of {REQUESTS} writes are not in MySQL; the first: {lost[0]}"
    assert len(found) == REQUESTS, f"MySQL has {len(found)} rows of {REQUESTS} writes"


@pytest.mark.disruptive
@pytest.mark.usefixtures("api_log_is_kept")
def test_http_says_503_while_mysql_is_away(api: Api, mysql_service: MySQLService) -> None:
    mysql_service.stop()
    answer = api.get("any")
    assert (answer.status, answer.json()["status"]) == (503, "error"), f"MySQL is stopped, and {described(answer)}"


@pytest.mark.disruptive
@pytest.mark.usefixtures("api_log_is_kept")
def test_http_recovers_when_mysql_is_back(
    api: Api, key: str, mysql_service: MySQLService, eventually: Eventually
) -> None:
    stored = api.put(key, "before")
    assert stored.status == 200, described(stored)
    mysql_service.stop()
    answer = api.get(key)
    assert answer.status >= 500, f"MySQL is stopped, and {described(answer)}"
    mysql_service.start()
    eventually(lambda: "" if (status := api.get(key).status) < 500 else f"status {status}", "the API to answer")
    assert api.get(key).json() == {"status": "ok", "result": [{"name": key, "value": "before"}]}
