"""A live node, fed with sessions that are not what they should be.

In an input, the pointers and the identity that it names are placeholders, which stand for those of the node at hand.
The input follows a proper hello, or is all of the session: :data:`TARGETS` has one name for each.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import circuit
from circuit.net.lifeline import Lifelines
from circuit.net.session import Session, to_wire
from circuit.wire.address import Address, parse_address
from circuit.wire.frames import encode_frame
from circuit.wire.gob import Encoder
from circuit.wire.messages import (
    METHODS,
    CallMsg,
    CmdValue,
    DialMsg,
    HelloMsg,
    Msg,
    PayloadMsg,
    Peer,
    PermPtrMsg,
    PtrMsg,
    ReturnMsg,
)
from fuzz.corpus import EXPORTED, PID, WORKER, Odd, hello, recorded, wire

TARGETS = ("live", "live-hello")
"""Sessions from the first call on, and from the hello on."""

LIMIT_S = 10.0
"""How long the node may take for anything that it should do at once."""

MEMORY_KB = 200_000
"""How much the node may grow to. It starts with about 30 MB."""

_START_LIMIT_S = 20.0
_QUIET_S = 0.005
_PROJECT = Path(__file__).parent.parent


class Broken(AssertionError):
    """The node does not do what it should."""


def seeds(odd: Odd) -> dict[str, list[bytes]]:
    """What to mutate, for each target."""
    prefix = len(wire([hello()]))
    drawn = [wire([hello(), *odd.session()]) for _ in range(200)]
    golden = [b"".join(map(encode_frame, chunks)) for side, chunks in recorded() if side == "client"]
    return {"live": [session[prefix:] for session in drawn], "live-hello": [*drawn, *golden]}


class LiveNode:
    """A node as a process of its own, and what a well-behaved client has there for others to meddle with."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, address: Address) -> None:
        self.address = address
        self._process = process
        self._log = log
        self._pointers: tuple[int, ...] = ()
        self._source = to_wire(address)

    async def feed(self, target: str, data: bytes) -> str:
        """Have one session with it; return what became of that."""
        reader, writer = await asyncio.open_connection(self.address.host, self.address.port)
        try:
            if target == "live":
                real = HelloMsg(self._source, to_wire(self.address))
                writer.write(encode_frame(Encoder().encode(Msg(0, PayloadMsg(0, real)))))
            writer.write(self._filled_in(data))
            answered = 0
            # It may close the connection at any moment, with some of this unread.
            with contextlib.suppress(ConnectionError):
                with contextlib.suppress(asyncio.TimeoutError):
                    answered += len(await asyncio.wait_for(reader.read(1 << 16), _QUIET_S))
                writer.write_eof()
                while block := await asyncio.wait_for(reader.read(1 << 16), LIMIT_S):
                    answered += len(block)
            return str(min(answered.bit_length(), 12))
        except asyncio.TimeoutError:
            raise Broken(f"the node leaves a connection open for {LIMIT_S:g} s after its end") from None
        finally:
            writer.transport.abort()

    async def check(self) -> None:
        """Whether it still serves others, has grown, or logged an error that is none of its own words."""
        if self._process.poll() is not None:
            raise Broken(f"the node ended with status {self._process.returncode}: {self._tail()}")
        try:
            greeting = await asyncio.to_thread(self._use)
        except circuit.CircuitError as error:
            raise Broken(f"the node does not serve others: {error}") from None
        if greeting != b"hello\n":
            raise Broken(f"a command on the node printed {greeting!r}")
        if "Traceback" in (text := self._log.read_text("utf-8", "replace")):
            raise Broken(f"the node logged: {text[text.index('Traceback') :][:3000]}")
        if (memory := self.memory()) > MEMORY_KB:
            raise Broken(f"the node takes {memory} KB")
        os.truncate(self._log, 0)

    def memory(self) -> int:
        """How much it takes, in KB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    @contextlib.asynccontextmanager
    async def generation(self) -> AsyncIterator[None]:
        """Have a client with an anchor, a process and its streams, that the sessions fed meanwhile are about."""
        worker = f"Q{secrets.randbits(63):016x}"
        lifelines = Lifelines(worker, os.getpid(), None, lambda worker: None)
        port = await lifelines.listen(("127.0.0.1", 0))
        self._source = to_wire(Address("127.0.0.1", port, os.getpid(), worker))
        session = await Session.dial(self.address, self._source, None, LIMIT_S)

        async def ask(payload: object) -> tuple[Any, ...]:
            reply = await asyncio.wait_for(session.request(payload), LIMIT_S)
            if not isinstance(reply, ReturnMsg) or reply.error is not None:
                raise Broken(f"the node answered {payload!r} with {reply!r}")
            return reply.results

        async def get(pointer: int, method: str, *arguments: object) -> int:
            result = (await ask(CallMsg(pointer, METHODS[method], arguments)))[0]
            if not isinstance(result, PtrMsg):
                raise Broken(f"the node answered {method} with {result!r}")
            return result.id

        try:
            locus = (await ask(DialMsg("locus")))[0]
            assert isinstance(locus, PermPtrMsg)
            (own,) = await ask(CallMsg(locus.id, METHODS["Self"]))
            assert isinstance(own, Peer)
            assert isinstance(own.term, PermPtrMsg)
            anchor = await get(own.term.id, "Walk", ["fuzz", worker])
            # With the streams of this process, others may do what they like.
            proc = await get(anchor, "Make", "proc", CmdValue(path="/bin/cat", scrub=True))
            streams = [await get(proc, name) for name in ("Stdin", "Stdout")]
            self._pointers = (locus.id, own.term.id, anchor, proc, *streams)
            yield
        finally:
            session.close()
            await lifelines.close()

    def _filled_in(self, data: bytes) -> bytes:
        data = data.replace(WORKER.encode(), self.address.worker.encode())
        data = data.replace(_number(PID << 1, 3), _number(self.address.pid << 1, 3))
        for placeholder, pointer in zip(EXPORTED, self._pointers, strict=True):
            data = data.replace(_number(placeholder, 8), _number(pointer, 8))
        return data

    def _use(self) -> bytes:
        with circuit.dial(str(self.address), timeout=LIMIT_S) as client:
            (host,) = client.view().values()
            proc = host.walk("well-behaved", secrets.token_hex(8)).make_proc(
                circuit.Cmd("/bin/echo", ["hello"], scrub=True)
            )
            output, _ = proc.communicate(timeout=LIMIT_S)
            return output

    def _tail(self) -> str:
        return self._log.read_text("utf-8", "replace")[-3000:]


def _number(value: int, size: int) -> bytes:
    """An unsigned number as gob has it, in as many bytes."""
    return bytes((256 - size,)) + value.to_bytes(size, "big")


@contextlib.asynccontextmanager
async def live_node() -> AsyncIterator[LiveNode]:
    """Start a node; kill it at the end."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("ab") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "circuit.node", "--addr", "127.0.0.1:0"],
                cwd=_PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        try:
            assert process.stdout is not None
            line = await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), _START_LIMIT_S)
            yield LiveNode(process, log, parse_address(line.decode()))
        finally:
            process.kill()
            process.communicate()
