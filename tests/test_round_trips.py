"""How many round trips a shell command takes, over a slow link, and that nothing is left of what saves some."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from bench._late_proxy import late
from circuit import Anchor, dial
from circuit.net.ahead import IDLE_S
from circuit_harness import run_shell
from circuit_harness.remote.shell import JOB
from tests.circuits import Pair

if TYPE_CHECKING:
    from tests.conftest import Eventually

DELAY_S = 0.03
"""One way."""

RUNS = 4


@pytest.fixture
def host(circuit_pair: Pair) -> Iterator[Anchor]:
    """The host of a server that is far away."""
    with late(circuit_pair.first.address, DELAY_S) as address, dial(address) as client:
        own = next(host for host in client.view().values() if host.address == address)
        # The first command of a client has a server dial back.
        run_shell(own, "true")
        yield own


def trips(work: Callable[[], object]) -> float:
    """How many round trips a work takes, with the time of its command as a part of one."""
    started = time.monotonic()
    work()
    return (time.monotonic() - started) / (2 * DELAY_S)


@pytest.mark.parametrize(
    "command", ["true", "echo output; echo error >&2; exit 3", "cat"], ids=["nothing", "outputs", "input"]
)
def test_a_command_takes_four_round_trips(host: Anchor, command: str) -> None:
    pause = threading.Event()

    def once() -> float:
        # None before it, which would ask for an anchor for it.
        pause.wait(2 * IDLE_S)
        return trips(lambda: run_shell(host, command, check=False))

    least = min(once() for _ in range(RUNS))
    assert 4 <= least < 4.9


def test_a_command_behind_others_takes_three(host: Anchor) -> None:
    run_shell(host, "true")
    run_shell(host, "true")
    least = min(trips(lambda: run_shell(host, "echo output; echo error >&2")) for _ in range(RUNS))
    assert 3 <= least < 3.9


def test_an_output_of_many_blocks_takes_one_for_each_more(host: Anchor) -> None:
    run_shell(host, "true")
    run_shell(host, "true")
    least = min(trips(lambda: run_shell(host, "head -c 96000 /dev/zero")) for _ in range(RUNS))
    assert 6 <= least < 6.9


def test_no_anchor_asked_for_ahead_is_left(circuit_pair: Pair, eventually: Eventually) -> None:
    with dial(circuit_pair.first.address) as client, dial(circuit_pair.first.address) as other:
        host = next(iter(client.view().values()))
        place = other.view()[host.name]

        def below() -> list[str]:
            return [name for name in place.view() if name.startswith(JOB)]

        for _ in range(5):
            run_shell(host, "true")
        assert below(), "one is asked for ahead"
        eventually(lambda: not below(), 20.0)
