"""The log of remote commands: one line of JSON for each, from all processes of a run."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from circuit_harness.secret import mask


@dataclass(frozen=True)
class Entry:
    """One command: on which ``host``, at what ``time`` (ISO 8601 in UTC), for how many ``seconds``.

    ``status`` is its exit status; None where it has none, and ``error`` is the reason. A process that was started as a
    lasting element has neither; ``anchor`` is the path of its anchor.
    """

    host: str
    time: str
    seconds: float
    status: int | None
    command: str
    error: str = ""
    anchor: str = ""


_descriptor: int | None = None


def begin(file: Path, *, fresh: bool) -> None:
    """Log the commands that this process sends from now on to ``file``, which only its owner can read.

    :param fresh: whether to empty the file: the first process of a run does, and its workers append.
    :raises OSError: the file cannot be written.
    """
    global _descriptor
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | (os.O_TRUNC if fresh else 0)
    _descriptor = os.open(file, flags, 0o600)


def is_on() -> bool:
    """Return whether this process writes a log."""
    return _descriptor is not None


def write(entry: Entry) -> None:
    """Append an entry, without secrets. On a full disk only the entry is lost."""
    if _descriptor is not None:
        shown = {**asdict(entry), "command": mask(entry.command), "error": mask(entry.error)}
        with suppress(OSError):
            # In one write, which appends, so that lines of several processes do not mix.
            os.write(_descriptor, json.dumps(shown).encode() + b"\n")


def now(ago: float = 0.0) -> str:
    """Return the current time in the format of entries, or the time so many seconds ago."""
    return (datetime.now(timezone.utc) - timedelta(seconds=ago)).isoformat(timespec="milliseconds")
