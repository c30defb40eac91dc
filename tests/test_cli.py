"""The command line: each verb as a process of its own, against a node and, where there is one, the reference server."""

from __future__ import annotations

import base64
import itertools
import json
import os
import pty
import random
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import circuit
from circuit import Anchor, Client, Cmd
from tests.circuits import PROJECT, SIDES, Server, node, start, write_key
from tests.command_line import LIMIT_S, Ended, command, environment, is_alive, run
from tests.conftest import Eventually

STUBBORN = 'trap "" TERM; echo $$ > "$1"; while :; do sleep 0.05; done'
"""Ends with KILL alone."""


Launch = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def launch(server: Server) -> Iterator[Launch]:
    """Starts commands that go on."""
    started: list[subprocess.Popen[bytes]] = []

    def launch(
        *arguments: str,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        ignored: Sequence[signal.Signals] = (),
    ) -> subprocess.Popen[bytes]:
        names = " ".join(number.name.removeprefix("SIG") for number in ignored)
        ignoring = ["sh", "-c", f'trap "" {names}; exec "$@"', "sh"] if ignored else []
        process = subprocess.Popen(
            [*ignoring, *command(*arguments)],
            cwd=PROJECT,
            env=environment(server.address),
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield launch
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module", params=SIDES)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with start(request.param) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with circuit.dial(server.address) as dialed:
        yield dialed


_places = itertools.count()


@pytest.fixture
def place(client: Client) -> Iterator[Anchor]:
    """An anchor below the one host for a test to fill; it is empty again afterwards."""
    (anchor,) = client.view().values()
    fresh = anchor.walk(f"place-{next(_places)}")
    yield fresh
    fresh.scrub()
    fresh.release()


@pytest.fixture
def host(client: Client) -> str:
    """The path of the one host."""
    (name,) = client.view()
    return f"/{name}"


def below(client: Client) -> set[str]:
    """What commands left below the one host; what tests had there may take the server a moment."""
    (anchor,) = client.view().values()
    return {name for name in anchor.view() if not name.startswith("place-")}


def pid_in(path: Path, eventually: Eventually) -> int:
    return int(eventually(lambda: path.exists() and path.read_text().strip()))


# -- ls, peek, scrub --------------------------------------------------------------------------------------------------


def test_ls_lists_the_hosts(server: Server, host: str) -> None:
    assert run(server.address, "ls") == Ended(0, f"{host}\n".encode(), "")
    assert run(server.address, "ls", "-l", "/").lines == [f"server       {host}"]


def test_ls_lists_anchors_with_their_kinds(server: Server, host: str, place: Anchor) -> None:
    held = [place.walk("b"), place.walk("b", "c")]
    proc = place.walk("a").make_proc(Cmd("/bin/true"))
    assert run(server.address, "ls", place.path).lines == [f"{place.path}/a", f"{place.path}/b"]
    listed = run(server.address, "ls", "-l", "/...").lines
    assert listed[0] == f"server       {host}"
    assert [line for line in listed if place.path in line] == [
        f"-            {place.path}",
        f"proc         {place.path}/a",
        f"-            {place.path}/b",
        f"-            {place.path}/b/c",
    ]
    assert run(server.address, "ls", f"{place.path}/...").lines == [
        f"{place.path}/{name}" for name in ("a", "b", "b/c")
    ]
    proc.scrub()
    for anchor in held:
        anchor.release()


def test_names_from_others_neither_break_lines_nor_reach_the_terminal(server: Server, place: Anchor) -> None:
    held = place.walk("a\n\x1b[31m\udcffé")
    assert run(server.address, "ls", place.path).lines == [f"{place.path}/a\\n\\x1b[31m\\udcffé"]
    ascii_only = run(server.address, "ls", place.path, PYTHONIOENCODING="ascii")
    assert ascii_only.lines == [f"{place.path}/a\\n\\x1b[31m\\udcff\\xe9"]
    held.release()


def test_peek_shows_an_element_as_json(server: Server, host: str, place: Anchor) -> None:
    proc = place.make_proc(Cmd("/bin/sh", ["-c", "exit 3"], env=["A=b"]))
    proc.communicate()
    shown = json.loads(run(server.address, "peek", place.path).stdout)
    assert shown["cmd"]["args"] == ["-c", "exit 3"]
    assert (shown["kind"], shown["phase"], shown["exit"]) == ("proc", "exited", "exit status 3")
    assert json.loads(run(server.address, "peek", host).stdout)["kind"] == "server"


def test_scrub_removes_an_element(server: Server, place: Anchor) -> None:
    place.make_proc(Cmd("/bin/true"))
    assert run(server.address, "scrub", place.path) == Ended(0, b"", "")
    assert place.get() is None
    assert "has no element" in run(server.address, "scrub", place.path).complaint()


def test_a_host_is_not_scrubbed(server: Server, host: str) -> None:
    assert "not a place below a host" in run(server.address, "scrub", host).complaint()
    assert run(server.address, "ls", "-l").lines == [f"server       {host}"]


# -- signal, wait -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sigterm", "-15"])
def test_signal_and_wait(server: Server, place: Anchor, name: str) -> None:
    proc = place.make_proc(Cmd("/bin/sleep", ["100"]))
    proc.stdin.close()
    assert run(server.address, "signal", name, place.path) == Ended(0, b"", "")
    assert run(server.address, "wait", place.path) == Ended(143, b"signal: terminated\n", "")
    assert "process already finished" in run(server.address, "signal", name, place.path).complaint()


def test_wait_exits_as_the_process_did(server: Server, place: Anchor) -> None:
    proc = place.make_proc(Cmd("/bin/sh", ["-c", "exit 7"]))
    proc.stdin.close()
    assert run(server.address, "wait", place.path) == Ended(7, b"exit status 7\n", "")


def test_wait_tells_a_process_that_did_not_start(server: Server, place: Anchor) -> None:
    place.make_proc(Cmd("/nonexistent"))
    ended = run(server.address, "wait", place.path)
    assert ended.status == 127
    assert "no such file" in ended.complaint()


def test_an_interrupt_ends_it_without_a_word(place: Anchor, launch: Launch, eventually: Eventually) -> None:
    proc = place.make_proc(Cmd("/bin/sleep", ["100"]))
    waiting = launch("wait", place.path)
    # The second thread is the client's.
    eventually(lambda: len(list(Path(f"/proc/{waiting.pid}/task").iterdir())) > 1)
    waiting.send_signal(signal.SIGINT)
    assert waiting.communicate(timeout=LIMIT_S) == (b"", b"")
    assert waiting.returncode == -signal.SIGINT
    proc.signal("KILL")


# -- run: streams and status ------------------------------------------------------------------------------------------


def test_run_is_as_a_local_command(server: Server, client: Client, host: str) -> None:
    script = "cat; echo error >&2; exit 3"
    assert run(server.address, "run", host, "--", "sh", "-c", script, stdin=b"in\n") == Ended(3, b"in\n", "error\n")
    assert below(client) == set()


def test_run_hands_all_arguments_on_as_they_are(server: Server, host: str) -> None:
    odd = ["--", "-l", "", "a b", "$HOME", "'", "--addr", "\udcff", "é\n"]
    ended = run(server.address, "run", host, "--", "printf", "%s|", *odd)
    assert ended.stdout == "".join(f"{argument}|" for argument in odd).encode("utf-8", "surrogateescape")


def test_run_carries_megabytes_of_any_bytes_both_ways(server: Server, host: str) -> None:
    data = random.Random(1).randbytes(8_000_000)
    part = data[:1_000_000]
    both = run(server.address, "run", host, "--", "sh", "-c", "tee /dev/stderr", stdin=part)
    assert both == Ended(0, part, part.decode("utf-8", "surrogateescape"))
    assert run(server.address, "run", host, "--", "cat", stdin=data) == Ended(0, data, "")


def test_run_at_an_anchor_can_be_found_there(
    client: Client, host: str, launch: Launch, tmp_path: Path, eventually: Eventually
) -> None:
    process = launch(
        "run",
        f"{host}/deep/down",
        "--",
        "sh",
        "-c",
        'echo $$ > "$1"; read line',
        "sh",
        str(tmp_path / "pid"),
        stdin=subprocess.PIPE,
    )
    pid_in(tmp_path / "pid", eventually)
    element = client.walk(host[1:], "deep", "down").get()
    assert element is not None
    assert element.kind == "proc"
    process.communicate(b"line\n", timeout=LIMIT_S)
    assert process.returncode == 0
    element.release()
    element.anchor.release()
    # A Go server lets go of what a client released when it next collects its garbage.
    eventually(lambda: below(client) == set(), LIMIT_S)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 255"], 255),
        (["sh", "-c", "kill -KILL $$"], 137),
        (["sh", "-c", "kill -ABRT $$"], 134),
        (["no-such-command"], 127),
        (["/etc/passwd"], 126),
    ],
)
def test_run_has_the_exit_status_of_the_command(server: Server, host: str, words: list[str], status: int) -> None:
    assert run(server.address, "run", host, "--", *words).status == status


