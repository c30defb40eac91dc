"""What ``run.json`` holds after runs of all kinds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Document = dict[str, Any]

MYSQL_HOST = "X5f2a6d0c11e49b83"
NODEJS_HOST = "Xb81c07e92fa4d356"

CHECKS = {
    "cluster": (
        "hosts_are_live",
        "hosts_are_named_after_their_servers",
        "host_anchor_has_a_server_element",
        "host_runs_shell_commands_and_tells_their_status",
    ),
    "mysql": (
        "service_is_running",
        "bind_address_in_the_option_file",
        "bind_address_of_the_running_server",
        "bind_address_of_the_socket",
        "bind_address_is_the_only_one",
        "bind_address_is_the_private_one",
        "schema_columns",
        "schema_primary_key",
        "schema_has_no_other_table",
        "grants_of_tutorial",
        "user_is_tutorial",
    ),
    "nodejs": (
        "element_is_a_running_process",
        "element_is_at_the_documented_anchor",
        "process_is_node_itself",
        "api_listens_on_every_address",
        "log_says_where_it_listens_and_no_more",
        "http_answers_from_here",
        "http_missing_name_is_json",
        "http_put_is_seen_in_mysql",
        "http_put_replaces",
        "http_get_tells_what_mysql_has",
        "http_del_is_seen_in_mysql",
        "http_value_comes_back_as_it_was['; DROP TABLE NameValue; --]",
        "http_value_comes_back_as_it_was[100 %]",
        'http_value_comes_back_as_it_was[a "b" \\\\c]',
        "http_value_comes_back_as_it_was[a/b?c#d]",
        "http_value_comes_back_as_it_was[snow \\u2603 \\U0001f600]",
    ),
}

_DEPLOYING = (
    ("make 2 hosts on this machine", "", 0.02, 1.35),
    ("Node.js: put the app together, here", "", 1.62, 0.06),
    ("look at the hosts", "", 1.61, 0.35),
    ("MySQL: bind to 10.213.1.11:3306 in /etc/mysql/mariadb.conf.d/50-server.cnf", MYSQL_HOST, 1.98, 0.04),
    ("MySQL: start mariadb", MYSQL_HOST, 2.02, 0.41),
    ("MySQL: wait for a query", MYSQL_HOST, 2.43, 0.09),
    ("MySQL: make database tutorial and accounts, load schema.sql", MYSQL_HOST, 2.52, 0.05),
    ("Node.js: send the app, 1.5 MB", NODEJS_HOST, 1.98, 0.17),
    (f"Node.js: start it at /{NODEJS_HOST}/nodejs", NODEJS_HOST, 2.58, 0.02),
    ("Node.js: wait until /ready answers over HTTP", NODEJS_HOST, 2.60, 0.52),
)
_UNDOING = (
    ("Node.js: end the app", NODEJS_HOST, 4.41, 0.03),
    ("Node.js: remove the app and its log", NODEJS_HOST, 4.44, 0.05),
    ("MySQL: drop database tutorial and its accounts", MYSQL_HOST, 4.50, 0.05),
    ("MySQL: stop, put the configuration back", MYSQL_HOST, 4.55, 0.19),
    ("remove the 2 hosts", "", 4.76, 0.27),
)


def result(check: str, part: str, start: float, outcome: str = "passed", **more: Any) -> Document:
    """One result; a check's name alone is one of the file of its part."""
    node = check if "::" in check else f"checks/test_{part}.py::test_{check}"
    plain = {"worker": "", "reason": "", "text": "", "evidence": [], "elsewhere": [], "seconds": 0.02}
    where = {"file": node.partition("::")[0], "line": 7}
    return {"check": node, "parts": [part], **where, "outcome": outcome, "start": start, **plain, **more}


def step(what: str, host: str, start: float, seconds: float, *, ok: bool = True) -> Document:
    return {"what": what, "host": host, "start": start, "seconds": seconds, "ok": ok}


def nothing(**more: Any) -> Document:
    """A run that came to nothing: all that is always there."""
    return {
        "format": 1,
        "run": "0a1b2c3d",
        "owner": "ci@runner",
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 0.4,
        "mode": "deploy",
        "declared": [
            {"name": "mysql", "title": "MySQL", "uses": [], "speaks": "SQL"},
            {"name": "nodejs", "title": "Node.js API", "uses": ["mysql"], "speaks": "HTTP"},
        ],
        "kept": False,
        "exit_status": 5,
        "outcome": "error",
        "circuit": [],
        "hosts": [],
        "services": {},
        "steps": [],
        "results": [],
        "logs": [],
        "left": [],
        "notes": [],
        "commands": [],
        "files": [],
        **more,
    }


