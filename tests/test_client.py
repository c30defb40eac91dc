"""The client's public interface, against running servers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import circuit
from circuit import (
    AddressError,
    Anchor,
    CallFailed,
    CannotConnect,
    CircuitError,
    Client,
    ClientLost,
    Closed,
    Cmd,
    CommunicateTimedOut,
    ElementExists,
    ExecFailed,
    Exit,
    HostLost,
    NoLifeline,
    Proc,
    Refused,
    RemoteFault,
    TimedOut,
    dial,
    parse_address,
)
from circuit.elements.streams import Ongoing
from circuit.errors import ConnectionLost
from tests.circuits import Pair, Server, free_port, start, write_key

if TYPE_CHECKING:
    from tests.conftest import Eventually, StartNode

LIMIT_S = 20.0
KEY = bytes(range(64))
MEGABYTES = bytes(range(256)) * 12_000

_numbers = itertools.count()


@pytest.fixture
def client(circuit_pair: Pair) -> Iterator[Client]:
    with dial(circuit_pair.first.address) as client:
        yield client


@pytest.fixture
def host(client: Client) -> Anchor:
    """The host that was dialed, or the other one."""
    return next(iter(client.view().values()))


@pytest.fixture
def place(host: Anchor) -> Iterator[Anchor]:
    """A new anchor, whose process, if it has one in the end, is killed and scrubbed."""
    anchor = host.walk(f"test{next(_numbers)}")
    yield anchor
    with contextlib.suppress(Closed):
        clear(anchor)


def clear(anchor: Anchor) -> None:
    element = anchor.get()
    if isinstance(element, Proc):
        with contextlib.suppress(CallFailed):
            element.signal("KILL")
        anchor.scrub()


def shell(anchor: Anchor, script: str, scrub: bool = False) -> Proc:
    return anchor.make_proc(Cmd("/bin/sh", ["-c", script], scrub=scrub))


def host_of(client: Client, server: Server, eventually: Eventually) -> Anchor:
    """The anchor of the host that ``server`` is."""

    def find() -> Anchor | None:
        for host in client.view().values():
            parent = shell(host.walk(f"who{next(_numbers)}"), "echo $PPID", scrub=True).communicate()[0]
            if int(parent) == server.process.pid:
                return host
        return None

    found = eventually(find)
    assert found is not None
    return found


@contextlib.contextmanager
def within(limit: float) -> Iterator[None]:
    """The body takes no longer than ``limit`` and a second."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < limit + 1.0


@contextlib.contextmanager
def answering(answer: bytes | None) -> Iterator[str]:
    """The address of a server that says ``answer`` to everybody and closes; where None, it accepts and is silent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.sendall(answer or b"")
                        connection.shutdown(socket.SHUT_WR)
                        while connection.recv(4096):
                            pass

        thread = threading.Thread(target=serve, daemon=True)
        if answer is not None:
            thread.start()
        try:
            yield f"circuit://127.0.0.1:{listener.getsockname()[1]}/1/Q0000000000000001"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            if answer is not None:
                thread.join(LIMIT_S)


# -- dial -------------------------------------------------------------------------------------------------------------


def test_a_client_knows_whom_it_dialed(circuit_pair: Pair) -> None:
    with dial(circuit_pair.first.address) as client:
        assert client.address == circuit_pair.first.address
        assert circuit_pair.first.address in repr(client)


def test_another_process_at_the_address_is_refused(circuit_pair: Pair) -> None:
    address = parse_address(circuit_pair.first.address)
    with pytest.raises(Refused, match="PID"):
        dial(str(circuit.Address(address.host, address.port, address.pid + 1, address.worker)))
    with pytest.raises(Refused, match="worker"):
        dial(str(circuit.Address(address.host, address.port, address.pid, "Q0000000000000001")))


def test_nobody_there_is_noticed_at_once() -> None:
    address = f"circuit://127.0.0.1:{free_port()}/1/Q0000000000000001"
    with within(0), pytest.raises(CannotConnect, match=re.escape(f"{address}: cannot connect")):
        dial(address)


@pytest.mark.parametrize("name", ["no-such-host.invalid", "two..dots", "x" * 64, "nul\0"])
def test_an_impossible_host_is_an_error_of_its_own(name: str) -> None:
    with pytest.raises((CannotConnect, AddressError), match=r"cannot connect|is not a circuit address"):
        dial(f"circuit://{name}:1/1/Q0000000000000001", timeout=5)


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "keyed"])
def test_a_silent_server_is_given_up_in_time(key: bytes | None) -> None:
    with answering(None) as address, within(0.5), pytest.raises(CannotConnect, match=r"within 0\.5 s"):
        dial(address, key, timeout=0.5)


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "keyed"])
@pytest.mark.parametrize(
    "garbage",
    [b"HTTP/1.0 400 Bad Request\r\n\r\n" * 9, bytes(100), b"\xff" * 100, b"{}" * 100],
    ids=["HTTP", "zeros", "ones", "JSON"],
)
def test_what_is_no_circuit_server_is_found_out(garbage: bytes, key: bytes | None) -> None:
    with answering(garbage) as address, pytest.raises(RemoteFault, match=r"does not speak|HMAC greeting"):
        dial(address, key)


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "keyed"])
def test_a_server_that_hangs_up_is_an_error(key: bytes | None) -> None:
    with answering(b"") as address, pytest.raises(CircuitError, match=re.escape(address.split("/")[2])):
        dial(address, key)


def test_what_is_no_address_is_not_dialed() -> None:
    with pytest.raises(AddressError):
        dial("127.0.0.1:11022")
    with pytest.raises(CannotConnect, match="no circuit address"):
        dial([])


def test_the_first_address_that_accepts_is_taken(circuit_pair: Pair) -> None:
    nobody = f"circuit://127.0.0.1:{free_port()}/1/Q0000000000000001"
    with dial([nobody, circuit_pair.second.address, circuit_pair.first.address]) as client:
        assert client.address == circuit_pair.second.address
        assert client.view()


def test_of_several_addresses_that_fail_each_is_told() -> None:
    addresses = [f"circuit://127.0.0.1:{free_port()}/{pid}/Q0000000000000001" for pid in (1, 2)]
    with pytest.raises(CannotConnect) as caught:
        dial(addresses)
    assert all(address in str(caught.value) for address in addresses)


def test_a_port_that_cannot_be_listened_on_is_told(circuit_pair: Pair) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(CannotConnect, match="cannot listen"):
        dial(circuit_pair.first.address, listen=("127.0.0.1", taken.getsockname()[1]))


def test_servers_dial_back_where_they_are_told(circuit_pair: Pair) -> None:
    port = free_port()
    with dial(circuit_pair.first.address, listen=("127.0.0.1", port)) as client:
        for anchor in client.view().values():
            assert anchor.walk("listen").view() == {}
        with socket.create_connection(("127.0.0.1", port)):
            pass
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port)).close()


# -- keys -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keyed_server(circuit_pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the same side that has a key."""
    key = write_key(tmp_path_factory.mktemp("key") / "key", KEY)
    with start(circuit_pair.side, key=key) as server:
        yield server


