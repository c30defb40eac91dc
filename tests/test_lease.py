"""Leases: one holder at a time, gone with its owner, on our servers and on real ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from circuit import Client, Proc, Server, dial
from circuit.wire.messages import CmdValue
from circuit_harness.errors import Occupied, Stopped, Unfit
from circuit_harness.journal import lease as leasing
from circuit_harness.journal.lease import ANCHOR, Lease, holder, take, take_some
from circuit_harness.remote.circuit_host import CircuitHost, CircuitHosts
from circuit_harness.remote.host import Host
from circuit_harness.steps import Steps
from tests.circuits import REFERENCE, Pair
from tests.jobs import ROOT

if TYPE_CHECKING:
    from tests.conftest import Eventually, OpenRaw

GONE_LIMIT_S = 15.0


@pytest.fixture
def client(circuit_pair: Pair) -> Iterator[Client]:
    with dial(circuit_pair.first.address) as client:
        yield client


@pytest.fixture
def hosts(client: Client, eventually: Eventually) -> list[CircuitHost]:
    eventually(lambda: len(client.view()) == 2)
    return [host for _, host in sorted(CircuitHosts(client).hosts().items())]


def silence(_: str) -> None:
    pass


def test_one_of_many_gets_it(circuit_pair: Pair, hosts: list[CircuitHost]) -> None:
    host = hosts[0].name
    clients = [dial(circuit_pair.first.address) for _ in range(6)]
    try:
        for _ in range(5):
            with ThreadPoolExecutor(len(clients)) as pool:
                leases = list(pool.map(lambda one: take(CircuitHost(one.walk(host)), "somebody"), clients))
            (lease,) = [lease for lease in leases if lease is not None]
            lease.give_up()
    finally:
        for client in clients:
            client.close()


def test_the_holder_is_told(hosts: list[CircuitHost], eventually: Eventually) -> None:
    assert holder(hosts[0]) is None
    lease = take(hosts[0], "run 1 of me@here")
    assert lease is not None
    assert take(hosts[0], "run 2") is None
    assert holder(hosts[0]) == "run 1 of me@here"
    lease.give_up()
    assert holder(hosts[0]) is None
    eventually(lambda: ANCHOR not in hosts[0].anchor.view())


def test_it_is_gone_with_its_owner(circuit_pair: Pair, hosts: list[CircuitHost], eventually: Eventually) -> None:
    """Killed when it may have done no more than make it, or has held it for a while."""
    script = (
        "import sys, circuit, circuit_harness.journal.lease\n"
        "from circuit_harness.remote.circuit_host import CircuitHost\n"
        "client = circuit.dial(sys.argv[1])\n"
        "lease = circuit_harness.journal.lease.take(CircuitHost(client.walk(sys.argv[2])), 'the one that is killed')\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    for delay in (0.0, 0.005, 0.01, 0.02, None):
        owner = subprocess.Popen(
            [sys.executable, "-c", script, circuit_pair.first.address, hosts[0].name],
            cwd=ROOT,
            env=dict(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with owner:
            if delay is None:
                assert owner.stdout is not None
                assert owner.stdout.readline() == b"held\n"
            else:
                eventually(lambda: holder(hosts[0]) is not None)
                time.sleep(delay)
            owner.kill()
        eventually(lambda: holder(hosts[0]) is None, 20 + GONE_LIMIT_S)


@pytest.mark.parametrize("scrub", [True, False], ids=["as a run makes it", "as nobody sweeps it"])
@pytest.mark.parametrize("maker", ["a client", *(["the reference's command"] if REFERENCE else [])])
def test_a_process_that_has_ended_holds_nothing(
    circuit_pair: Pair, hosts: list[CircuitHost], open_raw: OpenRaw, eventually: Eventually, maker: str, scrub: bool
) -> None:
    """Its client has died before it opened the input, so that the server waits for that input's end, and for ever."""
    host = next(host for host in hosts if address_of(host) == circuit_pair.first.address)
    if maker == "a client":
        dead = open_raw(circuit_pair.first.address)
        process = CmdValue(dir="/", path="/bin/sh", args=("-c", "exit 0", "the one that died"), scrub=scrub)
        dead.get(dead.get(dead.root, "Walk", [ANCHOR]), "Make", "proc", process)
        dead.close()
    else:
        made = json.dumps({"Path": "/bin/sh", "Args": ["-c", "exit 0", "the one that died"], "Scrub": scrub})
        command = [REFERENCE, "mkproc", "--dial", circuit_pair.first.address, f"{host.anchor.path}/{ANCHOR}"]
        subprocess.run(command, input=made.encode(), capture_output=True, timeout=20, check=True)
    eventually(lambda: phase(host) == "exited")
    lease = take(host, "me")
    try:
        assert lease is not None, f"it is held by {holder(host)}"
        assert lease.is_held()
        assert holder(host) == "me"
    finally:
        if lease is not None:
            lease.give_up()
        host.anchor.walk(ANCHOR).scrub()
    eventually(lambda: ANCHOR not in host.anchor.view())


