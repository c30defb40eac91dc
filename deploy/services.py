"""The tutorial's services: MySQL, and the Node.js key/value API, each on a host of its own."""

from __future__ import annotations

import json
from pathlib import Path

from circuit_harness.services.mysql import MySQL
from circuit_harness.services.nodejs import NodeApp
from circuit_harness.services.program import Place
from circuit_harness.services.protocol import Service

HERE = Path(__file__).parent

DATABASE = "tutorial"
USER = "tutorial"
TABLE = "NameValue"
MYSQL_PORT = 3306
API_PORT = 8080

LOG = "/tmp/tutorial-nodejs.log"
"""Where the tutorial has it, in a folder that everybody can write to."""

TLS = "mysql-tls.json"
"""The app reads it when it first connects: the certificate is known once the server runs."""


def services(mysql_port: int = MYSQL_PORT, api_port: int = API_PORT, *, compat: bool = False) -> list[Service]:
    """Return the services, in the order of their hosts.

    :param compat: whether MySQL is open to all, as the tutorial leaves it.
    """

    def start(place: Place) -> list[str]:
        mysql = place["mysql"]
        words = ["index.js", "--mysql_host", mysql.address, "--mysql_port", str(mysql.port)]
        if not compat:
            words += ["--mysql_password_file", place.secret("mysql")]
        words += ["--mysql_tls_file", f"{place.folder}/{TLS}"]
        every = "::" if ":" in place.addresses.public else "0.0.0.0"
        return [*words, "--api_host", every, "--api_port", str(place.port)]

    return [
        MySQL(DATABASE, USER, schema=HERE / "schema.sql", open_to_all=compat, port=mysql_port),
        NodeApp(
            name="nodejs",
            title="Node.js",
            folder=HERE / "app",
            start=start,
            late_files=lambda place: {TLS: json.dumps({"tls": bool(place["mysql"].tls), "ca": place["mysql"].ca})},
            ready="/ready",
            uses="mysql",
            waits=False,
            port=api_port,
            log=LOG,
        ),
    ]
