"""The server's own client on its host, and how it is asked as root."""

from __future__ import annotations

import re
import shlex

from circuit_harness.services.mysql.manager import Manager

# MariaDB's client would load what sends root's password as it is, from root's option file, to whatever server asks. The
# methods that it has without loading any prove the password, and do not tell it; a socket's needs none.
OPTIONS = "-N -B --local-infile=0 --plugin-dir=/nonexistent"

CLIENT = f"$(command -v mariadb || command -v mysql) {OPTIONS}"
"""Shell: the server's own client, whose rows are lines, and their values stand between tabs. It sends no files, and no
password in clear text."""

# Or by a method that the client is not to load.
DENIED = re.compile(r"Access denied|^ERROR .*[Pp]lugin .* (could not|cannot) be loaded", re.MULTILINE)


def client(server: Manager) -> str:
    """Shell: the client, connected to a server by its socket; see :data:`CLIENT`."""
    return f"{CLIENT} --socket={shlex.quote(server.socket)}"


def shut_out(host: str, refusal: str) -> str:
    """Return the message on a server that does not let root in."""
    return (
        f"host {host} has a MySQL server that does not let root in ({refusal}): have it know root by its socket, as"
        " packages set it up, or write a [client] password into /root/.my.cnf"
    )
