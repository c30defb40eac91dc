"""One host of a circuit talks nonsense: its connection ends, and the client goes on with the others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client as Connecting
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import Mock

import pymysql
import pytest
import urllib3

import circuit
import circuit_harness.remote.shell
from circuit import CallFailed, RemoteFault
from circuit.errors import CircuitError
from circuit.net.session import Accepted, to_wire
from circuit.net.transport import Connection
from circuit.wire.address import Address
from circuit.wire.frames import MAX_HELLO_BYTES, encode_frame
from circuit.wire.gob import Encoder, Named
from circuit.wire.messages import (
    METHODS,
    PEERS,
    VIEW,
    Addr,
    CallMsg,
    CmdValue,
    DialMsg,
    ErrorString,
    HelloMsg,
    Kin,
    Msg,
    PayloadMsg,
    Peer,
    PermPtrMsg,
    PermPtrPtrMsg,
    ReturnMsg,
    StatValue,
    TCPAddr,
    WelcomeMsg,
    host_name,
)
from circuit.wire.mux import Request
from circuit_harness.engine.attach import Deployed, find
from circuit_harness.engine.evidence import Piece
from circuit_harness.engine.found import Found
from circuit_harness.engine.spec import Services
from circuit_harness.errors import CommandFailed, CommandTimedOut, DeployError, Lost, OutputTooLong, Unfit
from circuit_harness.journal import machines
from circuit_harness.journal.record import Record, decode
from circuit_harness.journal.undo import take_down
from circuit_harness.operations import addresses, needs
from circuit_harness.plugin.progress import Progress
from circuit_harness.plugin.rpc import RpcClient, RpcServer
from circuit_harness.plugin.run import Run
from circuit_harness.remote.address import Addresses
from circuit_harness.remote.command import Command
from circuit_harness.remote.fact_lines import MOST_BYTES
from circuit_harness.remote.shell import MAX_OUTPUT_BYTES, ShellResult, run_shell
from circuit_harness.report.outcome import Results
from circuit_harness.services.mysql import accounts
from circuit_harness.steps import Steps
from deploy.services import services
from fixtures.connections import Api
from tests.conftest import LIMIT_S, Eventually

GOOD, BAD = 1, 2
WORKER, PID = "Q0000000000000001", 1


SERVICES = Services(services())

ANY = 3
"""A PID under which a home takes every hello, whoever is meant."""

CLIENTS: dict[str, Address] = {}
"""Who dialed each home last."""


class _Everybody(Accepted):
    """Welcomes whoever looks for anybody."""

    def _welcome(self, event: Request) -> None:
        hello = event.payload
        if isinstance(hello, HelloMsg) and isinstance(hello.target, Addr) and hello.target.pid == ANY:
            event = Request(event.conversation, replace(hello, target=replace(hello.target, worker=WORKER, pid=PID)))
        super()._welcome(event)


class Home:
    """A well-behaved server, and what it tells of another."""

    def __init__(self, other: Address) -> None:
        self._other = other
        self.own: Address | None = None

    def hello(self, session: Accepted) -> None:
        assert self.own is not None
        assert session.source is not None
        CLIENTS[str(self.own)] = session.source

    def gone(self, session: Accepted, error: CircuitError) -> None:
        pass

    def request(self, session: Accepted, conversation: int, payload: object) -> None:
        result: object = PermPtrMsg(1, 1)
        if isinstance(payload, CallMsg) and payload.func == METHODS["GetPeers"]:
            far = PermPtrPtrMsg(1, 1, to_wire(self._other))
            peers = (Peer(Kin(None, GOOD), PermPtrMsg(1, 1)), Peer(Kin(None, BAD), far))
            result = Named(PEERS.name, PEERS, peers)
        elif isinstance(payload, CallMsg):
            result = Named(VIEW.name, VIEW, {})
        else:
            assert isinstance(payload, DialMsg)
        session.reply(conversation, ReturnMsg((result,)))


@contextmanager
def home(handler: Home, ip: str = "127.0.0.1") -> Iterator[str]:
    """The address of a home."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    connections: list[Connection] = []

    def accept() -> Connection:
        connections.append(Connection(_Everybody(WORKER, PID, handler), None))
        return connections[-1]

    async def listen() -> asyncio.Server:
        return await loop.create_server(accept, ip, 0)

    async def close() -> None:
        server.close()
        for connection in connections:
            connection.close()
        await asyncio.sleep(0)

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(LIMIT_S)
    try:
        handler.own = Address(ip, server.sockets[0].getsockname()[1], PID, WORKER)
        yield str(handler.own)
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result(LIMIT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(LIMIT_S)
        loop.close()


@contextmanager
def nonsense(answers: list[bytes]) -> Iterator[tuple[Address, list[bool]]]:
    """A server that answers each message that comes with the next of these, and notes that its dialer hangs up."""
    hung_up: list[bool] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LIMIT_S)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(LIMIT_S)
                for answer in answers:
                    connection.recv(1 << 16)
                    connection.sendall(answer)
                try:
                    hung_up.append(connection.recv(1 << 16) == b"")
                except ConnectionError:
                    hung_up.append(True)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Address("127.0.0.1", listener.getsockname()[1], 2, "Q0000000000000002"), hung_up
        thread.join(LIMIT_S)


