"""How circuit.nodes join one another, and notice who is gone."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import circuit
from circuit.errors import CircuitError
from circuit.net.session import Accepted, from_wire, to_wire
from circuit.net.transport import Connection
from circuit.node import Node, membership
from circuit.wire.address import Address, parse_address
from circuit.wire.messages import CallMsg, ErrorString, Kin, Peer, PermPtrMsg, PermPtrPtrMsg, ReturnMsg, func_id

if TYPE_CHECKING:
    from tests.conftest import Eventually, OpenRaw, RunningNode, StartNode

KEY = bytes(range(64))


def _hosts(address: str) -> set[str]:
    with circuit.dial(address) as client:
        return set(client.view())


def _all_list(nodes: list[RunningNode], count: int) -> Callable[[], bool]:
    def check() -> bool:
        views = [_hosts(node.address) for node in nodes]
        return len(views[0]) == count and all(view == views[0] for view in views)

    return check


def test_two_nodes_list_each_other_once_the_second_has_started(start_node: StartNode) -> None:
    first = start_node()
    second = start_node("--join", first.address)
    assert _all_list([first, second], 2)()
    with circuit.dial(first.address) as client:
        for name, host in client.view().items():
            assert host.path == f"/{name}"
            process = host.walk("x").make_proc(circuit.Cmd("/bin/echo", [name], scrub=True))
            assert process.communicate()[0].decode() == f"{name}\n"


def test_peers_are_listed_as_a_go_server_does(start_node: StartNode, open_raw: OpenRaw) -> None:
    first = start_node()
    second = start_node("--join", first.address)
    own, other = open_raw(first.address).peers()
    assert isinstance(own.kin.pointer, PermPtrMsg)
    assert isinstance(own.term, PermPtrMsg)
    assert isinstance(other.kin.pointer, PermPtrPtrMsg)
    assert isinstance(other.term, PermPtrPtrMsg)
    assert from_wire(other.term.source) == from_wire(other.kin.pointer.source) == parse_address(second.address)
    (theirs, _) = open_raw(second.address).peers()
    assert theirs == Peer(
        Kin(PermPtrMsg(other.kin.pointer.id, other.kin.pointer.type_id), other.kin.id),
        PermPtrMsg(other.term.id, other.term.type_id),
    )


def test_a_third_joins_through_the_second(start_node: StartNode) -> None:
    first = start_node()
    second = start_node("--join", first.address)
    third = start_node("--join", second.address)
    assert _all_list([first, second, third], 3)()


def test_many_join_at_once(start_node: StartNode, launch_node: StartNode, eventually: Eventually) -> None:
    first = start_node()
    second = start_node("--join", first.address)
    others = [launch_node("--join", node.address) for node in (first, second) * 3]
    nodes = [first, second, *(node.wait_started() for node in others)]
    eventually(_all_list(nodes, len(nodes)))


def test_who_is_killed_leaves_and_a_new_one_joins(start_node: StartNode, eventually: Eventually) -> None:
    first = start_node()
    second = start_node("--join", first.address)
    third = start_node("--join", first.address)
    second.process.kill()
    eventually(_all_list([first, third], 2), 1.0)
    fourth = start_node("--join", third.address)
    eventually(_all_list([first, third, fourth], 3))
    os.kill(first.pid, signal.SIGTERM)
    eventually(_all_list([third, fourth], 2), 1.0)
    # One connection from the other, and nothing is left of the clients that asked.
    eventually(lambda: third.counts()["connections"] == 1)
    assert third.counts()["peers"] == 2


def test_who_falls_silent_leaves_and_may_come_back(monkeypatch: pytest.MonkeyPatch, start_node: StartNode) -> None:
    monkeypatch.setattr(membership, "PING_S", 0.1)
    monkeypatch.setattr(membership, "PING_LIMIT_S", 0.2)
    monkeypatch.setattr(membership, "_COOL_DOWN_S", 0.2)
    first = start_node()

    async def scenario() -> None:
        node = Node("127.0.0.1")
        await node.start(parse_address(first.address))
        for number, peers in ((signal.SIGSTOP, 1), (signal.SIGCONT, 2)):
            os.kill(first.pid, number)
            while node.counts()["peers"] != peers:
                await asyncio.sleep(0.01)
        await node.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))


@pytest.mark.parametrize("successor", [True, False])
def test_who_died_is_not_looked_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, start_node: StartNode, successor: bool
) -> None:
    """Until its time is over, or another answers at its address."""
    monkeypatch.setattr(membership, "SEEK_S", 0.05)
    monkeypatch.setattr(membership, "_COOL_DOWN_S", 0.01)
    first = start_node()
    address = parse_address(first.address)

    async def scenario() -> None:
        node = Node("127.0.0.1")
        await node.start(address)
        first.stop()
        while node.counts()["peers"] != 1:
            await asyncio.sleep(0.01)
        assert list(node._membership._sought) == [address.worker]
        tried: list[Connection] = []
        if successor:
            other = Node("127.0.0.1", address.port)
            await other.start()
        else:

            def accept() -> Connection:
                tried.append(Connection(Accepted(address.worker, address.pid, _GoServer()), None))
                return tried[-1]

            silent = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", address.port)
            while len(tried) < 5:
                await asyncio.sleep(0.01)
            assert node._membership._sought
            node._membership._sought[address.worker] = 0.0
        while node._membership._sought:
            await asyncio.sleep(0.01)
        if successor:
            await other.close()
        else:
            silent.close()
        await node.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_joining_with_a_key(start_node: StartNode, launch_node: StartNode, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(base64.b64encode(KEY).decode())
    (tmp_path / "other").write_text(base64.b64encode(bytes(64)).decode())
    options = ("--hmac", str(tmp_path / "key"))
    first = start_node(*options, "--fault", "swallow-hello")
    start_node(*options, "--join", first.address)
    with circuit.dial(first.address, KEY) as client:
        assert len(client.view()) == 2
    for wrong in (("--hmac", str(tmp_path / "other")), ()):
        failed = launch_node(*wrong, "--join", first.address)
        assert failed.process.wait(10) == 1


class _GoServer:
    """Answers like a Go server: it has no service for nodes."""

    def hello(self, session: Accepted) -> None:
        pass

    def request(self, session: Accepted, conversation: int, payload: object) -> None:
        session.reply(conversation, ReturnMsg((None,)))

    def gone(self, session: Accepted, error: CircuitError) -> None:
        pass


def test_a_go_server_cannot_be_joined() -> None:
    async def scenario() -> None:
        worker = "Q0000000000000001"
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(Accepted(worker, 1, _GoServer()), None), "127.0.0.1", 0
        )
        address = Address("127.0.0.1", server.sockets[0].getsockname()[1], 1, worker)
        node = Node("127.0.0.1")
        with pytest.raises(CircuitError, match="joining a Go circuit server is not supported: only clients"):
            await node.start(address)
        await node.close()
        server.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_who_cannot_be_reached_cannot_join(monkeypatch: pytest.MonkeyPatch, start_node: StartNode) -> None:
    monkeypatch.setattr(membership, "JOIN_LIMIT_S", 0.3)
    first = start_node()

    async def scenario() -> None:
        nobody = Address("127.0.0.1", 1, 1, "Q0000000000000001")
        own = Peer(Kin(PermPtrMsg(1, 1), 1), PermPtrMsg(2, 2))
        member = membership.Membership(nobody, own, None)
        with pytest.raises(CircuitError, match=r"it has not reached circuit://127\.0\.0\.1:1/1/"):
            await member.join(parse_address(first.address))
        member.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))
    assert len(_hosts(first.address)) == 1


@pytest.mark.parametrize(
    "newcomer",
    [
        None,
        "text",
        Peer(),
        Peer(term=PermPtrMsg(1, 1)),
        Peer(term=PermPtrPtrMsg(1, 1, None)),
        Peer(term=PermPtrPtrMsg(1, 1, to_wire(Address("127.0.0.1", 70_000, 1, "Q")))),
    ],
)
def test_nonsense_is_refused(start_node: StartNode, open_raw: OpenRaw, newcomer: object) -> None:
    client = open_raw(start_node().address)
    service = client.dial(membership.SERVICE)
    reply = client.ask(CallMsg(service, func_id(membership.MEET, "", ""), (newcomer,)))
    assert isinstance(reply.error, ErrorString)
    assert len(client.peers()) == 1


def test_a_node_can_be_closed_at_any_moment(start_node: StartNode) -> None:
    """asyncio.wait_for swallows a cancellation that meets a result, and a dial waits for two results in a row."""
    first = parse_address(start_node().address)

    async def leave_after(turns: int) -> None:
        node = Node("127.0.0.1")
        starting = asyncio.create_task(node.start(first))
        while not starting.done() and turns:
            await asyncio.sleep(0)
            turns -= len(asyncio.all_tasks()) > 2
        starting.cancel()
        await node.close()
        # As asyncio.run does it when the node's process ends.
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=2)
            assert not left

    for turns in range(60):
        asyncio.run(leave_after(turns))
