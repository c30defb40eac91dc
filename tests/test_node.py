"""circuit.node as a server: what it serves, whom it lets in, what it holds for clients, and what it survives."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import circuit
from circuit.net.session import Session, to_wire
from circuit.node import Node, served_connections, server
from circuit.node.anchors import Anchor, Element
from circuit.node.rc4 import RC4, rc4
from circuit.wire.address import Address, parse_address
from circuit.wire.auth import Handshake
from circuit.wire.messages import (
    METHODS,
    NO_FUNC,
    NO_HANDLE,
    TYPES,
    CallMsg,
    CmdValue,
    DialMsg,
    ErrorString,
    HelloMsg,
    PtrMsg,
    ReturnMsg,
    error_text,
)
from circuit.wire.mux import Mux

if TYPE_CHECKING:
    from tests.conftest import Eventually, OpenRaw, RawClient, RunningNode, StartNode

LIMIT_S = 10.0
MEGABYTE = 1024 * 1024
SLEEP = CmdValue(path="/bin/sleep", args=("1000",))
KEY = bytes(range(64))


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    path = tmp_path / "key"
    path.write_text(base64.b64encode(KEY).decode() + "\n")
    return str(path)


@pytest.fixture
def sleeper(raw: RawClient, anchor: int) -> Iterator[int]:
    """A raw pointer to a process that sleeps."""
    pointer = raw.get(anchor, "Make", "proc", SLEEP)
    yield pointer
    raw.call(pointer, "Signal", "KILL")
    raw.call(anchor, "Scrub")


# -- what is served ---------------------------------------------------------------------------------------------------


def test_prints_the_address_that_clients_dial(node: RunningNode) -> None:
    assert parse_address(node.address).pid == node.pid
    with circuit.dial(node.address) as client:
        ((name, host),) = client.view().items()
        assert host.path == f"/{name}"
        element = host.get()
        assert element is not None
        assert element.kind == "server"


def test_self_is_among_the_peers(raw: RawClient) -> None:
    assert raw.call(raw.locus, "Self") == raw.peers()


def test_root_anchor(raw: RawClient) -> None:
    assert raw.call(raw.root, "Path") == (f"/X{raw.peers()[0].kin.id:016x}",)
    kind, pointer = raw.call(raw.root, "Get")
    assert kind == "server"
    assert pointer.type_id == TYPES["server.XServer"]
    assert raw.refused(pointer.id, "Wait") == ErrorString(NO_FUNC)
    assert raw.call(raw.root, "Scrub") == ()
    assert raw.call(raw.root, "Get") == (kind, pointer)
    assert error_text(raw.call(raw.root, "Make", "proc", SLEEP)[1]) == "anchor already has an element"


def test_anchors(raw: RawClient, anchor: int) -> None:
    assert raw.call(anchor, "Get") == ("", None)
    assert raw.call(anchor, "View") == ({},)
    child = raw.get(anchor, "Walk", ["a", "b"])
    assert raw.call(child, "Path")[0] == raw.call(anchor, "Path")[0] + "/a/b"
    view = raw.call(anchor, "View")[0]
    assert list(view) == ["a"]
    assert view["a"].type_id == TYPES["anchor.XTerminal"]
    assert raw.call(raw.get(anchor, "Walk", []), "Path") == raw.call(anchor, "Path")


@pytest.mark.parametrize(
    ("kind", "argument", "words"),
    [
        ("nonsense", None, "element kind not known"),
        ("proc", "/bin/true", "invalid argument"),
        ("proc", None, "invalid argument"),
    ],
)
def test_make_of_other_things(raw: RawClient, anchor: int, kind: str, argument: object, words: str) -> None:
    pointer, error = raw.call(anchor, "Make", kind, argument)
    assert pointer is None
    assert error_text(error) == words
    assert raw.call(anchor, "Get") == ("", None)


@pytest.mark.parametrize(
    ("method", "arguments"), [("Walk", ()), ("Walk", ("x",)), ("Walk", ((1,),)), ("Make", (1, SLEEP)), ("View", (1,))]
)
def test_wrong_arguments(raw: RawClient, anchor: int, method: str, arguments: tuple[object, ...]) -> None:
    if arguments == ((1,),):
        arguments = (CmdValue(),)
    assert f"{method} takes" in error_text(raw.refused(anchor, method, *arguments))


def test_unknown_pointers_functions_and_services(raw: RawClient, anchor: int) -> None:
    assert raw.refused(12345, "Path") == ErrorString(NO_HANDLE)
    assert raw.refused(anchor, "Wait") == ErrorString(NO_FUNC)
    assert raw.refused(raw.peers()[0].kin.pointer.id, "Path") == ErrorString(NO_FUNC)  # type: ignore[attr-defined]
    assert raw.ask(DialMsg("nonsense")) == ReturnMsg((None,))


def test_a_request_that_is_none_is_ignored(raw: RawClient, node: RunningNode) -> None:
    answer = raw.begin(ReturnMsg())
    assert raw.peers()
    assert not answer.done()


# -- pointers ---------------------------------------------------------------------------------------------------------


def test_a_process_has_one_pointer_for_each_client(
    node: RunningNode, raw: RawClient, anchor: int, sleeper: int, open_raw: OpenRaw
) -> None:
    assert raw.call(anchor, "Get") == ("proc", PtrMsg(sleeper, TYPES["proc.XProc"]))
    other = open_raw(node.address)
    names = str(raw.call(anchor, "Path")[0]).split("/")[2:]
    theirs = other.get(other.root, "Walk", names)
    assert other.call(theirs, "Get")[1].id != sleeper


@pytest.mark.parametrize("method", ["Stdin", "Stdout", "Stderr"])
def test_streams_are_new_each_time(raw: RawClient, sleeper: int, method: str) -> None:
    assert raw.get(sleeper, method) != raw.get(sleeper, method)


def test_terminals_are_new_each_time(raw: RawClient, anchor: int) -> None:
    assert raw.get(anchor, "Walk", []) != raw.get(anchor, "Walk", [])


def test_dropped_pointers_are_gone(node: RunningNode, raw: RawClient, anchor: int) -> None:
    before = node.counts()["pointers"]
    child = raw.get(anchor, "Walk", ["a"])
    assert node.counts()["pointers"] == before + 1
    raw.drop(child)
    assert node.counts()["pointers"] == before
    assert raw.refused(child, "Path") == ErrorString(NO_HANDLE)


def test_drops_of_what_is_not_held_are_ignored(
    node: RunningNode, raw: RawClient, anchor: int, open_raw: OpenRaw
) -> None:
    other = open_raw(node.address)
    root = raw.root
    for pointer in (anchor, root, other.locus, 1, 0):
        other.drop(pointer)
    assert raw.call(anchor, "Path")
    assert raw.call(root, "Path")
    assert other.root == root


def test_the_first_pointer_makes_the_node_dial_back(
    node: RunningNode, open_raw: OpenRaw, eventually: Eventually
) -> None:
    client = open_raw(node.address)
    assert not client.lifeline()
    client.get(client.root, "Walk", ["x"])
    eventually(client.lifeline)


def test_pointers_of_a_client_that_cannot_be_dialed_back_are_forgotten(
    node: RunningNode, open_raw: OpenRaw, eventually: Eventually
) -> None:
    client = open_raw(node.address, listen=False)
    pointer = client.get(client.root, "Walk", ["x"])
    eventually(lambda: client.refused(pointer, "Path") == ErrorString(NO_HANDLE))
    assert client.root, "permanent pointers stay"


def test_a_lost_lifeline_forgets_all_and_closes_streams_at_once(
    node: RunningNode, raw: RawClient, sleeper: int, open_raw: OpenRaw, eventually: Eventually
) -> None:
    before = node.counts()
    client = open_raw(node.address)
    path = str(raw.call(raw.root, "Path")[0])
    anchor = client.get(client.root, "Walk", ["lost"])
    process = client.get(anchor, "Make", "proc", CmdValue(path="/bin/cat"))
    client.get(process, "Stdin")
    witness = raw.get(raw.root, "Walk", ["lost"])
    theirs = raw.call(witness, "Get")[1].id
    reading = raw.start(raw.get(theirs, "Stdout"), "Read", 10)
    eventually(client.lifeline)
    client.lose_lifeline()
    eventually(lambda: client.refused(process, "Peek") == ErrorString(NO_HANDLE))
    # The input was closed, so that cat ended.
    reading.result(10)
    assert error_text(raw.call(theirs, "Wait")[0].exit or ErrorString("none")) == "none"
    raw.call(witness, "Scrub")
    for pointer in (witness, theirs):
        raw.drop(pointer)
    assert path
    assert node.counts()["processes"] == before["processes"]


def test_a_client_that_leaves_leaves_nothing_behind(node: RunningNode, eventually: Eventually) -> None:
    before = eventually(lambda: (counts := node.counts())["pointers"] == 0 and counts)
    with circuit.dial(node.address) as client:
        (host,) = client.view().values()
        process = host.walk("leaves", "1").make_proc(circuit.Cmd("/bin/echo", ["x"], scrub=True))
        assert process.communicate()[0] == b"x\n"
        assert node.counts()["pointers"] > 0
    eventually(lambda: node.counts() == before)


def test_a_dropped_stream_pointer_closes_the_stream(raw: RawClient, anchor: int) -> None:
    process = raw.get(anchor, "Make", "proc", CmdValue(path="/bin/cat"))
    waiting = raw.start(process, "Wait")
    stdin = raw.get(process, "Stdin")
    raw.call(stdin, "Write", b"bye")
    assert not waiting.done()
    raw.drop(stdin)
    waiting.result(10)
    assert raw.call(raw.get(process, "Stdout"), "Read", 10) == (b"bye", None)
    raw.call(anchor, "Scrub")


@pytest.mark.parametrize("stream", ["Stdout", "Stderr"])
def test_a_dropped_output_pointer_closes_it_for_all(raw: RawClient, sleeper: int, stream: str) -> None:
    dropped, kept = raw.get(sleeper, stream), raw.get(sleeper, stream)
    reading = raw.start(kept, "Read", 10)
    assert raw.peers()
    assert not reading.done()
    raw.drop(dropped)
    reply = reading.result(10)
    assert isinstance(reply, ReturnMsg)
    assert (reply.results[0], error_text(reply.results[1])) == (b"", "EOF")


# -- anchors come and go ----------------------------------------------------------------------------------------------


def test_anchors_live_as_long_as_somebody_needs_them(node: RunningNode, raw: RawClient, anchor: int) -> None:
    deep = raw.get(anchor, "Walk", ["a", "b", "c"])
    middle = raw.get(anchor, "Walk", ["a", "b"])
    raw.drop(deep)
    assert raw.call(middle, "View") == ({},)
    child = raw.get(middle, "Walk", ["d"])
    raw.drop(middle)
    assert list(raw.call(anchor, "View")[0]) == ["a"], "a child keeps its parents"
    process = raw.get(child, "Make", "proc", CmdValue(path="/nonexistent"))
    raw.drop(child)
    raw.drop(process)
    view = raw.call(anchor, "View")[0]
    assert list(view) == ["a"], "an element keeps its anchor"
    raw.drop(view["a"].id)
    child = raw.get(anchor, "Walk", ["a", "b", "d"])
    raw.call(child, "Scrub")
    assert list(raw.call(anchor, "View")[0]) == ["a"], "it is held still"
    before = node.counts()["anchors"]
    raw.drop(child)
    view = raw.call(anchor, "View")[0]
    assert list(view) == ["a"], "the last view holds it"
    raw.drop(view["a"].id)
    for entry in raw.call(anchor, "View")[0].values():
        raw.drop(entry.id)
    assert node.counts()["anchors"] == before - 2


def test_an_anchor_that_nobody_needs_is_gone(node: RunningNode, raw: RawClient, anchor: int) -> None:
    before = node.counts()
    raw.drop(raw.get(anchor, "Walk", ["a", "b", "c"]))
    assert node.counts() == before
    assert raw.call(anchor, "View") == ({},)


def test_a_late_scrub_hits_its_own_element_alone() -> None:
    anchor, first, second = Anchor("x"), Element(), Element()
    anchor.element = second
    anchor.scrub(first)
    assert anchor.element is second
    anchor.scrub(second)
    assert anchor.element is None


# -- who is let in ----------------------------------------------------------------------------------------------------


def test_another_process_is_not_meant(node: RunningNode) -> None:
    address = parse_address(node.address)
    for other in (
        Address(address.host, address.port, address.pid + 1, address.worker),
        Address(address.host, address.port, address.pid, "Q0000000000000001"),
    ):
        with pytest.raises(circuit.Refused, match="mismatch"):
            circuit.dial(str(other))


def test_hmac(start_node: StartNode, key_file: str) -> None:
    running = start_node("--hmac", key_file)
    with circuit.dial(running.address, KEY) as client:
        (host,) = client.view().values()
        process = host.walk("hmac").make_proc(circuit.Cmd("/bin/cat", scrub=True))
        data = os.urandom(100_000)
        assert process.communicate(data)[0] == data
    with pytest.raises(circuit.Refused, match="key"):
        circuit.dial(running.address, b"another")
    with pytest.raises(circuit.Refused, match="key"):
        circuit.dial(running.address)
    with circuit.dial(running.address, KEY) as client:
        assert client.view()


def test_a_key_where_none_is_wanted(node: RunningNode) -> None:
    with pytest.raises(circuit.Refused, match="key"):
        circuit.dial(node.address, KEY)


def test_rc4() -> None:
    assert RC4(b"Key").encrypt(b"Plaintext").hex() == "bbf316e8d940af0ad3"
    stream = RC4(b"Wiki")
    assert (stream.encrypt(b"pe") + stream.encrypt(b"") + stream.encrypt(b"dia")).hex() == "1021bf0420"
    for key in (b"", bytes(257)):
        with pytest.raises(ValueError, match="1 to 256"):
            RC4(key)


def test_rc4_is_plain_python_where_the_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "Cryptodome", None)
    assert isinstance(rc4(b"Key"), RC4)


# -- what it survives -------------------------------------------------------------------------------------------------


def _socket(node: RunningNode) -> socket.socket:
    address = parse_address(node.address)
    return socket.create_connection((address.host, address.port), timeout=10)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: example.com\r\nUser-Agent: " + bytes(100),
        b"\xff" * 100,
        b"\xff\xff\xff\xff\xff\x7f",
        b"\x05\x04\xff\x82\x00\x00",
        bytes(50),
        Handshake(KEY, KEY, RC4).greeting,
    ],
    ids=["http", "length", "huge", "gob", "zeros", "greeting"],
)
def test_garbage_ends_its_own_connection_alone(node: RunningNode, raw: RawClient, data: bytes) -> None:
    with _socket(node) as sock:
        sock.sendall(data)
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(100) == b""
    assert raw.peers()


def test_what_others_send_does_not_break_log_lines(
    node: RunningNode, raw: RawClient, anchor: int, eventually: Eventually
) -> None:
    child = raw.get(anchor, "Walk", ["two\nlines"])
    process = raw.get(child, "Make", "proc", CmdValue(path="/bin/echo\x1b[2J\nfake", args=("\udcff",)))
    raw.call(child, "Scrub")
    assert raw.call(process, "Peek")
    (line,) = eventually(lambda: [line for line in node.log if "make proc" in line and "fake" in line])
    assert "two\\nlines" in line
    address = parse_address(node.address)
    stranger = Address(address.host, address.port, address.pid, "Q\n\x1b[2J")
    with pytest.raises(circuit.Refused, match="mismatch"):
        asyncio.run(Session.dial(stranger, to_wire(stranger), None, 5))
    eventually(lambda: [line for line in node.log if "\\x1b[2J" in line and "looks for" in line])


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (b"", None),
        (b"", KEY),
        (Handshake(KEY, KEY, RC4).greeting[:20], KEY),
        (os.urandom(1000), None),
        (os.urandom(1000), KEY),
        (b"\xff\xff\x7f" + bytes(1000), None),
    ],
    ids=["silent", "silent-keyed", "half-a-greeting", "garbage", "garbage-keyed", "half-a-frame"],
)
def test_a_crowd_of_strangers_does_not_slow_clients_down(
    start_node: StartNode, key_file: str, eventually: Eventually, data: bytes, key: bytes | None
) -> None:
    running = start_node(*(("--hmac", key_file) if key else ()))
    with contextlib.ExitStack() as stack, circuit.dial(running.address, key) as before:
        (host,) = before.view().values()
        chan = host.walk("crowded").make_chan(1)
        took = []
        for number in range(500):
            sock = stack.enter_context(_socket(running))
            with contextlib.suppress(ConnectionError):
                sock.sendall(data)
            if number % 10 == 0:
                began = time.monotonic()
                chan.send(b"x")
                assert chan.recv() == b"x"
                took.append(time.monotonic() - began)
        # 7 round trips; most of the time is the client's own.
        assert sorted(took)[len(took) // 2] < 0.1
        with circuit.dial(running.address, key) as client:
            assert client.walk(*chan.anchor.path.strip("/").split("/")).get() is not None
    eventually(lambda: running.counts()["connections"] <= 1)


@pytest.fixture
def small_node(start_node: StartNode) -> RunningNode:
    """A node that may open few files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))
    try:
        return start_node()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


