"""A circuit server in Python, for hosts whose only tool is their own ``python3``.

To clients it speaks gocircuit's protocol and behaves like the real server. To its peers it speaks a protocol of its
own: all servers of a circuit are of this kind, or all are Go's. Run it with ``python3 -m circuit.node --addr IP:PORT``,
or in-process as a :class:`Node`.
"""

from circuit.node.faults import Faults
from circuit.node.server import Node

__all__ = ["Faults", "Node"]
