"""What clients can call: one table from type and method to the function that answers, and one from kind to maker."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from circuit.errors import CircuitError
from circuit.node.anchors import Anchor, Element, Server, Terminal
from circuit.node.channel import Channel, ChannelError
from circuit.node.exports import NODE_TYPE, Exportable
from circuit.node.faults import Faults
from circuit.node.membership import MEET, Membership
from circuit.node.pipes import PipeError
from circuit.node.process import Process
from circuit.node.streams import Reader, Writer
from circuit.node.subscriptions import Subscription
from circuit.wire.address import parse_address
from circuit.wire.gob import Named
from circuit.wire.messages import ABORTED, ELEMENT_EXISTS, METHODS, VIEW, CmdValue, Error, StatValue, func_id

INVALID_ARGUMENT = "invalid argument"
UNKNOWN_KIND = "element kind not known"
NO_PROFILE = "no profile"
NOT_SUPPORTED = ("docker", "dns")
"""Kinds that only the real server makes."""

_log = logging.getLogger(__name__)


@dataclass
class Context:
    """What methods need besides their receiver."""

    membership: Membership
    faults: Faults
    processes: set[Process]
    """Those that have not ended, also if no anchor has them."""


Results = tuple[object, ...]
"""As many values as the method has results. Each :class:`Exportable` among them becomes a pointer."""

Handler = Callable[..., "Results | Awaitable[Results]"]
"""Takes the context, the receiver and the arguments."""


class BadArguments(Exception):
    """A call that would make a Go server panic."""


@dataclass(frozen=True)
class Method:
    """One entry of the table."""

    name: str
    arguments: tuple[type, ...]
    handler: Handler

    def check(self, arguments: tuple[object, ...]) -> None:
        """:raises BadArguments: ``arguments`` are not what the method takes."""
        if len(arguments) != len(self.arguments) or not all(map(isinstance, arguments, self.arguments)):
            raise BadArguments(f"{self.name} takes other arguments")


_table: dict[tuple[str, int], Method] = {}


def find(receiver: Exportable, func: int) -> Method | None:
    """Return the method of ``receiver`` with this FuncID."""
    return _table.get((receiver.type_name, func))


def _serve(type_name: str, name: str, *arguments: type) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        func = METHODS[name] if name in METHODS else func_id(name, "", "")
        _table[type_name, func] = Method(name, arguments, handler)
        return handler

    return register


def _error(text: str) -> Error | None:
    return Error(body=text) if text else None


# -- the circuit ------------------------------------------------------------------------------------------------------


class Locus(Exportable):
    """The service that a client dials first."""

    type_name = "locus.XLocus"


class Kin(Exportable):
    """The host as its peers see it. Go's servers would call its methods, clients do not."""

    type_name = "tissue.XKin"


class Meeting(Exportable):
    """The service that nodes dial to join one another."""

    type_name = NODE_TYPE


@_serve("locus.XLocus", "GetPeers")
def _get_peers(context: Context, locus: Locus) -> Results:
    return (context.membership.listed(),)


@_serve("locus.XLocus", "Self")
def _self(context: Context, locus: Locus) -> Results:
    return (context.membership.own,)


@_serve(NODE_TYPE, MEET, object)
def _meet(context: Context, meeting: Meeting, newcomer: object) -> Results:
    return (context.membership.meet(newcomer),)


# -- anchors ----------------------------------------------------------------------------------------------------------


@_serve("anchor.XTerminal", "Path")
def _path(context: Context, terminal: Terminal) -> Results:
    return (terminal.anchor.path,)


@_serve("anchor.XTerminal", "Walk", tuple)
def _walk(context: Context, terminal: Terminal, names: tuple[object, ...]) -> Results:
    known = [name for name in names if isinstance(name, str)]
    if len(known) != len(names):
        raise BadArguments("Walk takes strings")
    return (Terminal(terminal.anchor.walk(known)),)


