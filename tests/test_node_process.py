"""How circuit.node runs processes: with the real server's manners, each of which a client has to live with."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import circuit
from circuit.node import pipes
from circuit.node.pipes import Input, Output, PipeError
from circuit.wire.messages import CmdValue, ReturnMsg, error_text

if TYPE_CHECKING:
    from tests.conftest import Eventually, OpenRaw, RawClient, RunningNode

Make = Callable[..., int]


@pytest.fixture
def make(raw: RawClient, anchor: int) -> Iterator[Make]:
    """Makes a process at the test's anchor, and ends it afterwards."""
    made = []

    def make_one(path: str, *args: str, directory: str = "", env: tuple[str, ...] = (), scrub: bool = False) -> int:
        process, error = raw.call(anchor, "Make", "proc", CmdValue(env, directory, path, args, scrub))
        assert error is None
        made.append(process.id)
        return int(process.id)

    yield make_one
    for process in made:
        raw.call(process, "Signal", "KILL")
    raw.call(anchor, "Scrub")


def _sh(make: Make, script: str, scrub: bool = False) -> int:
    return make("/bin/sh", "-c", script, scrub=scrub)


def _result(future: Future[object]) -> tuple[object, ...]:
    reply = future.result(10)
    assert isinstance(reply, ReturnMsg)
    return reply.results


def _close(raw: RawClient, process: int, stream: str = "Stdin") -> None:
    pointer = raw.get(process, stream)
    assert raw.call(pointer, "Close") == (None,)
    raw.drop(pointer)


def _read_all(raw: RawClient, process: int, stream: str = "Stdout") -> bytes:
    pointer, data = raw.get(process, stream), b""
    while True:
        block, error = raw.call(pointer, "Read", 1_000_000)
        if error is not None:
            assert (block, error_text(error)) == (b"", "EOF")
            return data
        data += block


def _phase(raw: RawClient, process: int, *phases: str) -> Callable[[], bool]:
    return lambda: raw.call(process, "Peek")[0].phase in phases


# -- how it ended -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "words", "phase"),
    [
        ("exit 0", None, "exited"),
        ("exit 3", "exit status 3", "exited"),
        ("exit 255", "exit status 255", "exited"),
        ("kill -KILL $$", "signal: killed", "signaled"),
        ("kill -TERM $$", "signal: terminated", "signaled"),
        ("kill -USR1 $$", "signal: user defined signal 1", "signaled"),
        ("kill -35 $$", "signal: signal 35", "signaled"),
    ],
)
def test_exit_texts(raw: RawClient, make: Make, script: str, words: str | None, phase: str) -> None:
    process = _sh(make, script)
    _close(raw, process)
    stat_, error = raw.call(process, "Wait")
    assert error is None
    assert (stat_.exit and error_text(stat_.exit), stat_.phase) == (words, phase)
    assert raw.call(process, "Peek") == (stat_,)
    assert raw.call(process, "Wait") == (stat_, None), "it can be asked for again"


@pytest.fixture
def unusable(tmp_path: Path) -> Path:
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(stat.S_IRUSR)
    (tmp_path / "garbage").write_bytes(b"\x7fELF garbage")
    (tmp_path / "garbage").chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "directory", "words"),
    [
        ("/nonexistent/binary", "", "fork/exec /nonexistent/binary: no such file or directory"),
        ("/bin/true", "/nonexistent", "chdir /nonexistent: no such file or directory"),
        ("/bin/true", "/bin/true", "fork/exec /bin/true: not a directory"),
        ("text", "{unusable}", "fork/exec text: permission denied"),
        ("{unusable}", "", "fork/exec {unusable}: permission denied"),
        ("./garbage", "{unusable}", "fork/exec ./garbage: exec format error"),
        ("true", "", "fork/exec true: no such file or directory"),
        ("", "", "exec: no command"),
        ("/bin/true\0", "", "fork/exec /bin/true\0: invalid argument"),
    ],
)
def test_what_cannot_be_started_is_no_error_of_make(
    raw: RawClient, make: Make, unusable: Path, path: str, directory: str, words: str
) -> None:
    path, directory, words = (text.format(unusable=unusable) for text in (path, directory, words))
    process = make(path, directory=directory)
    (stat_,) = raw.call(process, "Peek")
    assert (error_text(stat_.exit), stat_.phase) == (f"exec error: {words}", "unknown")
    assert raw.call(process, "Wait") == (stat_, None)
    assert error_text(raw.call(process, "Signal", "KILL")[0]) == "no running process to signal"


