"""Wait until a program that was started is ready, and print its log where it is not."""

from __future__ import annotations

from collections.abc import Callable

from circuit import CircuitError
from circuit_harness.errors import DeployError, NotReady, tail
from circuit_harness.operations import ports
from circuit_harness.operations.ports import Listening, parse_listening, unreachable
from circuit_harness.operations.sandbox import SandboxedProcess
from circuit_harness.remote import fact_lines
from circuit_harness.remote.command import Command, root
from circuit_harness.remote.host import Host, as_process
from circuit_harness.remote.processes import looked_at
from circuit_harness.remote.waiting import wait_until
from circuit_harness.steps import Steps

READY_LIMIT_S = 30.0


def await_ready(
    host: Host, title: str, anchor: str, process: SandboxedProcess, ask: Callable[[Host], str], steps: Steps
) -> None:
    """Wait until a started program is ready.

    :param ask: returns "" if it is ready, otherwise what it has seen instead.
    :raises NotReady: it died, or was not ready in time; the message contains the end of its log.
    """
    with looked_at(host, anchor) as element:
        running = as_process(element)
        if running is None:
            raise NotReady(f"{title} on host {host.name} ended at once\n  {process.log}: {_log(host, process)}")

        def probe() -> str:
            stat = running.peek()
            if stat.exit is not None:
                raise NotReady(f"{title} on host {host.name} died: {stat.exit}")
            return ask(host)

        try:
            wait_until(probe, f"{title} on host {host.name} to be ready", READY_LIMIT_S, steps)
        except NotReady as error:
            raise NotReady(f"{error}\n  {process.log}: {_log(host, process)}") from None


def listens(listen: str, port: int) -> Callable[[Host], str]:
    return lambda host: unreachable(listening(host, port), listen, port)


def listening(host: Host, port: int) -> list[Listening]:
    """Return the host's listening sockets, once one has the port, or after a second."""
    command = Command(f"{ports.awaited(port)}\n{ports.LIST}")
    values = fact_lines.parse(host.run(command, timeout=10, limit=fact_lines.MOST_BYTES).text)
    return [parse_listening(socket) for socket in values.get("listening", ())]


def log_command(process: SandboxedProcess) -> str:
    """Shell, for root: print the last lines of a program's log, and the errors of its start."""
    return f"tail -q -n 20 {process.start_log} 2>&1; {process.as_user(f'tail -q -n 20 {process.log}')} 2>&1"


def _log(host: Host, process: SandboxedProcess) -> str:
    try:
        return tail(host.run(root(log_command(process)), timeout=10).stdout) or "(empty)"
    except (DeployError, CircuitError) as error:
        return f"(cannot be read: {error})"
