"""The server's own client on its host, which root runs."""

from __future__ import annotations

import re
import shlex

from circuit_harness.services.mysql.manager import Manager

# MariaDB's client would load a plugin that sends the password in root's option file unencrypted to any server that
# requests it. The built-in methods prove the password without revealing it, and the socket's method needs none.
OPTIONS = "-N -B --local-infile=0 --plugin-dir=/nonexistent"

CLIENT = f"$(command -v mariadb || command -v mysql) {OPTIONS}"
"""Shell: the server's own client. It prints each row as a line, with tabs between the values. It sends no files, and no
password in clear text."""

# The second error is that of a method whose plugin the client must not load.
DENIED = re.compile(r"Access denied|^ERROR .*[Pp]lugin .* (could not|cannot) be loaded", re.MULTILINE)


def client(server: Manager) -> str:
    """Shell: the client, connected to a server by its socket; see :data:`CLIENT`."""
    return f"{CLIENT} --socket={shlex.quote(server.socket)}"


def shut_out(host: str, refusal: str) -> str:
    """Return the message about a server that refuses root."""
    return (
        f"host {host} has a MySQL server that does not let root in ({refusal}): let root connect by the socket, as"
        " packages set it up, or write a [client] password into /root/.my.cnf"
    )