@pytest.mark.parametrize("stream", ["Stdout", "Stderr"])
def test_streams_of_what_was_not_started_never_end(raw: RawClient, make: Make, stream: str) -> None:
    process = make("/nonexistent")
    pointer = raw.get(process, stream)
    reading = raw.start(pointer, "Read", 10)
    stdin = raw.get(process, "Stdin")
    assert raw.call(stdin, "Write", b"x" * 32_000) == (32_000, None)
    writing = raw.start(stdin, "Write", b"x")
    assert raw.call(process, "Wait")
    assert not reading.done()
    assert not writing.done()
    raw.call(pointer, "Close")
    data, error = _result(reading)
    assert (data, error_text(error)) == (b"", "EOF")
    raw.call(stdin, "Close")
    count, error = _result(writing)
    assert (count, error_text(error)) == (0, "unexpected EOF")


def test_the_truth_also_for_those_who_wait_early(raw: RawClient, anchor: int) -> None:
    for number in range(20):
        for scrub in (False, True):
            command = CmdValue(path="/bin/sh", args=("-c", f"exit {number + 1}"), scrub=scrub)
            process = raw.get(anchor, "Make", "proc", command)
            waits = [raw.start(process, "Wait") for _ in range(3)]
            _close(raw, process)
            waits.append(raw.start(process, "Wait"))
            for wait in waits:
                stat_, error = _result(wait)
                assert error is None
                assert error_text(stat_.exit) == f"exit status {number + 1}"  # type: ignore[attr-defined]
            raw.call(anchor, "Scrub")


def test_an_empty_anchor_means_that_the_status_is_stored(raw: RawClient, anchor: int, eventually: Eventually) -> None:
    for _ in range(20):
        process = raw.get(anchor, "Make", "proc", CmdValue(path="/bin/false", scrub=True))
        _close(raw, process)
        eventually(lambda: raw.call(anchor, "Get") == ("", None))
        assert error_text(raw.call(process, "Peek")[0].exit) == "exit status 1"


def test_scrub_alone_removes_what_ended(raw: RawClient, anchor: int, make: Make) -> None:
    process = make("/bin/true")
    _close(raw, process)
    raw.call(process, "Wait")
    assert raw.call(anchor, "Get")[0] == "proc"
    raw.call(anchor, "Scrub")
    assert raw.call(anchor, "Get") == ("", None)
    raw.call(anchor, "Scrub")


def test_what_could_not_be_started_is_scrubbed_too(raw: RawClient, anchor: int, eventually: Eventually) -> None:
    process = raw.get(anchor, "Make", "proc", CmdValue(path="/nonexistent", scrub=True))
    eventually(lambda: raw.call(anchor, "Get") == ("", None))
    assert raw.call(process, "Wait")[1] is None


# -- what holds it up -------------------------------------------------------------------------------------------------


def test_wait_is_not_answered_while_stdin_is_open(raw: RawClient, make: Make, eventually: Eventually) -> None:
    process = make("/bin/sleep", "1000")
    waiting = raw.start(process, "Wait")
    reading = raw.start(raw.get(process, "Stdout"), "Read", 10)
    raw.call(process, "Signal", "KILL")
    eventually(_phase(raw, process, "signaled"))
    assert raw.call(process, "Peek")[0].exit is None
    assert not waiting.done()
    assert not reading.done()
    _close(raw, process)
    stat_, _ = _result(waiting)
    assert error_text(stat_.exit) == "signal: killed"  # type: ignore[attr-defined]
    assert error_text(_result(reading)[1]) == "EOF"


