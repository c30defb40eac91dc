"""MySQL's option files: which line of which file sets an option of the server."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

ROOTS = ("/etc/my.cnf", "/etc/mysql/my.cnf")
"""Where MySQL and MariaDB start to read, in their order; what these include comes at the place of the line."""

_GROUP = re.compile(r"\[(.+?)\]")
_SERVER_GROUP = re.compile(r"(mysqld|mariadbd|server|mariadb)(-\d+\.\d+)?")
_SETTING = re.compile(r"([A-Za-z][\w-]*)\s*(?:=\s*(.*?)\s*)?$")
_INCLUDE = re.compile(r"!(include|includedir)\s+(\S+)")
_MAX_DEPTH = 10


@dataclass(frozen=True)
class Setting:
    """One line that sets an option: file, line number from 1, and value."""

    path: str
    line: int
    value: str


def winning(files: Mapping[str, str], option: str, roots: Sequence[str] = ROOTS) -> Setting | None:
    """The line that sets ``option`` of the server in the end: the last one in reading order. None where no line does.

    :param files: the text of each option file, by path.
    """
    found = None
    for setting_option, setting in _settings(files, roots):
        if setting_option == option.replace("_", "-"):
            found = setting
    return found


def last_directory(files: Mapping[str, str], roots: Sequence[str] = ROOTS) -> str | None:
    """The directory whose files are read last: a file in it that sorts last has the last word."""
    directories = [
        match[2].rstrip("/")
        for root in roots
        for line in files.get(root, "").splitlines()
        if (match := _INCLUDE.match(line.strip())) and match[1] == "includedir"
    ]
    return directories[-1] if directories else None


def _settings(files: Mapping[str, str], paths: Sequence[str], depth: int = 0) -> Iterator[tuple[str, Setting]]:
    for path in paths:
        group = ""
        for number, raw in enumerate(files.get(path, "").splitlines(), 1):
            line = raw.strip()
            if match := _GROUP.match(line):
                group = match[1]
            elif (match := _INCLUDE.match(line)) and depth < _MAX_DEPTH:
                yield from _settings(files, _included(files, match[1], match[2]), depth + 1)
            elif _SERVER_GROUP.fullmatch(group) and (match := _SETTING.match(line)):
                value = re.sub(r"\s+#.*", "", match[2] or "").strip("\"'")
                yield match[1].replace("_", "-"), Setting(path, number, value)


def _included(files: Mapping[str, str], how: str, target: str) -> list[str]:
    if how == "include":
        return [target]
    directory = target.rstrip("/")
    return sorted(path for path in files if posixpath.dirname(path) == directory and path.endswith(".cnf"))