def said(*payloads: object) -> list[bytes]:
    """What a server says in the conversations of one connection, one after the other."""
    encoder = Encoder()
    return [
        encode_frame(encoder.encode(Msg(number, PayloadMsg(0, payload)))) for number, payload in enumerate(payloads)
    ]


WELCOME = said(WelcomeMsg())

MALFORMED = {
    "no hello's answer": [b"\x05hello"],
    "another message than a welcome": said(DialMsg("locus")),
    "a large answer to the hello": [encode_frame(bytes(MAX_HELLO_BYTES + 1))[:3]],
    "a frame that is no gob": [*WELCOME, b"\x03\xff\xff\xff"],
    "a frame over the limit": [*WELCOME, b"\x81\x80\x80\x08"],
    "an endless length": [*WELCOME, b"\x80" * 11],
}
WRONG = {
    "another reply than a call's": said(WelcomeMsg(), DialMsg("locus")),
    "the results of another call": said(WelcomeMsg(), ReturnMsg((5,))),
    "no results": said(WelcomeMsg(), ReturnMsg()),
    "an error that is none": said(WelcomeMsg(), ReturnMsg((), 5)),
}


@pytest.mark.parametrize("answers", list(MALFORMED.values()), ids=list(MALFORMED))
def test_malformed_bytes_end_their_connection_alone(answers: list[bytes], eventually: Eventually) -> None:
    with (
        nonsense(answers) as (other, hung_up),
        home(Home(other)) as address,
        circuit.dial(address, timeout=LIMIT_S) as client,
    ):
        fault_of_the_bad(client)
        assert eventually(lambda: hung_up) == [True]
        assert client.walk(host_name(GOOD)).view() == {}


@pytest.mark.parametrize("answers", list(WRONG.values()), ids=list(WRONG))
def test_a_wrong_answer_fails_its_call_alone(answers: list[bytes]) -> None:
    with (
        nonsense(answers) as (other, _),
        home(Home(other)) as address,
        circuit.dial(address, timeout=LIMIT_S) as client,
    ):
        fault_of_the_bad(client)
        assert client.walk(host_name(GOOD)).view() == {}


# -- more than was asked for ------------------------------------------------------------------------------------------


