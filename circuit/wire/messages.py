"""The structs that travel between circuit processes, with their Go names, and the numbers of the methods called.

Field names on the wire are Go's; attribute names are ours. Source: the ``sys/lang``, ``sys/tele``, ``kit/tele/blend``,
``tissue`` and ``element`` packages of gocircuit, as observed on the wire.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final

from circuit.errors import GobError
from circuit.wire import gob
from circuit.wire.gob import ANYS, BOOL, BYTES, INT, INTERFACE, STRING, STRINGS, UINT

_GO = "github.com/gocircuit/circuit/"

# -- conversations ----------------------------------------------------------------------------------------------------


@gob.struct("Msg", ConnID=UINT, Demux=INTERFACE)
@dataclass(frozen=True)
class Msg:
    """What each frame holds: one message of one conversation."""

    conversation: int = 0
    demux: object = None


@gob.struct("PayloadMsg", "*blend.PayloadMsg", SeqNo=UINT, Payload=INTERFACE)
@dataclass(frozen=True)
class PayloadMsg:
    """One message of a conversation; ``sequence`` counts those of one writer from 0."""

    sequence: int = 0
    payload: object = None


@gob.struct("AbortMsg", "*blend.AbortMsg", Err=INTERFACE)
@dataclass(frozen=True)
class AbortMsg:
    """The end of a conversation that the other side did not expect."""

    error: object = None


# -- hello ------------------------------------------------------------------------------------------------------------


@gob.struct("TCPAddr", IP=BYTES, Port=INT, Zone=STRING)
@dataclass(frozen=True)
class TCPAddr:
    """An IP address of 4 or 16 bytes, and a port."""

    ip: bytes = b""
    port: int = 0
    zone: str = ""


@gob.struct("Addr", "*tele.Addr", ID=STRING, PID=INT, TCP=gob.struct_of(TCPAddr))
@dataclass(frozen=True)
class Addr:
    """A process: its worker ID, PID, and where it listens."""

    worker: str = ""
    pid: int = 0
    tcp: TCPAddr = TCPAddr()


@gob.struct("HelloMsg", "*tele.HelloMsg", SourceAddr=INTERFACE, TargetAddr=INTERFACE)
@dataclass(frozen=True)
class HelloMsg:
    """First message of a dialer: its identity, where it listens, and the process that it wants."""

    source: object = None
    target: object = None


@gob.struct("WelcomeMsg", "*tele.WelcomeMsg")
@dataclass(frozen=True)
class WelcomeMsg:
    """The hello is accepted."""


@gob.struct("RejectMsg", "*tele.RejectMsg", Err=INTERFACE)
@dataclass(frozen=True)
class RejectMsg:
    """The hello is refused; the connection closes."""

    error: object = None


# -- calls ------------------------------------------------------------------------------------------------------------


@gob.struct("dialMsg", "*lang.dialMsg", Service=STRING)
@dataclass(frozen=True)
class DialMsg:
    """Request the permanent pointer of a service, such as ``locus``."""

    service: str = ""


@gob.struct("callMsg", "*lang.callMsg", ReceiverID=UINT, FuncID=INT, In=ANYS)
@dataclass(frozen=True)
class CallMsg:
    """Call a method of the object behind a pointer."""

    receiver: int = 0
    func: int = 0
    arguments: tuple[object, ...] = ()


@gob.struct("returnMsg", "*lang.returnMsg", Out=ANYS, Err=INTERFACE)
@dataclass(frozen=True)
class ReturnMsg:
    """The results of a call, or why it failed."""

    results: tuple[object, ...] = ()
    error: object = None


@gob.struct("dropPtrMsg", "*lang.dropPtrMsg", ID=UINT)
@dataclass(frozen=True)
class DropPtrMsg:
    """The importer releases an ordinary pointer. There is no reply."""

    id: int = 0


@gob.struct("dontReplyMsg", "*lang.dontReplyMsg")
@dataclass(frozen=True)
class DontReplyMsg:
    """Opens the conversation that a lifeline consists of. There is no reply."""


@gob.struct("errorString", "*lang.errorString", S=STRING)
@dataclass(frozen=True)
class ErrorString:
    """An error of the call machinery itself."""

    text: str = ""


@gob.struct("Error", "*errors.Error", File=STRING, Line=INT, Func=STRING, Body=STRING)
@dataclass(frozen=True)
class Error:
    """An error that a method returned, with the place in the server's source that packed it."""

    file: str = ""
    line: int = 0
    func: str = ""
    body: str = ""