def test_run_where_an_element_is_already(server: Server, place: Anchor) -> None:
    place.make_proc(Cmd("/bin/true"))
    ended = run(server.address, "run", place.path, "--", "true")
    assert ended.status == 125
    assert "already has an element" in ended.complaint()
    assert place.get() is not None


def test_a_command_that_ends_without_its_input_ends_run(host: str, launch: Launch) -> None:
    reader, writer = os.pipe()
    leader, terminal = pty.openpty()
    try:
        for stdin in (reader, terminal):
            process = launch("run", host, "--", "echo", "done", stdin=stdin)
            assert process.communicate(timeout=LIMIT_S) == (b"done\n", b"")
            assert process.returncode == 0
    finally:
        for fd in (reader, writer, leader, terminal):
            os.close(fd)


def test_input_that_nobody_reads_ends_with_the_command(host: str, launch: Launch) -> None:
    with Path("/dev/zero").open("rb") as zeros:
        process = launch("run", host, "--", "head", "-c", "3", stdin=zeros.fileno())
        assert process.communicate(timeout=LIMIT_S) == (b"\0\0\0", b"")
    assert process.returncode == 0


def test_a_command_that_closed_its_outputs_still_gets_all_input(server: Server, host: str, tmp_path: Path) -> None:
    data = random.Random(2).randbytes(3_000_000)
    script = 'exec >/dev/null 2>&1; cat > "$1"; exit 4'
    ended = run(server.address, "run", host, "--", "sh", "-c", script, "sh", str(tmp_path / "copy"), stdin=data)
    assert ended == Ended(4, b"", "")
    assert (tmp_path / "copy").read_bytes() == data


