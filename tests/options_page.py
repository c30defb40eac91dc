"""Write ``docs/options.md`` from the options themselves: ``python3 -m tests.options_page``."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from typing import cast

import pytest

from circuit_harness.plugin.command_line import add_options
from tests.jobs import ROOT

PAGE = ROOT / "docs" / "options.md"

_ABOUT = """\
# Options

Written by `python3 -m tests.options_page`; `pytest --help` prints the same. They go to `pytest`, and to `./run deploy`
and the other verbs, beside pytest's own: `-m mysql`, `-k schema`, `-x`, `--lf`, `-n 4` (pytest-xdist: the services are
deployed once all the same, and a check that stops one runs alone).

`--hosts` is testinfra's, and names hosts by their anchors here: `--hosts=NAME,NAME` in the order of the services that
have a host of their own, one for all of them, or by service, `--hosts=mysql=NAME,nodejs=NAME`. Without it, the first
that are free are taken.

`./run` has verbs for what is not deploying and checking: `./run up` for `--workspace=up`, and so on;
`./run check --circuit-addr=...` for `--attach`, `./run down --circuit-addr=...` for `--circuit-teardown`.

Write `=` in front of a value: behind a blank, pytest takes an existing path for one with tests, and the settings of the
project that it is in for those of the run, so the plugin refuses `--report FILE`. It also refuses an option with one
value that is given twice with different ones; those of `PYTEST_ADDOPTS` and of ini files can be overruled. A wrong
option changes nothing. The folder of `--artifacts` is made where its parent exists, and no other folder is.

Exit statuses are pytest's: 0 all checks passed, 1 some failed, 2 interrupted, 4 wrong options (each with one line that
names what is wrong), 5 no check selected.
"""


class _Recorder:
    """Takes options and keys in the place of pytest's parser."""

    def __init__(self) -> None:
        self.sections: dict[str, list[tuple[str, str]]] = {}
        self.keys: list[tuple[str, str]] = []

    def addini(self, name: str, help: str, **_: object) -> None:
        """Take a key."""
        self.keys.append((name, help))

    def getgroup(self, name: str, description: str) -> _Recorder:
        """Begin a group."""
        self.sections[description] = []
        return self

    def addoption(self, name: str, *, help: str, metavar: str = "", choices: Sequence[str] = (), **_: object) -> None:
        """Take an option of the last group."""
        value = f"{{{','.join(choices)}}}" if choices else metavar
        list(self.sections.values())[-1].append((f"{name}={value}" if value else name, help))


def page() -> str:
    """Return the page."""
    recorder = _Recorder()
    parser = cast(pytest.Parser, recorder)
    add_options(parser)
    # By its path: which one is called conftest depends on who imports it.
    runpy.run_path(str(ROOT / "conftest.py"))["add_options"](parser)
    sections = [*recorder.sections.items(), ("keys of ini files", recorder.keys)]
    return _ABOUT + "".join(_section(title, rows) for title, rows in sections)


def _section(title: str, rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"| `{name}` | {text} |\n" for name, text in rows)
    return f"\n## {title[0].upper()}{title[1:]}\n\n| | |\n|---|---|\n{cells}"


if __name__ == "__main__":
    PAGE.write_text(page())
