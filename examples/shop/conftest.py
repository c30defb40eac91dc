"""A shop: its app on one host, its tables in MySQL on another."""

from collections.abc import Sequence
from pathlib import Path

from circuit_harness import MySQL, NodeApp, Place, Service

HERE = Path(__file__).parent


def env(place: Place) -> dict[str, str]:
    """Return the app's settings. Its password is in a file that the app alone can read."""
    mysql = place["mysql"]
    where = {"DB_HOST": mysql.address, "DB_PORT": str(mysql.port), "DB_TLS": str(mysql.tls), "DB_CA": mysql.ca}
    account = {"DB_NAME": mysql.database, "DB_USER": mysql.user, "DB_PASSWORD_FILE": place.secret("mysql")}
    return {"PORT": str(place.port), **where, **account}


def pytest_circuit_services() -> Sequence[Service]:
    """Declare both: tests ask for the fixtures ``mysql`` and ``shop``."""
    mysql = MySQL("shop", schema=HERE / "schema.sql")
    start = ["src/server.js"]
    shop = NodeApp(name="shop", folder=HERE / "app", start=start, env=env, ready="/healthz", uses="mysql")
    return [mysql, shop]
