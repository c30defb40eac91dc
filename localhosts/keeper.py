"""The keeper of a workspace: a process that holds the input of a supervisor open until a command ends it."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys

END = b"end\n"
"""What a command sends to the keeper to have the hosts removed."""

_READ_LIMIT = 5.0


def main(supervisor: int, events: int, listening: socket.socket) -> None:
    """Hold the hosts until a command ends them, or they end by themselves.

    :param supervisor: the descriptor of the supervisor's input, ``events`` that of its output.
    :param listening: where commands connect; one that ends the hosts gets the supervisor's last events.
    """
    while True:
        ready, _, _ = select.select([listening.fileno(), events], [], [])
        if events in ready and not os.read(events, 65536):
            return
        if listening.fileno() in ready:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(_READ_LIMIT)
                if connection.recv(len(END)) == END:
                    os.close(supervisor)
                    while read := os.read(events, 65536):
                        connection.sendall(read)
                    return


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), socket.socket(fileno=int(sys.argv[3])))