def test_the_right_key_opens(keyed_server: Server) -> None:
    with dial(keyed_server.address, KEY) as client:
        (host,) = client.view().values()
        assert shell(host.walk("keyed"), "cat; echo ', done'", scrub=True).communicate(b"hello") == (
            b"hello, done\n",
            b"",
        )
        assert host.walk("keyed", "sub").path == f"/{host.name}/keyed/sub"


def test_a_wrong_key_is_refused(keyed_server: Server) -> None:
    with pytest.raises(Refused, match="key"):
        dial(keyed_server.address, KEY[::-1], timeout=3)


def test_no_key_where_one_is_needed_is_refused(keyed_server: Server) -> None:
    with pytest.raises(Refused, match="requires an HMAC key, and none was given"):
        dial(keyed_server.address, timeout=3)


def test_a_key_where_none_is_needed_is_an_error(circuit_pair: Pair) -> None:
    with within(3), pytest.raises((Refused, CannotConnect, RemoteFault), match=r"HMAC|key"):
        dial(circuit_pair.first.address, KEY, timeout=3)


def test_a_key_does_not_show() -> None:
    with answering(b"nothing") as address, pytest.raises(CircuitError) as caught:
        dial(address, b"secret" * 10)
    assert "secret" not in repr(caught.value)


def test_a_swallowed_hello_is_said_again(start_node: StartNode, tmp_path: Path) -> None:
    key = write_key(tmp_path / "key", KEY)
    server = start_node("--hmac", str(key), "--fault", "swallow-hello")
    with dial(server.address, KEY) as client:
        assert len(client.view()) == 1