class Scripted(Home):
    """A server whose processes answer each Read with what is drawn from a function, and end never."""

    def __init__(self, block: Callable[[], bytes]) -> None:
        super().__init__(NOBODY)
        self.block = block
        self.served = 0

    def request(self, session: Accepted, conversation: int, payload: object) -> None:
        results: dict[int, tuple[object, ...]] = {
            METHODS["Walk"]: (PermPtrMsg(1, 1),),
            METHODS["Make"]: (PermPtrMsg(1, 1), None),
            METHODS["Peek"]: (StatValue(CmdValue((), "", "/bin/sh"), None, "running"),),
            METHODS["Stdin"]: (PermPtrMsg(2, 1),),
            METHODS["Stdout"]: (PermPtrMsg(3, 1),),
            METHODS["Stderr"]: (PermPtrMsg(4, 1),),
            METHODS["Close"]: (None,),
        }
        if isinstance(payload, CallMsg) and payload.func == METHODS["Read"]:
            if payload.receiver == 3:
                self.served += 1
                session.reply(conversation, ReturnMsg((self.block(), None)))
        elif isinstance(payload, CallMsg) and payload.func == METHODS["Write"]:
            data = payload.arguments[0]
            assert isinstance(data, bytes)
            session.reply(conversation, ReturnMsg((len(data), None)))
        elif isinstance(payload, CallMsg) and payload.func in results:
            session.reply(conversation, ReturnMsg(results[payload.func]))
        else:
            super().request(session, conversation, payload)


NOBODY = Address("127.0.0.1", 1, 2, "Q0000000000000002")


def test_a_block_larger_than_asked_for_is_a_fault() -> None:
    with home(Scripted(lambda: bytes(32_001))) as address, circuit.dial(address, timeout=LIMIT_S) as client:
        proc = client.walk(host_name(GOOD)).make_proc(circuit.Cmd("/bin/sh"))
        with pytest.raises(RemoteFault, match="was answered with 32001 bytes"):
            proc.stdout.read()


def test_a_command_that_never_stops_talking_is_ended_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was collected until its time was over, and on."""
    monkeypatch.setattr(circuit_harness.remote.shell, "_END_LIMIT_S", 0.5)
    server = Scripted(lambda: bytes(32_000))
    with (
        home(server) as address,
        circuit.dial(address, timeout=LIMIT_S) as client,
        pytest.raises(DeployError, match="over the limit of 67108864 bytes"),
    ):
        run_shell(client.walk(host_name(GOOD)), "cat /dev/zero", timeout=60)


def test_nothing_is_collected_after_a_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit_harness.remote.shell, "_END_LIMIT_S", 0.1)
    server = Scripted(lambda: b"x")
    with home(server) as address, circuit.dial(address, timeout=LIMIT_S) as client:
        host = client.walk(host_name(GOOD))
        with pytest.raises(CommandTimedOut):
            run_shell(host, "yes", timeout=0.1)
        assert client.walk(host_name(GOOD)).view() == {}
        served = server.served
        for _ in range(20):
            client.walk(host_name(GOOD)).view()
        assert server.served == served, "it is still read"


def test_a_reply_that_nobody_asked_for_ends_its_connection(eventually: Eventually) -> None:
    """Each cost the client the decoding of as much as a frame holds, while it was to serve other hosts."""
    messages = [Msg(0, PayloadMsg(0, WelcomeMsg())), *(Msg(900 + n, PayloadMsg(0, ReturnMsg())) for n in range(3))]
    encoder = Encoder()
    frames = [encode_frame(encoder.encode(message)) for message in messages]
    with (
        nonsense([frames[0], b"".join(frames[1:])]) as (other, hung_up),
        home(Home(other)) as address,
        circuit.dial(address, timeout=LIMIT_S) as client,
    ):
        bad = client.view()[host_name(BAD)]
        with pytest.raises(RemoteFault, match="which waits for none"):
            bad.view()
        assert eventually(lambda: hung_up) == [True]
        assert client.walk(host_name(GOOD)).view() == {}


# -- addresses that must not be dialed ---------------------------------------------------------------------------------

FORGED = {
    "a worker ID with a request in it": Address("127.0.0.1", 1, 2, "Q\r\nFLUSHALL\r\n"),
    "no port": Address("127.0.0.1", 0, 2, "Q0000000000000002"),
    "a large port": Address("127.0.0.1", 1 << 16, 2, "Q0000000000000002"),
    "no PID": Address("127.0.0.1", 1, -1, "Q0000000000000002"),
    "everywhere": Address("0.0.0.0", 1, 2, "Q0000000000000002"),
    "many": Address("224.0.0.1", 1, 2, "Q0000000000000002"),
}


@pytest.mark.parametrize("forged", list(FORGED.values()), ids=list(FORGED))
def test_a_forged_address_is_a_fault(forged: Address) -> None:
    with (
        home(Home(forged)) as address,
        circuit.dial(address, timeout=LIMIT_S) as client,
        pytest.raises(RemoteFault, match="must not be dialed"),
    ):
        client.view()


def test_no_bytes_of_a_host_s_choice_reach_another_service() -> None:
    """The worker ID stood in the hello, which any service on this machine's loopback could be sent."""
    with socket.create_server(("127.0.0.1", 0)) as service:
        forged = Address("127.0.0.1", service.getsockname()[1], 2, "Q\r\nSLAVEOF 203.0.113.9 6379\r\n")
        with (
            home(Home(forged)) as address,
            circuit.dial(address, timeout=1) as client,
            contextlib.suppress(CircuitError),
        ):
            client.view()[host_name(BAD)].view()
        service.settimeout(0.2)
        got = b""
        with contextlib.suppress(TimeoutError):
            connection, _ = service.accept()
            with connection:
                connection.settimeout(1)
                got = connection.recv(1 << 16)
    assert b"SLAVEOF" not in got


