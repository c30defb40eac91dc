"""``run --all``: a command on every live host, concurrently; each line of output behind its host's name."""

from __future__ import annotations

import argparse
import queue
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from circuit import Anchor, CircuitError, ExecFailed, Proc
from circuit.cli.arguments import CONCURRENT
from circuit.cli.attached import AttachedCommand, catch_signals, kill_and_scrub, next_event, start_command, write_all
from circuit.cli.lookup import dial, new_name
from circuit.cli.output import NOT_STARTED, STATUS_UNKNOWN, OutputLost, report_error

_LONGEST_LINE = 1 << 20
"""What is printed as a line at the latest: a host must not fill our memory."""


def run_everywhere(options: argparse.Namespace) -> int:
    """Run a command on every live host; return the highest exit status. Failures are reported at the end.

    :raises CircuitError: the circuit cannot be reached, or has no hosts.
    :raises OutputLost: an output takes no more.
    """
    with dial(options) as client:
        hosts = [anchor for _, anchor in sorted(client.view().items())]
        if not hosts:
            raise CircuitError("the circuit has no live host")
        return _Everywhere(options.argv, options.limit).run(hosts)


class _Everywhere:
    """One command, on many hosts."""

    def __init__(self, argv: Sequence[str], limit: float) -> None:
        self._argv = argv
        self._limit = limit
        self._lock = threading.Lock()
        self._printing = threading.Lock()
        self._running: set[AttachedCommand] = set()
        self._signals: list[int] = []
        """What this process got. Nothing is started after the first of them."""

    def run(self, hosts: Sequence[Anchor]) -> int:
        """Run it on these hosts."""
        # A signal, or None for a host that is done.
        events: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        catch_signals(events.put)
        with ThreadPoolExecutor(CONCURRENT) as pool:
            runs = {host.name: pool.submit(self._run_on, host) for host in hosts}
            for run in runs.values():
                run.add_done_callback(lambda _: events.put(None))
            left = len(runs)
            while left:
                event = next_event(events)
                if event is None:
                    left -= 1
                else:
                    self._pass_on(event)
        return max(_result(name, run) for name, run in runs.items())

    def _pass_on(self, number: int) -> None:
        with self._lock:
            self._signals.append(number)
            for command in self._running:
                command.events.put(number)

    def _run_on(self, host: Anchor) -> int:
        if self._signals:
            raise CircuitError(f"{host.name}: not started after {signal.Signals(self._signals[0]).name}")
        proc = start_command(host.walk(new_name("run")), self._argv)
        command = _Prefixed(proc, host.name, self._limit, self._printing)
        with self._lock:
            self._running.add(command)
            for number in self._signals:
                command.events.put(number)
        try:
            return command.run()
        except BaseException:
            kill_and_scrub(proc)
            raise
        finally:
            with self._lock:
                self._running.remove(command)
            command.print_rest()


class _Prefixed(AttachedCommand):
    """A command without input, whose lines are printed behind the name of its host."""

    def __init__(self, proc: Proc, host: str, limit: float, printing: threading.Lock) -> None:
        # A host that is silent must not hold up the result of the others.
        super().__init__(proc, queue.SimpleQueue(), limit=limit, must_answer=True)
        self._prefix = f"{host}: ".encode()
        self._printing = printing
        self._unprinted = {1: b"", 2: b""}

    def read_input(self) -> bytes:
        """Return the end of the input."""
        return b""

    def write_output(self, to: int, data: bytes) -> None:
        """Print the lines that are complete."""
        *lines, rest = (self._unprinted[to] + data).split(b"\n")
        if len(rest) >= _LONGEST_LINE:
            lines.append(rest)
            rest = b""
        self._unprinted[to] = rest
        self._print(to, lines)

    def print_rest(self) -> None:
        """Print what has no line end.

        :raises OutputLost: it cannot be printed.
        """
        try:
            for to, line in self._unprinted.items():
                self._print(to, [line] if line else [])
        except OSError as error:
            raise OutputLost(error) from None

    def _print(self, to: int, lines: Sequence[bytes]) -> None:
        # One command's line must not begin within another one's.
        with self._printing:
            write_all(to, b"".join(self._prefix + line + b"\n" for line in lines))


def _result(name: str, run: Future[int]) -> int:
    """Return the exit status on a host, and report what is not a success.

    :raises OutputLost: an output takes no more.
    """
    try:
        status = run.result()
    except CircuitError as error:
        text = str(error)
        report_error(text if name in text else f"{name}: {text}")
        return NOT_STARTED if isinstance(error, ExecFailed) else STATUS_UNKNOWN
    if status:
        report_error(f"{name}: exit status {status}")
    return status