@_serve("anchor.XTerminal", "View")
def _view(context: Context, terminal: Terminal) -> Results:
    return (Named(VIEW.name, VIEW, {name: Terminal(child) for name, child in terminal.anchor.children.items()}),)


@_serve("anchor.XTerminal", "Make", str, object)
def _make(context: Context, terminal: Terminal, kind: str, argument: object) -> Results:
    anchor = terminal.anchor
    if anchor.element is not None:
        return None, _error(ELEMENT_EXISTS)
    if kind in NOT_SUPPORTED:
        return None, _error(f"elements of kind {kind} are not supported by this server")
    maker = MAKERS.get(kind)
    if maker is None:
        return None, _error(UNKNOWN_KIND)
    element = maker(context, anchor, argument)
    if element is None:
        return None, _error(INVALID_ARGUMENT)
    anchor.element = element
    return element, None


@_serve("anchor.XTerminal", "Get")
def _get(context: Context, terminal: Terminal) -> Results:
    element = terminal.anchor.element
    return ("", None) if element is None else (element.kind, element)


@_serve("anchor.XTerminal", "Scrub")
def _scrub(context: Context, terminal: Terminal) -> Results:
    _log.info("scrub %.200r", terminal.anchor.path)
    terminal.anchor.scrub()
    return ()


def _make_proc(context: Context, anchor: Anchor, argument: object) -> Element | None:
    if not isinstance(argument, CmdValue):
        return None

    def over(process: Process) -> None:
        # Scrub only after the exit is stored: a client that sees the anchor empty must find it.
        if process.cmd.scrub:
            anchor.scrub(process)

    process = Process(argument, over)
    _log.info("make proc %.200r: %.200r", anchor.path, [argument.path, *argument.args])
    context.processes.add(process)
    process.ended.add_done_callback(lambda _: context.processes.discard(process))
    return process


def _make_chan(context: Context, anchor: Anchor, argument: object) -> Element | None:
    # Not isinstance: Go does not take a bool for a number.
    if type(argument) is not int or argument < 0:
        return None
    return Channel(argument)


def _make_join(context: Context, anchor: Anchor, argument: object) -> Element:
    return context.membership.arrivals.subscribe()


def _make_leave(context: Context, anchor: Anchor, argument: object) -> Element:
    return context.membership.departures.subscribe()


MAKERS: Final[dict[str, Callable[[Context, Anchor, object], Element | None]]] = {
    Process.kind: _make_proc,
    Channel.kind: _make_chan,
    "@join": _make_join,
    "@leave": _make_leave,
}
"""Makes an element of a kind for an anchor; None where the argument is not what the kind takes."""


# -- servers ----------------------------------------------------------------------------------------------------------


@_serve("server.XServer", "Peek")
def _server_peek(context: Context, server: Server) -> Results:
    return (server.peek(),)


@_serve("server.XServer", "Rejoin", str)
async def _rejoin(context: Context, server: Server, address: str) -> Results:
    try:
        await context.membership.join(parse_address(address))
    except CircuitError as error:
        return (_error(str(error)),)
    return (None,)


@_serve("server.XServer", "Profile", str)
def _profile(context: Context, server: Server, name: str) -> Results:
    return None, _error(NO_PROFILE)


@_serve("server.XServer", "IsDone")
def _server_is_done(context: Context, server: Server) -> Results:
    return (False,)


@_serve("server.XServer", "Scrub")
def _server_scrub(context: Context, server: Server) -> Results:
    return ()


# -- channels ---------------------------------------------------------------------------------------------------------


@_serve("valve.XValve", "Send")
async def _send(context: Context, channel: Channel) -> Results:
    try:
        return Writer(await channel.send()), None
    except ChannelError as refusal:
        return None, _error(str(refusal))


@_serve("valve.XValve", "Recv")
async def _recv(context: Context, channel: Channel) -> Results:
    try:
        return Reader(await channel.recv()), None
    except ChannelError as refusal:
        return None, _error(str(refusal))


