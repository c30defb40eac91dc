"""``run --all``: a command on every live host."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import circuit
from circuit import Client
from tests.circuits import PROJECT, SIDES, Pair, pair
from tests.command_line import GARBAGE_S, LIMIT_S, command, elements_below, environment, is_alive, run
from tests.conftest import Eventually

ONE_AT_A_TIME = [
    *(sys.executable, "-W", "error", "-c"),
    "from circuit.cli import main, run_everywhere as e; e.CONCURRENT = 1; raise SystemExit(main.main())",
]
"""The command line, where one host runs a command at a time."""


@pytest.fixture
def client(circuit_pair: Pair) -> Iterator[Client]:
    with circuit.dial(circuit_pair.first.address) as dialed:
        yield dialed


@pytest.fixture
def hosts(client: Client) -> list[str]:
    return sorted(client.view())


Launch = Callable[[Pair, list[str]], "subprocess.Popen[str]"]


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Starts commands that go on."""
    started: list[subprocess.Popen[str]] = []

    def launch(pair: Pair, argv: list[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            argv,
            cwd=PROJECT,
            env=environment(pair.first.address),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield launch
    for process in started:
        process.kill()
        process.communicate()


def assert_nothing_is_left(client: Client, eventually: Eventually) -> None:
    eventually(lambda: not elements_below(client), LIMIT_S)
    # A Go server lets go of an anchor when it next collects its garbage, in 2 minutes if nothing happens there.
    eventually(lambda: not any(host.view() for host in client.view().values()), GARBAGE_S)


def name_of(address: str) -> str:
    """The name of the host whose server has this address."""
    with circuit.dial(address) as client:
        for name, host in client.view().items():
            element = host.get()
            assert isinstance(element, circuit.Server)
            if element.peek().address == address:
                return name
    raise AssertionError(f"{address} is not in its own circuit")


def pids_in(folder: Path, count: int, eventually: Eventually) -> list[int]:
    """The process ids after which the files of a folder are named, once there are so many."""
    return [int(path.name) for path in eventually(lambda: _if_there_are(folder, count), LIMIT_S)]


def sleepers_in(folder: Path, count: int, eventually: Eventually) -> list[int]:
    """The same, once each process has become sleep: a shell loses an interrupt that arrives right before."""
    pids = pids_in(folder, count, eventually)
    eventually(lambda: {Path(f"/proc/{pid}/comm").read_text() for pid in pids} == {"sleep\n"}, LIMIT_S)
    return pids


def _if_there_are(folder: Path, count: int) -> list[Path]:
    found = list(folder.iterdir())
    return found if len(found) == count else []


def test_each_line_has_the_name_of_its_host(
    circuit_pair: Pair, client: Client, hosts: list[str], eventually: Eventually
) -> None:
    script = r"printf 'one\rtwo\n\nlast'; printf 'error\n' >&2"
    ended = run(circuit_pair.first.address, "run", "--all", "--", "sh", "-c", script)
    assert ended.status == 0
    lines = ended.stdout.split(b"\n")
    for host in hosts:
        assert [line for line in lines if line.startswith(host.encode())] == [
            f"{host}: {text}".encode() for text in ("one\rtwo", "", "last")
        ]
    assert len(lines) == 2 * 3 + 1
    assert sorted(ended.stderr.splitlines()) == [f"{host}: error" for host in hosts]
    assert_nothing_is_left(client, eventually)


def test_much_output_arrives_whole(circuit_pair: Pair, hosts: list[str]) -> None:
    ended = run(circuit_pair.first.address, "run", "--all", "--", "seq", "100000")
    assert (ended.status, ended.stderr) == (0, "")
    for host in hosts:
        numbers = [line.removeprefix(f"{host}: ") for line in ended.lines if line.startswith(host)]
        assert numbers == [*map(str, range(1, 100_001))]


def test_what_has_no_line_end_is_cut(circuit_pair: Pair, hosts: list[str]) -> None:
    ended = run(circuit_pair.first.address, "run", "--all", "--", "head", "-c", "2500000", "/dev/zero")
    assert ended.status == 0
    for host in hosts:
        mine = [line.removeprefix(f"{host}: ") for line in ended.lines if line.startswith(host)]
        assert len(mine) == 3
        assert "".join(mine) == 2_500_000 * "\0"


def test_hosts_run_it_at_the_same_time_and_without_input(circuit_pair: Pair, tmp_path: Path) -> None:
    script = 'touch "$1/$$"; until [ "$(ls "$1" | wc -l)" = 2 ]; do sleep 0.05; done; cat'
    words = ("run", "--all", "--", "sh", "-c", script, "sh", str(tmp_path))
    ended = run(circuit_pair.first.address, *words, stdin=b"not passed on")
    assert (ended.status, ended.stdout, ended.stderr) == (0, b"", "")


def test_so_many_run_it_at_a_time_and_no_more(circuit_pair: Pair, tmp_path: Path, launch: Launch) -> None:
    script = 'mkdir "$1/running" && sleep 0.3 && rmdir "$1/running" && echo done'
    process = launch(circuit_pair, [*ONE_AT_A_TIME, "run", "--all", "--", "sh", "-c", script, "sh", str(tmp_path)])
    stdout, stderr = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, stderr, stdout.count(": done\n")) == (0, "", 2)


def test_the_exit_status_is_the_highest(circuit_pair: Pair, hosts: list[str], tmp_path: Path) -> None:
    script = 'mkdir "$1/first" 2>/dev/null && exit 3; exit 5'
    ended = run(circuit_pair.first.address, "run", "--all", "--", "sh", "-c", script, "sh", str(tmp_path))
    assert ended.status == 5
    lines = ended.stderr.splitlines()
    assert [line.rpartition(":")[0] for line in lines] == [f"circuit: {host}" for host in hosts]
    assert sorted(line.rpartition(": ")[2] for line in lines) == ["exit status 3", "exit status 5"]


def test_a_command_that_does_not_exist(circuit_pair: Pair, hosts: list[str]) -> None:
    ended = run(circuit_pair.first.address, "run", "--all", "--", "no-such-command")
    assert ended.status == 127
    assert [line for line in ended.stderr.splitlines() if line.startswith("circuit: ")] == [
        f"circuit: {host}: exit status 127" for host in hosts
    ]


@pytest.mark.parametrize("trap", ["", 'trap "" TERM; '])
def test_a_time_limit_ends_it(
    circuit_pair: Pair, client: Client, hosts: list[str], tmp_path: Path, eventually: Eventually, trap: str
) -> None:
    script = f'{trap}touch "$1/$$"; echo begun; while :; do read line < /dev/zero; done'
    words = ("run", "--all", "--limit", "3", "--", "sh", "-c", script, "sh", str(tmp_path))
    ended = run(circuit_pair.first.address, *words)
    assert ended.status == 125
    assert sorted(ended.lines) == [f"{host}: begun" for host in hosts]
    for host, line in zip(hosts, ended.stderr.splitlines(), strict=True):
        assert re.fullmatch(rf"circuit: /{host}/run-\w+: no end within 3 s, so it was ended", line)
    assert not [pid for pid in pids_in(tmp_path, 2, eventually) if is_alive(pid)]
    assert_nothing_is_left(client, eventually)


def test_what_outlives_a_time_limit_is_reported(
    circuit_pair: Pair, hosts: list[str], tmp_path: Path, eventually: Eventually
) -> None:
    script = 'sh -c \'touch "$1/$$"; exec sleep 1000\' sh "$1"; true'
    words = ("run", "--all", "--limit", "2", "--", "sh", "-c", script, "sh", str(tmp_path))
    ended = run(circuit_pair.first.address, *words)
    for pid in pids_in(tmp_path, 2, eventually):
        os.kill(pid, signal.SIGKILL)
    assert ended.status == 125
    for host, line in zip(hosts, ended.stderr.splitlines(), strict=True):
        assert re.fullmatch(
            rf"circuit: /{host}/run-\w+: no end within 2 s; killed, and its outputs are still open: .*", line
        )


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_a_signal_ends_it_on_all_hosts(
    circuit_pair: Pair,
    client: Client,
    hosts: list[str],
    tmp_path: Path,
    eventually: Eventually,
    name: str,
    launch: Launch,
) -> None:
    script = 'touch "$1/$$"; exec sleep 1000'
    process = launch(circuit_pair, command("run", "--all", "--", "sh", "-c", script, "sh", str(tmp_path)))
    pids = sleepers_in(tmp_path, 2, eventually)
    number = signal.Signals[f"SIG{name}"]
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, stdout) == (128 + number, "")
    assert stderr.splitlines() == [f"circuit: {host}: exit status {128 + number}" for host in hosts]
    assert not [pid for pid in pids if is_alive(pid)]
    assert_nothing_is_left(client, eventually)


