"""How many round trips a shell command takes, over a link that is slow and nothing else.

A node on this machine is reached through a proxy that delays every byte, so that the time of a command is the number
of its round trips. Compared are ``run_shell`` and the same command done call after call.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import circuit
from circuit import Anchor, Cmd
from circuit_harness.remote.shell import run_shell

DELAY_S = 0.02
"""One way."""

RUNS = 20
_numbers = count()


def main() -> None:
    """Measure and print."""
    with _node() as address, _slow(address) as slow, circuit.dial(slow) as client:
        host = next(iter(client.view().values()))
        ways: dict[str, Callable[[Anchor], None]] = {"call after call": _call_after_call, "run_shell": _run_shell}
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(RUNS):
            for name, way in ways.items():
                start = time.monotonic()
                way(host)
                times[name].append(time.monotonic() - start)
    trips = {name: statistics.median(measured) / (2 * DELAY_S) for name, measured in times.items()}
    for name, number in trips.items():
        print(f"{name:16} {number:5.1f} round trips")
    print(f"ratio {trips['run_shell'] / trips['call after call']:.2f}")


def _run_shell(host: Anchor) -> None:
    assert run_shell(host, "echo hello").stdout == b"hello\n"


def _call_after_call(host: Anchor) -> None:
    proc = host.walk(f"plain-{next(_numbers)}").make_proc(Cmd("/bin/sh", ["-c", "echo hello"], scrub=True))
    proc.stdin.close()
    outputs = [b"".join(iter(stream.read, b"")) for stream in (proc.stdout, proc.stderr)]
    assert outputs == [b"hello\n", b""]
    proc.wait()


@contextmanager
def _node() -> Iterator[str]:
    node = subprocess.Popen(
        [sys.executable, "-m", "circuit.node", "--addr", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert node.stdout is not None
        yield node.stdout.readline().strip()
    finally:
        node.kill()
        node.communicate()


@contextmanager
def _slow(address: str) -> Iterator[str]:
    """Yield an address at which the node answers late. A server does not mind by which IP and port it is called."""
    target = circuit.parse_address(address)
    links: set[asyncio.Future[tuple[None, None]]] = set()
    started: concurrent.futures.Future[tuple[int, Callable[[], object]]] = concurrent.futures.Future()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(target.host, target.port)
        link = asyncio.gather(_delayed(reader, far_writer), _delayed(far_reader, writer))
        links.add(link)
        await link

    async def serve() -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        started.set_result((server.sockets[0].getsockname()[1], lambda: loop.call_soon_threadsafe(over.set)))
        await over.wait()
        # The client has gone, and both directions of its connections end with it.
        server.close()
        await asyncio.wait_for(asyncio.gather(*links), 10)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    port, end = started.result(10)
    try:
        yield str(circuit.Address("127.0.0.1", port, target.pid, target.worker))
    finally:
        end()
        thread.join()


async def _delayed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    while data := await reader.read(1 << 16):
        loop.call_later(DELAY_S, writer.write, data)
    loop.call_later(DELAY_S, writer.close)


if __name__ == "__main__":
    main()
