"""A client whose server answers with what it should not.

An input is what the answers, and what the client does, are drawn from: the server runs in this process and gives right
answers and wrong ones of every type, so that the client gets beyond its first call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
from collections.abc import Callable, Coroutine, Iterator
from datetime import datetime, timezone
from functools import cache
from typing import Any

import circuit
from circuit.elements.streams import READ_BYTES
from circuit.errors import CircuitError, GobError
from circuit.net.session import Accepted, to_wire
from circuit.net.transport import Connection
from circuit.wire.address import Address
from circuit.wire.gob import Named
from circuit.wire.messages import (
    EOF,
    METHODS,
    PEERS,
    VIEW,
    CallMsg,
    ChanStatValue,
    DialMsg,
    Error,
    Kin,
    Peer,
    PermPtrMsg,
    PermPtrPtrMsg,
    PtrMsg,
    ReturnMsg,
    ServerStatValue,
    StatValue,
    SubscriptionStatValue,
    encode_time,
    host_name,
)
from fuzz.corpus import PID, WORKER, Odd

CALL_LIMIT_S = 0.3
"""The client's time limit: a server that answers at once may still make it ask again and again."""

HANG_LIMIT_S = 20.0
"""How long the client may take for all its calls."""

_CALLS = 10
_RIGHT = 0.9
_TWICE = 0.01
"""How often there is a reply that nobody asked for."""

_KIN = 1
_KINDS = ("proc", "chan", "server", "@join", "docker")
_ELEMENTS = 100
"""The pointer of an element is this and the index of its kind; those of the rest are smaller."""

_MOMENT = encode_time(datetime(2020, 2, 2, tzinfo=timezone.utc))
_NAMES = {number: name for name, number in METHODS.items()}


class _Server:
    """Answers a client's calls, with odd values now and then."""

    def __init__(self, address: Address, rng: random.Random) -> None:
        self._address = address
        self._rng = rng
        self._odd = Odd(rng)

    def hello(self, session: Accepted) -> None:
        """Nothing is to be done."""

    def gone(self, session: Accepted, error: CircuitError) -> None:
        """Nothing is to be done."""

    def request(self, session: Accepted, conversation: int, payload: object) -> None:
        """Answer."""
        for answer in (self._answer(payload), ReturnMsg()):
            # What has no gob form is answered with nothing.
            with contextlib.suppress(GobError):
                session.reply(conversation, answer)
                if self._rng.random() < _TWICE:
                    session.reply(conversation + self._rng.randrange(2), answer)
                return

    def _answer(self, payload: object) -> object:
        if isinstance(payload, DialMsg):
            return ReturnMsg((PermPtrMsg(1, 1),)) if self._rng.random() < 0.99 else self._odd.message()
        if not isinstance(payload, CallMsg):
            return None
        results = self._results(payload)
        choice = self._rng.random()
        if choice < _RIGHT:
            return ReturnMsg(results)
        if choice < _RIGHT + 0.03:
            return self._odd.message()
        if choice < _RIGHT + 0.06:
            return ReturnMsg(results, self._odd.any(0))
        return ReturnMsg(tuple(self._odd.any(0) if self._rng.random() < 0.5 else result for result in results))

    def _results(self, call: CallMsg) -> tuple[object, ...]:
        """What a server might answer."""
        rng, method = self._rng, _NAMES[call.func]
        error = Error(body=rng.choice((EOF, "aborted", "channel closed", "x"))) if rng.random() < 0.2 else None
        pointer = PtrMsg(rng.randrange(_ELEMENTS), 1) if rng.random() < 0.9 else PermPtrMsg(2, 1)
        if method == "GetPeers":
            far = PermPtrPtrMsg(2, 1, to_wire(self._address))
            peers = (Peer(Kin(PermPtrMsg(3, 1), _KIN), PermPtrMsg(2, 1)), Peer(Kin(None, 2), far))
            return (Named(PEERS.name, PEERS, peers),)
        if method == "Get":
            kind = rng.randrange(len(_KINDS))
            return (_KINDS[kind], PtrMsg(_ELEMENTS + kind, 1)) if rng.random() < 0.9 else ("", None)
        if method == "Make":
            kind = _KINDS.index(call.arguments[0]) if call.arguments[0] in _KINDS else 0
            return (None, error) if error is not None else (PtrMsg(_ELEMENTS + kind, 1), None)
        if method == "View":
            return (Named(VIEW.name, VIEW, {self._odd.text(): PtrMsg(n, 1) for n in range(rng.randrange(3))}),)
        if method in ("Peek", "Stat"):
            return (self._stat(call.receiver - _ELEMENTS),)
        if method == "Wait":
            return self._stat(0), error
        if method == "Read":
            return rng.choice((b"", b"data", b"data", bytes(32_001))), Error(body=EOF) if rng.random() < 0.7 else error
        if method == "Write":
            return (len(b"data") if rng.random() < 0.9 else self._odd.number()), error
        if method in ("Send", "Recv", "Profile"):
            return pointer, error
        if method == "Consume":
            return self._odd.text(), rng.random() < 0.8
        if method == "Scrub":
            return ()
        return (pointer if method in ("Walk", "Stdin", "Stdout", "Stderr") else error,)

    def _stat(self, kind: int) -> object:
        rng = self._rng
        words = rng.choice(("exit status 3", "signal: killed", "exec error: x", ""))
        phase = rng.choice(("running", "exited", "exited", "signaled", "unknown"))
        stats = (
            StatValue(self._odd.command(), Error(body=words) if words else None, phase),
            ChanStatValue(),
            ServerStatValue("a", _MOMENT),
            SubscriptionStatValue(),
        )
        return stats[kind] if 0 <= kind < len(stats) and rng.random() < 0.9 else rng.choice(stats)


