"""``./run test-examples``: the examples with the oldest and newest packages, and killed at moments drawn by chance."""

from __future__ import annotations

import argparse
import os
import random
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from packaging.requirements import Requirement

from localhosts import Cluster
from tests.installed import Installed, build, copy
from tests.jobs import CLAIM_S, ROOT, RUN_LIMIT_S, Watched, environment, left_of_cluster_in, named

NAMES = ("redis", "shop")
BESIDE = ("pytest-html", "pytest-randomly", "pytest-rerunfailures")
MOMENTS = 10


def oldest() -> list[str]:
    """The oldest packages that the distribution takes."""
    found = re.search(r"^dependencies = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    lowest = []
    for one in map(Requirement, re.findall(r'"(.*)"', found[1])):
        (version,) = (bound.version for bound in one.specifier if bound.operator == ">=")
        lowest.append(f"{one.name}{''.join(f'[{extra}]' for extra in one.extras)}=={version}")
    return lowest


def passes(installed: Installed, repository: Path, *options: str) -> str:
    """Run an example on hosts made here, which are gone then, and return what it printed."""
    done = installed.pytest(repository, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    left = left_of_cluster_in(done.stdout)
    assert left == [], left
    return done.stdout


def kill_after(seconds: float, installed: Installed, repository: Path, *options: str) -> str:
    """Begin a run, kill it and its workers after some seconds, and return what it printed."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            installed.command(*options),
            cwd=repository,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(RUN_LIMIT_S)
        output.seek(0)
        return output.read()


def killed_on_named_hosts(installed: Installed, repository: Path, draw: random.Random) -> None:
    """Kill runs on hosts that stay; what undoes them is a teardown, or the next run."""
    with Cluster(2, packages=["redis-server"]) as cluster:
        watched, circuit = Watched(cluster), named(cluster)
        took = {}
        for workers in ((), ("-n", "2")):
            began = time.monotonic()
            whole = installed.pytest(repository, *circuit, *workers)
            took[workers] = time.monotonic() - began
            assert whole.returncode == 0, whole.stdout
        for number in range(MOMENTS):
            workers = draw.choice(list(took))
            moment = draw.uniform(0, took[workers])
            undo = [*circuit, *draw.choice((["--circuit-teardown"], ["--circuit-teardown", "--crashed-only"], []))]
            print(
                f"  killed after {moment:.2f} of {took[workers]:.2f} s {workers}; then {undo[len(circuit) :]}",
                flush=True,
            )
            output = kill_after(moment, installed, repository, *circuit, *workers)
            done = installed.pytest(repository, *undo)
            assert done.returncode == 0, f"moment {number}\n{output}\n{done.stdout}{done.stderr}"
            watched.assert_unchanged(CLAIM_S)


def killed_with_its_hosts(installed: Installed, repository: Path, draw: random.Random) -> None:
    """Kill a run that has made hosts here: they go with it."""
    moment = draw.uniform(1.5, 4.0)
    print(f"  killed with its hosts after {moment:.2f} s", flush=True)
    output = kill_after(moment, installed, repository)
    if re.search(r"\b10\.213\.", output):
        assert left_of_cluster_in(output) == []
    passes(installed, repository)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try it all, and return 0; what does not hold raises."""
    parser = argparse.ArgumentParser(prog="./run test-examples", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32), help="the seed of the moments")
    options = parser.parse_args(arguments)
    draw = random.Random(options.seed)
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="examples-") as name:
        folder = Path(name)
        wheel = build(folder)
        kinds: dict[str, Callable[[], Installed]] = {
            "the oldest packages": lambda: Installed.of(folder / "oldest", str(wheel), *oldest()),
            f"the newest packages, and {', '.join(BESIDE)}": lambda: Installed.of(
                folder / "newest", str(wheel), *BESIDE
            ),
        }
        repositories = [copy(example, folder) for example in NAMES]
        for words, make in kinds.items():
            print(f"with {words}", flush=True)
            installed = make()
            for repository in repositories:
                with_html = ["--html=report-of-pytest-html.html", "--reruns=1"] if "newest" in words else []
                printed = passes(installed, repository, "-n", "2", *with_html, "--report=report.html")
                print(f"  {repository.name}: {printed.splitlines()[-1].strip('= ')}", flush=True)
        for repository in repositories:
            print(repository.name, flush=True)
            killed_on_named_hosts(installed, repository, draw)
            killed_with_its_hosts(installed, repository, draw)
    print("nothing is left")
    return 0


if __name__ == "__main__":
    sys.exit(main())