def test_a_host_whose_turn_has_not_come_does_not_run_it_after_a_signal(
    circuit_pair: Pair, hosts: list[str], tmp_path: Path, eventually: Eventually, launch: Launch
) -> None:
    script = 'touch "$1/$$"; exec sleep 1000'
    process = launch(circuit_pair, [*ONE_AT_A_TIME, "run", "--all", "--", "sh", "-c", script, "sh", str(tmp_path)])
    sleepers_in(tmp_path, 1, eventually)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert stderr.splitlines() == [
        f"circuit: {hosts[0]}: exit status 130",
        f"circuit: {hosts[1]}: not started after SIGINT",
    ]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_reader_that_had_enough_ends_it(
    circuit_pair: Pair, client: Client, eventually: Eventually, launch: Launch
) -> None:
    process = launch(circuit_pair, command("run", "--all", "--", "yes"))
    assert process.stdout is not None
    assert process.stdout.readline().endswith(": y\n")
    process.stdout.close()
    assert process.wait(LIMIT_S) == 141
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert_nothing_is_left(client, eventually)


def waiting_on_both(
    servers: Pair, folder: Path, eventually: Eventually, launch: Launch, *options: str
) -> tuple[subprocess.Popen[str], Path]:
    """A command that runs on both hosts until a file is there; and the file."""
    script = 'touch "$1/$$"; until [ -e "$2" ]; do sleep 0.05; done; echo went on'
    go_on, pids = folder / "go on", folder / "pids"
    pids.mkdir()
    process = launch(servers, command("run", *options, "--all", "--", "sh", "-c", script, "sh", str(pids), str(go_on)))
    pids_in(pids, 2, eventually)
    return process, go_on


