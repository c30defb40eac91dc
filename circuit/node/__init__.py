"""A circuit server in Python, for hosts whose only tool is their own ``python3``.

Towards clients it speaks gocircuit's protocol and keeps the real server's manners; towards its own kind it joins in a
way of its own, so that a circuit consists either of these or of Go's. Run it with
``python3 -m circuit.node --addr IP:PORT``, or in-process as a :class:`Node`.
"""

from circuit.node.faults import Faults
from circuit.node.server import Node

__all__ = ["Faults", "Node"]