@_serve("valve.XValve", "Close")
def _close_channel(context: Context, channel: Channel) -> Results:
    try:
        channel.close()
    except ChannelError as refusal:
        return (_error(str(refusal)),)
    return (None,)


@_serve("valve.XValve", "Scrub")
def _abort_channel(context: Context, channel: Channel) -> Results:
    channel.scrub()
    return ()


@_serve("valve.XValve", "IsDone")
def _channel_is_done(context: Context, channel: Channel) -> Results:
    return (channel.done,)


@_serve("valve.XValve", "Cap")
def _cap(context: Context, channel: Channel) -> Results:
    return (channel.capacity,)


@_serve("valve.XValve", "Stat")
def _stat(context: Context, channel: Channel) -> Results:
    return (channel.stat(),)


# -- subscriptions ----------------------------------------------------------------------------------------------------


@_serve("locus.peerSubscription", "Consume")
async def _consume(context: Context, subscription: Subscription) -> Results:
    event = await subscription.consume()
    return event, event is not None


@_serve("locus.peerSubscription", "Peek")
def _subscription_peek(context: Context, subscription: Subscription) -> Results:
    return (subscription.peek(),)


@_serve("locus.peerSubscription", "Scrub")
def _subscription_scrub(context: Context, subscription: Subscription) -> Results:
    # Nothing, as with the real server: only the anchor's scrub ends a subscription.
    return ()


# -- processes --------------------------------------------------------------------------------------------------------


@_serve("proc.XProc", "Wait")
async def _wait(context: Context, process: Process) -> Results:
    result = await process.wait()
    if result is None or (context.faults.wait_aborted and process.cmd.scrub):
        return StatValue(), _error(ABORTED)
    if context.faults.nil_exit:
        result = StatValue(result.cmd, None, result.phase)
    return result, None


@_serve("proc.XProc", "Signal", str)
def _signal(context: Context, process: Process, name: str) -> Results:
    return (_error(process.signal(name)),)


@_serve("proc.XProc", "Scrub")
def _abort(context: Context, process: Process) -> Results:
    process.scrub()
    return ()


@_serve("proc.XProc", "GetEnv")
def _get_env(context: Context, process: Process) -> Results:
    return (tuple(f"{name}={value}" for name, value in os.environ.items()),)


@_serve("proc.XProc", "GetCmd")
def _get_cmd(context: Context, process: Process) -> Results:
    return (process.cmd,)


@_serve("proc.XProc", "IsDone")
def _is_done(context: Context, process: Process) -> Results:
    return (process.done,)


@_serve("proc.XProc", "Peek")
def _peek(context: Context, process: Process) -> Results:
    return (process.peek(),)


@_serve("proc.XProc", "Stdin")
def _stdin(context: Context, process: Process) -> Results:
    return (Writer(process.stdin),)


@_serve("proc.XProc", "Stdout")
def _stdout(context: Context, process: Process) -> Results:
    return (Reader(process.stdout),)


@_serve("proc.XProc", "Stderr")
def _stderr(context: Context, process: Process) -> Results:
    return (Reader(process.stderr),)


# -- streams ----------------------------------------------------------------------------------------------------------


@_serve("io.XReadCloser", "Read", int)
async def _read(context: Context, reader: Reader, size: int) -> Results:
    if size < 0:
        raise BadArguments("Read takes a size")
    try:
        return await reader.stream.read(size), None
    except PipeError as end:
        return b"", _error(str(end))


@_serve("io.XWriteCloser", "Write", bytes)
async def _write(context: Context, writer: Writer, data: bytes) -> Results:
    try:
        return await writer.stream.write(data), None
    except PipeError as end:
        return 0, _error(str(end))


@_serve("io.XReadCloser", "Close")
@_serve("io.XWriteCloser", "Close")
def _close(context: Context, handle: Reader | Writer) -> Results:
    handle.stream.close()
    return (None,)