def test_an_attempt_that_got_no_greeting_is_closed() -> None:
    """A server accepts nobody else while a connection without a greeting is open."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(LIMIT_S)
        address = f"circuit://127.0.0.1:{listener.getsockname()[1]}/1/Q0000000000000001"
        failure = pool.submit(dial, address, KEY, 1.2)
        first, second = listener.accept()[0], listener.accept()[0]
        with first, second:
            first.settimeout(0.3)
            assert first.recv(4096).startswith(b"{")
            assert first.recv(4096) == b""
            assert isinstance(failure.exception(LIMIT_S), CannotConnect)
            second.settimeout(0.3)
            assert second.recv(4096).startswith(b"{")
            assert second.recv(4096) == b""


# -- anchors ----------------------------------------------------------------------------------------------------------


def test_the_view_shows_every_host(client: Client, eventually: Eventually) -> None:
    eventually(lambda: len(client.view()) == 2)
    for name, anchor in client.view().items():
        assert re.fullmatch("X[0-9a-f]{16}", name)
        assert (anchor.name, anchor.host, anchor.path) == (name, name, f"/{name}")


def test_walking_makes_anchors(host: Anchor) -> None:
    anchor = host.walk("some", "deep")
    assert (anchor.name, anchor.host, anchor.path) == ("deep", host.name, f"/{host.name}/some/deep")
    assert repr(anchor) == f"<anchor {anchor.path}>"
    assert "some" in host.view()
    assert list(host.walk("some").view()) == ["deep"]
    assert anchor.view() == {}


def test_the_client_walks_from_the_hosts_on(client: Client, host: Anchor) -> None:
    assert client.walk(host.name, "some").path == f"/{host.name}/some"
    assert client.walk(host.name).path == host.path
    assert host.walk().path == host.path


def test_all_hosts_can_be_walked_and_used(client: Client, eventually: Eventually) -> None:
    eventually(lambda: len(client.view()) == 2)
    for anchor in client.view().values():
        assert shell(anchor.walk("each"), "echo here", scrub=True).communicate() == (b"here\n", b"")


def test_there_is_no_other_host(client: Client, host: Anchor) -> None:
    with pytest.raises(HostLost, match=f"no host X0000000000000000; live are: .*{host.name}"):
        client.walk("X0000000000000000", "some")
    with pytest.raises(ValueError, match="name a host"):
        client.walk()


@pytest.mark.parametrize("name", ["", "a/b", "/"])
def test_names_that_are_paths_are_refused(host: Anchor, name: str) -> None:
    with pytest.raises(ValueError, match="no anchor name may be empty or hold a slash"):
        host.walk("fine", name)


def test_an_anchor_has_an_element_or_none(host: Anchor, place: Anchor) -> None:
    assert place.get() is None
    server = host.get()
    assert server is not None
    assert server.kind == "server"
    assert repr(server) == f"<server at {host.path}>"
    shell(place, "exec sleep 100")
    found = place.get()
    assert isinstance(found, Proc)
    assert found.kind == "proc"
    assert found.peek().cmd == Cmd("/bin/sh", ("-c", "exec sleep 100"), env=())


def test_an_anchor_takes_one_element(place: Anchor) -> None:
    shell(place, "exec sleep 100")
    with pytest.raises(ElementExists, match=re.escape(place.path)):
        shell(place, "true")


def test_of_many_makers_one_succeeds(client: Client, place: Anchor) -> None:
    def make(_: int) -> bool:
        try:
            shell(client.walk(*place.path[1:].split("/")), "exec sleep 100")
        except ElementExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(make, range(8))) == 1


def test_scrubbing_empties_an_anchor(place: Anchor) -> None:
    proc = shell(place, "exec sleep 100")
    place.scrub()
    assert place.get() is None
    assert proc.peek().phase == "running"
    proc.signal("KILL")
    place.scrub()


def test_an_element_scrubs_its_anchor(place: Anchor) -> None:
    proc = shell(place, "true")
    proc.communicate()
    proc.scrub()
    assert place.get() is None


# -- processes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "sent", "stdout", "stderr"),
    [
        ("true", b"", b"", b""),
        ("cat", b"hello", b"hello", b""),
        ("echo out; echo err >&2", b"", b"out\n", b"err\n"),
        ("cat >&2", b"only here", b"", b"only here"),
        ("cat", bytes(range(256)), bytes(range(256)), b""),
        ("tee /dev/stderr", MEGABYTES, MEGABYTES, MEGABYTES),
        ("head -c 3072000 /dev/zero", b"", bytes(3_072_000), b""),
        ("true", MEGABYTES, b"", b""),
        ("head -c 5", MEGABYTES, MEGABYTES[:5], b""),
        ("exec <&-; echo unread", MEGABYTES, b"unread\n", b""),
        ("head -c 600000 /dev/zero >&2; cat", b"after", b"after", bytes(600_000)),
    ],
    ids=[
        "nothing",
        "echo",
        "both outputs",
        "stderr only",
        "binary",
        "megabytes both ways",
        "much output",
        "unread input",
        "partly read input",
        "closed input",
        "much stderr first",
    ],
)
def test_what_goes_in_and_comes_out_is_exact(
    place: Anchor, script: str, sent: bytes, stdout: bytes, stderr: bytes
) -> None:
    assert shell(place, script).communicate(sent, LIMIT_S) == (stdout, stderr)


def test_a_command_gets_its_arguments_environment_and_directory(place: Anchor, tmp_path: Path) -> None:
    arguments = ["", "a b", "it's", "caf\u00e9", "line\nline", "\udcff"]
    script = 'printf "%s|" "$@"; pwd; printf %s "$NAME"'
    cmd = Cmd("/bin/sh", ["-c", script, "sh", *arguments], dir=str(tmp_path), env=["NAME=value", "PATH=/bin:/usr/bin"])
    stdout, stderr = place.make_proc(cmd).communicate()
    assert stderr == b""
    assert stdout == b"".join(os.fsencode(a) + b"|" for a in arguments) + os.fsencode(f"{tmp_path}\nvalue")


@pytest.mark.parametrize("scrub", [True, False])
@pytest.mark.parametrize(
    ("script", "end", "returncode"),
    [
        ("true", Exit(status=0), 0),
        ("exit 3", Exit(status=3), 3),
        ("exit 255", Exit(status=255), 255),
        ("kill -KILL $$", Exit(signal=9), 137),
        ("kill -TERM $$", Exit(signal=15), 143),
    ],
)
def test_the_end_of_a_process_is_told(place: Anchor, script: str, end: Exit, returncode: int, scrub: bool) -> None:
    proc = shell(place, script, scrub)
    proc.communicate()
    stat = proc.wait()
    assert stat.exit == end
    assert stat.exit.returncode == returncode
    assert (place.get() is None) == scrub


@pytest.mark.parametrize("scrub", [True, False])
def test_no_status_is_lost(host: Anchor, scrub: bool) -> None:
    def status(number: int) -> Exit | None:
        place = host.walk(f"status{next(_numbers)}")
        proc = shell(place, f"exit {number}", scrub)
        proc.communicate()
        end = proc.wait().exit
        if not scrub:
            place.scrub()
        return end

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(status, [3] * 100)) == [Exit(status=3)] * 100


@pytest.mark.parametrize("scrub", [True, False])
def test_a_wait_may_begin_before_the_end(place: Anchor, scrub: bool, eventually: Eventually, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    proc = shell(place, f"cat {gate}; exit 4", scrub)
    proc.discard_streams()
    with ThreadPoolExecutor(1) as pool:
        end = pool.submit(proc.wait, LIMIT_S)
        eventually(end.running)
        assert proc.peek().exit is None
        gate.write_bytes(b"")
        assert end.result(LIMIT_S).exit == Exit(status=4)


def test_a_peek_tells_the_phase(place: Anchor) -> None:
    proc = shell(place, "exec sleep 100")
    proc.discard_streams()
    assert (proc.peek().phase, proc.peek().exit) == ("running", None)
    proc.signal("KILL")
    assert proc.wait().exit == Exit(signal=9)
    assert (proc.peek().phase, proc.peek().exit) == ("signaled", Exit(signal=9))


def test_signals_reach_the_process(place: Anchor, tmp_path: Path, eventually: Eventually) -> None:
    ready = tmp_path / "ready"
    proc = shell(place, f"trap 'echo caught; exit 7' USR1; : >{ready}; while :; do sleep 0.01; done")
    eventually(ready.exists)
    proc.signal("USR1")
    assert proc.communicate() == (b"caught\n", b"")
    assert proc.wait().exit == Exit(status=7)


def test_signals_that_are_none_are_refused(place: Anchor) -> None:
    proc = shell(place, "exec sleep 100")
    with pytest.raises(CallFailed, match=f"signal BOGUS to {place.path}"):
        proc.signal("BOGUS")


def test_a_process_that_has_ended_takes_no_signal(place: Anchor) -> None:
    proc = shell(place, "true")
    proc.communicate()
    proc.wait()
    with pytest.raises(CallFailed, match="already finished"):
        proc.signal("TERM")


@pytest.mark.parametrize(
    "cmd",
    [Cmd("/no/such/program"), Cmd("/bin/true", dir="/no/such/directory"), Cmd("/etc/passwd"), Cmd("/tmp")],
    ids=["program", "directory", "not executable", "a directory"],
)
def test_what_cannot_be_started_is_told(place: Anchor, cmd: Cmd) -> None:
    proc = place.make_proc(cmd)
    with within(0), pytest.raises(ExecFailed, match=re.escape(f"{place.path}: cannot start {cmd.path}: ")):
        proc.communicate(b"input")
    with within(0), pytest.raises(ExecFailed, match=r"no such file|permission denied"):
        proc.wait()
    end = proc.peek().exit
    assert end is not None
    assert end.error
    assert end.returncode == 127


def test_a_command_too_large_for_a_frame_is_refused_and_the_next_one_works(host: Anchor, place: Anchor) -> None:
    with pytest.raises(ValueError, match="over the limit"):
        place.make_proc(Cmd("/bin/true", ["x" * (17 << 20)]))
    assert shell(place, "echo fine").communicate() == (b"fine\n", b"")


def test_discarded_streams_let_a_process_end(place: Anchor) -> None:
    proc = shell(place, "cat; echo thrown away; exit 5")
    proc.discard_streams()
    assert proc.wait().exit == Exit(status=5)


# -- streams ----------------------------------------------------------------------------------------------------------


def test_streams_are_written_read_and_closed(place: Anchor) -> None:
    proc = shell(place, "cat; echo end >&2")
    proc.stdin.write(b"one ")
    proc.stdin.write(b"two")
    proc.stdin.close()
    blocks = iter(proc.stdout.read, b"")
    assert b"".join(blocks) == b"one two"
    assert proc.stdout.read() == b""
    assert proc.stderr.read() == b"end\n"
    proc.stdin.close()


def test_a_block_is_no_larger_than_the_servers_buffer(place: Anchor) -> None:
    proc = shell(place, "head -c 100000 /dev/zero")
    proc.stdin.close()
    blocks = list(iter(proc.stdout.read, b""))
    assert sum(map(len, blocks)) == 100_000
    assert max(map(len, blocks)) <= 32_000


def test_two_readers_share_an_output(place: Anchor) -> None:
    total = 3_200_000
    proc = shell(place, f"head -c {total} /dev/zero")
    proc.stdin.close()
    with ThreadPoolExecutor(4) as pool:
        counts = pool.map(lambda _: sum(map(len, iter(proc.stdout.read, b""))), range(4))
    assert sum(counts) == total


def test_a_closed_stream_is_of_no_further_use(place: Anchor) -> None:
    proc = shell(place, "exec sleep 100")
    for stream in (proc.stdin, proc.stdout, proc.stderr):
        stream.close()
        assert stream.closed
    with pytest.raises(Closed, match=f"write stdin of {place.path}"):
        proc.stdin.write(b"late")
    with pytest.raises(Closed, match=f"read stdout of {place.path}"):
        proc.stdout.read()
    with pytest.raises(Closed, match=f"read stderr of {place.path}"):
        proc.stderr.read()


def test_closing_an_output_ends_the_read_that_waits_for_it(place: Anchor, eventually: Eventually) -> None:
    proc = shell(place, "exec sleep 100")
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(proc.stdout.read, LIMIT_S)
        eventually(read.running)
        with pytest.raises(TimedOut):
            proc.stderr.read(0.1)
        proc.stdout.close()
        error = read.exception(LIMIT_S)
    assert error is None or isinstance(error, (Closed, CallFailed)), error


def test_after_communicate_the_streams_are_closed(place: Anchor) -> None:
    proc = shell(place, "echo all")
    assert proc.communicate() == (b"all\n", b"")
    assert proc.communicate() == (b"all\n", b"")
    with pytest.raises(Closed):
        proc.stdin.write(b"late")


# -- time limits ------------------------------------------------------------------------------------------------------


def test_every_wait_ends_in_time(place: Anchor) -> None:
    proc = shell(place, "exec sleep 100")
    with within(0.3), pytest.raises(TimedOut, match=rf"wait for {place.path}: no answer within 0\.3 s"):
        proc.wait(0.3)
    with within(0.3), pytest.raises(TimedOut, match=rf"read stdout of {place.path}: no answer within 0\.3 s"):
        proc.stdout.read(0.3)
    with within(0.3), pytest.raises(TimedOut, match="write stdin"):
        proc.stdin.write(MEGABYTES, 0.3)
    assert issubclass(TimedOut, TimeoutError)


def test_a_silent_server_is_told_from_a_dead_one(circuit_pair: Pair) -> None:
    with start(circuit_pair.side) as server, dial(server.address, timeout=0.2) as client:
        (host,) = client.view().values()
        server.suspend()
        for call in (client.view, host.view, host.get, host.scrub, lambda: host.walk("x"), lambda: shell(host, "true")):
            with within(0.2), pytest.raises(TimedOut, match=r"no answer within 0\.2 s"):
                call()
        server.resume()
        assert list(client.view()) == [host.name]


def test_an_exchange_goes_on_after_a_time_out(place: Anchor, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    proc = shell(place, f"head -c 96000 /dev/zero; cat {gate}; cat; echo end >&2; exit 6")
    with within(0.5), pytest.raises(CommunicateTimedOut, match=f"run {place.path}") as caught:
        proc.communicate(b"input", 0.5)
    assert set(caught.value.stdout) == {0}
    assert len(caught.value.stdout) >= 32_000
    assert caught.value.stderr == b""
    gate.write_bytes(b"opened ")
    assert proc.communicate(timeout=LIMIT_S) == (bytes(96_000) + b"opened input", b"end\n")
    assert proc.wait().exit == Exit(status=6)


def test_what_a_timed_out_read_missed_comes_next(place: Anchor, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    proc = shell(place, f"cat {gate}; head -c 64000 /dev/zero | tr '\\0' b")
    with pytest.raises(TimedOut):
        proc.stdout.read(0.1)
    proc.stdin.close()
    gate.write_bytes(b"a" * 1000)
    assert b"".join(iter(proc.stdout.read, b"")) == b"a" * 1000 + b"b" * 64_000


@pytest.mark.parametrize("scrub", [True, False])
def test_a_wait_for_what_is_scrubbed_has_no_status_to_tell(place: Anchor, scrub: bool) -> None:
    proc = shell(place, "exec sleep 100", scrub)
    with ThreadPoolExecutor(1) as pool:
        wait = pool.submit(proc.wait, LIMIT_S)
        with pytest.raises(TimedOut):
            proc.stdout.read(0.1)
        place.scrub()
        with pytest.raises(CallFailed, match="was scrubbed while the process ran"):
            wait.result(LIMIT_S)
    proc.signal("KILL")


def test_waiting_in_slices_asks_once(start_node: StartNode) -> None:
    running = start_node()
    with dial(running.address) as client:
        (host,) = client.view().values()
        proc = shell(host.walk("slices"), "exec sleep 100", scrub=True)
        for _ in range(20):
            with pytest.raises(TimedOut):
                proc.wait(0.01)
        assert running.counts()["calls"] == 1
        with ThreadPoolExecutor(4) as pool:
            ends = [pool.submit(proc.wait, LIMIT_S) for _ in range(4)]
            proc.signal("KILL")
            proc.stdin.close()
            assert [end.result(LIMIT_S).exit for end in ends] == [Exit(signal=9)] * 4


def test_what_failed_unheard_is_told_or_tried_again() -> None:
    """Told where a server may have taken something out of a stream for it."""

    async def scenario() -> None:
        for repeatable in (False, True):
            answers: list[asyncio.Future[str]] = []

            async def request(answers: list[asyncio.Future[str]] = answers) -> str:
                answers.append(asyncio.get_running_loop().create_future())
                return await answers[-1]

            ongoing = Ongoing(request, repeatable=repeatable)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ongoing.result(), 0.01)
            answers[0].set_exception(ConnectionLost("unheard"))
            asked = asyncio.ensure_future(ongoing.result())
            await asyncio.wait((asked,), timeout=0.01)
            assert len(answers) == 1 + repeatable
            if repeatable:
                answers[1].set_result("again")
                assert await asked == "again"
            else:
                with pytest.raises(ConnectionLost, match="unheard"):
                    await asked

    asyncio.run(asyncio.wait_for(scenario(), LIMIT_S))


# -- letting go -------------------------------------------------------------------------------------------------------


def test_what_was_released_is_of_no_further_use(host: Anchor) -> None:
    anchor = host.walk(f"release{next(_numbers)}")
    proc = shell(anchor, "exec sleep 100", scrub=True)
    proc.signal("KILL")
    proc.release()
    anchor.release()
    anchor.release()
    for call in (proc.peek, proc.wait, anchor.view, anchor.get, anchor.scrub, lambda: anchor.walk("x")):
        with pytest.raises(Closed, match="it was released"):
            call()


def test_a_hosts_own_anchor_outlives_its_release(client: Client, host: Anchor) -> None:
    host.release()
    assert client.walk(host.name, "still").path == f"/{host.name}/still"


def test_one_of_two_handles_may_be_released(place: Anchor) -> None:
    shell(place, "exec sleep 100")
    first, second = place.get(), place.get()
    assert isinstance(first, Proc)
    assert isinstance(second, Proc)
    first.release()
    assert second.peek().phase == "running"


def test_an_element_found_right_after_its_release_is_live(place: Anchor) -> None:
    """A server may serve the Get before the drop that was sent ahead of it."""
    shell(place, "exec sleep 100").release()
    for _ in range(200):
        proc = place.get()
        assert isinstance(proc, Proc)
        assert proc.peek().phase == "running"
        proc.release()


def test_nothing_stays_at_the_server(start_node: StartNode, eventually: Eventually) -> None:
    server = start_node()
    with dial(server.address) as client:
        (host,) = client.view().values()
        for _ in range(20):
            proc = shell(host.walk("leak", "deep"), "cat", scrub=True)
            assert proc.communicate(b"x") == (b"x", b"")
            assert proc.wait().exit == Exit(status=0)
        del proc
        gc.collect()
        eventually(lambda: (server.counts()["pointers"], server.counts()["processes"]) == (0, 0))
        shell(host.walk("rest"), "exec sleep 100").signal("KILL")
        assert server.counts()["lifelines"] == 1
    eventually(lambda: (server.counts()["pointers"], server.counts()["lifelines"]) == (0, 0))


# -- the end ----------------------------------------------------------------------------------------------------------


def test_a_closed_client_refuses_every_call(circuit_pair: Pair) -> None:
    client = dial(circuit_pair.first.address)
    host = next(iter(client.view().values()))
    place = host.walk(f"closed{next(_numbers)}")
    proc = shell(place, "exec sleep 100", scrub=True)
    proc.signal("KILL")
    client.close()
    calls: list[Callable[[], object]] = [
        client.view,
        lambda: client.walk(host.name),
        host.view,
        lambda: host.walk("x"),
        place.get,
        place.scrub,
        lambda: shell(place, "true"),
        proc.peek,
        proc.wait,
        proc.communicate,
        proc.discard_streams,
        proc.scrub,
        lambda: proc.signal("TERM"),
        lambda: proc.stdin.write(b"x"),
        proc.stdin.close,
        proc.stdout.read,
        proc.stderr.read,
    ]
    for call in calls:
        with within(0), pytest.raises(Closed, match="the client is closed"):
            call()
    client.close()
    place.release()
    proc.release()


def test_closing_ends_the_calls_that_wait(circuit_pair: Pair, eventually: Eventually) -> None:
    client = dial(circuit_pair.first.address)
    host = next(iter(client.view().values()))
    procs = [shell(host.walk(f"pending{next(_numbers)}"), "exec sleep 100", scrub=True) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        waits: list[Future[object]] = [
            pool.submit(procs[0].wait, LIMIT_S),
            pool.submit(procs[1].communicate, b"", LIMIT_S),
            pool.submit(procs[2].stdout.read, LIMIT_S),
        ]
        eventually(lambda: all(wait.running() for wait in waits))
        with pytest.raises(TimedOut):
            procs[2].stderr.read(0.1)
        for proc in procs:
            proc.signal("STOP")
        with within(0):
            client.close()
        for wait in waits:
            assert isinstance(wait.exception(LIMIT_S), Closed), wait.exception()
    with dial(circuit_pair.first.address) as other:
        for proc in procs:
            found = other.walk(*proc.anchor.path[1:].split("/")).get()
            assert isinstance(found, Proc)
            found.signal("KILL")


def test_closing_amid_calls_leaves_none_waiting(circuit_pair: Pair) -> None:
    for _ in range(5):
        client = dial(circuit_pair.first.address)
        called = threading.Semaphore(0)

        def call_until_closed(client: Client = client, called: threading.Semaphore = called) -> str:
            try:
                while True:
                    client.view()
                    called.release()
            except Closed as closed:
                return str(closed)

        with ThreadPoolExecutor(8) as pool:
            ends = [pool.submit(call_until_closed) for _ in range(8)]
            for _ in range(20):
                assert called.acquire(timeout=LIMIT_S)
            client.close()
            assert all("view /" in end.result(LIMIT_S) for end in ends)


def test_a_call_that_begins_while_the_client_closes_ends(circuit_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    client = dial(circuit_pair.first.address)
    closer = threading.Thread(target=client.close)
    loop = client._runtime._shared.loop
    queue_up, queue_up_for_another = loop.call_soon, loop.call_soon_threadsafe

    def first(*begin: Any, queue_up: Callable[..., asyncio.Handle], **options: Any) -> asyncio.Handle:
        """Let the client close, if it can, between the call's look whether it is closed and its start."""
        monkeypatch.undo()
        closer.start()
        closer.join(0.2)
        return queue_up(*begin, **options)

    monkeypatch.setattr(loop, "call_soon", partial(first, queue_up=queue_up))
    monkeypatch.setattr(loop, "call_soon_threadsafe", partial(first, queue_up=queue_up_for_another))
    with within(0.2), contextlib.suppress(Closed):
        client.view()
    closer.join(LIMIT_S)
    assert not closer.is_alive()