def test_streams_that_others_made_non_blocking(host: str, launch: Launch) -> None:
    (in_reader, in_writer), (out_reader, out_writer) = os.pipe(), os.pipe()
    os.set_blocking(in_reader, False)
    os.set_blocking(out_writer, False)
    process = launch("run", host, "--", "sh", "-c", "cat; head -c 300000 /dev/zero", stdin=in_reader, stdout=out_writer)
    os.close(out_writer)
    os.write(in_writer, b"input")
    os.close(in_writer)
    with os.fdopen(out_reader, "rb") as output:
        assert output.read() == b"input" + bytes(300_000)
    assert process.communicate(timeout=LIMIT_S)[1] == b""
    assert process.returncode == 0
    os.close(in_reader)


def test_what_nohup_puts_in_place_of_a_terminal_is_no_input(host: str, launch: Launch) -> None:
    with Path("/dev/null").open("wb") as unreadable:
        process = launch("run", host, "--", "sh", "-c", "cat; echo done", stdin=unreadable.fileno())
        assert process.communicate(timeout=LIMIT_S) == (b"done\n", b"")
    assert process.returncode == 0


def test_input_that_cannot_be_read_is_no_end_of_it(client: Client, host: str, launch: Launch) -> None:
    # Nothing is mapped at its start.
    with Path("/proc/self/mem").open("rb") as unreadable:
        process = launch("run", host, "--", "cat", stdin=unreadable.fileno())
        assert process.communicate(timeout=LIMIT_S) == (b"", b"circuit: cannot read the input: Input/output error\n")
    assert process.returncode == 125
    assert below(client) == set()


