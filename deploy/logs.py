"""The last lines of what the services wrote: what tells why a check failed, and is gone with the deployment."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from circuit import CircuitError
from deploy.errors import DeployError, tail
from deploy.mysql import MySQL
from deploy.nodejs import NodeJS
from deploy.shell import as_root, run_shell

_LIMIT_S = 8.0
_LINES = 20


def collect(services: Sequence[MySQL | NodeJS]) -> dict[str, str]:
    """Read the end of each service's log, side by side; by a title that names it and its host."""
    with ThreadPoolExecutor(max(len(services), 1), thread_name_prefix="logs") as pool:
        return dict(pool.map(_read, services))


def _read(service: MySQL | NodeJS) -> tuple[str, str]:
    if isinstance(service, MySQL):
        name = f"journal of {service.service}"
        command = f"journalctl --no-pager -q -n {_LINES} -u {service.service} 2>&1"
    else:
        name, command = service.log, f"tail -n {_LINES} {service.log} 2>&1"
    try:
        text = tail(run_shell(service.host, as_root(command), timeout=_LIMIT_S, check=False).stdout) or "(empty)"
    except (DeployError, CircuitError) as error:
        text = f"(cannot be read: {error})"
    return f"{name} on host {service.host.name}", text
