"""What a runner of GitHub Actions does with the output of a step, as ``ActionCommand`` in its source does it."""

from __future__ import annotations

import re

NAMES = {"error", "warning", "notice", "debug", "group", "endgroup", "add-mask", "add-matcher", "remove-matcher"}
NAMES |= {"set-output", "set-env", "save-state", "add-path", "stop-commands", "echo"}
"""The commands that a runner knows; it takes no other line for one."""

Obeyed = tuple[str, dict[str, str], str]
"""A command's name, properties and message."""


def obeyed(output: str) -> list[Obeyed]:
    """Return the commands in an output."""
    # The runner, unlike Python, ends a line at nothing but these.
    parsed = (_parse(line) for line in re.split(r"\r\n|\r|\n", output))
    return [command for command in parsed if command is not None and command[0] in NAMES]


def _parse(line: str) -> Obeyed | None:
    found = re.match(r"\s*::([^ ]*?)(?: (.*?))?::(.*)", line)
    if found is not None and found[1] in NAMES:
        given = (each.partition("=") for each in (found[2] or "").split(",") if each)
        return found[1], {name: _plain(value, ":,") for name, _, value in given}, _plain(found[3])
    found = re.search(r"##\[([^ \]]*)(?: ([^\]]*))?\](.*)", line)
    if found is not None:
        given = (each.partition("=") for each in (found[2] or "").split(";") if each)
        return found[1], {name: _plain(value, ";]") for name, _, value in given}, _plain(found[3], ";]")
    return None


def _plain(escaped: str, more: str = "") -> str:
    for sign in f"\r\n{more}%":
        escaped = escaped.replace(f"%{ord(sign):02X}", sign)
    return escaped