class _Listener:
    """Where the server listens. What it answers is new for each input; the rest lasts as long as this process."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.address = Address("127.0.0.1", self._run(self._listen()), PID, WORKER)
        self._server = _Server(self.address, random.Random(0))

    def serve(self, rng: random.Random) -> None:
        """Draw the answers to clients that dial from now on."""
        self._server = _Server(self.address, rng)

    async def _listen(self) -> int:
        server = await self._loop.create_server(self._accept, "127.0.0.1", 0)
        port: int = server.sockets[0].getsockname()[1]
        return port

    def _accept(self) -> Connection:
        return Connection(Accepted(WORKER, PID, self._server), None)

    def _run(self, work: Coroutine[Any, Any, int]) -> int:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(HANG_LIMIT_S)


_listener = cache(_Listener)


class _Complaints(logging.Handler):
    """What asyncio logs, which is what nobody caught."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.texts.append(self.format(record))


def served(data: bytes) -> str:
    """A client at a server whose answers are drawn from ``data``."""
    listener = _listener()
    listener.serve(random.Random(data))
    outcomes: list[str] = []
    failures: list[BaseException] = []

    def live() -> None:
        try:
            outcomes.extend(_calls(str(listener.address), random.Random(data[::-1])))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is a finding
            failures.append(error)

    complaints, logger = _Complaints(), logging.getLogger("asyncio")
    logger.addHandler(complaints)
    try:
        thread = threading.Thread(target=live, daemon=True)
        thread.start()
        thread.join(HANG_LIMIT_S)
        assert not thread.is_alive(), f"the client hangs for {HANG_LIMIT_S:g} s, after {outcomes}"
    finally:
        logger.removeHandler(complaints)
    if failures:
        raise failures[0]
    assert not complaints.texts, complaints.texts[0]
    return " ".join(outcomes)


def _calls(address: str, rng: random.Random) -> Iterator[str]:
    """Let a client do this and that; tell how each call ended."""
    try:
        client = circuit.dial(address, timeout=CALL_LIMIT_S)
    except CircuitError as error:
        yield f"dial {type(error).__name__}"
        return
    with client:
        held: list[object] = [client]
        for _ in range(_CALLS):
            # What came last leads on.
            one = held[-1] if rng.random() < 0.6 else rng.choice(held)
            name, call = rng.choice([use for use in _USES if hasattr(one, use[0])])
            try:
                result = call(one)
            except CircuitError as error:
                yield f"{name} {_kind(error)}"
                continue
            if name == "stdout":
                assert isinstance(result, bytes), "no bytes were read"
                assert len(result) <= READ_BYTES, "more was read than was asked for"
            yield name
            found = result.values() if isinstance(result, dict) else (result,)
            held += [one for one in found if isinstance(one, (circuit.Anchor, circuit.Element))]


def _kind(error: CircuitError) -> str:
    """The kind of an error, whose words may be shown."""
    assert str(error).isprintable(), "an error that talks to the terminal"
    return type(error).__name__


_USES: tuple[tuple[str, Callable[[Any], object]], ...] = (
    ("view", lambda place: place.view()),
    ("walk", lambda place: place.walk(*([host_name(_KIN)] if isinstance(place, circuit.Client) else []), "a")),
    ("get", lambda place: place.get()),
    ("make_proc", lambda place: place.make_proc(circuit.Cmd("/bin/true", scrub=True))),
    ("make_chan", lambda place: place.make_chan(1)),
    ("make_on_join", lambda place: place.make_on_join()),
    ("scrub", lambda place: place.scrub()),
    ("describe", lambda place: place.describe()),
    ("wait", lambda place: place.wait()),
    ("signal", lambda place: place.signal("TERM")),
    ("communicate", lambda place: place.communicate(b"data")),
    ("discard_streams", lambda place: place.discard_streams()),
    ("stdin", lambda place: place.stdin.write(b"data")),
    ("stdout", lambda place: place.stdout.read()),
    ("send", lambda place: place.send(b"data")),
    ("recv", lambda place: place.recv()),
    ("profile", lambda place: place.profile("heap")),
    ("rejoin", lambda place: place.rejoin("x")),
    ("next", lambda place: place.next()),
    ("peek", lambda place: place.peek()),
    ("release", lambda place: place.release()),
)
"""What a client can do: what the object needs for it, and the call."""