def is_error(value: object) -> bool:
    """Whether a value can be an error: a struct, as all of Go's are here, of a declared type or another."""
    return isinstance(value, (Error, ErrorString, gob.Unknown))


def error_text(error: object) -> str:
    """Return the text of an error value, whichever of the wire's types it has."""
    if isinstance(error, Error):
        return error.body
    if isinstance(error, ErrorString):
        return error.text
    return repr(error)


# -- pointers ---------------------------------------------------------------------------------------------------------


@gob.struct("ptrMsg", "*lang.ptrMsg", ID=UINT, TypeID=UINT)
@dataclass(frozen=True)
class PtrMsg:
    """An ordinary pointer into the sender: valid until dropped, or until the lifeline ends."""

    id: int = 0
    type_id: int = 0


@gob.struct("permPtrMsg", "*lang.permPtrMsg", ID=UINT, TypeID=UINT)
@dataclass(frozen=True)
class PermPtrMsg:
    """A permanent pointer into the sender. Never to be dropped."""

    id: int = 0
    type_id: int = 0


@gob.struct("permPtrPtrMsg", "*lang.permPtrPtrMsg", ID=UINT, TypeID=UINT, Src=INTERFACE)
@dataclass(frozen=True)
class PermPtrPtrMsg:
    """A permanent pointer into the process at ``source``. Never to be dropped."""

    id: int = 0
    type_id: int = 0
    source: object = None


# -- values -----------------------------------------------------------------------------------------------------------


@gob.struct("KinAvatar", X=INTERFACE, ID=UINT)
@dataclass(frozen=True)
class Kin:
    """A server as its peers see it; its anchor is named after ``id``."""

    pointer: object = None
    id: int = 0


@gob.struct("Peer", "*locus.Peer", Kin=gob.struct_of(Kin), Term=INTERFACE)
@dataclass(frozen=True)
class Peer:
    """A server of the circuit and the pointer to its root anchor."""

    kin: Kin = Kin()
    term: object = None


PEERS: Final = gob.Slice("[]*locus.Peer", gob.struct_of(Peer))
VIEW: Final = gob.Map("map[string]circuit.X", STRING, INTERFACE)
gob.register(PEERS.name, PEERS)
gob.register(VIEW.name, VIEW)


def host_name(kin_id: int) -> str:
    """The name of a server's root anchor."""
    return f"X{kin_id:016x}"


@gob.struct("Cmd", _GO + "element/proc.Cmd", Env=STRINGS, Dir=STRING, Path=STRING, Args=STRINGS, Scrub=BOOL)
@dataclass(frozen=True)
class CmdValue:
    """A command, as Make takes it and Peek shows it."""

    env: tuple[str, ...] = ()
    dir: str = ""
    path: str = ""
    args: tuple[str, ...] = ()
    scrub: bool = False


@gob.struct("Stat", _GO + "element/proc.Stat", Cmd=gob.struct_of(CmdValue), Exit=INTERFACE, Phase=STRING)
@dataclass(frozen=True)
class StatValue:
    """A process, as Wait and Peek show it."""

    cmd: CmdValue = CmdValue()
    exit: object = None
    phase: str = ""


@gob.struct("Stat", _GO + "element/server.Stat", Addr=STRING, Joined=gob.Encoded("Time"))
@dataclass(frozen=True)
class ServerStatValue:
    """A server, as its Peek shows it. ``joined`` is a ``time.Time``; see :func:`encode_time`."""

    addr: str = ""
    joined: gob.Opaque | None = None


@gob.struct(
    "Stat", _GO + "element/valve.Stat", Cap=INT, Opened=BOOL, Closed=BOOL, Aborted=BOOL, NumSend=INT, NumRecv=INT
)
@dataclass(frozen=True)
class ChanStatValue:
    """A channel, as its Stat shows it."""

    cap: int = 0
    opened: bool = False
    closed: bool = False
    aborted: bool = False
    sent: int = 0
    received: int = 0


@gob.struct("Stat", _GO + "kit/pubsub.Stat", Source=STRING, Pending=INT, Closed=BOOL)
@dataclass(frozen=True)
class SubscriptionStatValue:
    """A subscription, as its Peek shows it."""

    source: str = ""
    pending: int = 0
    closed: bool = False