FILES = 256


def test_strangers_make_room_for_clients(small_node: RunningNode, eventually: Eventually) -> None:
    with contextlib.ExitStack() as stack:
        strangers = [stack.enter_context(_socket(small_node)) for _ in range(2 * FILES)]
        with circuit.dial(small_node.address) as client:
            (host,) = client.view().values()
            process = host.walk("room").make_proc(circuit.Cmd("/bin/echo", scrub=True))
            assert process.communicate()[0] == b"\n"
            assert strangers[0].recv(1) == b"", "the oldest was closed"
        eventually(lambda: small_node.counts()["connections"] < FILES // 2)
    assert not any("Too many open files" in line for line in small_node.log)
    assert any(f"more than {FILES // 2} connections" in line for line in small_node.log)


def test_a_node_that_is_full_serves_its_clients(small_node: RunningNode, eventually: Eventually) -> None:
    address = parse_address(small_node.address)
    with contextlib.ExitStack() as stack, circuit.dial(small_node.address) as client:
        for _ in range(FILES // 2 - 1):
            mux, sock = Mux(dialer=True), stack.enter_context(_socket(small_node))
            sock.sendall(mux.request(HelloMsg(to_wire(address), to_wire(address)))[1])
            while not mux.feed(sock.recv(1000)):
                pass
        assert stack.enter_context(_socket(small_node)).recv(1) == b""
        with pytest.raises(circuit.CannotConnect):
            circuit.dial(small_node.address)
        assert len(client.view()) == 1
    eventually(lambda: small_node.counts()["connections"] == 0)
    with circuit.dial(small_node.address) as client:
        assert len(client.view()) == 1


def _high_water(pid: int) -> int:
    """The most memory that a process has had so far, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def test_replies_that_nobody_reads_are_not_kept(
    start_node: StartNode, open_raw: OpenRaw, eventually: Eventually
) -> None:
    running = start_node()
    raw = open_raw(running.address)
    large = CmdValue(path="/nonexistent", args=("x" * 1_000_000,))
    process = raw.get(raw.get(raw.root, "Walk", ["large"]), "Make", "proc", large)
    peek = CallMsg(process, METHODS["Peek"])
    before = _high_water(running.pid)
    address = parse_address(running.address)
    mux = Mux(dialer=True)
    with _socket(running) as sock:
        sock.sendall(mux.request(HelloMsg(to_wire(address), to_wire(address)))[1])
        while not mux.feed(sock.recv(1000)):
            pass
        assert running.counts()["connections"] == 2
        sock.sendall(b"".join(mux.request(peek)[1] for _ in range(600)))
        eventually(lambda: running.counts()["connections"] == 1)
    assert _high_water(running.pid) - before < 8 * served_connections.MAX_UNREAD_BYTES
    eventually(lambda: any("replies were not read" in line for line in running.log))
    assert raw.call(process, "Peek")


def test_what_nobody_takes_is_not_kept(start_node: StartNode, open_raw: OpenRaw, eventually: Eventually) -> None:
    """Input that a process does not read, from a client that does not wait for one write before the next."""
    running = start_node()
    raw = open_raw(running.address)
    process = raw.get(raw.get(raw.root, "Walk", ["idle"]), "Make", "proc", SLEEP)
    stdin = raw.get(process, "Stdin")
    block = bytes(MEGABYTE)
    room = served_connections.MAX_WAITING_BYTES // MEGABYTE
    before = _high_water(running.pid)
    assert raw.call(stdin, "Write", block) == (MEGABYTE, None), "the first is taken whole"
    writes = [raw.start(stdin, "Write", block) for _ in range(2 * room)]
    eventually(lambda: sum(write.done() for write in writes) == room, 3 * LIMIT_S)
    assert not any(write.done() for write in writes[:room])
    for write in writes[room:]:
        reply = write.result(LIMIT_S)
        assert isinstance(reply, ReturnMsg)
        assert reply.error == ErrorString(server.TOO_MUCH_WAITS)
    # What a frame goes through on its way takes a few times its size.
    assert _high_water(running.pid) - before < served_connections.MAX_WAITING_BYTES + 16 * MEGABYTE
    assert raw.call(process, "Peek"), "other calls are served"
    assert raw.call(stdin, "Close") == (None,)
    for write in writes[:room]:
        reply = write.result(LIMIT_S)
        assert isinstance(reply, ReturnMsg)
        assert reply.results[0] == 0
    other = raw.get(raw.get(raw.root, "Walk", ["idle", "too"]), "Make", "proc", SLEEP)
    assert raw.call(raw.get(other, "Stdin"), "Write", block) == (MEGABYTE, None), "what was given up counts no more"
    for idle in (process, other):
        raw.call(idle, "Signal", "KILL")


@pytest.mark.parametrize("key", [None, KEY])
def test_a_hello_has_a_limit(monkeypatch: pytest.MonkeyPatch, key: bytes | None) -> None:
    monkeypatch.setattr(served_connections, "HELLO_LIMIT_S", 0.05)

    async def scenario() -> None:
        running = Node("127.0.0.1", key=key)
        address = await running.start()
        reader, writer = await asyncio.open_connection(address.host, address.port)
        # Abortive: a reset where bytes were under way, an end otherwise.
        with contextlib.suppress(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 5)
        assert running.counts()["connections"] == 0
        writer.close()
        await running.close()

    asyncio.run(scenario())


# -- the process itself -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_promptly_and_leaves_processes_running(
    start_node: StartNode, open_raw: OpenRaw, number: signal.Signals, eventually: Eventually
) -> None:
    running = start_node()
    client = open_raw(running.address)
    process = client.get(client.get(client.root, "Walk", ["x"]), "Make", "proc", SLEEP)
    assert client.call(process, "Peek")[0].phase == "running"
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    os.kill(running.pid, number)
    assert running.process.wait(5) == 0
    for child in map(int, children):
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--addr"),
        (["--addr", "nonsense"], "'nonsense' is not IP:PORT"),
        (["--addr", "127.0.0.1"], "is not IP:PORT"),
        (["--addr", "127.0.0.1:70000"], "70000 is not a valid port"),
        (["--addr", "0.0.0.0:0"], "others cannot dial 0.0.0.0"),
        (["--addr", "127.0.0.1:0", "--join", "nonsense"], "is not a circuit address"),
        (["--addr", "127.0.0.1:0", "--fault", "nonsense"], "no fault 'nonsense'"),
        (["--addr", "127.0.0.1:0", "--fault", "stalled-call=Nonsense"], "no method 'Nonsense'"),
    ],
)
def test_usage(run_main: RunMain, options: list[str], words: str) -> None:
    status, text = run_main(options)
    assert status == 2
    assert words in text


def test_errors_at_the_start_are_one_line(
    run_main: RunMain, node: RunningNode, tmp_path: Path, eventually: Eventually
) -> None:
    taken = parse_address(node.address).port
    (tmp_path / "bad").write_text("!")
    (tmp_path / "empty").write_text("")
    for options, words in (
        (["--addr", f"127.0.0.1:{taken}"], "Address already in use"),
        (["--addr", "203.0.113.1:0"], "Cannot assign requested address"),
        (["--addr", "127.0.0.1:0", "--hmac", str(tmp_path / "none")], "No such file"),
        (["--addr", "127.0.0.1:0", "--hmac", str(tmp_path / "bad")], "does not hold a key"),
        (["--addr", "127.0.0.1:0", "--hmac", str(tmp_path / "empty")], "does not hold a key"),
        (["--addr", "127.0.0.1:0", "--join", "circuit://127.0.0.1:1/1/Q0000000000000001"], "Connection refused"),
    ):
        status, text = run_main(options)
        assert status == 1, text
        assert words in text
        assert text.count("\n") == 1, text


RunMain = Callable[[list[str]], "tuple[int, str]"]


@pytest.fixture
def run_main(capfd: pytest.CaptureFixture[str]) -> RunMain:
    """Runs the command line in this process; returns its exit status and what it wrote to stderr."""
    from circuit.node.__main__ import main

    def run(options: list[str]) -> tuple[int, str]:
        try:
            status: object = main(options)
        except SystemExit as end:
            status = end.code
        assert isinstance(status, int)
        return status, capfd.readouterr().err

    return run


def test_in_process() -> None:
    def use(address: str, name: str) -> None:
        with circuit.dial(address) as client:
            process = client.walk(name, "x").make_proc(circuit.Cmd("/bin/cat", scrub=True))
            assert process.communicate(b"data")[0] == b"data"

    async def scenario() -> None:
        running = Node("127.0.0.1")
        address = await running.start()
        await asyncio.to_thread(use, str(address), running.name)
        assert running.counts()["processes"] == 0
        await running.close()

    asyncio.run(scenario())
