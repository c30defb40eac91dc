"""One host of a circuit talks nonsense: its connection ends, and the client goes on with the others."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import circuit
from circuit import RemoteFault
from circuit.address import Address
from circuit.errors import CircuitError
from circuit.frames import MAX_HELLO_BYTES, encode_frame
from circuit.gob import Encoder, Named
from circuit.messages import (
    METHODS,
    PEERS,
    VIEW,
    CallMsg,
    DialMsg,
    Kin,
    Msg,
    PayloadMsg,
    Peer,
    PermPtrMsg,
    PermPtrPtrMsg,
    ReturnMsg,
    WelcomeMsg,
    host_name,
)
from circuit.session import Accepted, to_wire
from circuit.transport import Connection
from tests.conftest import LIMIT_S, Eventually

GOOD, BAD = 1, 2
WORKER, PID = "Q0000000000000001", 1


class Home:
    """A well-behaved server, and what it tells of another."""

    def __init__(self, other: Address) -> None:
        self._other = other

    def hello(self, session: Accepted) -> None:
        pass

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
def home(other: Address) -> Iterator[str]:
    """The address of a home that tells of ``other``."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    connections: list[Connection] = []

    def accept() -> Connection:
        connections.append(Connection(Accepted(WORKER, PID, Home(other)), None))
        return connections[-1]

    async def listen() -> asyncio.Server:
        return await loop.create_server(accept, "127.0.0.1", 0)

    async def close() -> None:
        server.close()
        for connection in connections:
            connection.close()
        await asyncio.sleep(0)

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(LIMIT_S)
    try:
        yield str(Address("127.0.0.1", server.sockets[0].getsockname()[1], PID, WORKER))
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
        home(other) as address,
        circuit.dial(address, timeout=LIMIT_S) as client,
    ):
        fault_of_the_bad(client)
        assert eventually(lambda: hung_up) == [True]
        assert client.walk(host_name(GOOD)).view() == {}


@pytest.mark.parametrize("answers", list(WRONG.values()), ids=list(WRONG))
def test_a_wrong_answer_fails_its_call_alone(answers: list[bytes]) -> None:
    with nonsense(answers) as (other, _), home(other) as address, circuit.dial(address, timeout=LIMIT_S) as client:
        fault_of_the_bad(client)
        assert client.walk(host_name(GOOD)).view() == {}


def fault_of_the_bad(client: circuit.Client) -> None:
    bad = client.view()[host_name(BAD)]
    with pytest.raises(RemoteFault, match=bad.path):
        bad.view()