def test_what_does_not_notice_its_cancellation_holds_nobody_up(circuit_pair: Pair) -> None:
    """As asyncio.wait_for does not, where it meets a result."""
    client = dial(circuit_pair.first.address)
    swallowed: list[bool] = []
    # Held here: a task that waits for what nobody else holds is garbage.
    never = asyncio.Event()

    async def swallow(times: int) -> None:
        while True:
            try:
                await never.wait()
            except asyncio.CancelledError:
                if len(swallowed) == times:
                    raise
                swallowed.append(True)

    with within(0.1), pytest.raises(TimedOut, match=r"it: no answer within 0\.1 s"):
        client._runtime.run(swallow(3), "it", 0.1)
    with within(0.5):
        client.close()
    assert len(swallowed) == 3
    assert not client._runtime._shared.thread.is_alive()


def test_many_threads_share_a_client(client: Client, host: Anchor) -> None:
    def work(number: int) -> bytes:
        text = b"%d " % number * 5_000
        proc = shell(client.walk(host.name, f"thread{next(_numbers)}"), f"cat; exit {number}", scrub=True)
        stdout, _ = proc.communicate(text)
        assert stdout == text
        assert proc.wait().exit == Exit(status=number)
        return stdout

    with ThreadPoolExecutor(16) as pool:
        assert len(list(pool.map(work, range(64)))) == 64


