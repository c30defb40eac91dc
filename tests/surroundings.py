"""Circuit servers on a host that were started in an unlucky way: in whichever folder, with whichever environment."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from localhosts import Host
from tests.jobs import sh

PORT = 11999
START_LIMIT_S = 20.0


@contextmanager
def server(host: Host, *, user: str, folder: str, environment: Mapping[str, str]) -> Iterator[str]:
    """A server of a circuit of its own, without a key; gives its address.

    ``-I`` keeps the server itself, and nothing that it starts, from all of that.
    """
    variables = shlex.join(f"{name}={value}" for name, value in environment.items())
    code = "import sys; sys.path.insert(0, '/opt/circuit'); from circuit.node.__main__ import main; sys.exit(main())"
    serve = f"/usr/bin/python3 -I -c {shlex.quote(code)} --addr {host.private_address}:{PORT}"
    become = f"setpriv --reuid={user} --regid={user} --init-groups"
    sh(
        host,
        f"rm -f /run/unlucky.*; cd {folder}; setsid -f sh -c"
        f" {shlex.quote(f'echo $$ > /run/unlucky.pid; exec {become} env -i {variables} {serve}')}"
        " > /run/unlucky.log 2>&1 < /dev/null",
    )
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while not (found := re.search(r"^circuit://\S+$", log := sh(host, "cat /run/unlucky.log"), re.MULTILINE)):
            assert time.monotonic() < deadline, log
            time.sleep(0.05)
        yield found[0]
    finally:
        sh(host, "kill $(cat /run/unlucky.pid); rm -f /run/unlucky.*")