@pytest.mark.parametrize("kind", ["chan", "@join"])
def test_what_is_no_process_holds_nothing(circuit_pair: Pair, hosts: list[CircuitHost], kind: str) -> None:
    """Any client can put it there, and is gone then, while it stays for ever."""
    with dial(circuit_pair.first.address) as other:
        anchor = other.walk(hosts[0].name, ANCHOR)
        if kind == "chan":
            anchor.make_chan(1)
        else:
            anchor.make_on_join()
    assert holder(hosts[0]) is None
    lease = take(hosts[0], "me")
    assert lease is not None
    assert holder(hosts[0]) == "me"
    lease.give_up()


def address_of(host: CircuitHost) -> str:
    element = host.anchor.get()
    assert isinstance(element, Server)
    return element.peek().address


def phase(host: CircuitHost) -> str:
    anchor = host.anchor.walk(ANCHOR)
    element = anchor.get()
    try:
        return element.peek().phase if isinstance(element, Proc) else ""
    finally:
        anchor.release()


def test_waiting_ends_when_the_holder_lets_go(hosts: list[CircuitHost]) -> None:
    first = take_some(hosts, 2, "first", Steps(), 0, silence)
    said: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(take_some, hosts, 2, "second", Steps(), 30, said.append)
        while not said:
            time.sleep(0.01)
        assert "held by first" in said[0]
        assert not second.done()
        for lease in first:
            lease.give_up()
        for lease in second.result(20):
            lease.give_up()
    assert [holder(host) for host in hosts] == [None, None]


def test_free_hosts_are_taken_at_once(hosts: list[CircuitHost], monkeypatch: pytest.MonkeyPatch) -> None:
    take_one, both = leasing._take, threading.Barrier(2)

    def take_with_the_other(host: Host, owner: str, lock: str) -> Lease | str:
        both.wait(10)
        return take_one(host, owner, lock)

    monkeypatch.setattr(leasing, "_take", take_with_the_other)
    taken = take_some(hosts, 2, "me", Steps(), 10, silence)
    assert [holder(host) for host in hosts] == ["me", "me"]
    for lease in taken:
        lease.give_up()


def test_where_one_cannot_be_locked_none_stays_held(hosts: list[CircuitHost], monkeypatch: pytest.MonkeyPatch) -> None:
    take_one = leasing._take

    def take_but_one(host: Host, owner: str, lock: str) -> Lease | str:
        if host.name == hosts[1].name:
            raise Unfit("its folder cannot be locked")
        return take_one(host, owner, lock)

    monkeypatch.setattr(leasing, "_take", take_but_one)
    with pytest.raises(Unfit, match="cannot be locked"):
        take_some(hosts, 2, "me", Steps(), 10, silence)
    assert [holder(host) for host in hosts] == [None, None]


def test_who_does_not_wait_is_told_who_holds_it(hosts: list[CircuitHost]) -> None:
    lease = take(hosts[1], "run 7 of them@there")
    assert lease is not None
    with pytest.raises(Occupied, match=rf"host {hosts[1].name} is held by run 7 of them@there.*--lease-wait"):
        take_some(hosts, 2, "me", Steps(), 0, silence)
    assert holder(hosts[0]) is None
    lease.give_up()


def test_who_waits_can_be_stopped(hosts: list[CircuitHost]) -> None:
    lease = take(hosts[0], "another")
    assert lease is not None
    steps = Steps()
    threading.Timer(0.3, steps.stop).start()
    start = time.monotonic()
    with pytest.raises(Stopped):
        take_some(hosts, 2, "me", steps, 60, silence)
    assert time.monotonic() - start < 10
    lease.give_up()


def test_a_free_host_is_taken_where_one_is_enough(hosts: list[CircuitHost]) -> None:
    lease = take(hosts[0], "another")
    assert lease is not None
    (mine,) = take_some(hosts, 1, "me", Steps(), 0, silence)
    assert mine.host.name == hosts[1].name
    mine.give_up()
    lease.give_up()


def test_many_who_want_all_get_them_one_after_the_other(circuit_pair: Pair, hosts: list[CircuitHost]) -> None:
    names = [host.name for host in hosts]
    holding = threading.Semaphore(1)

    def work(number: int) -> int:
        with dial(circuit_pair.first.address) as client:
            leases = take_some(
                [CircuitHost(client.walk(name)) for name in names], 2, f"run {number}", Steps(), 60, silence
            )
            assert holding.acquire(blocking=False), "two hold the same hosts"
            holding.release()
            for lease in leases:
                lease.give_up()
        return number

    with ThreadPoolExecutor(5) as pool:
        assert sorted(pool.map(work, range(5))) == list(range(5))