def test_a_child_that_inherited_stdout_delays_the_end(
    raw: RawClient, make: Make, tmp_path: Path, eventually: Eventually
) -> None:
    os.mkfifo(tmp_path / "fifo")
    process = _sh(make, f"cat {tmp_path}/fifo & exit 3")
    _close(raw, process)
    waiting = raw.start(process, "Wait")
    reading = raw.start(raw.get(process, "Stdout"), "Read", 100)
    eventually(_phase(raw, process, "exited"))
    assert not waiting.done()
    assert not reading.done()
    (tmp_path / "fifo").write_bytes(b"late")
    assert error_text(_result(waiting)[0].exit) == "exit status 3"  # type: ignore[attr-defined]
    assert _result(reading) == (b"late", None)


def test_unread_output_delays_wait(raw: RawClient, make: Make, eventually: Eventually) -> None:
    process = _sh(make, "head -c 90000 /dev/zero >&2")
    _close(raw, process)
    waiting = raw.start(process, "Wait")
    eventually(_phase(raw, process, "exited"))
    assert not waiting.done()
    assert len(_read_all(raw, process, "Stderr")) == 90_000
    assert _result(waiting)[1] is None


def test_little_unread_output_does_not(raw: RawClient, make: Make) -> None:
    process = _sh(make, "head -c 31000 /dev/zero; head -c 31000 /dev/zero >&2")
    _close(raw, process)
    assert raw.call(process, "Wait")[1] is None
    assert len(_read_all(raw, process)) == 31_000
    assert len(_read_all(raw, process, "Stderr")) == 31_000


def test_a_closed_output_stalls_a_process_that_writes_much(
    raw: RawClient, make: Make, tmp_path: Path, eventually: Eventually
) -> None:
    process = _sh(make, f"head -c 100000 /dev/zero >&2; touch {tmp_path}/written; head -c 300000 /dev/zero >&2")
    _close(raw, process)
    _close(raw, process, "Stderr")
    waiting = raw.start(process, "Wait")
    eventually((tmp_path / "written").exists)
    assert _phase(raw, process, "running")()
    assert not waiting.done()
    raw.call(process, "Signal", "KILL")
    assert error_text(_result(waiting)[0].exit) == "signal: killed"  # type: ignore[attr-defined]


# -- Scrub and Signal -------------------------------------------------------------------------------------------------


def test_one_of_many_makes_succeeds(node: RunningNode) -> None:
    with circuit.dial(node.address) as client, ThreadPoolExecutor(8) as pool:
        (host,) = client.view().values()
        anchors = [host.walk("lock") for _ in range(8)]

        def attempt(anchor: circuit.Anchor) -> bool:
            try:
                anchor.make_proc(circuit.Cmd("/bin/true"))
            except circuit.ElementExists:
                return False
            return True

        assert sum(pool.map(attempt, anchors)) == 1
        anchors[0].scrub()


def test_scrub_leaves_a_process_running_and_unfindable(raw: RawClient, anchor: int, eventually: Eventually) -> None:
    process = raw.get(anchor, "Make", "proc", CmdValue(path="/bin/sh", args=("-c", "echo $$; read line; exit 3")))
    waiting = raw.start(process, "Wait")
    assert not raw.call(process, "IsDone")[0]
    raw.call(anchor, "Scrub")
    assert raw.call(anchor, "Get") == ("", None)
    stat_, error = _result(waiting)
    assert (stat_, error_text(error)) == (type(stat_)(), "aborted")
    assert error_text(raw.call(process, "Wait")[1]) == "aborted"
    assert raw.call(process, "IsDone") == (True,)
    assert raw.call(process, "Peek")[0].phase == "running"
    _close(raw, process)
    assert int(_read_all(raw, process)) > 0


