"""Work on several hosts concurrently."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from circuit import CircuitError
from circuit_harness.errors import DeployError
from circuit_harness.remote import shell
from circuit_harness.remote.circuit_host import CircuitHost
from circuit_harness.remote.command import Command
from circuit_harness.remote.host import COMMAND_LIMIT_S, Host
from circuit_harness.remote.shell import MAX_OUTPUT_BYTES, ShellResult

T = TypeVar("T")
R = TypeVar("R")

Outcome = ShellResult | DeployError | CircuitError
"""The result of a command, or the error that :meth:`Host.run` would raise."""


def run_on(
    hosts: Iterable[Host],
    command: Command,
    timeout: float = COMMAND_LIMIT_S,
    *,
    check: bool = True,
    limit: int = MAX_OUTPUT_BYTES,
) -> list[Outcome]:
    """Run a command on many hosts concurrently; return the outcomes in the hosts' order when all have ended.

    :param timeout: the seconds that each host has, from the start of its command on.
    """
    return run_each([Run(host, command, timeout, check=check, limit=limit) for host in hosts])


@dataclass(frozen=True)
class Run:
    """A command for one host, with the parameters of :meth:`Host.run`."""

    host: Host
    command: Command
    timeout: float = COMMAND_LIMIT_S
    check: bool = True
    limit: int = MAX_OUTPUT_BYTES

    def outcome(self) -> Outcome:
        """Run it, and return the outcome."""
        try:
            return self.host.run(self.command, timeout=self.timeout, check=self.check, limit=self.limit)
        except (DeployError, CircuitError) as error:
            return error


def run_each(runs: Sequence[Run]) -> list[Outcome]:
    """Run a command on each of many hosts concurrently; return the outcomes in their order when all have ended."""
    jobs = [
        shell.ShellJob(run.host.anchor, run.command.line, run.command.stdin, run.timeout, run.check, run.limit)
        for run in runs
        if isinstance(run.host, CircuitHost)
    ]
    # Hosts of a circuit need no thread each.
    return shell.run_each(jobs) if len(jobs) == len(runs) else on_each(Run.outcome, runs, "run")


def on_each(function: Callable[[T], R], items: Iterable[T], name: str) -> list[R]:
    """Call a function with each item concurrently; return the results in the items' order when all calls have ended.

    Then raises the error of the first item whose call failed. ``name`` is the prefix of the threads' names.
    """
    listed = list(items)
    with ThreadPoolExecutor(max(len(listed), 1), thread_name_prefix=name) as pool:
        futures = [pool.submit(function, item) for item in listed]
    return [future.result() for future in futures]