@pytest.mark.parametrize("named", ["127.0.0.1", "127.9.9.9", "169.254.169.254"])
def test_a_host_elsewhere_names_no_address_of_this_machine(named: str) -> None:
    """A server on another address than this machine's loopback."""
    own = accounts.own_address("192.0.2.1", 9)
    assert own is not None, "this machine has no route, so no address of its own"
    forged = Address(named, 1, 2, "Q0000000000000002")
    with (
        home(Home(forged), own) as address,
        circuit.dial(address, timeout=LIMIT_S) as client,
        pytest.raises(RemoteFault, match=f"named by {own}"),
    ):
        client.view()


# -- what reaches the terminal ----------------------------------------------------------------------------------------

ESCAPES = "\x1b]0;owned\x07\x1b[2J\u202e\nERROR: forged"


def test_an_error_talks_to_no_terminal_and_is_one_line() -> None:
    class Cursing(Home):
        def request(self, session: Accepted, conversation: int, payload: object) -> None:
            if isinstance(payload, CallMsg) and payload.func == METHODS["View"]:
                session.reply(conversation, ReturnMsg(error=ErrorString(ESCAPES.replace("\n", ""))))
            else:
                super().request(session, conversation, payload)

    with (
        home(Cursing(NOBODY)) as address,
        circuit.dial(address, timeout=LIMIT_S) as client,
        pytest.raises(CallFailed) as caught,
    ):
        client.walk(host_name(GOOD)).view()
    assert "owned" in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("error", [CommandFailed, CommandTimedOut])
def test_the_output_of_a_command_talks_to_no_terminal(error: type[CommandFailed | CommandTimedOut]) -> None:
    told = str(error("X1", "true", 1, ESCAPES.encode(), ESCAPES.encode()))
    assert "owned" in told
    assert told.replace("\n", "").isprintable()


