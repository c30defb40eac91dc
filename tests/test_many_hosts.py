"""Commands on many hosts at once: 300 nodes in one process."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from circuit import HostLost, dial
from circuit_harness.errors import CommandFailed, CommandTimedOut, DeployError, OutputTooLong
from circuit_harness.remote import concurrently
from circuit_harness.remote.circuit_host import CircuitHost
from circuit_harness.remote.command import Command
from circuit_harness.remote.concurrently import Run, run_each, run_on
from circuit_harness.remote.shell import ShellJob, ShellResult
from tests.circuits import many, raise_file_limit

if TYPE_CHECKING:
    from tests.conftest import Eventually

HOSTS = 300
LIMIT_S = 60.0
"""What ends a command only where something is wrong."""


@pytest.fixture(scope="module")
def all_hosts() -> Iterator[list[CircuitHost]]:
    """The hosts, in the order of the circuit's list; the last one is lost."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    raise_file_limit()
    try:
        with pytest.MonkeyPatch.context() as patch, many(HOSTS) as server:
            # All servers share a processor, and each is to dial back.
            patch.setattr("circuit.net.lifeline_watch.LIFELINE_LIMIT_S", LIMIT_S)
            with dial(server.address, timeout=LIMIT_S) as client:
                yield [CircuitHost(anchor) for anchor in client.view().values()]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture
def hosts(all_hosts: list[CircuitHost]) -> list[CircuitHost]:
    """Those that are live."""
    return all_hosts[:-1]


class Gate:
    """What commands wait at, until all of them have come."""

    def __init__(self, folder: Path) -> None:
        self._pipe, self._here = folder / "pipe", folder / "here"
        os.mkfifo(self._pipe)
        # A pipe keeps what is written only while somebody has it open.
        self._held = os.open(self._pipe, os.O_RDWR)
        self._here.mkdir()
        self.came = self.threads = 0
        """How many commands waited when it was opened, and how many threads there were in this process."""

    @property
    def wait(self) -> str:
        """What a command waits by, in shell."""
        return f"touch {self._here}/$$; read -r _ <{self._pipe}"

    @property
    def pids(self) -> list[int]:
        """The processes that have come."""
        return [int(path.name) for path in self._here.iterdir()]

    @contextmanager
    def opened_by(self, count: int) -> Iterator[None]:
        """Open it in the background when so many have come, or no more do."""

        def open_it() -> None:
            deadline = time.monotonic() + LIMIT_S / 2
            while len(self.pids) < count and time.monotonic() < deadline:
                time.sleep(0.01)
            self.came, self.threads = len(self.pids), threading.active_count()
            self.open(count)

        opener = threading.Thread(target=open_it)
        opener.start()
        yield
        opener.join()

    def open(self, count: int) -> None:
        """Let so many of them go on."""
        os.write(self._held, b"\n" * count)

    def close(self) -> None:
        """Keep nothing open."""
        os.close(self._held)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.close()


def texts(outcomes: list[concurrently.Outcome]) -> list[str]:
    """What the commands printed, all of which succeeded."""
    assert [outcome for outcome in outcomes if not isinstance(outcome, ShellResult)] == []
    return [outcome.text for outcome in outcomes if isinstance(outcome, ShellResult)]


def test_all_run_it_at_once_without_a_thread_for_each(hosts: list[CircuitHost], gate: Gate) -> None:
    threads = threading.active_count()
    with gate.opened_by(len(hosts)):
        outcomes = run_on(hosts, Command(f"{gate.wait}; echo done"), LIMIT_S)
    assert texts(outcomes) == ["done"] * len(hosts)
    assert gate.came == len(hosts)
    # The one that opened the gate.
    assert gate.threads <= threads + 1


