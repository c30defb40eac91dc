"""A client of gocircuit, the cluster system, in Python.

Every host of a circuit runs a server; a client dials any of them, sees all hosts as a tree of anchors, and starts and
watches processes on them::

    with circuit.dial("circuit://10.0.0.7:11022/4276/Q54d9ba8870177645") as client:
        for name, host in client.view().items():
            proc = host.walk("hello").make_proc(circuit.Cmd("/bin/uname", ["-a"], scrub=True))
            print(name, proc.communicate()[0])
"""

from circuit.client import Anchor, Client, dial
from circuit.display import Hidden, printable
from circuit.elements.chan import Chan, ChanStat
from circuit.elements.element import Element
from circuit.elements.proc import Cmd, CommunicateTimedOut, Proc, Stat
from circuit.elements.server import Server, ServerStat
from circuit.elements.streams import ReadStream, WriteStream
from circuit.elements.subscription import Subscription, SubscriptionStat
from circuit.errors import (
    AddressError,
    CallFailed,
    CannotConnect,
    CircuitError,
    ClientLost,
    Closed,
    ConnectionLost,
    ElementExists,
    ExecFailed,
    HostLost,
    NoLifeline,
    NotSupported,
    Refused,
    RemoteFault,
    TimedOut,
    TooMuchOutput,
)
from circuit.job import Job, run_jobs
from circuit.wire.address import Address, parse_address, parse_endpoint
from circuit.wire.auth import decode_key
from circuit.wire.status import Exit

__all__ = [
    "Address",
    "AddressError",
    "Anchor",
    "CallFailed",
    "CannotConnect",
    "Chan",
    "ChanStat",
    "CircuitError",
    "Client",
    "ClientLost",
    "Closed",
    "Cmd",
    "CommunicateTimedOut",
    "ConnectionLost",
    "Element",
    "ElementExists",
    "ExecFailed",
    "Exit",
    "Hidden",
    "HostLost",
    "Job",
    "NoLifeline",
    "NotSupported",
    "Proc",
    "ReadStream",
    "Refused",
    "RemoteFault",
    "Server",
    "ServerStat",
    "Stat",
    "Subscription",
    "SubscriptionStat",
    "TimedOut",
    "TooMuchOutput",
    "WriteStream",
    "decode_key",
    "dial",
    "parse_address",
    "parse_endpoint",
    "printable",
    "run_jobs",
]
