"""Runs that are ended at random moments, one after the other on the same hosts. $INTERRUPTS says how many (3)."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading

import psutil

from tests.jobs import CLAIM_S, RUN_LIMIT_S, Watched, named, run, start

RUNS = int(os.environ.get("INTERRUPTS", "3"))
LONGEST_S = 3.5
"""When an uninterrupted run is over, about, on a machine that has nothing else to do."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
OPTIONS: tuple[list[str], ...] = ([], ["-n", "2"], ["-m", "mysql"], ["-n", "3", "--dist", "loadfile"], ["-k", "http"])


def processes(run_: subprocess.Popen[str]) -> list[psutil.Process]:
    """The run's own, and those that it has started."""
    parent = psutil.Process(run_.pid)
    return [parent, *parent.children(recursive=True)]


def interrupted(circuit: list[str], chance: random.Random) -> str:
    """Start a run, end one of its processes; return what was done, once all of the run is over."""
    options = chance.choice(OPTIONS)
    number = chance.choice(SIGNALS)
    delay = chance.uniform(0, LONGEST_S)
    process = start(*circuit, *options)
    reader = threading.Thread(target=process.communicate)
    reader.start()
    told = f"{number.name} after {delay:.2f} s to "
    reader.join(delay)
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):
        all_of_it = processes(process)
        victim = chance.choice(all_of_it)
        told += f"process {all_of_it.index(victim)} of {len(all_of_it)}"
        victim.send_signal(number)
    reader.join(RUN_LIMIT_S)
    assert process.returncode is not None, f"{told}, and the run of {options} did not end"
    return f"{told} of a run of {options}, which ended with {process.returncode}"


def test_whatever_ends_a_run_the_next_one_succeeds(watched: Watched) -> None:
    seed = int(os.environ.get("INTERRUPTS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    chance = random.Random(seed)
    circuit = named(watched.cluster)
    told = [f"INTERRUPTS_SEED={seed}"]
    for index in range(RUNS):
        told.append(interrupted(circuit, chance))
        after = run(*circuit, *chance.choice((["--circuit-teardown"], ["-k", "schema or put"])))
        assert after.returncode == 0, "\n".join([*told, after.stdout, after.stderr])
        try:
            watched.assert_unchanged(CLAIM_S)
        except AssertionError as error:
            raise AssertionError("\n".join([*told, after.stdout, str(error)])) from None
        print(index, told[-1], flush=True)
