"""The fuzzer: what it once found stays mended, and it finds what is planted."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import circuit.elements.proc
import circuit.net.session
from circuit.wire.frames import FrameBuffer
from circuit.wire.gob import Decoder
from fuzz import __main__ as fuzz
from fuzz import live, targets
from fuzz.corpus import FAILED, Odd
from fuzz.mutate import MAX_BYTES, mutate
from fuzz.targets import TARGETS

FIND_LIMIT_S = 60.0
"""How long it may take to find what is planted. Most take a moment."""

FOUND = sorted(FAILED.glob("*.hex"))


@pytest.mark.parametrize("path", [None, *FOUND], ids=lambda path: path.stem if path else "none")
def test_what_was_found_is_mended(path: Path | None) -> None:
    """Without a path: what is stored is replayed at all, and by its target."""
    if path is None:
        assert asyncio.run(fuzz.replay("address", b"circuit://h:1/1/Q0000000000000000")) == "parsed"
        assert all(found.stem.rpartition("-")[0] in (*TARGETS, *live.TARGETS) for found in FOUND)
    else:
        asyncio.run(fuzz.replay(path.stem.rpartition("-")[0], bytes.fromhex(path.read_text())))


@pytest.mark.parametrize("target", list(TARGETS))
def test_every_target_takes_its_seeds(target: str) -> None:
    """Recorded exchanges among them, each in the way that is theirs."""
    outcomes = {TARGETS[target](data) for data in targets.seeds(Odd(random.Random(1)))[target]}
    assert len(outcomes) > (target in ("decoder", "frames", "dialer", "acceptor", "accepted", "session", "served"))


def test_a_short_run_finds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["6"]) == 0
    told = capsys.readouterr().out
    for target in (*TARGETS, *live.TARGETS):
        assert f"fuzz: {target} " in told


def failing(*arguments: object) -> object:
    raise KeyError(arguments)


def slow(*arguments: object) -> bytes:
    until = time.thread_time() + 2 * fuzz.INPUT_LIMIT_S
    while time.thread_time() < until:
        pass
    return b""


def large(*arguments: object) -> bytes:
    return b"x" * (2 * 1024 * fuzz.GROWTH_KB)


PLANTED: dict[str, tuple[str, object, str, Callable[..., object], str]] = {
    "another error": ("decoder", Decoder, "_interface", failing, "KeyError"),
    "a slow decoder": ("decoder", Decoder, "_interface", slow, "took"),
    "a large decoder": ("decoder", Decoder, "_interface", large, "KB"),
    "frames that are lost": ("frames", FrameBuffer, "feed", lambda self, data: [], "frames are lost"),
    "a client that believes all": (
        "served",
        circuit.elements.proc,
        "expect",
        lambda value, kind, what: value,
        "AttributeError",
    ),
    "a hello that trips": ("accepted", circuit.net.session, "from_wire", failing, "KeyError"),
}
"""A defect, the target that should find it, and what it should say."""


def strain(fuzzer: fuzz.Fuzzer, target: str) -> None:
    deadline = time.monotonic() + FIND_LIMIT_S
    while time.monotonic() < deadline:
        fuzzer._strain_once(target)


@pytest.mark.parametrize("planted", list(PLANTED.values()), ids=list(PLANTED))
def test_what_is_planted_is_found(
    planted: tuple[str, object, str, Callable[..., object], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target, owner, name, replacement, word = planted
    fuzzer = fuzz.Fuzzer(1)
    monkeypatch.setattr(owner, name, replacement)
    monkeypatch.setattr(fuzz, "FAILED", tmp_path / "found")
    with pytest.raises(fuzz._Found) as found:
        strain(fuzzer, target)
    fuzzer._tell(found.value)
    told = capsys.readouterr().err
    assert word in told
    (stored,) = (tmp_path / "found").iterdir()
    assert bytes.fromhex(stored.read_text()) == found.value.data
    assert f"--replay {target}:{found.value.data.hex()}" in told


def test_a_node_that_is_gone_is_found() -> None:
    async def lose() -> None:
        async with live.live_node() as node:
            await node.check()
            node._process.kill()
            node._process.wait(10)
            await node.check()

    with pytest.raises(live.Broken, match="ended with status -9"):
        asyncio.run(lose())


def test_a_node_that_logs_a_traceback_is_found() -> None:
    async def stain() -> None:
        async with live.live_node() as node:
            with node._log.open("a") as log:
                log.write("Traceback (most recent call last):\n  KeyError: planted\n")
            await node.check()

    with pytest.raises(live.Broken, match="planted"):
        asyncio.run(stain())


def test_mutation_changes_and_does_not_grow_without_bound() -> None:
    rng = random.Random(1)
    data = bytes(range(256)) * 200
    mutants = {mutate(data, [data], rng) for _ in range(200)}
    assert len(mutants - {data}) > 190
    assert max(map(len, mutants)) <= MAX_BYTES


def test_growth_below_an_older_peak_is_seen() -> None:
    peak = b"x" * (4 * 1024 * fuzz.GROWTH_KB)
    assert peak
    del peak
    fuzz.Fuzzer(1)
    before = fuzz._memory_kb()
    kept = b"x" * (2 * 1024 * fuzz.GROWTH_KB)
    assert fuzz._memory_kb() - before > fuzz.GROWTH_KB
    assert kept
