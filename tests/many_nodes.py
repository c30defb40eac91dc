"""Many nodes in one process: ``python3 -m tests.many_nodes COUNT`` prints the address of the first, which lists all.

The last one is listed and does not listen, as a host that was just lost.
"""

from __future__ import annotations

import asyncio
import sys

from circuit.node.server import Node
from tests.circuits import raise_file_limit


async def serve(count: int) -> None:
    """Serve until the process is killed."""
    nodes = [Node("127.0.0.1") for _ in range(count)]
    for node in nodes:
        await node.start()
    # Pings between all of them would take all of the processor.
    others = [node._membership._entry for node in nodes[1:]]
    nodes[0]._membership._live = lambda: others  # type: ignore[method-assign]
    await nodes[-1].close()
    print(nodes[0].address, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    raise_file_limit()
    asyncio.run(serve(int(sys.argv[1])))