# -- run: ends --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT"])
def test_run_passes_signals_on(
    client: Client, host: str, launch: Launch, tmp_path: Path, eventually: Eventually, name: str
) -> None:
    leader, terminal = pty.openpty()
    script = 'echo $$ > "$1"; exec sleep 100'
    process = launch("run", host, "--", "sh", "-c", script, "sh", str(tmp_path / "pid"), stdin=terminal)
    pid = pid_in(tmp_path / "pid", eventually)
    number = signal.Signals[f"SIG{name}"]
    process.send_signal(number)
    assert process.communicate(timeout=LIMIT_S) == (b"", b"")
    assert process.returncode == 128 + number
    assert not is_alive(pid)
    assert below(client) == set()
    os.close(leader)
    os.close(terminal)


def test_a_command_may_catch_an_interrupt(host: str, launch: Launch, tmp_path: Path, eventually: Eventually) -> None:
    script = 'trap "echo caught; exit 5" INT; echo $$ > "$1"; while :; do sleep 0.02; done'
    process = launch("run", host, "--", "sh", "-c", script, "sh", str(tmp_path / "pid"))
    pid_in(tmp_path / "pid", eventually)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=LIMIT_S) == (b"caught\n", b"")
    assert process.returncode == 5


def test_an_ignored_signal_is_not_for_the_command(
    host: str, launch: Launch, tmp_path: Path, eventually: Eventually
) -> None:
    """As under nohup, or in the background of a script."""
    script = 'trap "exit 9" INT HUP; echo $$ > "$1"; read line'
    arguments = ("run", host, "--", "sh", "-c", script, "sh", str(tmp_path / "pid"))
    process = launch(*arguments, stdin=subprocess.PIPE, ignored=(signal.SIGINT, signal.SIGHUP))
    pid_in(tmp_path / "pid", eventually)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGHUP)
    assert process.communicate(b"line\n", timeout=LIMIT_S) == (b"", b"")
    assert process.returncode == 0


def test_run_that_is_terminated_kills_a_command_that_goes_on(
    client: Client, host: str, launch: Launch, tmp_path: Path, eventually: Eventually
) -> None:
    process = launch("run", host, "--", "sh", "-c", STUBBORN, "sh", str(tmp_path / "pid"))
    pid = pid_in(tmp_path / "pid", eventually)
    process.terminate()
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 137
    assert not is_alive(pid)
    assert below(client) == set()


def test_a_broken_pipe_ends_the_command(
    client: Client, host: str, launch: Launch, tmp_path: Path, eventually: Eventually
) -> None:
    process = launch("run", host, "--", "sh", "-c", 'echo $$ > "$1"; exec yes', "sh", str(tmp_path / "pid"))
    pid = pid_in(tmp_path / "pid", eventually)
    assert process.stdout is not None
    assert process.stdout.readline() == b"y\n"
    process.stdout.close()
    assert process.wait(LIMIT_S) == 141
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert not is_alive(pid)
    assert below(client) == set()


def test_output_that_cannot_be_written_ends_the_command(client: Client, host: str, launch: Launch) -> None:
    with Path("/dev/full").open("wb") as full:
        process = launch("run", host, "--", "yes", stdout=full.fileno())
        _, complaint = process.communicate(timeout=LIMIT_S)
    assert complaint == b"circuit: cannot write the output: No space left on device\n"
    assert process.returncode == 125
    assert below(client) == set()


@pytest.mark.parametrize("arguments", [["ls"], ["--help"], ["run", "--help"], ["keygen"]])
def test_a_broken_pipe_is_told_in_no_words(launch: Launch, arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = launch(*arguments, stdout=writer)
    os.close(writer)
    assert process.communicate(timeout=LIMIT_S)[1] == b""
    assert process.returncode == 141


def test_closed_standard_streams_are_no_ones_connection(server: Server, host: str) -> None:
    closing = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *command("run", host, "--", "sh", "-c", "echo a; echo b >&2")]
    done = subprocess.run(closing, cwd=PROJECT, env=environment(server.address), timeout=LIMIT_S, check=False)
    assert done.returncode == 0


