"""Commands on hosts: what goes in, what comes out, how it ended, and that nothing is left of what took too long."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from circuit import Anchor, CircuitError, Cmd, dial
from circuit_harness.errors import CommandFailed, CommandTimedOut, DeployError
from circuit_harness.remote.command import as_root
from circuit_harness.remote.shell import JOB, ShellResult, run_shell, sweep
from circuit_harness.steps import Steps
from tests.circuits import Pair, start

if TYPE_CHECKING:
    from tests.conftest import Eventually, StartNode

MEGABYTES = bytes(range(256)) * 12_000


@pytest.fixture(scope="module")
def host(circuit_pair: Pair) -> Iterator[Anchor]:
    with dial(circuit_pair.first.address) as client:
        yield next(iter(client.view().values()))


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("true", 0),
        ("false", 1),
        ("exit 3", 3),
        ("exit 255", 255),
        ("(exit 6)", 6),
        ("set -e; false; exit 0", 1),
        ("no-such-command-at-all", 127),
        ("/etc/passwd", 126),
        ("if", 2),
        ("echo 'no end", 2),
        ("exit 4 # and why", 4),
        ("true\nexit 5\n", 5),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
        ("sh -c 'kill -KILL $$'", 137),
        ("exec true", 0),
        ("exec sh -c 'exit 7'", 7),
        ("exec sh -c 'kill -KILL $$'", 137),
        ("exec /no/such/program", 127),
        ("trap 'true' EXIT; exit 8", 8),
        ("trap - EXIT; exit 9", 9),
        ("exec 2>&-; exit 10", 10),
        ("exec >&- 2>&-; exit 11", 11),
        ("exec 2>/dev/null; exit 12", 12),
    ],
)
def test_the_status_is_the_shells(host: Anchor, command: str, status: int) -> None:
    assert run_shell(host, command, check=False).exit_status == status


def test_both_outputs_come_whole_and_without_additions(host: Anchor) -> None:
    assert run_shell(host, "printf out; printf err >&2") == ShellResult(b"out", b"err", 0)
    assert run_shell(host, "true") == ShellResult(b"", b"", 0)


def test_text_is_the_output_without_white_space_around_it(host: Anchor) -> None:
    assert run_shell(host, r"printf '\n caf\303\251 \377\n\n'").text == "caf\u00e9 \ufffd"


def test_commands_run_in_the_root_folder_with_what_they_are_sent(host: Anchor) -> None:
    assert run_shell(host, "pwd; cat", b"sent").stdout == b"/\nsent"


def test_a_shells_own_messages_name_the_commands_lines(host: Anchor) -> None:
    assert b"2: no-such-command" in run_shell(host, "true\nno-such-command", check=False).stderr


def test_an_exit_trap_of_the_command_runs(host: Anchor) -> None:
    assert run_shell(host, "trap 'echo bye' EXIT; echo hello").stdout == b"hello\nbye\n"


@pytest.mark.parametrize("command", ["true", "exec <&-", "head -c 1 >/dev/null", "exec true"])
def test_input_need_not_be_read(host: Anchor, command: str) -> None:
    assert run_shell(host, command, MEGABYTES) == ShellResult(b"", b"", 0)


def test_megabytes_go_both_ways_at_once(host: Anchor) -> None:
    assert run_shell(host, "tee /dev/stderr", MEGABYTES) == ShellResult(MEGABYTES, MEGABYTES, 0)


def test_a_failure_tells_the_whole_story(host: Anchor) -> None:
    with pytest.raises(CommandFailed) as caught:
        run_shell(host, "echo some output; echo some error >&2; exit 3")
    error = caught.value
    assert isinstance(error, DeployError)
    assert (error.host, error.exit_status) == (host.name, 3)
    assert (error.stdout, error.stderr) == (b"some output\n", b"some error\n")
    for part in (host.name, "echo some output;", "exit status 3", "stdout: some output", "stderr: some error"):
        assert part in str(error)


def test_a_long_output_is_shown_from_its_end(host: Anchor) -> None:
    with pytest.raises(CommandFailed) as caught:
        run_shell(host, "seq 100000; exit 1")
    assert "\n100000\n" in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert len(caught.value.stdout) > 500_000


def test_a_background_child_is_waited_for_while_it_holds_an_output(host: Anchor) -> None:
    result = run_shell(host, "(sleep 0.3; echo late) & echo early; exit 3", check=False)
    assert result == ShellResult(b"early\nlate\n", b"", 3)


def test_a_background_child_without_the_outputs_is_not_waited_for(host: Anchor, tmp_path: Path) -> None:
    started = time.monotonic()
    pid = int(run_shell(host, "sleep 100 </dev/null >/dev/null 2>&1 & echo $!").text)
    assert time.monotonic() - started < 5
    assert alive(pid)
    run_shell(host, f"kill -KILL {pid}")


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits for its parent does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


RUNAWAYS = {
    "itself": "echo $$ >>{pids}; while :; do sleep 0.01; done",
    "child": "sh -c 'echo $$ >>{pids}; exec sleep 1000'",
    "background": "sh -c 'echo $$ >>{pids}; exec sleep 1000' & wait",
    "own session": "setsid sh -c 'echo $$ >>{pids}; exec sleep 1000' & wait",
    "double fork": "(sh -c 'echo $$ >>{pids}; exec sleep 1000' &); sleep 1000",
    "own session and double fork": "(setsid sh -c 'echo $$ >>{pids}; exec sleep 1000' &); exec sleep 1000",
    "without outputs": "(setsid sh -c 'echo $$ >>{pids}; exec sleep 1000' </dev/null >/dev/null 2>&1 &); sleep 1000",
    "no environment": "env -i sh -c 'echo $$ >>{pids}; exec sleep 1000'",
    "deaf to signals": "trap '' TERM INT HUP; sh -c 'echo $$ >>{pids}; while :; do sleep 0.01; done'",
    "stopped": "sh -c 'echo $$ >>{pids}; kill -STOP $$'",
}


@pytest.mark.parametrize("command", list(RUNAWAYS.values()), ids=list(RUNAWAYS))
def test_a_time_limit_ends_a_command_and_all_that_it_started(
    host: Anchor, command: str, tmp_path: Path, eventually: Eventually
) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(CommandTimedOut, match=r"no end within 0\.6 s, so it was ended\n"):
        run_shell(host, command.format(pids=pids), timeout=0.6)
    (pid,) = map(int, pids.read_text().split())
    eventually(lambda: not alive(pid))


def test_what_came_before_the_time_limit_is_kept(host: Anchor) -> None:
    with pytest.raises(CommandTimedOut) as caught:
        run_shell(host, "echo first; echo warning >&2; sleep 1000", timeout=0.5)
    error = caught.value
    assert isinstance(error, TimeoutError)
    assert (error.host, error.limit) == (host.name, 0.5)
    assert (error.stdout, error.stderr) == (b"first\n", b"warning\n")


def test_commands_beside_one_that_is_ended_go_on(host: Anchor) -> None:
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(run_shell, host, "sleep 1.5; echo went on")
        with pytest.raises(CommandTimedOut):
            run_shell(host, "sleep 1000", timeout=0.5)
        assert other.result(20).stdout == b"went on\n"


def test_nothing_stays_at_the_server(start_node: StartNode, eventually: Eventually) -> None:
    server = start_node()
    with dial(server.address) as client:
        (host,) = client.view().values()
        run_shell(host, "true")
        run_shell(host, "exec true")
        with pytest.raises(CommandTimedOut):
            run_shell(host, "sleep 1000", timeout=0.2)

        def held() -> tuple[int, int]:
            gc.collect()
            counts = server.counts()
            return counts["pointers"], counts["processes"]

        eventually(lambda: held() == (0, 0))
        assert not [name for name in host.view() if name.startswith(JOB)]


def test_a_lost_host_is_told_as_such(circuit_pair: Pair) -> None:
    with start(circuit_pair.side) as server, dial(server.address) as client:
        (host,) = client.view().values()
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(run_shell, host, "echo running; exec sleep 2")
            run_shell(host, "true")
            server.kill()
            assert isinstance(running.exception(20), CircuitError)


def test_a_command_as_root_is_one(host: Anchor) -> None:
    assert run_shell(host, as_root("""id -u; echo "it's" '$HOME'""")).text == "0\nit's $HOME"


@pytest.mark.parametrize("fault", ["wait-aborted", "nil-exit"])
@pytest.mark.parametrize(("command", "times"), [("exit 3", 300), ("exec sh -c 'exit 3'", 100)])
def test_no_status_is_lost_by_a_server_that_loses_them(
    start_node: StartNode, fault: str, command: str, times: int
) -> None:
    with dial(start_node("--fault", fault).address) as client, ThreadPoolExecutor(8) as pool:
        (host,) = client.view().values()
        results = pool.map(lambda _: run_shell(host, command, check=False).exit_status, range(times))
        assert list(results) == [3] * times


def test_what_killed_runners_left_is_swept_and_no_more(host: Anchor, eventually: Eventually) -> None:
    now = int(time.time())
    mark = "abad0ed0" * 3
    jobs = {
        "ended": "true",
        "live": f"CIRCUIT_JOB_UNTIL={now}; exec sleep 60",
        "abandoned": f"CIRCUIT_JOB={mark}; export CIRCUIT_JOB; CIRCUIT_JOB_UNTIL={now - 700}; sleep 60; true",
    }
    # Nobody ever opens their streams, as if their runner had been killed right then.
    procs = {
        name: host.walk(f"{JOB}-{mark if name == 'abandoned' else name}").make_proc(
            Cmd("/bin/sh", ["-c", command], scrub=True)
        )
        for name, command in jobs.items()
    }
    eventually(lambda: procs["ended"].peek().exit is not None)
    sweep(host, Steps())
    left = {name for name, anchor in host.view().items() if name.startswith(JOB) and anchor.get() is not None}
    assert left == {f"{JOB}-live"}
    procs["live"].signal("KILL")
    eventually(lambda: procs["live"].peek().exit is not None)
    sweep(host, Steps())
    eventually(lambda: not [name for name, anchor in host.view().items() if anchor.get() is not None])


def test_a_sweep_ends_nothing_that_others_name(host: Anchor) -> None:
    """Their elements have names like ours, and times that are over, or none that can be read."""
    bystander = subprocess.Popen(["/bin/sleep", "61.25"])
    procs = [
        host.walk(f"{JOB}-{name}").make_proc(Cmd("/bin/sh", ["-c", "exec sleep 60", f"CIRCUIT_JOB_UNTIL={until}"]))
        for name, until in (("61.25", "1"), ("abad0ed1" * 3, "9" * 5000))
    ]
    try:
        sweep(host, Steps())
        assert bystander.poll() is None
        assert [proc.peek().exit for proc in procs] == [None, None]
    finally:
        bystander.kill()
        bystander.wait()
        for proc in procs:
            proc.signal("KILL")
            proc.scrub()