def test_the_dialed_server_lost_is_the_client_lost(circuit_pair: Pair, eventually: Eventually) -> None:
    side = circuit_pair.side
    with start(side) as first, start(side, join=first) as second, dial(first.address) as client:
        eventually(lambda: len(client.view()) == 2)
        here, there = (host_of(client, server, eventually) for server in (first, second))
        proc = shell(here.walk("lost"), "exec sleep 5")
        with ThreadPoolExecutor(1) as pool:
            wait = pool.submit(proc.wait, LIMIT_S)
            eventually(wait.running)
            first.kill()
            assert isinstance(wait.exception(LIMIT_S), ClientLost), wait.exception()
        for call in (client.view, here.view, proc.peek):
            with pytest.raises(ClientLost, match=re.escape(first.address)):
                call()
        second.kill()
        with pytest.raises(ClientLost):
            there.view()


def test_another_host_lost_is_only_that(circuit_pair: Pair, eventually: Eventually) -> None:
    side = circuit_pair.side
    with start(side) as first, start(side, join=first) as second, dial(first.address) as client:
        eventually(lambda: len(client.view()) == 2)
        here, there = (host_of(client, server, eventually) for server in (first, second))
        proc = shell(there.walk("lost"), "exec sleep 5")
        second.kill()
        for call in (proc.peek, there.view, proc.communicate):
            with pytest.raises(HostLost, match=r"is lost, the circuit server .* still answers"):
                call()
        assert shell(here.walk("goes on"), "echo fine", scrub=True).communicate() == (b"fine\n", b"")
        eventually(lambda: list(client.view()) == [here.name])