_TIME_VERSION = 1
_YEAR_1 = datetime(1, 1, 1, tzinfo=timezone.utc)
_UTC = -1


def encode_time(moment: datetime) -> gob.Opaque:
    """A ``time.Time`` in UTC, in its own binary form: version, seconds since year 1, nanoseconds, zone in minutes."""
    since = moment - _YEAR_1
    return gob.Opaque(
        struct.pack(
            ">BqiH", _TIME_VERSION, since.days * 86400 + since.seconds, since.microseconds * 1000, _UTC & 0xFFFF
        )
    )


def decode_time(value: gob.Opaque) -> datetime:
    """The moment of a ``time.Time``, in UTC, to the microsecond.

    :raises GobError: it has another form, or does not fit a ``datetime``.
    """
    try:
        version, seconds, nanoseconds, _ = struct.unpack(">BqiH", value.data[:15])
        if version in (_TIME_VERSION, _TIME_VERSION + 1):
            return _YEAR_1 + timedelta(seconds=seconds, microseconds=nanoseconds // 1000)
    except (struct.error, OverflowError):
        pass
    raise GobError(f"not a time.Time: {value.data!r}")


# -- numbers ----------------------------------------------------------------------------------------------------------


def func_id(method: str, arguments: str, results: str) -> int:
    """FuncID of a method: FNV-1a 32, signed, of its name and the bare names of its argument and result types.

    Slices, maps and pointers have an empty bare name.
    """
    value = 0x811C9DC5
    for byte in f"{method}{arguments}\u2014{results}".encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


LOCUS: Final = "locus"
"""The service that a client dials first."""

NO_HANDLE: Final = "reply: no exp handle"
NO_FUNC: Final = "no func"
ELEMENT_EXISTS: Final = "anchor already has an element"
ABORTED: Final = "aborted"
EOF: Final = "EOF"

METHODS: Final[Mapping[str, int]] = {
    "GetPeers": func_id("GetPeers", "", ""),
    "Self": func_id("Self", "", ""),
    "Path": func_id("Path", "", "string"),
    "Walk": func_id("Walk", "", "X"),
    "View": func_id("View", "", ""),
    "Make": func_id("Make", "string", "Xerror"),
    "Get": func_id("Get", "", "stringX"),
    "Scrub": func_id("Scrub", "", ""),
    "Wait": func_id("Wait", "", "Staterror"),
    "Signal": func_id("Signal", "string", "error"),
    "Stdin": func_id("Stdin", "", "X"),
    "Stdout": func_id("Stdout", "", "X"),
    "Stderr": func_id("Stderr", "", "X"),
    "Peek": func_id("Peek", "", "Stat"),
    "GetCmd": func_id("GetCmd", "", "Cmd"),
    "GetEnv": func_id("GetEnv", "", ""),
    "IsDone": func_id("IsDone", "", "bool"),
    "Read": func_id("Read", "int", "error"),
    "Write": func_id("Write", "", "interror"),
    "Close": func_id("Close", "", "error"),
    "Rejoin": func_id("Rejoin", "string", "error"),
    "Profile": func_id("Profile", "string", "Xerror"),
    "Send": func_id("Send", "", "Xerror"),
    "Recv": func_id("Recv", "", "Xerror"),
    "Cap": func_id("Cap", "", "int"),
    "Stat": func_id("Stat", "", "Stat"),
    "Consume": func_id("Consume", "", "bool"),
}
"""FuncID of each method that is called or served, by its name."""

RESULTS: Final[Mapping[str, int]] = {
    **dict.fromkeys(METHODS, 1),
    **dict.fromkeys(("Make", "Get", "Wait", "Read", "Write", "Profile", "Send", "Recv", "Consume"), 2),
    "Scrub": 0,
}
"""How many values each method returns, nil ones included. A Go client panics when it gets another number."""

TYPES: Final[Mapping[str, int]] = {
    "anchor.XTerminal": 10869423734332257728,
    "proc.XProc": 13707428442764717265,
    "io.XWriteCloser": 9683144434073769812,
    "io.XReadCloser": 6158354540835531408,
    "locus.XLocus": 9670924241095345526,
    "tissue.XKin": 2320159928032816990,
    "server.XServer": 11664011152423658275,
    "locus.peerSubscription": 14383450095079981782,
    "valve.XValve": 6199555242595578081,
}
"""TypeID of each type that pointers lead to. A Go client refuses a pointer of a type that it does not know."""
