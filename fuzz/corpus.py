"""What mutation starts from: recorded exchanges with real servers, and messages of every type with odd values."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from circuit.errors import GobError
from circuit.wire import gob
from circuit.wire.frames import encode_frame
from circuit.wire.gob import Encoder, Named, Opaque
from circuit.wire.messages import (
    METHODS,
    PEERS,
    VIEW,
    AbortMsg,
    Addr,
    CallMsg,
    ChanStatValue,
    CmdValue,
    DialMsg,
    DontReplyMsg,
    DropPtrMsg,
    Error,
    ErrorString,
    HelloMsg,
    Kin,
    Msg,
    PayloadMsg,
    Peer,
    PermPtrMsg,
    PermPtrPtrMsg,
    PtrMsg,
    RejectMsg,
    ReturnMsg,
    ServerStatValue,
    StatValue,
    SubscriptionStatValue,
    TCPAddr,
    WelcomeMsg,
)

GOLDEN = Path(__file__).parent.parent / "tests" / "golden"
FAILED = GOLDEN / "fuzz"
"""Inputs that ever made something fail, as hex in files named ``TARGET-DIGEST.hex``. A test replays them."""

HMAC = json.loads((GOLDEN / "hmac.json").read_text())
KEY = base64.b64decode(HMAC["key_base64"])
HALF = bytes.fromhex(HMAC["our_half_hex"])

ADDRESSES = (
    b"circuit://10.0.0.7:11022/4276/Q54d9ba8870177645",
    b"circuit://[fe80::1]:1/1/Q0000000000000000",
    b"circuit://host.example:65535/4294967295/Qffffffffffffffff\n",
)
EXITS = (
    b"exit status 3",
    b"signal: killed",
    b"signal: signal 34",
    b"exec error: no such file",
    b"signal: quit (core dumped)",
)

EXPORTED = tuple(0x7EAD_BEEF_0000_0000 + number for number in range(6))
"""Stand for pointers of a live node."""

WORKER, PID = "Qfeedfacefeedface", 4_000_000
"""Stand for the identity of a live node."""

_TEXTS = (
    "",
    "a",
    "/",
    "..",
    "\0",
    "\n",
    "é",
    "\udcff",
    "TERM",
    "proc",
    "chan",
    "@join",
    "server",
    "x" * 300,
    "\x1b]0;x\x07",
    "Q\r\nPING\r\n",
)
_NUMBERS = (0, 1, 2, 127, 128, 255, 32_000, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 32, (1 << 63) - 1)


def recorded() -> Iterator[tuple[str, list[bytes]]]:
    """Each side of each recorded session: who speaks, and the chunks in order."""
    for path in sorted(GOLDEN.glob("*.json")):
        frames = json.loads(path.read_text()).get("frames", ())
        for side in ("client", "server"):
            chunks = [bytes.fromhex(frame["hex"]) for frame in frames if frame["from"] == side]
            if chunks:
                yield side, chunks


def wire(messages: list[object]) -> bytes:
    """Messages as one side of a connection sends them; one that has no gob form is left out."""
    encoder, frames = Encoder(), []
    for number, message in enumerate(messages):
        value = message if isinstance(message, Msg) else Msg(number, PayloadMsg(0, message))
        try:
            frames.append(encode_frame(encoder.encode(value)))
        except GobError:
            continue
    return b"".join(frames)


def hello(worker: str = WORKER, pid: int = PID) -> HelloMsg:
    """A hello to whoever is called so."""
    return HelloMsg(Addr("Q0123456789abcdef", 1, TCPAddr(bytes(16), 1)), Addr(worker, pid, TCPAddr(bytes(16), 1)))


class Odd:
    """Draws values of every type that the protocol has, right and wrong ones."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._plain: tuple[Callable[[], object], ...] = (
            lambda: None,
            self.text,
            self.number,
            lambda: self._rng.random() < 0.5,
            self.data,
            lambda: [self.text() for _ in range(self._rng.randrange(4))],
            lambda: Named("[]interface {}", gob.ANYS, tuple(self.any(1) for _ in range(self._rng.randrange(3)))),
        )
        self._structs: tuple[Callable[[], object], ...] = (
            lambda: PtrMsg(self.pointer(), self.number()),
            lambda: PermPtrMsg(self.pointer(), self.number()),
            lambda: PermPtrPtrMsg(self.pointer(), self.number(), self.address()),
            lambda: Peer(Kin(self.any(1), self.number()), self.any(1)),
            lambda: Named(PEERS.name, PEERS, tuple(Peer(Kin(None, n), self.any(1)) for n in range(3))),
            lambda: Named(VIEW.name, VIEW, {self.text(): self.any(1) for _ in range(3)}),
            self.command,
            lambda: StatValue(self.command(), self.any(1), self.text()),
            lambda: ServerStatValue(self.text(), Opaque(self.data())),
            lambda: ChanStatValue(self.number(), True, False, True, self.number(), self.number()),
            lambda: SubscriptionStatValue(self.text(), self.number(), True),
            lambda: Error(self.text(), self.number(), self.text(), self.text()),
            lambda: ErrorString(self.text()),
            self.address,
            # A name that belongs to another type.
            lambda: Named("*lang.ptrMsg", gob.STRING, self.text()),
            lambda: Named(self.text(), gob.INT, self.number()),
        )
        self._messages: tuple[Callable[[], object], ...] = (
            lambda: HelloMsg(self.any(0), self.any(0)),
            lambda: HelloMsg(self.address(), self.address()),
            lambda: hello(self.text(), self.number()),
            WelcomeMsg,
            lambda: RejectMsg(self.any(0)),
            lambda: DialMsg(self._rng.choice(("locus", "node", *_TEXTS))),
            self.call,
            self.call,
            self.call,
            self.call,
            lambda: ReturnMsg(tuple(self.any(0) for _ in range(self._rng.randrange(4))), self.any(0)),
            lambda: DropPtrMsg(self.pointer()),
            DontReplyMsg,
            lambda: Msg(self.number(), AbortMsg(self.any(0))),
            lambda: Msg(self.number(), PayloadMsg(self.number(), self.any(0))),
            lambda: Msg(self.number(), self.any(0)),
            lambda: self.any(0),
        )

    def text(self) -> str:
        """A string."""
        return self._rng.choice(_TEXTS)

    def number(self) -> int:
        """An unsigned number."""
        return self._rng.choice(_NUMBERS) if self._rng.random() < 0.8 else self._rng.getrandbits(62)

    def data(self) -> bytes:
        """Bytes."""
        return self._rng.randbytes(self._rng.choice((0, 1, 15, 16, 100, 40_000)))

    def pointer(self) -> int:
        """A pointer, of a live node more often than not."""
        return self._rng.choice(EXPORTED) if self._rng.random() < 0.8 else self.number()

    def address(self) -> Addr:
        """An address of a process."""
        forms = (b"", bytes(4), bytes(16), b"\x7f\0\0\x01", b"\xe0\0\0\x01", b"\xfe\x80" + bytes(14), bytes(7))
        ip = self._rng.choice(forms)
        worker = self.text() if self._rng.random() < 0.5 else WORKER
        return Addr(worker, self.number(), TCPAddr(ip, self._rng.choice((0, 1, 70_000, -1)), self.text()))

    def command(self) -> CmdValue:
        """A command that does nothing, whatever becomes of its arguments."""
        return CmdValue((self.text(),), self.text(), "/bin/true", (), self._rng.random() < 0.9)

    def call(self) -> CallMsg:
        """A call of some method, with arguments that may be right."""
        name = self._rng.choice(tuple(METHODS))
        func = METHODS[name] if self._rng.random() < 0.95 else self.number() & 0x7FFFFFFF
        right: dict[str, tuple[object, ...]] = {
            "Walk": ([self.text() for _ in range(self._rng.randrange(3))],),
            "Make": (
                self.text(),
                self._rng.choice((self.command(), self._rng.randrange(5), "")),
            ),
            "Signal": (self._rng.choice(("CHLD", "URG", "", "é")),),
            "Read": (self.number() - 1,),
            "Write": (self.data(),),
        }
        arguments = right.get(name, ())
        if self._rng.random() < 0.3:
            arguments = tuple(self.any(0) for _ in range(self._rng.randrange(3)))
        return CallMsg(self.pointer(), func, arguments)

    def any(self, depth: int) -> object:
        """Any value that an interface can hold."""
        makers = self._plain if depth or self._rng.random() < 0.3 else self._structs
        return self._rng.choice(makers)()

    def message(self) -> object:
        """Any message, in a right or a wrong place."""
        return self._rng.choice(self._messages)()

    def session(self) -> list[object]:
        """What one side might say."""
        return [self.message() for _ in range(self._rng.randrange(1, 8))]