def test_a_lifeline_that_ends_with_its_server_is_a_lost_host(circuit_pair: Pair, eventually: Eventually) -> None:
    """Its end may be seen before that of the connection."""
    side = circuit_pair.side
    with start(side) as first, start(side, join=first) as second, dial(first.address) as client:
        eventually(lambda: len(client.view()) == 2)
        there = host_of(client, second, eventually)
        there.view()
        runtime, address = client._runtime, parse_address(second.address)
        before = runtime.lifelines.losses(address) - 1
        with pytest.raises(NoLifeline, match="has lost its connection back meanwhile"):
            runtime.run(runtime.check_lifeline(address, before), "check")
        second.kill()
        with pytest.raises(HostLost, match=r"is lost, the circuit server .* still answers"):
            runtime.run(runtime.check_lifeline(address, before), "check")


def test_a_server_that_cannot_dial_back_is_found_out(start_node: StartNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("circuit.net.lifeline_watch.LIFELINE_LIMIT_S", 0.5)
    with dial(start_node("--fault", "no-dial-back").address) as client:
        (host,) = client.view().values()
        proc = shell(host.walk("a"), "exec sleep 100")
        with within(0.5), pytest.raises(NoLifeline, match=r"no lifeline: .* has made no connection back within"):
            proc.wait(LIMIT_S)
        proc.signal("KILL")


def test_a_lost_lifeline_that_is_noticed_after_the_reply_is_the_reason(
    start_node: StartNode, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = start_node().address
    with dial(address) as client:
        (host,) = client.view().values()
        proc = shell(host.walk("a"), "exec sleep 5")
        lifelines = client._runtime.lifelines
        # The node may dial back after it has answered.
        eventually(lambda: lifelines.holds(parse_address(address)))
        checked: list[object] = []

        def check_late(address: Any) -> None:
            checked.append(address)
            if len(checked) > 1:
                monkeypatch.undo()
                lifelines.check_known(address)

        async def lose() -> None:
            for (lifeline,) in list(lifelines._lifelines._held.values()):
                lifeline.close()

        monkeypatch.setattr(lifelines, "check_known", check_late)
        client._runtime.run(lose(), "lose the lifeline")
        with pytest.raises(NoLifeline, match="has forgotten"):
            eventually(lambda: proc.peek().phase == "no longer known")
        assert len(checked) == 2


def test_a_stranger_is_no_lifeline(circuit_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("circuit.net.lifeline.HELLO_LIMIT_S", 1.0)
    with dial(circuit_pair.first.address) as client, socket.socket() as stranger:
        proc = shell(next(iter(client.view().values())).walk(f"stranger{next(_numbers)}"), "cat", scrub=True)
        stranger.settimeout(LIMIT_S)
        stranger.connect(("127.0.0.1", client._runtime.lifelines.port))
        assert stranger.recv(1) == b"", "it was closed"
        assert proc.communicate(b"its lifeline was not") == (b"its lifeline was not", b"")


@pytest.mark.parametrize(("fault", "scrub"), [("wait-aborted", True), ("nil-exit", True), ("nil-exit", False)])
def test_no_status_is_lost_by_a_server_that_loses_them(start_node: StartNode, fault: str, scrub: bool) -> None:
    with dial(start_node("--fault", fault).address) as client:
        (host,) = client.view().values()

        def status(_: int) -> Exit | None:
            proc = shell(host.walk(f"status{next(_numbers)}"), "exit 3", scrub)
            proc.communicate()
            return proc.wait().exit

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(status, range(300))) == [Exit(status=3)] * 300
