"""Workflow commands: the lines of output that a runner of GitHub Actions obeys.

The runner obeys a line that begins with ``::``, behind any blanks, and one with ``##[`` anywhere in it: see the class
``ActionCommand`` in its source. So neither an indent nor a prefix makes a line harmless.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from circuit import printable

_COMMAND = re.compile(r"^([ \t]*):(?=:)|#(?=#\[)", re.MULTILINE)


def are_obeyed() -> bool:
    """Return whether a runner of GitHub Actions reads the output of this process."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def disarm(text: str) -> str:
    """Return a text of which the runner obeys no line: the first character of a command is written as in Python."""
    return _COMMAND.sub(lambda found: f"{found[1]}\\x3a" if found[1] is not None else "\\x23", text)


def annotations_of(document: Mapping[str, Any], root: Path) -> list[str]:
    """Return the commands that annotate the lines of failed checks, and name what was left behind.

    :param root: pytest's root folder, from which the document names files. Annotations name them from
        ``$GITHUB_WORKSPACE`` on, if that is set.
    """
    workspace = os.environ.get("GITHUB_WORKSPACE") or root
    failed = [result for result in document["results"] if result["outcome"] in ("failed", "error")]
    lines = [
        error(
            result["reason"] or result["outcome"],
            file=os.path.relpath(root / result["file"], workspace),
            line=str(result["line"]),
            title=result["check"].partition("::")[2] or result["check"],
        )
        for result in failed
    ]
    # First, since GitHub shows only ten errors of a step.
    return [error("\n".join(document["left"]), title="Left behind"), *lines] if document["left"] else lines


def error(message: str, **properties: str) -> str:
    """Return the command that shows an error."""
    given = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::error {given}::{_data(message)}"


def _data(text: str) -> str:
    return printable(text, keep="\r\n\t").replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
