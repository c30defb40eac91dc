"""MySQL's option files: which are read in which order, which line sets an option in the end.

What is read is asked of the server itself: it tells its files, its groups, and the values that it would work with.
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
"""The options whose values in effect are asked for."""

_GROUP = re.compile(r"\[(.+?)\]")
# Without repeated white space that others may be part of, which would take a long line's length squared.
_SETTING = re.compile(r"([A-Za-z][\w-]*)\s*(?:=(.*))?$")
_COMMENT = re.compile(r"\s#")
_INCLUDE = re.compile(r"!(include|includedir)\s+(\S+)")
_MAX_DEPTH = 10
_MAX_LINES = 100_000
"""How many lines are read in all. Files may include each other, and each of them many times over."""


_SCRIPTS = Scripts.beside(__file__)
_ASK = _SCRIPTS.text("ask_server", names=" ".join(OPTIONS))
# It is another shell's, which does not know yet whom the server runs as.
_AS_IT_RUNS = "\n".join([fact_lines.SAY, GUARD, "user=", _ASK, _SCRIPTS.text("ask_as_it_runs")])

LOOK = "\n".join([_ASK, _SCRIPTS.text("look_at_options", as_it_runs=_AS_IT_RUNS)])
"""Shell, for root, behind ``say``, the guard and the look at the service: which options the server has, and where."""


@dataclass(frozen=True)
class Setting:
    """One line that sets an option: file, line number from 1, and value."""

    path: str
    line: int
    value: str


@dataclass(frozen=True)
class Options:
    """A server's options: ``files``, by path, what they hold; ``roots``, where it starts to read, in this order;
    ``groups`` of lines that are its own; ``values`` in effect, by name; ``arguments`` that it was started with; and the
    ``error`` that keeps it from starting with them, "" where none does. ``unsafe`` are files that others than root can
    change, or whose names are no option file's, which were not read, and folders that others can make one in;
    ``unreadable`` those that the server's user cannot read.

    What a file includes comes at the place of the line.
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
        """Whether a file has a group of lines that the server would heed."""
        return any(
            (match := _GROUP.match(line.strip())) and match[1] in self.groups
            for line in self.files.get(path, "").splitlines()
        )

    def winning(self, option: str) -> Setting | None:
        """The line that sets ``option`` in the end: the last one in reading order. None where no line does."""
        found = None
        for name, setting in self._settings(self.roots):
            if name == option:
                found = setting
        return found

    def last_directory(self) -> str | None:
        """The directory whose files are read last: a file in it that sorts last has the last word among files."""
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
    """Read what the look printed: lines by their first word."""
    files = {}
    for entry in values.get("file", []):
        path, _, content = entry.partition(" ")
        files[path] = base64.b64decode(content).decode("utf-8", "replace")
    arguments = base64.b64decode("".join(values.get("arguments", [])[:1])).decode("utf-8", "surrogateescape")
    return Options(
        files=files,
        # In the server's home there is none of its own: the server's user has no such folder.
        roots=tuple(root for line in values.get("roots", []) for root in line.split() if root.startswith("/")),
        groups=frozenset(group for line in values.get("groups", []) for group in line.split()),
        values={name: value.strip() for name, _, value in (entry.partition(" ") for entry in values.get("option", []))},
        arguments=tuple(arguments.split("\0")[:-1]),
        error="".join(values.get("error", [])[:1]),
        unsafe=tuple(values.get("unsafe", [])),
        unreadable=tuple(values.get("unreadable", [])),
    )


def ask(program: str, arguments: Sequence[str], user: str) -> str:
    """Shell: print the options in effect, as the look does, asked as ``user`` (UID:GID)."""
    asking = ["options", program, *arguments]
    return "\n".join([fact_lines.SAY, GUARD, f"user={shlex.quote(user)}", _ASK, shlex.join(asking)])


def is_on(value: str) -> bool:
    """Whether a switch's value, as a file or the server tells it, means on; one without a value is on."""
    return value.lower() in ("", "1", "on", "true", "yes")