def passing(**more: Any) -> Document:
    """Two hosts, deployed, checked, taken down."""
    results = []
    start = {"cluster": 1.38, "mysql": 2.60, "nodejs": 3.14}
    for part, names in CHECKS.items():
        for name in names:
            seconds = 0.04 + len(name) % 7 / 100
            results.append(result(name, part, round(start[part], 3), seconds=seconds))
            start[part] += seconds + 0.005
    return nothing(
        seconds=5.07,
        exit_status=0,
        outcome="passed",
        circuit=["circuit://10.213.1.11:11022/34/Q54d9ba8870177645"],
        hosts=[
            host(MYSQL_HOST, "mysql", 11),
            host(NODEJS_HOST, "nodejs", 12),
        ],
        services={"mysql": mysql(), "nodejs": nodejs()},
        steps=[step(*taken) for taken in (*_DEPLOYING, *_UNDOING)],
        results=results,
        **more,
    )


def host(name: str, part: str, number: int) -> Document:
    return {
        "name": name,
        "parts": [part] if part else [],
        "private_address": f"10.213.1.{number}",
        "private_address_from": "metadata",
        "public_address": f"10.213.1.{100 + number}",
        "public_address_from": "metadata",
    }


def mysql(on: str = MYSQL_HOST) -> Document:
    return {
        "host": on,
        "address": "10.213.1.11",
        "port": 3306,
        "version": "10.11.6-MariaDB",
        "config": "/etc/mysql/mariadb.conf.d/50-server.cnf",
        "service": {"manager": "systemd", "name": "mariadb"},
    }


def nodejs(on: str = NODEJS_HOST) -> Document:
    return {
        "host": on,
        "address": "10.213.1.112",
        "port": 8080,
        "folder": "/var/lib/tutorial-nodejs",
        "log": "/tmp/tutorial-nodejs.log",
        "command": ["node", "/var/lib/tutorial-nodejs/index.js", "--mysql_host", "10.213.1.11", "--api_port", "8080"],
    }


_COLUMNS = """\
mysql_connection = <pymysql.connections.Connection object at 0x7f2a5c1d4b50>

    def test_schema_columns(mysql_connection: Connection) -> None:
        columns = rows(
            mysql_connection,
            "SELECT column_name, column_type, is_nullable FROM information_schema.columns"
            " WHERE table_schema = %s AND table_name = 'NameValue' ORDER BY ordinal_position",
            DATABASE,
        )
>       assert columns == [("name", "varchar(100)", "NO"), ("value", "text", "YES")]
E       AssertionError: assert [('name', 'varchar(64)', 'NO'), ('value', 'text', 'YES')] == \
[('name', 'varchar(100)', 'NO'), ('value', 'text', 'YES')]
E
E         At index 0 diff: ('name', 'varchar(64)', 'NO') != ('name', 'varchar(100)', 'NO')
E         Use -v to get more diff

checks/test_mysql.py:54: AssertionError"""

_TOO_LONG = """\
api = <fixtures.connections.Api object at 0x7f2a5c0e9d10>, key = 'check-7d1f'

    def test_http_put_is_seen_in_mysql(api: Api, key: str, mysql_connection: Connection) -> None:
        answer = api.put(key, "in MySQL")
>       assert (answer.status, answer.json()) == (200, {"status": "ok"})
E       AssertionError: assert (500, {'status': 'error', 'error': "MySQL refused: Data too long for column 'name' at \
row 1"}) == (200, {'status': 'ok'})

checks/test_nodejs.py:66: AssertionError"""

_SOCKETS = """\
State   Recv-Q  Send-Q  Local Address:Port   Peer Address:Port  Process
LISTEN  0       80        10.213.1.11:3306        0.0.0.0:*      users:(("mariadbd",pid=412,fd=21))
LISTEN  0       128       10.213.1.11:11022       0.0.0.0:*      users:(("circuit",pid=34,fd=3))"""

_JOURNAL = """\
Jan 02 03:04:07 x5f2a6d0c mariadbd[412]: 2026-01-02  3:04:07 0 [Note] InnoDB: log sequence number 46846
Jan 02 03:04:07 x5f2a6d0c mariadbd[412]: 2026-01-02  3:04:07 0 [Note] Server socket created on IP: '10.213.1.11'.
Jan 02 03:04:07 x5f2a6d0c mariadbd[412]: 2026-01-02  3:04:07 0 [Note] /usr/sbin/mariadbd: ready for connections.
Jan 02 03:04:07 x5f2a6d0c systemd[1]: Started mariadb.service - MariaDB 10.11.6 database server."""

_LOGS = (
    {"title": f"journal of mariadb on host {MYSQL_HOST}", "text": _JOURNAL},
    {
        "title": f"/tmp/tutorial-nodejs.log on host {NODEJS_HOST}",
        "text": "Listening on 0.0.0.0:8080\nError: Data too long for column 'name' at row 1 (ER_DATA_TOO_LONG)",
    },
)


def failing(**more: Any) -> Document:
    """As :func:`passing`, with a column that is too short, which two checks notice."""
    evidence = [{"title": f"listening sockets on host {MYSQL_HOST}", "text": _SOCKETS}, _LOGS[0]]
    found = {
        "schema_columns": (
            (
                "assert [('name', 'varchar(64)', 'NO'), ('value', 'text', 'YES')] == "
                "[('name', 'varchar(100)', 'NO'), ('value', 'text', 'YES')]"
            ),
            _COLUMNS,
            evidence,
        ),
        "http_put_is_seen_in_mysql": (
            (
                "assert (500, {'status': 'error', 'error': "
                "\"MySQL refused: Data too long for column 'name' at row 1\"}) == (200, {'status': 'ok'})"
            ),
            _TOO_LONG,
            [_LOGS[1]],
        ),
    }
    document = passing(logs=list(_LOGS))
    document.update(exit_status=1, outcome="failed")
    for each in document["results"]:
        name = each["check"].partition("::test_")[2]
        if name in found:
            reason, text, about = found[name]
            each.update(outcome="failed", reason=reason, text=text, evidence=about)
    return {**document, **more}