def test_a_terminal_s_line_is_harmless(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+b") as file:
        progress = Progress(file.fileno())
        progress.line(f"waiting: host X1 is held by {ESCAPES}")
        progress.placed({"X1": [ESCAPES, "x" * 10_000]})
        with Steps(progress).step(f"a step of {ESCAPES}", "X1"):
            pass
        progress.close()
        shown = (tmp_path / "out").read_text()
    assert shown.count("owned") == 4
    assert len(shown) < 1000
    assert shown.replace("\n", "").isprintable()


# -- crowds -----------------------------------------------------------------------------------------------------------

FILES = 96
"""How many files a process may open that many connect to, or that is to connect to many."""


def limited(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A Python program that may open few files."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES}, {FILES}))\n"
    return subprocess.Popen(
        [sys.executable, "-c", limit + script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


_LISTEN = """
import circuit, sys
with circuit.dial(sys.argv[1], timeout=10) as client:
    print(client._runtime.lifelines.port, flush=True)
    sys.stdin.readline()
    for _ in range(100):
        found = client.walk(sys.argv[2]).view()
    open("/dev/null").close()
    print(sorted(found), flush=True)
"""


@pytest.mark.parametrize("hello", [False, True], ids=["silent", "with a hello"])
def test_a_crowd_at_the_lifeline_s_port_leaves_files_to_open(hello: bool) -> None:
    """They took all, until nothing could be opened any more."""
    with home(Home(NOBODY)) as address, contextlib.ExitStack() as stack:
        client = limited(_LISTEN, address, host_name(GOOD))
        stack.callback(client.kill)
        assert client.stdout is not None
        port = int(client.stdout.readline())
        for number in range(2 * FILES):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), LIMIT_S))
            if hello:
                source = to_wire(Address("127.0.0.1", 9, 9, f"Q{number:016x}"))
                target = HelloMsg(source, Addr(*stolen(address)))
                sock.sendall(encode_frame(Encoder().encode(Msg(0, PayloadMsg(0, target)))))
        told, errors = client.communicate("go\n", timeout=LIMIT_S)
    assert (told, client.returncode) == ("[]\n", 0), errors


def stolen(address: str) -> tuple[str, int, TCPAddr]:
    """The identity of the last client of a home, which any server of its circuit knows."""
    source = CLIENTS[address]
    return source.worker, source.pid, TCPAddr(bytes(16), source.port)


_MANY = """
import circuit, sys
with circuit.dial(sys.argv[1], timeout=10) as client:
    for name, host in sorted(client.view().items()):
        try:
            host.view()
        except circuit.CircuitError as error:
            print(name, error, flush=True)
    open("/dev/null").close()
    print("done", flush=True)
"""


def test_a_crowd_of_peers_is_connected_to_a_few_at_a_time() -> None:
    """Each that is listed is looked at, and its connection stayed open."""

    class Crowded(Home):
        def request(self, session: Accepted, conversation: int, payload: object) -> None:
            if isinstance(payload, CallMsg) and payload.func == METHODS["GetPeers"]:
                assert self.own is not None
                peers = tuple(
                    Peer(
                        Kin(None, number),
                        PermPtrPtrMsg(1, 1, to_wire(replace(self.own, worker=f"Q{number:016x}", pid=ANY))),
                    )
                    for number in range(10, 10 + 2 * FILES)
                )
                session.reply(conversation, ReturnMsg((Named(PEERS.name, PEERS, peers),)))
            else:
                super().request(session, conversation, payload)

    with home(Crowded(NOBODY)) as address:
        client = limited(_MANY, address)
        told, errors = client.communicate(timeout=60)
    assert (told, client.returncode) == ("done\n", 0), errors


def fault_of_the_bad(client: circuit.Client) -> None:
    bad = client.view()[host_name(BAD)]
    with pytest.raises(RemoteFault, match=bad.path):
        bad.view()


# -- what undoing prints ----------------------------------------------------------------------------------------------


def test_what_is_left_is_told_in_a_bounded_number_of_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record("ab", "me@here", "now", Addresses("10.0.0.7", "route", "10.0.0.7", "private"))
    limits = set()

    def answer(command: Command, limit: int, **_: Any) -> ShellResult:
        limits.add(limit)
        return ShellResult(b"\n" * 100_000, b"", 0)

    monkeypatch.setattr("circuit_harness.journal.undo.records.read", lambda host, deployment: record)
    left = take_down([(Mock(run=answer), record)], Steps(), print, force=False)
    assert len(left) == 51
    assert left[-1].what == "99950 more lines of what is left"
    assert max(limits) <= 1 << 20


def test_whatever_one_host_brings_about_the_others_are_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record("ab", "me@here", "now", Addresses("10.0.0.7", "route", "10.0.0.7", "private"))
    hosts = {name: Mock() for name in ("X1", "X2")}
    for name, host in hosts.items():
        host.name = name
    hosts["X1"].run.side_effect = TypeError("an answer that nobody thought of")
    hosts["X2"].run.return_value = ShellResult(b"", b"", 0)
    monkeypatch.setattr("circuit_harness.journal.undo.records.read", lambda host, deployment: record)
    left = take_down([(host, record) for host in hosts.values()], Steps(), print, force=False)
    assert [str(one) for one in left] == [
        "on host X1: verify the clean-up: an answer that nobody thought of",
    ]
    (command,) = hosts["X2"].run.call_args.args
    assert "rm -f /var/lib/tutorial-deploy/record.json " in command.text


@pytest.mark.parametrize("uid", ["", "root", "1\x1b[2J", "9" * 5000])
def test_a_host_that_finds_no_user_for_the_app_is_refused(uid: str) -> None:
    answer = ShellResult(f"uid {uid}\nnode /usr/bin/node\n".encode(), b"", 0)
    with pytest.raises(Unfit, match="no free user id for the app") as refused:
        SERVICES["nodejs"].look(Mock(run=lambda *arguments, **options: answer), "")
    assert len(str(refused.value)) < 200


def test_a_client_without_the_key_does_not_end_the_server() -> None:
    server = RpcServer(lambda what, parts: {"told": what})
    try:
        with pytest.raises(AuthenticationError):
            Connecting(server.endpoint["path"], family="AF_UNIX", authkey=b"wrong")
        assert RpcClient(server.endpoint, 10).ask("anything", frozenset()) == {"told": "anything"}
    finally:
        server.close()


def test_a_reason_is_short_and_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []

    def mask(text: str) -> str:
        looked_at.append(len(text))
        return text

    monkeypatch.setattr("circuit_harness.errors.mask", mask)
    error = CommandFailed("X1", "true", 1, b"", b"a\n" * 10_000_000)
    assert len(error.said) < 5000
    assert max(looked_at) < 50_000


@pytest.mark.parametrize(
    "look",
    [
        partial(SERVICES["mysql"].look, deployment=""),
        partial(SERVICES["nodejs"].look, deployment=""),
        partial(needs.look, needs=[need for service in SERVICES.values() for need in service.needs]),
        addresses.look,
        lambda host: machines.identifying(host).outcome(),
    ],
    ids=["mysql", "nodejs", "needs", "addresses", "machines"],
)
def test_a_look_hears_no_more_than_fits(look: Callable[[Any], object]) -> None:
    def answer(command: Command, *, limit: int = MAX_OUTPUT_BYTES, **_: Any) -> NoReturn:
        limits.append(limit)
        raise OutputTooLong("X1", command.text, limit, "stdout", b"", b"")

    limits: list[int] = []
    with contextlib.suppress(OutputTooLong):
        look(Mock(run=answer))
    assert [limit <= MOST_BYTES for limit in limits] == [True]


# -- what a host's record, and its services, are called ---------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [
        *({"address": address} for address in ("127.0.0.1", "::1", "169.254.169.254", "localhost", "0.0.0.0", 7)),
        *({"port": port} for port in (0, 1 << 16, "80@elsewhere", True)),
        {"command": None},
    ],
    ids=str,
)
def test_checks_of_what_was_kept_go_where_a_host_can_be(monkeypatch: pytest.MonkeyPatch, told: dict[str, Any]) -> None:
    kept = json.loads((Path(__file__).parent / "golden/deployed/kept-nodejs.json").read_bytes())
    kept["services"]["mysql"] = json.loads((Path(__file__).parent / "golden/deployed/kept-mysql.json").read_bytes())[
        "services"
    ]["mysql"]
    host = Mock()
    host.name = "X1"
    monkeypatch.setattr("circuit_harness.engine.attach.live_hosts", lambda client, names: [host])

    def found_with(told: dict[str, Any]) -> Deployed:
        document = {**kept, "services": {**kept["services"], "nodejs": {**kept["services"]["nodejs"], **told}}}
        found = Found([(host,)], {"X1": [decode(json.dumps(document).encode())]}, {})
        monkeypatch.setattr("circuit_harness.engine.attach.read_records", lambda hosts, deployment: found)
        return find(Mock(), SERVICES)

    assert set(found_with({}).services) == {"mysql", "nodejs"}
    with pytest.raises(Lost, match="host X1: its record describes "):
        found_with(told)


