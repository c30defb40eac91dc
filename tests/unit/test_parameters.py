"""Parameters that cannot be are refused where a service is declared, in one line that names the service."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from circuit_harness.errors import DeployError
from circuit_harness.operations.needs import Need
from circuit_harness.services.mysql import MySQL
from circuit_harness.services.nodejs import NodeApp
from circuit_harness.services.program import Program

_NAMES = "up to 24 lowercase letters, digits and _, beginning with a letter"

REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    **{
        f"program called {name!r}": (
            lambda name=name: Program(name, ["redis-server"], 6379),  # type: ignore[misc]
            f"{name!r} is not a valid service name: use {_NAMES}",
        )
        for name in ("", "Redis", "my-redis", "1redis", "a" * 25, "redis\n", "../redis")
    },
    **{
        f"program on port {port}": (
            lambda port=port: Program("redis", ["redis-server"], port),  # type: ignore[misc]
            f"service redis: port {port} is not from 1024 to 65535",
        )
        for port in (-1, 0, 80, 1023, 65536)
    },
    "no command": (
        lambda: Program("redis", [], 6379),
        "service redis: its command is empty",
    ),
    "MySQL called otherwise": (
        lambda: MySQL("shop", name="my sql"),
        f"'my sql' is not a valid service name: use {_NAMES}",
    ),
    "MySQL on port 80": (lambda: MySQL("shop", port=80), "service mysql: port 80 is not from 1024 to 65535"),
    **{
        f"database {name!r}": (
            lambda name=name: MySQL(name),  # type: ignore[misc]
            f"service mysql: {name!r} is not a valid database name: use {_NAMES}",
        )
        for name in ("", "Shop", "shop`", "shop; DROP", "a" * 25)
    },
    "user": (lambda: MySQL("shop", "o'hara"), f'service mysql: "o\'hara" is not a valid user name: use {_NAMES}'),
    "schema": (
        lambda: MySQL("shop", schema=Path("/nowhere.sql")),
        "service mysql: schema /nowhere.sql is not a file",
    ),
    "one of the schemas": (
        lambda: MySQL("shop", schema=[Path(__file__), Path("/nowhere.sql")]),
        "service mysql: schema /nowhere.sql is not a file",
    ),
    "folder": (
        lambda: NodeApp(name="api", folder=Path("/nowhere"), start=["index.js"]),
        "service api: /nowhere has no package.json: npm install makes one",
    ),
    "a command in one string": (
        lambda: Program("cache", "memcached -l 0.0.0.0", 11211),
        "service cache: command is 'memcached -l 0.0.0.0': give a list of words",
    ),
    "a function without a parameter": (
        lambda: Program("cache", lambda: ["memcached"], 11211),  # type: ignore[arg-type, misc]
        "service cache: command is a function of the place: give it one parameter",
    ),
    "files by a function without a parameter": (
        lambda: Program("cache", ["memcached"], 11211, files=lambda: {"cache.conf": ""}),  # type: ignore[arg-type, misc]
        "service cache: files is a function of the place: give it one parameter",
    ),
    "files in a list": (
        lambda: Program("cache", ["memcached"], 11211, files=["cache.conf"]),  # type: ignore[arg-type]
        "service cache: files is ['cache.conf']: give a dict",
    ),
    "packages for programs": (
        lambda: Program("cache", ["memcached"], 11211, ["memcached"]),  # type: ignore[list-item]
        "service cache: programs is not a list of Need(...)",
    ),
    "one need for programs": (
        lambda: Program("cache", ["memcached"], 11211, Need("memcached", ["memcached"], "memcached")),  # type: ignore[arg-type]
        "service cache: programs is not a list of Need(...)",
    ),
    "a need's programs in one string": (
        lambda: Need("memcached", "memcached", "memcached"),
        "Need('memcached', ...): programs is a string: give a list, as in ['memcached']",
    ),
    "a need without a program": (
        lambda: Need("Flask", [], "python3-flask"),
        "Need('Flask', ...): programs is empty: name one that the package has, or that needs the package",
    ),
    "ready without a slash": (
        lambda: Program("cache", ["memcached"], 11211, ready="health"),
        "service cache: ready is 'health': begin a path with /, or give a list of words",
    ),
    "no start": (
        lambda: NodeApp(name="api", folder=Path("/nowhere"), start=[]),
        "service api: start is empty: name a file of /nowhere",
    ),
    "port of an app": (
        lambda: NodeApp(name="api", folder=Path("/nowhere"), start=["index.js"], port=80),
        "service api: port 80 is not from 1024 to 65535",
    ),
}


@pytest.mark.parametrize(("declare", "told"), REFUSED.values(), ids=REFUSED)
def test_a_bad_parameter_is_refused(declare: Callable[[], object], told: str) -> None:
    with pytest.raises(DeployError) as refused:
        declare()
    assert str(refused.value) == told


def test_a_folder_without_a_lock_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text("{}")
    with pytest.raises(DeployError, match=r"^service api: \S+ has no package-lock.json: npm install makes one$"):
        NodeApp(name="api", folder=tmp_path, start=["index.js"])
    (tmp_path / "package-lock.json").write_text("{}")
    assert NodeApp(name="api", folder=tmp_path, start=["index.js"]).port == 8080


def test_what_is_not_given_is_chosen() -> None:
    mysql = MySQL("shop")
    assert (mysql.user, mysql.name, mysql.port, mysql.uses) == ("shop", "mysql", 3306, ())
    redis = Program("redis", ["redis-server"], 6379, uses="mysql")
    assert (redis.title, redis.uses, redis.public) == ("redis", ("mysql",), False)
