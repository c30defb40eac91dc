"""Channels, subscriptions and servers of circuit.node, and of the reference where there is one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

import circuit
from circuit import Anchor, CallFailed, Client, Closed, TimedOut
from circuit.errors import CircuitError
from circuit.node.channel import Channel
from circuit.node.pipes import END_OF_FILE, PipeError
from circuit.node.subscriptions import Topic
from circuit.wire.messages import NO_HANDLE, ChanStatValue, ErrorString, PtrMsg, ReturnMsg, error_text
from tests import circuits
from tests.circuits import Pair, start

if TYPE_CHECKING:
    from tests.conftest import Eventually, OpenRaw, RawClient, RunningNode, StartNode

LIMIT_S = 10.0
BIG = bytes(range(256)) * 1000

_numbers = itertools.count()


@pytest.fixture
def client(circuit_pair: Pair) -> Iterator[Client]:
    with circuit.dial(circuit_pair.first.address) as client:
        yield client


@pytest.fixture
def place(client: Client) -> Anchor:
    """A new anchor of either host."""
    host = next(iter(client.view().values()))
    return host.walk("elements", str(next(_numbers)))


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def chan(raw: RawClient, anchor: int) -> int:
    """A raw pointer to a channel of the shared node that holds nothing."""
    return raw.get(anchor, "Make", "chan", 0)


def outcome(future: Future[object]) -> ReturnMsg:
    reply = future.result(LIMIT_S)
    assert isinstance(reply, ReturnMsg)
    return reply


def refusal(future: Future[object]) -> str:
    """The words of the error that a call returned."""
    pointer, error = outcome(future).results
    assert pointer is None
    return error_text(error)


def pointer(future: Future[object]) -> int:
    """The pointer that a call returned."""
    result, error = outcome(future).results
    assert error is None
    assert isinstance(result, PtrMsg)
    return result.id


def say(raw: RawClient, chan: int, text: bytes) -> None:
    """Send a message, whoever receives it."""
    sink = pointer(raw.start(chan, "Send"))
    assert raw.call(sink, "Write", text) == (len(text), None)
    raw.call(sink, "Close")


def hear(raw: RawClient, message: int) -> bytes:
    """Read a message to its end."""
    data = bytearray()
    while True:
        block, error = raw.call(message, "Read", 50_000)
        data += block
        if error is not None:
            assert error_text(error) == END_OF_FILE
            return bytes(data)


# -- channels ---------------------------------------------------------------------------------------------------------


def test_a_channel_holds_as_many_messages_as_it_was_told_to(
    place: Anchor, threads: ThreadPoolExecutor, eventually: Eventually
) -> None:
    chan = place.make_chan(2)
    assert chan.stat() == circuit.ChanStat(2, closed=False, aborted=False, sent=0, received=0)
    chan.send(b"first")
    chan.send(b"")
    third = threads.submit(chan.send, b"third", LIMIT_S)
    for _ in range(5):
        assert chan.stat().sent == 2
    assert not third.done()
    assert chan.recv(LIMIT_S) == b"first"
    third.result(LIMIT_S)
    assert (chan.stat().sent, chan.stat().received) == (3, 1)
    assert [chan.recv(LIMIT_S), chan.recv(LIMIT_S)] == [b"", b"third"]


def test_without_capacity_sender_and_receiver_meet(place: Anchor, threads: ThreadPoolExecutor) -> None:
    chan = place.make_chan()
    for message in (BIG, b"", b"x"):
        sending = threads.submit(chan.send, message, LIMIT_S)
        assert chan.recv(LIMIT_S) == message
        sending.result(LIMIT_S)
        receiving = threads.submit(chan.recv, LIMIT_S)
        chan.send(message, LIMIT_S)
        assert receiving.result(LIMIT_S) == message


def test_each_message_goes_to_one_of_many(circuit_pair: Pair, place: Anchor, threads: ThreadPoolExecutor) -> None:
    chan = place.make_chan()
    with circuit.dial(circuit_pair.second.address) as other:
        theirs = other.walk(*place.path.strip("/").split("/")).get()
        assert isinstance(theirs, circuit.Chan)
        receiving = [threads.submit(end.recv, LIMIT_S) for end in (chan, theirs)]
        for number in range(2):
            theirs.send(str(number).encode(), LIMIT_S)
        assert sorted(future.result(LIMIT_S) for future in receiving) == [b"0", b"1"]
        assert (chan.stat().sent, chan.stat().received) == (2, 2)


def test_a_closed_channel_gives_what_it_holds(place: Anchor, threads: ThreadPoolExecutor) -> None:
    chan = place.make_chan(1)
    chan.send(b"held")
    chan.close()
    assert chan.stat().closed
    with pytest.raises(CallFailed, match="channel already closed"):
        chan.close()
    with pytest.raises(Closed):
        chan.send(b"late", LIMIT_S)
    assert chan.recv(LIMIT_S) == b"held"
    for _ in range(2):
        with pytest.raises(Closed):
            chan.recv(LIMIT_S)


def test_closing_ends_those_who_wait_to_receive(place: Anchor) -> None:
    chan = place.make_chan()
    with pytest.raises(TimedOut):
        chan.recv(0.1)
    chan.close()
    with pytest.raises(Closed):
        chan.recv(LIMIT_S)


def test_a_scrub_aborts_those_who_wait(place: Anchor) -> None:
    chan = place.make_chan()
    with pytest.raises(TimedOut):
        chan.recv(0.1)
    place.scrub()
    assert place.get() is None
    with pytest.raises(CallFailed, match="channel aborted"):
        chan.recv(LIMIT_S)
    with pytest.raises(CallFailed, match="channel aborted"):
        chan.send(b"x", LIMIT_S)
    assert chan.stat().aborted


def test_a_scrub_aborts_senders_and_writers(raw: RawClient, anchor: int) -> None:
    chan = raw.get(anchor, "Make", "chan", 1)
    sink = pointer(raw.start(chan, "Send"))
    assert raw.call(sink, "Write", BIG) == (len(BIG), None)
    writing, sending = raw.start(sink, "Write", b"x"), raw.start(chan, "Send")
    assert raw.call(chan, "IsDone") == (False,)
    assert not writing.done()
    assert not sending.done()
    assert raw.call(chan, "Scrub") == ()
    assert refusal(sending) == "channel aborted"
    # The reference leaves this one waiting for ever.
    assert outcome(writing).results[0] == 0
    assert error_text(outcome(writing).results[1]) == "io: read/write on closed pipe"
    assert raw.call(chan, "IsDone") == (True,)
    assert raw.call(anchor, "Get")[0] == "chan", "only the anchor's scrub removes it"
    assert raw.call(chan, "Scrub") == ()


def test_senders_that_wait_when_a_channel_is_closed_are_served(raw: RawClient, chan: int) -> None:
    senders = [raw.start(chan, "Send") for _ in range(2)]
    assert raw.call(chan, "Stat")[0].sent == 0
    assert raw.call(chan, "Close") == (None,)
    assert refusal(raw.start(chan, "Send")) == "channel closed"
    for _ in senders:
        pointer(raw.start(chan, "Recv"))
    for sender in senders:
        pointer(sender)
    assert refusal(raw.start(chan, "Recv")) == "channel closed"
    assert raw.call(chan, "Stat") == (ChanStatValue(0, True, True, False, 2, 2),)


@pytest.mark.parametrize("argument", ["x", None, True, -1])
def test_a_capacity_is_a_number(raw: RawClient, anchor: int, argument: object) -> None:
    made, error = raw.call(anchor, "Make", "chan", argument)
    assert (made, error_text(error)) == (None, "invalid argument")
    assert raw.call(anchor, "Get") == ("", None)


def test_a_capacity_is_told(raw: RawClient, anchor: int) -> None:
    assert raw.call(raw.get(anchor, "Make", "chan", 7), "Cap") == (7,)


def test_messages_travel_in_blocks(raw: RawClient, anchor: int) -> None:
    chan = raw.get(anchor, "Make", "chan", 1)
    sink = pointer(raw.start(chan, "Send"))
    assert raw.call(sink, "Write", bytes(100_000)) == (100_000, None)
    writing = raw.start(sink, "Write", b"rest")
    message = pointer(raw.start(chan, "Recv"))
    for _ in range(3):
        assert not writing.done(), "the next write waits until there is room"
        assert len(raw.call(message, "Read", 50_000)[0]) == 32_000
    assert outcome(writing).results == (4, None)
    reading = raw.start(message, "Read", 50_000)
    assert raw.call(chan, "Cap")
    assert not reading.done(), "nothing comes before the block is full or the writer closes"
    assert raw.call(sink, "Close") == (None,)
    assert outcome(reading).results == (bytes(4000) + b"rest", None)
    assert hear(raw, message) == b""
    assert error_text(raw.call(sink, "Write", b"x")[1]) == "io: read/write on closed pipe"


def test_a_dropped_end_closes_a_message(raw: RawClient, anchor: int) -> None:
    chan = raw.get(anchor, "Make", "chan", 1)
    sink = pointer(raw.start(chan, "Send"))
    raw.call(sink, "Write", b"part")
    raw.drop(sink)
    assert hear(raw, pointer(raw.start(chan, "Recv"))) == b"part"
    sink = pointer(raw.start(chan, "Send"))
    message = pointer(raw.start(chan, "Recv"))
    raw.call(sink, "Write", BIG)
    writing = raw.start(sink, "Write", b"x")
    assert raw.call(chan, "Cap")
    assert not writing.done()
    raw.drop(message)
    assert error_text(outcome(writing).results[1]) == "io: read/write on closed pipe"


# -- who leaves gets nothing that another could have ------------------------------------------------------------------


def leave_by_hanging_up(client: RawClient, node: RunningNode, eventually: Eventually, waiting: Future[object]) -> None:
    assert client.peers(), "the call before has been read"
    before = node.counts()["connections"]
    client.hang_up()
    eventually(lambda: node.counts()["connections"] < before)
    assert isinstance(waiting.exception(LIMIT_S), CircuitError)


def leave_by_the_lifeline(
    client: RawClient, node: RunningNode, eventually: Eventually, waiting: Future[object]
) -> None:
    eventually(client.lifeline)
    client.lose_lifeline()
    assert outcome(waiting).error == ErrorString(NO_HANDLE)


Leave = Callable[["RawClient", "RunningNode", "Eventually", "Future[object]"], None]


@pytest.mark.parametrize("leave", [leave_by_hanging_up, leave_by_the_lifeline])
def test_a_receiver_that_left_swallows_no_message(
    raw: RawClient, node: RunningNode, open_raw: OpenRaw, eventually: Eventually, leave: Leave
) -> None:
    name = f"left{next(_numbers)}"
    chan = raw.get(raw.get(raw.root, "Walk", [name]), "Make", "chan", 0)
    other = open_raw(node.address)
    theirs = other.call(other.get(other.root, "Walk", [name]), "Get")[1].id
    leave(other, node, eventually, other.start(theirs, "Recv"))
    sending = raw.start(chan, "Send")
    assert raw.call(chan, "Stat")[0].sent == 0
    message = pointer(raw.start(chan, "Recv"))
    sink = pointer(sending)
    raw.call(sink, "Write", b"kept")
    raw.call(sink, "Close")
    assert hear(raw, message) == b"kept"


def test_a_sender_that_left_sends_nothing(
    raw: RawClient, node: RunningNode, open_raw: OpenRaw, eventually: Eventually
) -> None:
    name = f"left{next(_numbers)}"
    chan = raw.get(raw.get(raw.root, "Walk", [name]), "Make", "chan", 0)
    other = open_raw(node.address)
    theirs = other.call(other.get(other.root, "Walk", [name]), "Get")[1].id
    leave_by_hanging_up(other, node, eventually, other.start(theirs, "Send"))
    receiving = raw.start(chan, "Recv")
    say(raw, chan, b"mine")
    assert hear(raw, pointer(receiving)) == b"mine"


@pytest.mark.parametrize("leave", [leave_by_hanging_up, leave_by_the_lifeline])
def test_a_consumer_that_left_swallows_no_event(
    open_raw: OpenRaw, eventually: Eventually, start_node: StartNode, leave: Leave
) -> None:
    node = start_node()
    raw, other = open_raw(node.address), open_raw(node.address)
    name = f"left{next(_numbers)}"
    events = raw.get(raw.get(raw.root, "Walk", [name]), "Make", "@join", "")
    assert raw.call(events, "Consume")[1]
    theirs = other.call(other.get(other.root, "Walk", [name]), "Get")[1].id
    leave(other, node, eventually, other.start(theirs, "Consume"))
    start_node("--join", node.address)
    assert outcome(raw.start(events, "Consume")).results[1]


def test_what_meets_a_cancellation_is_put_back() -> None:
    """What was given to a caller who is cancelled before it runs again goes to the next one."""

    async def scenario() -> None:
        chan = Channel(0)
        first, second = asyncio.create_task(chan.recv()), asyncio.create_task(chan.recv())
        await asyncio.sleep(0)
        sink = await chan.send()
        first.cancel()
        await sink.write(b"x")
        sink.close()
        assert await (await second).read(10) == b"x"
        assert (chan.stat().sent, chan.stat().received) == (1, 1)

        third = asyncio.create_task(chan.recv())
        await asyncio.sleep(0)
        sink = await chan.send()
        third.cancel()
        await asyncio.wait((third,))
        assert chan.stat().received == 1
        sink.close()
        with pytest.raises(PipeError, match=END_OF_FILE):
            await (await chan.recv()).read(10)

        topic = Topic("join", tuple)
        subscription = topic.subscribe()
        for others in ([asyncio.create_task(subscription.consume())], []):
            taker = asyncio.create_task(subscription.consume())
            await asyncio.sleep(0)
            for number in range(len(others) + 1):
                topic.publish(str(number))
            cancelled = others[0] if others else taker
            cancelled.cancel()
            await asyncio.wait((cancelled,))
            left = [await subscription.consume()] + [await task for task in (taker,) if task is not cancelled]
            assert sorted(filter(None, left)) == [str(number) for number in range(len(others) + 1)]

    asyncio.run(asyncio.wait_for(scenario(), LIMIT_S))


def test_whom_nobody_has_told_yet_that_they_are_cancelled() -> None:
    """They are neither given anything, nor kept."""

    async def scenario() -> None:
        chan = Channel(0)
        receivers = [asyncio.create_task(chan.recv()) for _ in range(2)]
        await asyncio.sleep(0)
        receivers[0].cancel()
        sink = await chan.send()
        assert (await receivers[1]).sink is sink
        senders = [asyncio.create_task(chan.send()) for _ in range(3)]
        await asyncio.sleep(0)
        senders[0].cancel()
        message = await chan.recv()
        assert message.sink is await senders[1]
        await chan.recv()
        await senders[2]
        for leaving in (chan.recv(), chan.send()):
            task = asyncio.ensure_future(leaving)
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait((task,))
        assert not chan._senders
        assert not chan._receivers._waiting

    asyncio.run(asyncio.wait_for(scenario(), LIMIT_S))


def test_a_scrub_ends_what_is_put_back() -> None:
    async def scenario() -> None:
        chan = Channel(0)
        receiver = asyncio.create_task(chan.recv())
        await asyncio.sleep(0)
        sink = await chan.send()
        receiver.cancel()
        chan.scrub()
        await asyncio.wait((receiver,))
        await sink.write(BIG)
        with pytest.raises(PipeError, match="closed pipe"):
            await sink.write(b"x")

        topic = Topic("join", tuple)
        subscription = topic.subscribe()
        topic.publish("before")
        subscription.scrub()
        topic.publish("after")
        assert [await subscription.consume() for _ in range(2)] == ["before", None]

    asyncio.run(asyncio.wait_for(scenario(), LIMIT_S))


# -- subscriptions ----------------------------------------------------------------------------------------------------


def test_subscriptions_tell_of_hosts(circuit_pair: Pair, client: Client, eventually: Eventually) -> None:
    eventually(lambda: len(client.view()) == 2)
    hosts = client.view()
    host = hosts[min(hosts)]
    joins, leaves = host.walk("joins").make_on_join(), host.walk("leaves").make_on_leave()
    assert (joins.kind, leaves.kind) == ("@join", "@leave")
    assert (joins.peek().source, leaves.peek().source) == ("join", "leave")
    assert {joins.next(LIMIT_S), joins.next(LIMIT_S)} == set(hosts), "those that there are come first"
    with start(circuit_pair.side, join=circuit_pair.second) as third:
        name = joins.next(LIMIT_S)
        assert name not in hosts
        with circuit.dial(third.address) as own:
            assert name in own.view()
        with pytest.raises(TimedOut):
            leaves.next(0)
        third.kill()
        assert leaves.next(2 * LIMIT_S) == name
    with pytest.raises(TimedOut):
        joins.next(0)


def test_each_event_goes_to_one_consumer(open_raw: OpenRaw, start_node: StartNode, eventually: Eventually) -> None:
    node = start_node()
    raw = open_raw(node.address)
    anchor = raw.get(raw.root, "Walk", ["events"])
    events = raw.get(anchor, "Make", "@join", "")
    assert raw.call(events, "Peek")[0].pending == 1
    assert raw.call(events, "Consume") == (raw.call(raw.root, "Path")[0], True)
    waiting = [raw.start(events, "Consume") for _ in range(2)]
    others = [start_node("--join", node.address) for _ in range(3)]
    eventually(lambda: raw.call(events, "Peek")[0].pending == 1)
    told = [outcome(future).results[0] for future in waiting]
    assert raw.call(events, "Scrub") == ()
    assert not raw.call(events, "Peek")[0].closed, "only the anchor's scrub ends it"
    raw.call(anchor, "Scrub")
    assert raw.call(events, "Peek")[0].closed
    told += [raw.call(events, "Consume")[0]]
    assert set(told) == {open_raw(other.address).call(open_raw(other.address).root, "Path")[0] for other in others}
    assert raw.call(events, "Consume") == (None, False)


def test_scrubbing_the_anchor_ends_a_subscription(raw: RawClient, anchor: int) -> None:
    events = raw.get(anchor, "Make", "@leave", "")
    waiting = raw.start(events, "Consume")
    assert raw.call(events, "Peek")[0].pending == 0
    assert not waiting.done()
    raw.call(anchor, "Scrub")
    assert outcome(waiting).results == (None, False)


# -- servers ----------------------------------------------------------------------------------------------------------


def test_a_server_tells_its_address_and_age(circuit_pair: Pair, eventually: Eventually) -> None:
    with circuit.dial(circuit_pair.first.address) as client:
        eventually(lambda: len(client.view()) == 2)
        servers = [host.get() for host in client.view().values()]
        stats = [server.peek() for server in servers if isinstance(server, circuit.Server)]
    assert {stat.address for stat in stats} == {circuit_pair.first.address, circuit_pair.second.address}
    for stat in stats:
        assert timedelta() < datetime.now(timezone.utc) - stat.joined < timedelta(minutes=10)


def test_two_circuits_become_one(circuit_pair: Pair, client: Client, eventually: Eventually) -> None:
    with start(circuit_pair.side) as alone, circuit.dial(alone.address) as other:
        (host,) = other.view().values()
        server = host.get()
        assert isinstance(server, circuit.Server)
        server.rejoin(circuit_pair.second.address)
        eventually(lambda: len(client.view()) == len(other.view()) == 3)


def test_who_was_not_joined_is_introduced(monkeypatch: pytest.MonkeyPatch) -> None:
    """What tests rely on where a Go server lost its only attempt to join."""
    monkeypatch.setattr(circuits, "JOIN_PATIENCE_S", 0.0)
    with start("node") as first, start("node") as second:
        circuits.introduce(first.address, second.address)
        with circuit.dial(first.address) as client:
            assert len(client.view()) == 2


def test_what_a_server_cannot_do(node: RunningNode, raw: RawClient) -> None:
    with circuit.dial(node.address) as client:
        (host,) = client.view().values()
        server = host.get()
        assert isinstance(server, circuit.Server)
        with pytest.raises(CallFailed, match="no profile"):
            server.profile("heap")
        with pytest.raises(CallFailed, match="'nonsense' is not a circuit address"):
            server.rejoin("nonsense")
        with pytest.raises(CallFailed, match="cannot connect"):
            server.rejoin("circuit://127.0.0.1:1/1/Q0000000000000001")
        server.rejoin(node.address)
    element = raw.call(raw.root, "Get")[1].id
    assert raw.call(element, "IsDone") == (False,)
    assert raw.call(element, "Scrub") == ()


@pytest.mark.parametrize("kind", ["docker", "dns"])
def test_kinds_that_only_the_real_server_makes(raw: RawClient, anchor: int, kind: str) -> None:
    made, error = raw.call(anchor, "Make", kind, "")
    assert made is None
    assert error_text(error) == f"elements of kind {kind} are not supported by this server"
    assert raw.call(anchor, "Get") == ("", None)