def test_the_name_of_a_log_talks_to_no_terminal() -> None:
    written = Mock(stats={})
    told = Run.__new__(Run)
    told._logs, told._annotations = [Piece("log of \x1b]0;x\x07", "")], []
    told._results, told.coordinator = Results((), Path()), Mock(down={})
    told.pytest_terminal_summary(written)
    assert written.write_sep.call_args.args == ("-", "log of \\x1b]0;x\\x07")


# -- what checks are answered -----------------------------------------------------------------------------------------


@contextmanager
def talking(*talk: bytes, then: bytes, first: bool = True) -> Iterator[int]:
    """The port of a server: it says these, each but the ``first`` when something has come, and ``then`` for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    for number, words in enumerate(talk):
                        if number or not first:
                            connection.recv(1 << 16)
                        connection.sendall(words)
                    while True:
                        connection.sendall(then)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
    thread.join(LIMIT_S)


def packet(number: int, data: bytes) -> bytes:
    """As MySQL's servers send it."""
    return len(data).to_bytes(3, "little") + bytes([number]) + data


_GREETING = (
    b"\x0a5.5.5-10.11\0\1\0\0\0abcdefgh\0\xff\xf7\x2d\2\0\x08\0\x15"
    + bytes(10)
    + b"abcdefghijkl\0mysql_native_password\0"
)
_FINE = b"\0\0\0\2\0\0\0"