def test_run_tells_that_the_circuit_is_lost(tmp_path: Path, eventually: Eventually) -> None:
    with node() as lost:
        with circuit.dial(lost.address) as client:
            (name,) = client.view()
        script = 'echo $$ > "$1"; read line'
        process = subprocess.Popen(
            command("run", name, "--", "sh", "-c", script, "sh", str(tmp_path / "pid")),
            cwd=PROJECT,
            env=environment(lost.address),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        pid_in(tmp_path / "pid", eventually)
        lost.kill()
        assert process.stderr is not None
        assert process.wait(LIMIT_S) == 125
        assert re.fullmatch(rb"circuit: .* is lost.*\n", process.stderr.read())
        process.communicate()


@pytest.mark.parametrize("side", SIDES)
def test_run_can_be_ended_where_the_server_is_silent(side: str, tmp_path: Path, eventually: Eventually) -> None:
    with start(side) as silent:
        with circuit.dial(silent.address) as client:
            (name,) = client.view()
        script = 'echo $$ > "$1"; exec sleep 100'
        process = subprocess.Popen(
            command("run", "--timeout", "1", name, "--", "sh", "-c", script, "sh", str(tmp_path / "pid")),
            cwd=PROJECT,
            env=environment(silent.address),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        pid = pid_in(tmp_path / "pid", eventually)
        silent.suspend()
        process.terminate()
        stdout, stderr = process.communicate(timeout=LIMIT_S)
        assert (process.returncode, stdout) == (125, b"")
        assert re.fullmatch(rb"circuit: .*no answer within 1 s\n", stderr), stderr
        os.kill(pid, signal.SIGKILL)


# -- which circuit ----------------------------------------------------------------------------------------------------


def test_options_stand_before_or_behind_the_verb(server: Server, host: str) -> None:
    for arguments in (["--addr", server.address, "ls"], ["ls", "--addr", server.address], ["ls", "--timeout", "5"]):
        address = "" if "--addr" in arguments else server.address
        assert run(address, *arguments).lines == [host]
    ended = run(
        "circuit://127.0.0.1:1/1/Q0000000000000000", "run", "--addr", server.address, host, "--", "echo", "hello"
    )
    assert ended == Ended(0, b"hello\n", "")


def test_servers_dial_back_where_they_are_told_to(server: Server, host: str) -> None:
    assert run(server.address, "run", host, "--listen", "127.0.0.1:0", "--", "echo", "hello").lines == ["hello"]


@pytest.mark.parametrize("verb", [["ls"], ["run", "/X", "--", "true"]])
def test_a_circuit_that_is_not_there(verb: list[str]) -> None:
    ended = run("circuit://127.0.0.1:1/1/Q0000000000000000", *verb)
    assert "cannot connect to" in ended.complaint()
    assert ended.status == (125 if "run" in verb else 1)


def test_an_anchor_that_is_not_there(server: Server, client: Client, host: str) -> None:
    for verb in (["peek"], ["ls"], ["wait"], ["scrub"], ["signal", "TERM"]):
        ended = run(server.address, *verb, f"{host}/none/at/all")
        assert f"there is no none below {host}" in ended.complaint()
        assert ended.status == (125 if verb == ["wait"] else 1)
    assert "there is no host X0" in run(server.address, "run", "/X0/a", "--", "true").complaint()
    assert below(client) == set()


def test_what_is_no_process(server: Server, host: str) -> None:
    assert "is not a process but a server" in run(server.address, "signal", "TERM", host).complaint()
    assert "has no element" in run(server.address, "peek", "/").complaint()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "required: COMMAND"),
        (["frobnicate"], "invalid choice: 'frobnicate'"),
        (["ls"], "no circuit to dial: give --addr or set $CIRCUIT_ADDR"),
        (["ls", "--addr", "x"], "'x' is not a circuit address"),
        (["ls", "--ad", "x"], "unrecognized arguments: --ad"),
        (["ls", "--timeout", "-1"], "invalid number of seconds value"),
        (["ls", "--listen", "1"], "invalid IP:PORT value"),
        (["ls", "--", "/"], "only run takes a command"),
        (["peek"], "required: ANCHOR"),
        (["run", "/X"], "run takes a command behind --"),
        (["run", "/X", "uname -a"], "unrecognized arguments: uname -a; run takes a command behind --"),
        (["run", "/X", "uname", "-a"], "unrecognized arguments: uname -a; run takes a command behind --"),
        (["run", "/X", "--all", "--", "true"], "an ANCHOR or --all, not both"),
        (["run", "/X", "--limit", "3", "--", "true"], "--limit goes with --all"),
        (["run", "--all", "--limit", "0", "--", "true"], "invalid number of seconds value"),
        (["run", "--all"], "run takes a command behind --"),
        (["shell"], "required: ANCHOR"),
        (["shell", "/X", "--", "true"], "only run takes a command"),
        (["run", "/X", "--"], "run takes a command behind --"),
        (["run", "--", "true"], "required: ANCHOR"),
        (["run", "/", "--", "true"], "name a host"),
        (["signal", "99", "/X/a"], "invalid signal value"),
    ],
)
def test_wrong_uses_are_told_in_one_line(arguments: list[str], complaint: str) -> None:
    ended = run("", *arguments)
    assert complaint in ended.complaint()
    assert ended.status == 2


