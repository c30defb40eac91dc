"""The faults that circuit.node has on request, and that it has none of them otherwise."""

from __future__ import annotations

import base64
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import circuit
from circuit.node.faults import Faults, parse_faults
from circuit.wire.address import parse_address
from circuit.wire.messages import CmdValue, StatValue, error_text

if TYPE_CHECKING:
    from tests.conftest import Eventually, OpenRaw, RawClient, StartNode

FAILING = CmdValue(path="/bin/sh", args=("-c", "exit 3"))
KEY = bytes(range(64))


def _fail(client: RawClient, scrub: bool) -> int:
    anchor = client.get(client.root, "Walk", ["fails"])
    process = client.get(anchor, "Make", "proc", CmdValue(path=FAILING.path, args=FAILING.args, scrub=scrub))
    client.call(client.get(process, "Stdin"), "Close")
    return process


@pytest.mark.parametrize("scrub", [False, True])
def test_without_faults_wait_tells_the_truth(start_node: StartNode, open_raw: OpenRaw, scrub: bool) -> None:
    client = open_raw(start_node().address)
    for _ in range(20):
        anchor = client.get(client.root, "Walk", ["fails"])
        process = client.get(anchor, "Make", "proc", CmdValue(path=FAILING.path, args=FAILING.args, scrub=scrub))
        early = client.start(process, "Wait")
        client.call(client.get(process, "Stdin"), "Close")
        stat, error = client.call(process, "Wait")
        assert error is None
        assert error_text(stat.exit) == "exit status 3"
        assert early.result(10).results == (stat, None)  # type: ignore[attr-defined]
        client.call(anchor, "Scrub")


def test_wait_aborted(start_node: StartNode, open_raw: OpenRaw, eventually: Eventually) -> None:
    running = start_node("--fault", "wait-aborted")
    client = open_raw(running.address)
    process = _fail(client, scrub=True)
    stat, error = client.call(process, "Wait")
    assert stat == StatValue()
    assert error_text(error) == "aborted"
    assert error_text(eventually(lambda: client.call(process, "Peek")[0].exit)) == "exit status 3"
    process = _fail(client, scrub=False)
    assert error_text(client.call(process, "Wait")[0].exit) == "exit status 3", "it is no fault of others"
    with circuit.dial(running.address) as taught:
        (host,) = taught.view().values()
        proc = host.walk("x").make_proc(circuit.Cmd("/bin/sh", ["-c", "exit 3"], scrub=True))
        proc.communicate()
        assert proc.wait().exit == circuit.Exit(status=3)


def test_nil_exit(start_node: StartNode, open_raw: OpenRaw) -> None:
    running = start_node("--fault", "nil-exit")
    client = open_raw(running.address)
    process = _fail(client, scrub=False)
    stat, error = client.call(process, "Wait")
    assert (stat.exit, stat.phase, error) == (None, "exited", None)
    assert error_text(client.call(process, "Peek")[0].exit) == "exit status 3"
    with circuit.dial(running.address) as taught:
        (host,) = taught.view().values()
        proc = host.walk("x").make_proc(circuit.Cmd("/bin/sh", ["-c", "exit 3"]))
        proc.communicate()
        assert proc.wait().exit == circuit.Exit(status=3)


def test_swallow_hello(start_node: StartNode, tmp_path: Path) -> None:
    running = start_node("--fault", "swallow-hello")
    with pytest.raises(circuit.CannotConnect, match="no answer to the hello"):
        circuit.dial(running.address, timeout=0.2)
    with circuit.dial(running.address) as client:
        assert client.view()
    key = tmp_path / "key"
    key.write_text(base64.b64encode(KEY).decode())
    running = start_node("--fault", "swallow-hello", "--hmac", str(key))
    with circuit.dial(running.address, KEY) as client:
        assert client.view(), "it was dialed again by itself"


def test_no_dial_back(start_node: StartNode, open_raw: OpenRaw) -> None:
    running = start_node("--fault", "no-dial-back")
    address = parse_address(running.address)
    client = open_raw(running.address, listen=False)
    pointer = client.get(client.root, "Walk", ["x"])
    # Round trips enough for a dial of this machine to have come back.
    for _ in range(20):
        with socket.create_connection((address.host, address.port)):
            assert client.call(pointer, "Path")
    counts = running.counts()
    assert (counts["pointers"], counts["lifelines"]) == (1, 0)


def test_stalled_call(start_node: StartNode, open_raw: OpenRaw) -> None:
    client = open_raw(start_node("--fault", "stalled-call=View", "--fault", "stalled-call=Make").address)
    view = client.start(client.root, "View")
    anchor = client.get(client.root, "Walk", ["x"])
    make = client.start(anchor, "Make", "proc", FAILING)
    assert client.call(anchor, "Get") == ("", None)
    assert not view.done()
    assert not make.done()


def test_parse_faults() -> None:
    assert parse_faults([]) == Faults()
    faults = parse_faults(["nil-exit", "stalled-call=Wait", "stalled-call=Peek"])
    assert faults == Faults(nil_exit=True, stalled=frozenset({"Wait", "Peek"}))
    for name in ("", "nil_exit", "nil-exit=1", "stalled-call"):
        with pytest.raises(ValueError, match=r"no (fault|method)"):
            parse_faults([name])
