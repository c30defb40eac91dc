"""How much processor time the compiled coders take against the plain ones: for calls, and a list of 1,000 hosts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

from circuit.elements.streams import WRITE_BYTES
from circuit.wire.compiled import CompiledDecoder, CompiledEncoder
from circuit.wire.gob import Decoder, Encoder, Named
from circuit.wire.messages import (
    METHODS,
    PEERS,
    Addr,
    CallMsg,
    CmdValue,
    Error,
    Kin,
    Msg,
    PayloadMsg,
    Peer,
    PermPtrPtrMsg,
    PtrMsg,
    ReturnMsg,
    StatValue,
    TCPAddr,
)

ROUNDS = 15
REPEATS = 200
HOSTS = 1000

_COMMAND = CmdValue((), "/", "/bin/sh", ("-c", "x" * 300), True)
_MESSAGES = {
    "make": CallMsg(1 << 40, METHODS["Make"], ("proc", _COMMAND)),
    "peek": CallMsg(1 << 40, METHODS["Peek"]),
    "read": CallMsg(1 << 40, METHODS["Read"], (32_000,)),
    "write": CallMsg(1 << 40, METHODS["Write"], (bytes(WRITE_BYTES),)),
    "its pointer": ReturnMsg((PtrMsg(1 << 40, 1 << 60), None)),
    "its stat": ReturnMsg((StatValue(_COMMAND, None, "running"),)),
    "its block": ReturnMsg((b"hello", Error("streams.go", 70, "Read", "EOF"))),
}


def main() -> None:
    """Measure and print."""
    for name, payload in _MESSAGES.items():
        message = Msg(300, PayloadMsg(0, payload))
        times: dict[str, list[float]] = {"plain": [], "compiled": []}
        for _ in range(ROUNDS):
            times["plain"].append(_microseconds(Encoder(), Decoder(), message, REPEATS))
            times["compiled"].append(_microseconds(CompiledEncoder(), CompiledDecoder(), message, REPEATS))
        _print(name, times, "us")
    address = Addr("Q54d9ba8870177645", 4276, TCPAddr(bytes(16), 11022))
    pointers = [PermPtrPtrMsg(1 << 40 | number, 1 << 60, address) for number in range(HOSTS)]
    peers = tuple(Peer(Kin(pointer, 1 << 60 | pointer.id), pointer) for pointer in pointers)
    chunk = Encoder().encode(Msg(1, PayloadMsg(0, ReturnMsg((Named(PEERS.name, PEERS, peers),)))))
    again = CompiledEncoder()
    assert again.encode(Msg(1, PayloadMsg(0, ReturnMsg((Named(PEERS.name, PEERS, peers),))))) == chunk
    later = again.encode(Msg(1, PayloadMsg(0, ReturnMsg((Named(PEERS.name, PEERS, peers),)))))
    first: dict[str, list[float]] = {"plain": [], "compiled": []}
    times = {"plain": [], "compiled": []}
    for _ in range(ROUNDS):
        for way, decoder in (("plain", Decoder()), ("compiled", CompiledDecoder())):
            first[way].append(_timed(partial(decoder.decode, chunk, Msg)) / 1e3)
            times[way].append(_timed(partial(decoder.decode, later, Msg)) / 1e3)
    # A client gets the first one when it dials; it describes the types, too.
    _print(f"{HOSTS} hosts", first, "ms")
    _print("... again", times, "ms")


def _microseconds(encoder: Encoder, decoder: Decoder, message: Msg, repeats: int) -> float:
    decoder.decode(encoder.encode(message), Msg)

    def work() -> None:
        for _ in range(repeats):
            decoder.decode(encoder.encode(message), Msg)

    return _timed(work) / repeats


def _timed(work: Callable[[], object]) -> float:
    """The processor time in microseconds."""
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1e6


def _print(name: str, times: dict[str, list[float]], unit: str) -> None:
    plain, compiled = (statistics.median(times[way]) for way in ("plain", "compiled"))
    ratios = sorted(fast / slow for slow, fast in zip(times["plain"], times["compiled"], strict=True))
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    print(
        f"{name:12} plain {plain:6.1f} {unit}, compiled {compiled:6.1f} {unit}; ratio {compiled / plain:.2f} ({spread})"
    )


if __name__ == "__main__":
    main()
