"""Fuzz for some time: ``python3 -m fuzz [SECONDS] [--seed N]``."""

from __future__ import annotations

import argparse
import asyncio
import collections
import hashlib
import itertools
import random
import resource
import secrets
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from fuzz import live
from fuzz.corpus import FAILED, Odd, wire
from fuzz.live import Broken, LiveNode, live_node
from fuzz.mutate import mutate
from fuzz.targets import TARGETS, seeds

INPUT_LIMIT_S = 1.0
"""How much processor time one input of at most 64 KB may take."""

GROWTH_KB = 100_000
"""How much one such input may add to what this process ever took."""

MEMORY_KB = 500_000
"""How much this process may grow to."""

_LIVE_SHARE = 0.4
_TURN_S = 1.0
_SLICE_S = 0.02
_FRESH = 0.1
_KEPT = 2000

_ABOUT = """\
Feed what reads others' bytes with recorded and drawn messages, altered: the gob decoder, frames, both sides of a
mux and of a session, a client whose server answers wrongly, the HMAC greeting, addresses, key files, times and exits
in this process, and a live node.

Whatever is neither a value nor the documented error, takes long or grows is a finding. It is printed, stored in
tests/golden/fuzz, where a test replays it from then on, and ends the run with status 1.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz, or replay; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python3 -m fuzz", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seconds", type=float, nargs="?", default=60.0, metavar="SECONDS", help="default: %(default)g")
    parser.add_argument("--seed", type=int, metavar="N", help="what all is drawn from; drawn itself by default")
    parser.add_argument("--replay", metavar="TARGET:HEX", help="feed one input, as a finding was printed")
    options = parser.parse_args(arguments)
    if options.replay is not None:
        target, _, text = options.replay.partition(":")
        if target not in (*TARGETS, *live.TARGETS):
            parser.error(f"no target {target!r}; there are: {', '.join((*TARGETS, *live.TARGETS))}")
        print(asyncio.run(replay(target, bytes.fromhex(text))))
        return 0
    seed = options.seed if options.seed is not None else secrets.randbits(32)
    print(f"fuzz: seed {seed}, {options.seconds:g} s", flush=True)
    return Fuzzer(seed).run(options.seconds)


async def replay(target: str, data: bytes) -> str:
    """Feed one input; return what became of it.

    :raises Exception: what a finding is told by.
    """
    if target in TARGETS:
        return await asyncio.to_thread(TARGETS[target], data)
    async with live_node() as node:
        async with node.generation():
            outcome = await node.feed(target, data)
        await node.check()
        return outcome


class Fuzzer:
    """One run."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._rng = random.Random(seed)
        self._odd = Odd(self._rng)
        self._inputs = {**seeds(self._odd), **live.seeds(self._odd)}
        self._outcomes: dict[str, set[str]] = {target: set() for target in self._inputs}
        self._turns = itertools.cycle(TARGETS)
        self._count: collections.Counter[str] = collections.Counter()
        _forget_peak()

    def run(self, seconds: float) -> int:
        """Fuzz for so long; return the exit status."""
        deadline = time.monotonic() + seconds
        try:
            asyncio.run(self._alternate(deadline))
        except _Found as finding:
            self._report()
            self._tell(finding)
            return 1
        self._report()
        return 0

    async def _alternate(self, deadline: float) -> None:
        async with live_node() as node:
            while (now := time.monotonic()) < deadline:
                await self._bother(node, min(now + _LIVE_SHARE * _TURN_S, deadline))
                # On a thread: some targets run an event loop of their own.
                await asyncio.to_thread(self._strain, min(time.monotonic() + (1 - _LIVE_SHARE) * _TURN_S, deadline))

    def _strain(self, until: float) -> None:
        """Fuzz what is in this process, all targets for about as long."""
        while (now := time.monotonic()) < until:
            target = next(self._turns)
            while time.monotonic() < now + _SLICE_S:
                self._strain_once(target)

    def _strain_once(self, target: str) -> None:
        data = self._draw(target)
        memory, started = _memory_kb(), time.thread_time()
        try:
            outcome = TARGETS[target](data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            raise _Found(target, data, error) from None
        took, grown = time.thread_time() - started, _memory_kb() - memory
        if took > INPUT_LIMIT_S:
            raise _Found(target, data, Broken(f"{len(data)} bytes took {took:.1f} s"))
        if grown > GROWTH_KB:
            raise _Found(target, data, Broken(f"{len(data)} bytes took {grown} KB"))
        if memory + grown > MEMORY_KB:
            raise _Found(target, data, Broken(f"this process takes {memory + grown} KB"))
        self._learn(target, data, outcome)

    async def _bother(self, node: LiveNode, until: float) -> None:
        """Fuzz the node, then see how it is."""
        fed: list[tuple[str, bytes]] = []
        try:
            async with node.generation():
                while time.monotonic() < until:
                    target = self._rng.choice(live.TARGETS)
                    data = self._draw(target)
                    fed.append((target, data))
                    self._learn(target, data, await node.feed(target, data))
            await node.check()
        except Broken as error:
            raise await self._culprit(fed, error) from None

    async def _culprit(self, fed: list[tuple[str, bytes]], error: Broken) -> _Found:
        """Which of the sessions it was: the first to do it alone, or else the last one."""
        for target, data in fed:
            try:
                await replay(target, data)
            except Broken as alone:
                return _Found(target, data, alone)
        target, data = fed[-1] if fed else (live.TARGETS[0], b"")
        return _Found(target, data, Broken(f"{error} (by none of {len(fed)} sessions alone)"))

    def _draw(self, target: str) -> bytes:
        known = self._inputs[target]
        if target not in _TEXTS and self._rng.random() < _FRESH:
            return wire(self._odd.session())
        return mutate(self._rng.choice(known), known, self._rng)

    def _learn(self, target: str, data: bytes, outcome: str) -> None:
        """Go on from inputs that made something new."""
        self._count[target] += 1
        if outcome not in self._outcomes[target] and len(self._outcomes[target]) < _KEPT:
            self._outcomes[target].add(outcome)
            self._inputs[target].append(data)

    def _report(self) -> None:
        for target, count in sorted(self._count.items()):
            print(f"fuzz: {target:10} {count:9} inputs, {len(self._outcomes[target]):4} outcomes")
        print(f"fuzz: {sum(self._count.values())} inputs in all, at most {_memory_kb()} KB of memory", flush=True)

    def _tell(self, finding: _Found) -> None:
        digest = hashlib.sha256(finding.data).hexdigest()[:12]
        FAILED.mkdir(exist_ok=True)
        path = FAILED / f"{finding.target}-{digest}.hex"
        path.write_text(finding.data.hex() + "\n")
        traceback.print_exception(finding.error)
        print(
            f"fuzz: FOUND with seed {self._seed} in {finding.target}, {len(finding.data)} bytes, stored in {path}\n"
            f"python3 -m fuzz --replay {finding.target}:{finding.data.hex()}",
            file=sys.stderr,
        )


def _memory_kb() -> int:
    """The most that this process took since the peak was forgotten, in KB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _forget_peak() -> None:
    """Take what this process takes now for the most that it took; growth below an older peak would not be seen."""
    Path("/proc/self/clear_refs").write_text("5")


class _Found(Exception):
    """An input that something was not up to."""

    def __init__(self, target: str, data: bytes, error: Exception) -> None:
        super().__init__(f"{target}: {error}")
        self.target = target
        self.data = data
        self.error = error


_TEXTS = frozenset({"served", "pointer", "handshake", "secured", "address", "key", "time", "end"})
"""Targets that no message is for."""

if __name__ == "__main__":
    sys.exit(main())