@pytest.mark.parametrize("scrub", [False, True])
def test_the_process_own_scrub_aborts_waits(raw: RawClient, anchor: int, scrub: bool, eventually: Eventually) -> None:
    process = raw.get(anchor, "Make", "proc", CmdValue(path="/bin/cat", scrub=scrub))
    waiting = raw.start(process, "Wait")
    assert raw.call(process, "Scrub") == ()
    assert raw.call(process, "Scrub") == ()
    assert error_text(_result(waiting)[1]) == "aborted"
    if scrub:
        eventually(lambda: raw.call(anchor, "Get") == ("", None))
    else:
        assert raw.call(anchor, "Get")[0] == "proc"
    _close(raw, process)
    raw.call(anchor, "Scrub")


def test_a_late_scrub_does_not_hit_the_next(raw: RawClient, anchor: int, make: Make, eventually: Eventually) -> None:
    first = make("/bin/cat", scrub=True)
    raw.call(anchor, "Scrub")
    second = make("/bin/cat")
    _close(raw, first)
    eventually(_phase(raw, first, "exited"))
    assert raw.call(anchor, "Get")[1].id == second


@pytest.mark.parametrize("name", ["TERM", "term", " Term "])
def test_signal(raw: RawClient, make: Make, name: str) -> None:
    process = make("/bin/sleep", "1000")
    assert raw.call(process, "Signal", name) == (None,)
    _close(raw, process)
    assert error_text(raw.call(process, "Wait")[0].exit) == "signal: terminated"
    assert error_text(raw.call(process, "Signal", "TERM")[0]) == "os: process already finished"


@pytest.mark.parametrize("name", ["BOGUS", "SIGTERM", "15", ""])
def test_unknown_signals(raw: RawClient, make: Make, name: str) -> None:
    process = make("/bin/sleep", "1000")
    assert error_text(raw.call(process, "Signal", name)[0]) == "signal name not recognized"


def test_signals_do_not_reach_children(raw: RawClient, make: Make, tmp_path: Path, eventually: Eventually) -> None:
    process = _sh(make, f"sleep 1000 & echo $! >{tmp_path}/child; wait")
    _close(raw, process)
    child = eventually(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text())
    raw.call(process, "Signal", "KILL")
    eventually(_phase(raw, process, "signaled"))
    assert raw.call(process, "Peek")[0].exit is None, "the child holds the outputs still"
    os.kill(int(child), signal.SIGKILL)
    assert error_text(raw.call(process, "Wait")[0].exit) == "signal: killed"


# -- what it starts with ----------------------------------------------------------------------------------------------


def test_what_is_too_large_for_an_answer(raw: RawClient, make: Make) -> None:
    process = make("/bin/true", "x" * (16 * 1024 * 1024 - 300))
    assert "over the limit" in error_text(raw.refused(process, "Peek"))
    assert "over the limit" in error_text(raw.refused(process, "Wait"))
    assert raw.call(process, "IsDone") == (False,)


def test_environment_and_directory(raw: RawClient, make: Make, anchor: int, tmp_path: Path) -> None:
    process = make("/usr/bin/env", env=("A=b", "C=d=e", "A=last"))
    _close(raw, process)
    assert sorted(_read_all(raw, process).split()) == [b"A=last", b"C=d=e"]
    raw.call(anchor, "Scrub")
    process = make("/usr/bin/env", directory=str(tmp_path))
    _close(raw, process)
    expected = {entry for entry in raw.call(process, "GetEnv")[0] if not entry.startswith("PWD=")}
    lines = set(_read_all(raw, process).decode().splitlines())
    assert lines - expected == {f"PWD={tmp_path}"}
    assert expected <= lines
    raw.call(anchor, "Scrub")
    (tmp_path / "script").write_text("#!/bin/sh\npwd\necho $0 $@\n")
    (tmp_path / "script").chmod(0o755)
    process = make(" ./script ", "one", "two three", directory=str(tmp_path))
    _close(raw, process)
    assert _read_all(raw, process).decode() == f"{tmp_path}\n./script one two three\n"


