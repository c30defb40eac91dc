"""The log of remote commands: one line of JSON for each, whichever process of a run sent it."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from circuit_harness.secret import mask


@dataclass(frozen=True)
class Entry:
    """One command: on which ``host``, at what ``time`` (ISO 8601 in UTC), for how many ``seconds``.

    ``status`` is its exit status; None where it has none, and ``error`` says why. A process that was started as an
    element that stays has neither; ``anchor`` is where it stands.
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
    """Write what this process sends from now on to ``file``, which only its owner can read.

    :param fresh: whether to make the file anew: the first process of a run does, and its workers add to it.
    :raises OSError: it cannot be written to.
    """
    global _descriptor
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | (os.O_TRUNC if fresh else 0)
    _descriptor = os.open(file, flags, 0o600)


def is_on() -> bool:
    """Whether anything is written."""
    return _descriptor is not None


def write(entry: Entry) -> None:
    """Add an entry, without secrets; a full disk costs the entry and nothing else."""
    if _descriptor is not None:
        shown = {**asdict(entry), "command": mask(entry.command), "error": mask(entry.error)}
        with suppress(OSError):
            # One write, at the end of the file: lines of several processes stay whole.
            os.write(_descriptor, json.dumps(shown).encode() + b"\n")


def now() -> str:
    """This moment, as entries have it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
