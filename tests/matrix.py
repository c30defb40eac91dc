"""``./run test-matrix``: the main job on every kind of hosts, and what came of it in ``docs/platforms.md``."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from localhosts import LocalHostsError
from tests.jobs import ROOT
from tests.platforms import CELLS, REWRITTEN, Outcome, try_out, unexplained

PAGE = ROOT / "docs" / "platforms.md"

_LOGINS = {"ubuntu": "a user with sudo", "root": "root"}
_INITS = {"systemd": "systemd", "sysv": "init scripts", "none": "none"}
_METADATA = {"optional": "metadata", "required": "metadata with a token", "none": "none: routes"}

_ABOUT = """\
# Platforms

Written by `./run test-matrix`, which makes hosts of each kind on this machine, runs the main job there with all of its
checks, those that stop services, too, takes everything down, and compares the hosts before and after: every file below
`/etc` by its bytes, owner and mode, every other file by its name, owner and mode, accounts, packages, services and
whether they run, listening ports, and processes.

"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Try some cells, or all and write the page; return 0 where all that were tried are fine."""
    parser = argparse.ArgumentParser(prog="./run test-matrix", description=__doc__)
    parser.add_argument("cells", nargs="*", metavar="CELL", help="try these alone, and write no page")
    parser.add_argument("--list", action="store_true", help="list the cells, and try none")
    options = parser.parse_args(arguments)
    names = [cell.name for cell in CELLS]
    if options.list:
        print("\n".join(names))
        return 0
    if unknown := [name for name in options.cells if name not in names]:
        parser.error(f"no cell {unknown[0]!r}; there are: {', '.join(names)}")
    outcomes = []
    missing = {}
    for cell in CELLS:
        if options.cells and cell.name not in options.cells:
            continue
        print(f"{cell.name} ...", flush=True)
        try:
            with tempfile.TemporaryDirectory(prefix="matrix-") as folder:
                outcome = try_out(cell, Path(folder))
        except LocalHostsError as error:
            missing[cell.name] = " ".join(str(error).split())
            print(f"  not tried: {missing[cell.name]}", flush=True)
            continue
        outcomes.append(outcome)
        _tell(outcome)
    if not options.cells:
        PAGE.write_text(page(outcomes, missing))
        print(f"written: {PAGE.relative_to(ROOT)}")
    return 0 if outcomes and all(outcome.ok for outcome in outcomes) else 1


def _tell(outcome: Outcome) -> None:
    print(f"  {'passed' if outcome.ok else 'FAILED'}: {outcome.passed} checks, {outcome.seconds:.0f} s", flush=True)
    if not outcome.ok:
        print("\n".join(f"    {line}" for line in (*outcome.failures, *unexplained(outcome.changed))))
        if not outcome.passed:
            print(outcome.output)


def page(outcomes: Sequence[Outcome], missing: dict[str, str]) -> str:
    """What came of all cells, in Markdown."""
    lines = [_ABOUT.rstrip(), ""]
    lines.append("| Hosts | System | Database, Node.js | Services by | Circuit as | Addresses by | Checks | Left |")
    lines.append("|---|---|---|---|---|---|---|---|")
    lines += [_row(outcome) for outcome in outcomes]
    lines += ["", f"{datetime.now(timezone.utc):%d %B %Y}.", ""]
    lines += ["## Checks that were not run", ""]
    lines += _listed({name: reason for outcome in outcomes for name, reason in outcome.skipped.items()}, "`")
    lines += ["", "## What package tools rewrite", ""]
    lines.append("Found different after runs that installed packages and removed them again, and left so:")
    lines.append("")
    lines += _rewritten(outcomes)
    lines += ["", "## Not tested", ""]
    lines += _listed(missing, "")
    return "\n".join(lines) + "\n"


def _row(outcome: Outcome) -> str:
    cell = outcome.cell
    told = "options" if cell.ipv6 or cell.second_network else _METADATA[cell.metadata]
    addresses = f"{told}, IPv6" if cell.ipv6 else told
    checks = f"{outcome.passed} passed" if outcome.passed else "none passed"
    if outcome.failures:
        checks += f", **{len(outcome.failures)} failed**"
    left = unexplained(outcome.changed)
    cells = (
        cell.name,
        outcome.system,
        f"{outcome.server}, {outcome.node}",
        _INITS[cell.init],
        _LOGINS[cell.login],
        addresses,
        checks,
        f"**{len(left)} lines differ**" if left else "nothing",
    )
    return f"| {' | '.join(cells)} |"


def _rewritten(outcomes: Sequence[Outcome]) -> list[str]:
    changed = sorted({line for outcome in outcomes for line in outcome.changed})
    found = []
    for pattern, reason in REWRITTEN.items():
        files = sorted({line.split()[2] for line in changed if re.match(f"[-+] {pattern}", line)})
        if files:
            found.append(f"- {', '.join(f'`{file}`' for file in files)}: {reason}")
    return found or ["- nothing"]


def _listed(told: dict[str, str], quote: str) -> list[str]:
    return [f"- {quote}{name}{quote}: {reason}" for name, reason in told.items()] or ["- nothing"]


if __name__ == "__main__":
    sys.exit(main())
