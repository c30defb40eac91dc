"""Turns: who is to be alone is, others are not held up by one another, and nobody waits for ever."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from circuit_harness.plugin.turns import NoTurn, Turns
from tests.conftest import LIMIT_S, ROOT, Eventually

HOLDER = """
import sys
from pathlib import Path
from circuit_harness.plugin.turns import Turns
with Turns(Path(sys.argv[1]), 30).take(alone=sys.argv[2] == "alone"):
    print("mine", flush=True)
    sys.stdin.read()
"""


class Holder:
    """Another process that takes a turn."""

    def __init__(self, folder: Path, how: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(folder), how],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.has_turn = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait(self) -> None:
        """Wait until it has its turn."""
        assert self.has_turn.wait(LIMIT_S)

    def close(self) -> None:
        """Kill it, whatever it holds or waits for."""
        self.process.kill()
        self.process.wait(LIMIT_S)
        self._reader.join()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        if self.process.stdout.readline():
            self.has_turn.set()


@contextmanager
def holder(folder: Path, how: str) -> Iterator[Holder]:
    process = Holder(folder, how)
    try:
        yield process
    finally:
        process.close()


def free(folder: Path, *, alone: bool) -> bool:
    """Whether a turn can be had at once."""
    try:
        Turns(folder, 0).take(alone=alone).close()
    except NoTurn:
        return False
    return True


def test_many_are_under_way_at_once(tmp_path: Path) -> None:
    with holder(tmp_path, "shared") as first, holder(tmp_path, "shared") as second:
        first.wait()
        second.wait()
        assert free(tmp_path, alone=False)


def test_one_that_is_alone_has_none_beside_it(tmp_path: Path) -> None:
    with holder(tmp_path, "alone") as process:
        process.wait()
        assert not free(tmp_path, alone=False)
        assert not free(tmp_path, alone=True)


def test_one_that_is_to_be_alone_waits_for_those_under_way(tmp_path: Path) -> None:
    with holder(tmp_path, "shared") as process:
        process.wait()
        assert not free(tmp_path, alone=True)


def test_nobody_begins_before_one_that_waits_to_be_alone(tmp_path: Path, eventually: Eventually) -> None:
    """So that others who come and go cannot put it off for ever."""
    with holder(tmp_path, "shared") as under_way:
        under_way.wait()
        with holder(tmp_path, "alone") as waiting:
            eventually(lambda: not free(tmp_path, alone=False))
            assert not waiting.has_turn.is_set()
            under_way.close()
            waiting.wait()


@pytest.mark.parametrize("how", ["alone", "shared"])
def test_one_that_dies_holds_up_nobody(tmp_path: Path, how: str) -> None:
    with holder(tmp_path, how) as process:
        process.wait()
    assert free(tmp_path, alone=True)


def test_the_wait_has_a_limit(tmp_path: Path) -> None:
    with holder(tmp_path, "alone") as process:
        process.wait()
        start = time.monotonic()
        with pytest.raises(NoTurn, match=r"^waited 0\.2 s for the checks of other workers to end$"):
            Turns(tmp_path, 0.2).take(alone=False)
        assert 0.2 <= time.monotonic() - start < LIMIT_S
