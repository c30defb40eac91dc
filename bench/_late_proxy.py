"""A proxy that passes on every byte late: a server far away, so that the time of what is done tells its round trips."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import circuit


@contextmanager
def late(address: str, delay_s: float) -> Iterator[str]:
    """Yield an address at which the server at ``address`` answers late.

    A server does not mind by which IP and port it is called.

    :param delay_s: how late bytes arrive, either way.
    """
    target = circuit.parse_address(address)
    with late_port(target.host, target.port, delay_s) as port:
        yield str(circuit.Address("127.0.0.1", port, target.pid, target.worker))


@contextmanager
def late_port(host: str, port: int, delay_s: float) -> Iterator[int]:
    """Yield a port of 127.0.0.1 at which what listens on another one answers late."""
    links: set[asyncio.Future[tuple[None, None]]] = set()
    started: concurrent.futures.Future[tuple[int, Callable[[], object]]] = concurrent.futures.Future()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, port)
        link = asyncio.gather(_carry(reader, far_writer, delay_s), _carry(far_reader, writer, delay_s))
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
    own_port, end = started.result(10)
    try:
        yield own_port
    finally:
        end()
        thread.join()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    while data := await reader.read(1 << 16):
        loop.call_later(delay_s, writer.write, data)
    # Behind what is still on its way.
    await asyncio.sleep(delay_s)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
