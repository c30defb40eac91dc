"""What several files of tests share: circuit nodes as processes of their own, and a client that takes no care."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import json
import os
import queue
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from circuit.net.lifeline import Lifelines
from circuit.net.session import Session, to_wire
from circuit.wire.address import Address, parse_address
from circuit.wire.auth import SharedKey
from circuit.wire.messages import METHODS, CallMsg, DialMsg, DropPtrMsg, Peer, PermPtrMsg, PtrMsg, ReturnMsg
from localhosts import Cluster
from tests.circuits import REFERENCE, SIDES, Pair, pair
from tests.jobs import Watched

LIMIT_S = 10.0
"""How long anything may take that is expected to happen."""

ROOT = Path(__file__).parent.parent

T = TypeVar("T")


def _eventually(check: Callable[[], T], limit: float = LIMIT_S) -> T:
    """Call ``check`` until it returns something true, and return that."""
    deadline = time.monotonic() + limit
    while not (result := check()):
        assert time.monotonic() < deadline, f"not within {limit:g} s; last seen: {result!r}"
        time.sleep(0.005)
    return result


class Eventually(Protocol):
    """The type of the fixture ``eventually``."""

    def __call__(self, check: Callable[[], T], limit: float = LIMIT_S) -> T:
        """Call ``check`` until it returns something true, and return that."""


@pytest.fixture(scope="session")
def eventually() -> Eventually:
    """Waits for a condition, with a deadline."""
    return _eventually


class RunningNode:
    """A ``circuit.node`` that runs as a process of its own."""

    def __init__(self, *options: str, addr: str = "127.0.0.1:0") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "circuit.node", "--addr", addr, *options],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        self._counts: queue.Queue[dict[str, int]] = queue.Queue()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        self.address = ""

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_started(self) -> RunningNode:
        """Wait for its address."""
        assert self.process.stdout is not None
        # A node that hangs is killed, which ends the line.
        limit = threading.Timer(3 * LIMIT_S, self.process.kill)
        limit.start()
        self.address = self.process.stdout.readline().strip()
        limit.cancel()
        if not self.address:
            self.stop()
            raise AssertionError(f"no address was printed: {self.log}")
        return self

    def counts(self) -> dict[str, int]:
        """What the node holds right now."""
        os.kill(self.pid, signal.SIGUSR1)
        return self._counts.get(timeout=LIMIT_S)

    def stop(self) -> None:
        """Kill it. Stopping it again does nothing."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith("{"):
                self._counts.put(json.loads(line))
            else:
                self.log.append(line.rstrip("\n"))


StartNode = Callable[..., RunningNode]


@pytest.fixture
def launch_node() -> Iterator[StartNode]:
    """Launches nodes, and does not wait until they have started."""
    with contextlib.ExitStack() as stack:

        def launch(*options: str, addr: str = "127.0.0.1:0") -> RunningNode:
            running = RunningNode(*options, addr=addr)
            stack.callback(running.stop)
            return running

        yield launch


@pytest.fixture
def start_node(launch_node: StartNode) -> StartNode:
    """Starts nodes with the given options."""

    def start(*options: str, addr: str = "127.0.0.1:0") -> RunningNode:
        return launch_node(*options, addr=addr).wait_started()

    return start


@pytest.fixture(scope="module")
def node() -> Iterator[RunningNode]:
    """One node for all tests of a file that leave nothing behind."""
    running = RunningNode()
    try:
        yield running.wait_started()
    finally:
        running.stop()


class RawClient:
    """A client without memory or manners: it sends what it is told to, and hands out what comes back."""

    def __init__(
        self, address: str, listen: bool = True, shared_key: SharedKey | None = None, worker: str | None = None
    ) -> None:
        self.worker = worker or f"Q{secrets.randbits(63):016x}"
        self.address = parse_address(address)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._lifelines = Lifelines(self.worker, os.getpid(), shared_key, lambda worker: None)
        port = self._run(self._lifelines.listen(("127.0.0.1", 0))) if listen else 1
        source = to_wire(Address("::", port, os.getpid(), self.worker))
        self._session = self._run(Session.dial(self.address, source, shared_key, LIMIT_S))
        self.locus = self.dial("locus")

    def ask(self, payload: object) -> ReturnMsg:
        """Send a request, and return the answer to it."""
        reply = self.begin(payload).result(LIMIT_S)
        assert isinstance(reply, ReturnMsg)
        return reply

    def begin(self, payload: object) -> concurrent.futures.Future[object]:
        """Send a request; the future is done with the answer."""

        async def ask() -> object:
            return await self._session.request(payload)

        return asyncio.run_coroutine_threadsafe(ask(), self._loop)

    def dial(self, service: str) -> int:
        """The pointer of a service."""
        pointer = self.ask(DialMsg(service)).results[0]
        assert isinstance(pointer, PermPtrMsg)
        return pointer.id

    def call(self, pointer: int, method: str, *arguments: object) -> tuple[Any, ...]:
        """Call a method, and return its results."""
        reply = self.ask(CallMsg(pointer, METHODS[method], arguments))
        assert reply.error is None, reply.error
        return reply.results

    def refused(self, pointer: int, method: str, *arguments: object) -> object:
        """Call a method, and return why that failed; None where it did not."""
        return self.ask(CallMsg(pointer, METHODS[method], arguments)).error

    def start(self, pointer: int, method: str, *arguments: object) -> concurrent.futures.Future[object]:
        """Call a method that may not return."""
        return self.begin(CallMsg(pointer, METHODS[method], arguments))

    def get(self, pointer: int, method: str, *arguments: object) -> int:
        """Call a method that returns a pointer first, and return its number."""
        result = self.call(pointer, method, *arguments)[0]
        assert isinstance(result, PtrMsg), result
        return result.id

    def peers(self) -> tuple[Peer, ...]:
        """What GetPeers answers."""
        peers: tuple[Peer, ...] = self.call(self.locus, "GetPeers")[0]
        return peers

    @property
    def root(self) -> int:
        """The node's root anchor."""
        own = self.call(self.locus, "Self")[0]
        assert isinstance(own, Peer)
        assert isinstance(own.term, PermPtrMsg)
        return own.term.id

    def drop(self, pointer: int) -> None:
        """Let go of a pointer; returns when the node has read that."""

        async def post() -> None:
            self._session.post(DropPtrMsg(pointer))

        self._run(post())
        self.peers()

    def lifeline(self) -> bool:
        """Whether the node holds a lifeline."""
        return self._lifelines.holds(self.address.worker)

    def lose_lifeline(self) -> None:
        """End the lifeline; the client's own connection stays."""
        self._run(self._lifelines.close())

    def hang_up(self) -> None:
        """End the client's own connection; the lifeline stays."""
        self._loop.call_soon_threadsafe(self._session.close)

    def close(self) -> None:
        """End all connections. Closing again does nothing."""
        if self._loop.is_closed():
            return

        async def close() -> None:
            self._session.close()
            await self._lifelines.close()
            await asyncio.sleep(0)

        self._run(close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT_S)


OpenRaw = Callable[..., RawClient]


@pytest.fixture
def open_raw() -> Iterator[OpenRaw]:
    """Opens raw clients."""
    with contextlib.ExitStack() as stack:

        def opened(address: str, **options: Any) -> RawClient:
            client = RawClient(address, **options)
            stack.callback(client.close)
            return client

        yield opened


@pytest.fixture
def raw(node: RunningNode, open_raw: OpenRaw) -> RawClient:
    """A raw client of the shared node."""
    return open_raw(node.address)


_names = itertools.count()


@pytest.fixture
def anchor(raw: RawClient) -> int:
    """A raw pointer to a new anchor of the shared node."""
    return raw.get(raw.root, "Walk", ["test", str(next(_names))])


@pytest.fixture(scope="module", params=list(SIDES))
def circuit_pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A circuit of two servers: of this project's nodes and, where $CIRCUIT_BIN names one, of reference servers."""
    with pair(request.param) as servers:
        yield servers


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two hosts made on this machine, for all tests of a file; each leaves them as they were."""
    with Cluster(2) as made:
        yield made


@pytest.fixture
def watched(cluster: Cluster) -> Watched:
    """These hosts, and what they were like before the test."""
    return Watched(cluster)


LONG = ("test_wheel.py", "test_one_deployment.py", "test_platforms.py")
"""Files of tests that take a minute or more: one that is begun last is run while the other worker has no more."""


def pytest_pycollect_makemodule() -> None:
    """Prepare hypothesis before a module of tests is imported, which reads its settings.

    Not where this file is loaded: pytest loads it also for a run of the checks that names a file that does not exist,
    and the packages of the tests may not be installed there.
    """
    from hypothesis import settings

    # Once: each profile refers to the one before.
    if settings.get_current_profile_name() != "tests":
        # A busy machine is no failure.
        settings.register_profile("tests", deadline=None, max_examples=60)
        settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files, as xdist hands files out in this order."""
    items.sort(key=lambda item: item.path.name not in LONG)


BOTH_SIDES = ("test_client.py", "test_node_elements.py", "test_failures.py")
"""Whose tests use the client against the servers of each side."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell which side was tested."""
    reports = itertools.chain.from_iterable(terminalreporter.stats.values())
    files = {Path(getattr(report, "nodeid", "").partition("::")[0]).name for report in reports}
    if files.intersection(BOTH_SIDES):
        other = f"the reference {REFERENCE}" if REFERENCE else "no reference ($CIRCUIT_BIN is not set)"
        terminalreporter.write_line(f"circuit client tested against: the node; {other}")
    if "test_conformance.py" in files:
        other = f"the node, and its own servers ({REFERENCE})" if REFERENCE else "nothing ($CIRCUIT_BIN is not set)"
        terminalreporter.write_line(f"the reference's command tested against: {other}")