def not_deployed() -> Document:
    """MySQL did not start: its first check tells so, all others that need it did not run."""
    reason = (
        f"MySQL on host {MYSQL_HOST}: mariadb.service did not start: [ERROR] Can't start server: Bind on TCP/IP port"
    )
    document = passing(
        logs=[_LOGS[0]],
        left=[f"on host {MYSQL_HOST}: MySQL: drop database tutorial and its accounts: no answer"],
        commands=[{"to": "finish taking it down", "command": f"pytest --hosts={MYSQL_HOST} --circuit-teardown"}],
    )
    document.update(exit_status=1, outcome="failed", seconds=3.2)
    document["services"] = {}
    document["steps"] = [
        *(step(*taken) for taken in _DEPLOYING[:4]),
        step("MySQL: start mariadb", MYSQL_HOST, 2.02, 0.41, ok=False),
        step(*_DEPLOYING[7]),
        step("MySQL: drop database tutorial and its accounts", MYSQL_HOST, 2.55, 0.05, ok=False),
        step("MySQL: put the configuration back", MYSQL_HOST, 2.6, 0.19),
    ]
    for number, each in enumerate(document["results"][4:]):
        first = number == 0
        each.update(
            outcome="error" if first else "skipped",
            reason=reason if first else f"not run: {reason}",
            text=f"E   DeployError: {reason}" if first else "",
            start=1.7 if first else 2.5,
            seconds=0.75 if first else 0.0,
        )
    return document


def interrupted() -> Document:
    """Ctrl-C after some checks; the deployment was taken down."""
    document = passing()
    document.update(exit_status=2, outcome="interrupted", results=document["results"][:9], seconds=3.4)
    document["steps"] = [taken for taken in document["steps"] if taken["start"] < 2.3]
    return document


def one_host() -> Document:
    """All of it on one host, which was kept."""
    name = MYSQL_HOST
    both = {**host(name, "mysql", 11), "parts": ["mysql", "nodejs"]}
    return {
        **passing(),
        "hosts": [both],
        "services": {"mysql": mysql(), "nodejs": {**nodejs(name), "address": "10.213.1.111"}},
        "kept": True,
    }


def crowd(results: int) -> Document:
    """Very many results, some of them failed, some skipped, from four workers."""
    outcomes = ("passed",) * 17 + ("failed", "skipped", "error")
    many = [
        result(
            f"number_{number}",
            tuple(CHECKS)[number % 3],
            number / 100,
            outcomes[number % len(outcomes)],
            worker=f"gw{number % 4}",
            reason="" if number % len(outcomes) < 17 else f"reason {number}",
            text=f"text {number}",
        )
        for number in range(results)
    ]
    return {**passing(), "outcome": "failed", "exit_status": 1, "results": many, "seconds": results / 100 + 1}


def large(checks: int, failures: int) -> Document:
    """Very many results, of which these many failed, each with as much evidence as runs collect."""
    document = {**failing(), "results": [result(f"number_{n}", tuple(CHECKS)[n % 3], n / 100) for n in range(checks)]}
    evidence = [{"title": f"log {number}", "text": _JOURNAL * 8} for number in range(5)]
    for number in range(failures):
        failed = document["results"][number * checks // failures]
        failed.update(outcome="failed", reason=f"reason {number}", text=_COLUMNS, evidence=evidence)
    return {**document, "seconds": checks / 100 + 1}


HOSTILE = (
    "</pre></style><script>alert(1)</script><img src=x onerror=alert(1)>\" onclick='alert(1)' {{ 7*7 }} {% x %} &lt;"
)


def hostile() -> Document:
    """HTML, template code, terminal sequences and control characters wherever others can write text; long names."""
    text = f"{HOSTILE}\x1b[31mred\x1b[0m\x1b]0;title\x07 \x00\x08\x7f\x9b1m\ud800\u202e{'w' * 300}"
    document: Document = _replaced(failing(left=["?"]), text)
    return document


def _replaced(value: Any, text: str, key: str = "") -> Any:
    if isinstance(value, dict):
        return {each: _replaced(item, text, each) for each, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, text, key) for item in value]
    if isinstance(value, str) and key not in ("outcome", "mode", "parts"):
        return f"{value} {text}"
    return value


ALL: Sequence[tuple[str, Document]] = (
    ("passing", passing()),
    ("failing", failing()),
    ("not deployed", not_deployed()),
    ("interrupted", interrupted()),
    ("one host", one_host()),
    ("nothing", nothing()),
    ("attached", passing(mode="attach")),
    ("crowd", crowd(2000)),
    ("hostile", hostile()),
)
