"""MySQL's option files: the order in which the server reads them, and the line that finally sets an option.

The server itself is the source: its help prints its files, its groups, and the values that it would use.
"""

from __future__ import annotations

import base64
import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from circuit_harness.operations.guard import GUARD
from circuit_harness.remote import fact_lines
from circuit_harness.remote.script import Scripts

OPTIONS = (
    *("bind-address", "port", "socket", "pid-file", "datadir", "skip-networking", "skip-name-resolve"),
    *("mysqlx", "mysqlx-bind-address"),
    *("skip-slave-start", "skip-replica-start", "wsrep-on"),
)
"""The options whose values in effect the look prints."""

_GROUP = re.compile(r"\[(.+?)\]")
# No two repetitions may match the same white space, which would take time in the square of a line's length.
_SETTING = re.compile(r"([A-Za-z][\w-]*)\s*(?:=(.*))?$")
_COMMENT = re.compile(r"\s#")
_INCLUDE = re.compile(r"!(include|includedir)\s+(\S+)")
_MAX_DEPTH = 10
_MAX_LINES = 100_000
"""The most lines that are read in total. Files may include each other, each of them many times."""


_SCRIPTS = Scripts.beside(__file__)
_ASK = _SCRIPTS.text("ask_server", names=" ".join(OPTIONS))
# This runs in another shell, which does not know yet which user the server runs as.
_AS_IT_RUNS = "\n".join([fact_lines.SAY, GUARD, "user=", _ASK, _SCRIPTS.text("ask_as_it_runs")])

LOOK = "\n".join([_ASK, _SCRIPTS.text("look_at_options", as_it_runs=_AS_IT_RUNS)])
"""Shell, for root, behind ``say``, the guard and the look at the service: print the server's options and their files.
"""


@dataclass(frozen=True)
class Setting:
    """One line that sets an option: file, line number from 1, and value."""

    path: str
    line: int
    value: str


@dataclass(frozen=True)
class Options:
    """A server's options.

    ``files`` are the contents of the option files, by path; ``roots`` the files that the server reads first, in this
    order; ``groups`` the groups of lines that apply to it; ``values`` the values in effect, by option; ``arguments``
    its command line; and ``error`` why it cannot start with these, "" where it can. ``unsafe`` are files that were not
    read, because other users than root can change them or because their names are not those of option files, and
    folders in which other users can make an option file; ``unreadable`` are the files that the server's user cannot
    read.

    An included file is read at the place of the line that includes it.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    roots: tuple[str, ...] = ()
    groups: frozenset[str] = frozenset()
    values: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    error: str = ""
    unsafe: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()

    def has_own_group(self, path: str) -> bool:
        """Return whether a file has a group of lines that applies to the server."""
        return any(
            (match := _GROUP.match(line.strip())) and match[1] in self.groups
            for line in self.files.get(path, "").splitlines()
        )

    def winning(self, option: str) -> Setting | None:
        """Return the line that finally sets ``option``, the last one in reading order; None where no line does."""
        found = None
        for name, setting in self._settings(self.roots):
            if name == option:
                found = setting
        return found

    def last_directory(self) -> str | None:
        """Return the directory whose files are read last: the file in it that sorts last overrides all other files."""
        directories = [
            match[2].rstrip("/")
            for root in self.roots
            for line in self.files.get(root, "").splitlines()
            if (match := _INCLUDE.match(line.strip())) and match[1] == "includedir"
        ]
        return directories[-1] if directories else None

    def _settings(
        self, paths: Sequence[str], depth: int = 0, left: Iterator[int] | None = None
    ) -> Iterator[tuple[str, Setting]]:
        left = iter(range(_MAX_LINES)) if left is None else left
        for path in paths:
            group = ""
            for number, raw in enumerate(self.files.get(path, "").split("\n"), 1):
                if next(left, None) is None:
                    return
                line = raw.strip()
                if match := _GROUP.match(line):
                    group = match[1]
                elif (match := _INCLUDE.match(line)) and depth < _MAX_DEPTH:
                    yield from self._settings(self._included(match[1], match[2]), depth + 1, left)
                elif group in self.groups and (match := _SETTING.match(line)):
                    value = _COMMENT.split((match[2] or "").strip(), maxsplit=1)[0].rstrip().strip("\"'")
                    yield match[1].replace("_", "-").removeprefix("loose-"), Setting(path, number, value)

    def _included(self, how: str, target: str) -> list[str]:
        if how == "include":
            return [target]
        directory = target.rstrip("/")
        return sorted(path for path in self.files if posixpath.dirname(path) == directory and path.endswith(".cnf"))


def parse(values: Mapping[str, Sequence[str]]) -> Options:
    """Parse the output of the look, lines by their first word."""
    # Lines come behind the number of their file, from 1.
    paths = values.get("file", [])
    lines: dict[str, list[str]] = {}
    for entry in values.get("line", []):
        number, _, line = entry.partition(" ")
        lines.setdefault(number, []).append(line)
    files = dict.fromkeys(values.get("empty", []), "")
    files |= {path: "\n".join(lines.get(str(number), [])) for number, path in enumerate(paths, 1)}
    arguments = base64.b64decode("".join(values.get("arguments", [])[:1])).decode("utf-8", "surrogateescape")
    return Options(
        files=files,
        # Without files in the user's home: the server's user has no such folder.
        roots=tuple(root for line in values.get("roots", []) for root in line.split() if root.startswith("/")),
        groups=frozenset(group for line in values.get("groups", []) for group in line.split()),
        values={name: value.strip() for name, _, value in (entry.partition(" ") for entry in values.get("option", []))},
        arguments=tuple(arguments.split("\0")[:-1]),
        error="".join(values.get("error", [])[:1]),
        unsafe=tuple(values.get("unsafe", [])),
        unreadable=tuple(values.get("unreadable", [])),
    )


def ask(program: str, arguments: Sequence[str], user: str) -> str:
    """Shell: print the options in effect, as the look does, with the rights of ``user`` (UID:GID)."""
    asking = ["options", program, *arguments]
    return "\n".join([fact_lines.SAY, GUARD, f"user={shlex.quote(user)}", _ASK, shlex.join(asking)])


def is_on(value: str) -> bool:
    """Return whether a switch's value, from a file or from the server, means on; without a value it is on."""
    return value.lower() in ("", "1", "on", "true", "yes")