def test_help_teaches() -> None:
    ended = run("", "--help")
    assert ended.status == 0
    outputs = [ended.stdout.decode()]
    for verb in ("ls", "peek", "run", "shell", "signal", "wait", "scrub", "keygen"):
        assert re.search(rf"^ +{verb} ", ended.stdout.decode(), re.MULTILINE)
        outputs.append(run("", verb, "--help", COLUMNS="80").stdout.decode())
    assert [line for output in outputs for line in output.splitlines() if len(line) > 79] == []
    assert "python3 -m circuit run /X5f2a6d0c11e49b83 -- df -h /" in ended.stdout.decode()
    assert "ANCHOR -- COMMAND" in run("", "run", "--help").stdout.decode()


# -- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", SIDES)
def test_keygen_makes_a_key_that_a_circuit_runs_with(side: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    ended = run("", "keygen")
    key.write_bytes(ended.stdout)
    assert len(base64.b64decode(ended.stdout)) == 64
    assert run("", "keygen").stdout != ended.stdout
    with start(side, key=key) as secured:
        (host,) = run(secured.address, "ls", "--hmac", str(key)).lines
        assert run(secured.address, "ls", CIRCUIT_HMAC=str(key)).lines == [host]
        data = random.Random(3).randbytes(300_000)
        assert run(secured.address, "run", host, "--hmac", str(key), "--", "cat", stdin=data) == Ended(0, data, "")
        wrong = write_key(tmp_path / "wrong", bytes(64))
        assert "key is not ours" in run(secured.address, "ls", "--hmac", str(wrong)).complaint()


@pytest.mark.parametrize(("content", "complaint"), [(None, "No such file"), (b"?", "in base64"), (b"", "is empty")])
def test_a_key_that_is_none(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    key = tmp_path / "key"
    if content is not None:
        key.write_bytes(content)
    ended = run("circuit://127.0.0.1:1/1/Q0000000000000000", "ls", "--hmac", str(key))
    assert complaint in ended.complaint()
    assert "unset" not in ended.stderr
    assert ended.status == 2


def test_the_key_of_hosts_that_were_removed(tmp_path: Path) -> None:
    ended = run("circuit://127.0.0.1:1/1/Q0000000000000000", "ls", CIRCUIT_HMAC=str(tmp_path / "key"))
    assert ended.complaint().endswith("; if its hosts were removed: unset CIRCUIT_ADDR CIRCUIT_HMAC\n")
    assert ended.status == 2
