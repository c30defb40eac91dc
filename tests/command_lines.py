"""Run pytest for many command lines quickly: each in a process that is forked from this one, which has loaded it all.

Reads jobs from standard input, one a line, and writes the results: see :class:`tests.test_wrong_options.Results`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

# Loaded here, so that no fork has to.
import circuit_harness.plugin.run
import circuit_harness.plugin.set_up  # noqa: F401
from circuit_harness.plugin.declared import services
from circuit_harness.plugin.options import read_options

LIMIT_S = 20

# The folder that this runs in has no test: what is not refused, deploys nothing.
ALWAYS = ["--assert=plain", "-p", "conftest", "-c", str(Path(__file__).parent.parent / "pytest.ini")]
ALWAYS += ["-p", "no:cacheprovider"]


def main() -> None:
    """Do every job: a command line and the variables of its environment, or command lines to combine in pairs."""
    # It loads pytest's own modules, the other plugins and conftest.py.
    parsed([])
    gc.freeze()
    for line in sys.stdin:
        job = json.loads(line)
        result = pairs(*job["pairs"]) if "pairs" in job else run(job["arguments"], job["variables"])
        print(json.dumps(result), flush=True)


def run(arguments: Sequence[str], variables: Mapping[str, str]) -> dict[str, object]:
    """Run pytest; return its exit status, its output, its errors, and whether it has changed the current folder."""
    before = snapshot()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = os.fork()
        if process == 0:
            signal.alarm(LIMIT_S)
            os.dup2(output.fileno(), 1)
            os.dup2(errors.fileno(), 2)
            os.environ.update(variables)
            status = pytest.main([*ALWAYS, *arguments])
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        _, waited = os.waitpid(process, 0)
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode())
    status = os.waitstatus_to_exitcode(waited)
    return {"status": status, "output": texts[0], "errors": texts[1], "changed": snapshot() != before}


def pairs(always: Sequence[str], singles: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Read the options of every two command lines together; return the refusals, "" where there is none."""
    base = parsed(always)
    given = {}
    for name, arguments in singles.items():
        alone = vars(parsed([*always, *arguments]).option)
        given[name] = {key: value for key, value in alone.items() if value != vars(base.option).get(key)}
    refusals = {}
    plain = vars(base.option)
    names = list(singles)
    for position, first in enumerate(names):
        for second in names[position + 1 :]:
            base.option = argparse.Namespace(**{**plain, **given[first], **given[second]})
            try:
                services(base, required=True)
                read_options(base)
                refusals[f"{first} {second}"] = ""
            except pytest.UsageError as error:
                refusals[f"{first} {second}"] = str(error)
    return refusals


class Grab:
    """A plugin that takes the parsed options, and ends the run."""

    config: pytest.Config

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> int:
        """Take them."""
        self.config = config
        return 0


def parsed(arguments: Sequence[str]) -> pytest.Config:
    """Return the options of a command line, parsed by pytest."""
    grab = Grab()
    status = pytest.main([*ALWAYS, *arguments], plugins=[grab])
    assert status == 0, arguments
    return grab.config


def snapshot() -> dict[str, tuple[int, bytes]]:
    """Return all that is in the current folder."""
    found = {}
    for path in sorted(Path().rglob("*")):
        readable = path.is_file() and os.access(path, os.R_OK)
        found[str(path)] = (path.lstat().st_mode, path.read_bytes() if readable else b"")
    return found


if __name__ == "__main__":
    main()
