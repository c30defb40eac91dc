"""Our client beside the one of gocircuit, in turns on the same servers: ratios of the times, with their spread.

``$CIRCUIT_BENCH_GO`` names a program that runs commands through the Go client. It gets the address of a server, prints
a line when it is ready, and then answers each line of its input with one: ``seq N`` with the milliseconds of N
commands, one after the other; ``par T N`` with the seconds that T threads take for N commands each; ``up`` and ``down``
with the seconds that 8 MB take through a command, and ``fan`` with those of one command on each host at once. The
servers are those that ``$CIRCUIT_BIN`` names, or nodes.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

import circuit
from bench import _pairs
from bench._late_proxy import late
from bench._pairs import head
from circuit import Anchor
from circuit_harness import Command, ShellResult, run_shell
from circuit_harness.remote.circuit_host import CircuitHost
from circuit_harness.remote.concurrently import run_on
from tests.circuits import REFERENCE, Server, start

ROUNDS = 12
COMMANDS = 20
THREADS = 16
HOSTS = 24
DELAY_S = 0.005
BIG = bytes(8 << 20)
JOIN_LIMIT_S = 60.0


def main() -> None:
    """Measure and print."""
    program = os.environ.get("CIRCUIT_BENCH_GO")
    if not program:
        print("Go client: $CIRCUIT_BENCH_GO names no program to compare with")
        return
    compare = partial(_pairs.compare, rounds=ROUNDS)
    side = "reference" if REFERENCE else "node"
    print(head("times in ms", "Go", ROUNDS))
    with start(side) as server:
        with _GoClient(program, server.address) as go, circuit.dial(server.address) as client:
            (host,) = client.view().values()
            compare("one command", lambda: go.each(f"seq {COMMANDS}"), lambda: in_sequence(host))
            compare(f"{THREADS} threads", lambda: go.once(f"par {THREADS} {COMMANDS}"), lambda: in_threads(host))
            compare("8 MB up", lambda: go.once("up"), lambda: timed(lambda: run_shell(host, "wc -c", BIG)))
            down = f"head -c {len(BIG)} /dev/zero"
            compare("8 MB down", lambda: go.once("down"), lambda: timed(lambda: run_shell(host, down)))
        with (
            late(server.address, DELAY_S) as address,
            _GoClient(program, address) as go,
            circuit.dial(address) as client,
        ):
            (host,) = client.view().values()
            name = f"one command, {DELAY_S * 1000:g} ms each way"
            compare(name, lambda: go.each(f"seq {COMMANDS}"), lambda: in_sequence(host))
    with circuit_of(side) as address, _GoClient(program, address) as go, circuit.dial(address) as client:
        hosts = list(client.view().values())
        compare(f"one command on each of {len(hosts)} hosts", lambda: go.once("fan"), lambda: on_all(hosts))


def timed(work: Callable[[], object]) -> float:
    """How many seconds a work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_sequence(host: Anchor) -> float:
    """The median of the seconds that one command takes."""
    return statistics.median(timed(lambda: run_shell(host, "true")) for _ in range(COMMANDS))


def in_threads(host: Anchor) -> float:
    """The seconds that all commands of all threads take."""

    def work(_: int) -> None:
        for _ in range(COMMANDS):
            run_shell(host, "true")

    def all_of_them() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, range(THREADS)))

    return timed(all_of_them)


def on_all(hosts: list[Anchor]) -> float:
    """The seconds that a command on each host takes, all at once."""

    def all_of_them() -> None:
        outcomes = run_on([CircuitHost(host) for host in hosts], Command("true"))
        assert all(isinstance(outcome, ShellResult) for outcome in outcomes), outcomes

    return timed(all_of_them)


@contextmanager
def circuit_of(side: str) -> Iterator[str]:
    """Yield the address of a server of a circuit of many hosts."""
    with ExitStack() as stack:
        first = stack.enter_context(start(side))
        for number in range(1, HOSTS):
            stack.enter_context(start(side, join=first))
            _wait_for(first, number + 1)
        yield first.address


def _wait_for(server: Server, hosts: int) -> None:
    deadline = time.monotonic() + JOIN_LIMIT_S
    with circuit.dial(server.address) as client:
        while len(client.view()) < hosts:
            assert time.monotonic() < deadline, f"no {hosts} hosts within {JOIN_LIMIT_S:g} s"
            time.sleep(0.01)


class _GoClient:
    """The other program."""

    def __init__(self, program: str, address: str) -> None:
        self._process = subprocess.Popen(
            [program, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def __enter__(self) -> _GoClient:
        self._read()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def each(self, line: str) -> float:
        """Return the median of the answer's milliseconds, in seconds."""
        return statistics.median(map(float, self._ask(line))) / 1000

    def once(self, line: str) -> float:
        """Return the seconds that the answer begins with."""
        return float(self._ask(line)[0])

    def _ask(self, line: str) -> list[str]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> list[str]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the Go client has ended"
        return line.split()


if __name__ == "__main__":
    main()