def test_a_database_that_never_stops_talking_is_given_up() -> None:
    column = b"\3def\0\0\0\1a\0\x0c\x2d\0\xff\0\0\0\xfd\0\0\0\0\0"
    answer = packet(1, b"\1") + packet(2, column) + packet(3, b"\xfe\0\0\2\0")
    rows = b"".join(packet(number % 256, b"\xfa" + bytes(250)) for number in range(4, 260))
    with talking(packet(0, _GREETING), packet(2, _FINE), packet(1, _FINE), answer, then=rows) as port:
        connection = accounts.connect("127.0.0.1", port, "root", None, None, accounts.Tls())
        with pytest.raises(pymysql.OperationalError, match=f"an answer of more than {accounts.MOST_ANSWERED} bytes"):
            connection.cursor().execute("SELECT a FROM b")


def test_a_database_that_takes_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "WHOLE_LIMIT_S", 0.0)
    with (
        talking(packet(0, bytes(100))[:4], then=b"\n") as port,
        pytest.raises(pymysql.OperationalError, match="did not end within 0 s"),
    ):
        accounts.connect("127.0.0.1", port, "root", None, None, accounts.Tls())


def test_an_api_that_never_stops_talking_is_given_up() -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"
    with talking(endless, then=bytes(100_000), first=False) as port, urllib3.PoolManager(retries=False) as pool:
        api = Api(f"http://127.0.0.1:{port}", pool)
        with pytest.raises(urllib3.exceptions.ResponseError, match="an answer of more than"):
            api.get("name")