@pytest.mark.parametrize("side", SIDES)
def test_a_lost_host_is_one_line_and_the_others_go_on(
    side: str, tmp_path: Path, eventually: Eventually, launch: Launch
) -> None:
    with pair(side) as servers:
        kept, lost = name_of(servers.first.address), name_of(servers.second.address)
        process, go_on = waiting_on_both(servers, tmp_path, eventually, launch)
        servers.second.kill()
        go_on.touch()
        stdout, stderr = process.communicate(timeout=LIMIT_S)
        assert (process.returncode, stdout) == (125, f"{kept}: went on\n")
        assert re.fullmatch(rf"circuit: .*{lost}.* is lost.*\n", stderr)


@pytest.mark.parametrize("side", SIDES)
def test_a_silent_host_is_one_line_and_does_not_hold_up_the_others(
    side: str, tmp_path: Path, eventually: Eventually, launch: Launch
) -> None:
    with pair(side) as servers:
        kept, silent = name_of(servers.first.address), name_of(servers.second.address)
        process, go_on = waiting_on_both(servers, tmp_path, eventually, launch, "--timeout", "5")
        servers.second.suspend()
        go_on.touch()
        stdout, stderr = process.communicate(timeout=LIMIT_S)
        assert (process.returncode, stdout) == (125, f"{kept}: went on\n")
        assert re.fullmatch(rf"circuit: .*{silent}.*no answer within 5 s\n", stderr)