def test_bytes_that_are_no_text(raw: RawClient, make: Make) -> None:
    process = make("/bin/sh", "-c", 'printf "%s%s" "$1" "$X"', "sh", "\udcff\udc80", env=("X=\udcfe",))
    _close(raw, process)
    assert _read_all(raw, process) == b"\xff\x80\xfe"


def test_nothing_of_the_node_is_inherited(raw: RawClient, node: RunningNode, make: Make, anchor: int) -> None:
    process = make("/bin/cat", "/proc/self/status", "/proc/self/stat")
    _close(raw, process)
    text = _read_all(raw, process).decode()
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    assert int(fields["SigBlk"], 16) == 0
    # Some Pythons ignore 32 and 33, which are the C library's own.
    assert int(fields["SigIgn"], 16) & ~(0b11 << 31) == 0
    assert int(text.splitlines()[-1].rpartition(")")[2].split()[3]) == os.getsid(node.pid), "no session of its own"
    raw.call(anchor, "Scrub")
    process = make("/bin/ls", "/proc/self/fd")
    _close(raw, process)
    assert _read_all(raw, process).split() == [b"0", b"1", b"2", b"3"]


def test_what_is_shown(raw: RawClient, anchor: int, make: Make) -> None:
    process = make("/bin/cat", "a", env=("X=y",), directory="/tmp", scrub=True)
    shown = CmdValue(env=("X=y",), path="/bin/cat", args=("a",), scrub=True)
    assert raw.call(process, "GetCmd") == (shown,)
    assert raw.call(process, "Peek")[0].cmd == shown
    _close(raw, process)


def test_is_done(raw: RawClient, make: Make, anchor: int) -> None:
    for scrub in (False, True):
        process = make("/bin/cat", scrub=scrub)
        assert raw.call(process, "IsDone") == (False,)
        _close(raw, process)
        raw.call(process, "Wait")
        assert raw.call(process, "IsDone") == (scrub,)
        raw.call(anchor, "Scrub")


# -- streams ----------------------------------------------------------------------------------------------------------


def test_output_comes_in_blocks(raw: RawClient, make: Make, tmp_path: Path, eventually: Eventually) -> None:
    os.mkfifo(tmp_path / "fifo")
    process = _sh(make, f"head -c 31999 /dev/zero; touch {tmp_path}/written; cat {tmp_path}/fifo")
    _close(raw, process)
    stdout = raw.get(process, "Stdout")
    reading = raw.start(stdout, "Read", 1_000_000)
    eventually((tmp_path / "written").exists)
    assert raw.peers()
    assert not reading.done()
    with (tmp_path / "fifo").open("wb", buffering=0) as fifo:
        fifo.write(b"a")
        assert _result(reading) == (bytes(31_999) + b"a", None)
        fifo.write(b"bc")
        reading = raw.start(stdout, "Read", 1)
        assert raw.peers()
        assert not reading.done()
    assert _result(reading) == (b"b", None)
    assert raw.call(stdout, "Read", 0) == (b"", None)
    assert raw.call(stdout, "Read", 10) == (b"c", None)
    for words in ("EOF", "io: read/write on closed pipe"):
        data, error = raw.call(stdout, "Read", 10)
        assert (data, error_text(error)) == (b"", words)


def test_a_read_returns_no_more_than_a_block(raw: RawClient, make: Make) -> None:
    process = _sh(make, "head -c 70000 /dev/zero")
    _close(raw, process)
    stdout = raw.get(process, "Stdout")
    assert [len(raw.call(stdout, "Read", 50_000)[0]) for _ in range(3)] == [32_000, 32_000, 6_000]


