"""How many round trips a shell command takes, over a link that is slow and nothing else.

The time of a command is then the number of its round trips. Compared are ``run_shell``, once and in a sequence, and the
same command done call after call.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import circuit
from bench._late_proxy import late
from circuit import Anchor, Cmd
from circuit.net.ahead import IDLE_S
from circuit_harness.remote.shell import run_shell

DELAY_S = 0.02
"""One way."""

RUNS = 20
_numbers = count()


def main() -> None:
    """Measure and print."""
    with _node() as address, late(address, DELAY_S) as slow, circuit.dial(slow) as client:
        host = next(iter(client.view().values()))
        ways: dict[str, tuple[Callable[[Anchor], None], float]] = {
            "call after call": (_call_after_call, 0),
            "run_shell": (_run_shell, 2 * IDLE_S),
            "run_shell, again": (_run_shell, 0),
        }
        trips = {}
        for name, (way, pause) in ways.items():
            times = []
            for _ in range(RUNS):
                time.sleep(pause)
                start = time.monotonic()
                way(host)
                times.append(time.monotonic() - start)
            trips[name] = statistics.median(times) / (2 * DELAY_S)
    for name, number in trips.items():
        print(f"{name:16} {number:5.1f} round trips")
    print(f"ratio {trips['run_shell'] / trips['call after call']:.2f}")


def _run_shell(host: Anchor) -> None:
    assert run_shell(host, "echo hello").stdout == b"hello\n"


def _call_after_call(host: Anchor) -> None:
    proc = host.walk(f"plain-{next(_numbers)}").make_proc(Cmd("/bin/sh", ["-c", "echo hello"], scrub=True))
    proc.stdin.close()
    outputs = [b"".join(iter(stream.read, b"")) for stream in (proc.stdout, proc.stderr)]
    assert outputs == [b"hello\n", b""]
    proc.wait()


@contextmanager
def _node() -> Iterator[str]:
    node = subprocess.Popen(
        [sys.executable, "-m", "circuit.node", "--addr", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert node.stdout is not None
        yield node.stdout.readline().strip()
    finally:
        node.kill()
        node.communicate()


if __name__ == "__main__":
    main()