def test_so_many_run_at_a_time_as_there_may_be_connections(
    all_hosts: list[CircuitHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = all_hosts[0].address
    monkeypatch.setattr("circuit.net.dialed.files_for", lambda share: 16)
    with dial(address, timeout=LIMIT_S) as client:
        hosts = [CircuitHost(anchor) for anchor in client.view().values()][:100]
        assert texts(run_on(hosts, Command("echo done"), LIMIT_S)) == ["done"] * 100


def test_outcomes_have_the_order_of_the_hosts(hosts: list[CircuitHost]) -> None:
    # The first ones end last.
    runs = [Run(host, Command(f"sleep 0.{9 - min(n, 9)}; echo {n}"), LIMIT_S) for n, host in enumerate(hosts)]
    assert texts(run_each(runs)) == [str(number) for number in range(len(hosts))]
    failed = run_on(hosts, Command("exit 3"), LIMIT_S)
    assert [(type(error), getattr(error, "host", "")) for error in failed] == [
        (CommandFailed, host.name) for host in hosts
    ]
    assert {result.exit_status for result in run_on(hosts, Command("exit 3"), check=False)} == {3}  # type: ignore[union-attr]


def test_a_failure_hides_no_other_outcome(all_hosts: list[CircuitHost]) -> None:
    lost, *live = all_hosts[-1], *all_hosts[:8]
    # Each ends in another way; the last two have no status on standard error.
    commands = ["echo 0", "exit 1", "head -c 5000 /dev/zero", "echo 3", "kill -9 $$", "exec sh -c 'exit 5'", "echo 6"]
    runs = [Run(lost, Command("true"), LIMIT_S)]
    runs += [Run(host, Command(text), LIMIT_S, limit=1000) for host, text in zip(live, commands, strict=False)]
    outcomes = run_each([*runs, runs[0]])
    found = [outcome.text if isinstance(outcome, ShellResult) else type(outcome) for outcome in outcomes]
    assert found == [
        *(HostLost, "0", CommandFailed, OutputTooLong, "3", CommandFailed, CommandFailed, "6", HostLost),
    ]
    statuses = [outcome.exit_status for outcome in outcomes if isinstance(outcome, CommandFailed)]
    assert statuses == [1, 137, 5]
    assert all(lost.name in str(outcome) for outcome in outcomes[::8])


def test_each_host_has_a_limit_of_its_own(
    hosts: list[CircuitHost], gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first command waits until those that are late have been ended."""
    first, *late = hosts[:5]
    others = hosts[5:]
    ended: list[str] = []
    end = ShellJob.end

    def end_and_count(job: ShellJob) -> str:
        ended.append(end(job))
        if len(ended) == len(late):
            gate.open(1)
        return ended[-1]

    monkeypatch.setattr(ShellJob, "end", end_and_count)
    outcomes = run_each(
        [
            Run(first, Command(f"{gate.wait}; echo done"), LIMIT_S),
            *(Run(host, Command("sleep 1000"), 0.5) for host in late),
            *(Run(host, Command("echo done"), LIMIT_S) for host in others),
        ]
    )
    assert texts([outcomes[0], *outcomes[5:]]) == ["done"] * (1 + len(others))
    for host, outcome in zip(late, outcomes[1:5], strict=True):
        assert isinstance(outcome, CommandTimedOut)
        assert (outcome.host, outcome.limit) == (host.name, 0.5)
    assert ended == [""] * len(late)


def test_an_interrupt_ends_all_of_them(hosts: list[CircuitHost], gate: Gate, eventually: Eventually) -> None:
    some = hosts[:20]

    def interrupt() -> None:
        eventually(lambda: len(gate.pids) == len(some), LIMIT_S)
        os.kill(os.getpid(), signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        run_on(some, Command(f"{gate.wait}; true"), LIMIT_S)
    interrupter.join()
    eventually(lambda: not [pid for pid in gate.pids if Path(f"/proc/{pid}").exists()], LIMIT_S)


def test_hosts_that_are_not_of_a_circuit_run_it_concurrently_too(monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(3, timeout=LIMIT_S)

    class OtherHost:
        def __init__(self, name: str) -> None:
            self.name = name

        def run(self, command: Command, **_: object) -> ShellResult:
            together.wait()
            if self.name == "X1":
                raise DeployError("no")
            return ShellResult(self.name.encode(), b"", 0)

    outcomes = run_on([OtherHost(f"X{number}") for number in range(3)], Command("true"))  # type: ignore[misc]
    assert [str(outcome.text if isinstance(outcome, ShellResult) else outcome) for outcome in outcomes] == [
        "X0",
        "no",
        "X2",
    ]


def test_no_host_is_no_work() -> None:
    assert run_on([], Command("true")) == []