def test_a_read_returns_no_more_than_asked(raw: RawClient, make: Make) -> None:
    process = _sh(make, "head -c 40000 /dev/zero")
    _close(raw, process)
    stdout = raw.get(process, "Stdout")
    assert [len(raw.call(stdout, "Read", 20_000)[0]) for _ in range(3)] == [20_000, 12_000, 8_000]
    assert "Read takes" in error_text(raw.refused(stdout, "Read", -1))


def test_a_write_is_taken_whole_and_the_next_one_waits(raw: RawClient, make: Make) -> None:
    process = make("/bin/sleep", "1000")
    stdin = raw.get(process, "Stdin")
    assert raw.call(stdin, "Write", b"x" * 1_000_000) == (1_000_000, None)
    pending = [raw.start(stdin, "Write", b"y") for _ in range(2)]
    assert raw.peers()
    assert not any(write.done() for write in pending)
    assert raw.call(stdin, "Close") == (None,)
    answers = [_result(write) for write in pending]
    assert sorted((count, error_text(error)) for count, error in answers) == [
        (0, "io: read/write on closed pipe"),
        (0, "unexpected EOF"),
    ]
    assert error_text(raw.call(stdin, "Write", b"z")[1]) == "io: read/write on closed pipe"


def test_input_reaches_the_process_in_blocks(raw: RawClient, make: Make) -> None:
    process = make("/bin/cat")
    stdin, stdout = raw.get(process, "Stdin"), raw.get(process, "Stdout")
    reading = raw.start(stdout, "Read", 100_000)
    assert raw.call(stdin, "Write", b"x" * 31_999) == (31_999, None)
    assert raw.call(stdin, "Write", b"") == (0, None)
    assert raw.peers()
    assert not reading.done()
    assert raw.call(stdin, "Write", b"yz") == (2, None)
    assert _result(reading) == (b"x" * 31_999 + b"y", None)
    raw.call(stdin, "Close")
    assert raw.call(stdout, "Read", 100_000) == (b"z", None)


def test_a_process_that_ends_unread_leaves_the_write_unanswered(
    raw: RawClient, make: Make, eventually: Eventually
) -> None:
    process = make("/bin/true")
    eventually(_phase(raw, process, "exited"))
    stdin = raw.get(process, "Stdin")
    assert raw.call(stdin, "Write", b"x" * 200_000) == (200_000, None)
    waiting = raw.start(stdin, "Write", b"y")
    assert raw.call(process, "Wait")[1] is None, "a write found the input to be closed"
    assert not waiting.done()
    raw.call(stdin, "Close")
    assert error_text(_result(waiting)[1]) == "unexpected EOF"


def test_much_data_both_ways(node: RunningNode) -> None:
    data = os.urandom(3_000_000)
    with circuit.dial(node.address) as client:
        (host,) = client.view().values()
        process = host.walk("much").make_proc(circuit.Cmd("/bin/sh", ["-c", "tee /dev/stderr"], scrub=True))
        stdout, stderr = process.communicate(data)
        assert stdout == data
        assert stderr == data


def test_a_caller_that_hangs_up_takes_nothing_along(
    node: RunningNode, raw: RawClient, anchor: int, make: Make, open_raw: OpenRaw, eventually: Eventually
) -> None:
    process = make("/bin/cat")
    stdin, stdout = raw.get(process, "Stdin"), raw.get(process, "Stdout")
    other = open_raw(node.address)
    theirs = other.get(other.root, "Walk", str(raw.call(anchor, "Path")[0]).split("/")[2:])
    reading = other.start(other.get(other.call(theirs, "Get")[1].id, "Stdout"), "Read", 10)
    assert other.peers()
    eventually(other.lifeline)
    before = node.counts()
    other.hang_up()
    eventually(lambda: node.counts()["connections"] == before["connections"] - 1)
    assert node.counts()["pointers"] == before["pointers"], "the lifeline stays"
    raw.call(stdin, "Write", b"data")
    raw.call(stdin, "Close")
    assert raw.call(stdout, "Read", 10) == (b"data", None)
    with pytest.raises(circuit.ConnectionLost):
        reading.result(10)


# -- the buffers alone ------------------------------------------------------------------------------------------------


def _run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(scenario(), 10)

    asyncio.run(bounded())


async def _fill(fd: int) -> int:
    """Write until nobody takes any more for a while; return how much that was."""
    os.set_blocking(fd, False)
    total = idle = 0
    while idle < 50:
        try:
            total += os.write(fd, bytes(4096))
            idle = 0
        except BlockingIOError:
            idle += 1
            await asyncio.sleep(0)
    return total


def test_an_unread_output_takes_a_limited_amount() -> None:
    async def scenario() -> None:
        theirs, ours = os.pipe()
        output = Output(lambda: None)
        output.attach(theirs)
        assert 32_000 < await _fill(ours) < 250_000
        assert len(await output.read(100_000)) == 32_000
        assert 30_000 < await _fill(ours) < 100_000
        os.close(ours)
        output.abandon()
        with pytest.raises(PipeError, match="EOF"):
            await output.read(1)

    _run(scenario)


def test_a_closed_output_takes_a_limited_amount() -> None:
    async def scenario() -> None:
        ended: list[bool] = []
        theirs, ours = os.pipe()
        output = Output(lambda: ended.append(True))
        output.attach(theirs)
        output.close()
        output.close()
        assert await _fill(ours) < 300_000
        os.close(ours)
        for _ in range(50):
            await asyncio.sleep(0)
        assert not ended, "what it did not take holds the process up for ever"
        output.abandon()

    _run(scenario)


@pytest.mark.parametrize(("chunks", "ends"), [((32_000,), True), ((31_999, 32_768), True), ((32_000, 1), False)])
def test_how_much_may_be_left_unread(chunks: tuple[int, ...], ends: bool) -> None:
    async def scenario() -> None:
        ended: list[bool] = []
        theirs, ours = os.pipe()
        output = Output(lambda: ended.append(True))
        output.attach(theirs)
        for size in chunks:
            os.write(ours, bytes(size))
            for _ in range(10):
                await asyncio.sleep(0)
        os.close(ours)
        for _ in range(10):
            await asyncio.sleep(0)
        assert bool(ended) is ends
        if not ends:
            assert len(await output.read(100_000)) == 32_000
            for _ in range(10):
                await asyncio.sleep(0)
            assert ended, "a reader made room"
        output.abandon()

    _run(scenario)


def test_input_leaves_in_blocks() -> None:
    async def scenario() -> None:
        theirs, ours = os.pipe()
        os.set_blocking(theirs, False)
        stdin = Input(lambda: None)
        stdin.attach(ours)
        await stdin.write(bytes(31_999))
        with pytest.raises(BlockingIOError):
            os.read(theirs, 1)
        await stdin.write(b"xy")
        assert os.read(theirs, 100_000) == bytes(31_999) + b"x"
        stdin.close()
        assert os.read(theirs, 100_000) == b"y"
        assert os.read(theirs, 1) == b""
        os.close(theirs)

    _run(scenario)


def test_a_cancelled_write_is_not_taken() -> None:
    async def scenario() -> None:
        stdin = Input(lambda: None)
        assert await stdin.write(bytes(pipes.BLOCK_BYTES)) == pipes.BLOCK_BYTES
        waiting = asyncio.ensure_future(stdin.write(b"x"))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        theirs, ours = os.pipe()
        stdin.attach(ours)
        stdin.close()
        with os.fdopen(theirs, "rb") as reader:
            assert await asyncio.to_thread(reader.read) == bytes(pipes.BLOCK_BYTES)
        stdin.abandon()

    _run(scenario)
