"""Change lines of the host's own files, and restore the files byte for byte, with owner, mode and time.

A change writes a new file beside the old one, compares, syncs and renames it: on a full disk the old file stays as it
was. Where a rename would separate a file from its other hard links, or where the file is itself a mount, as in
containers, the change writes it in place.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from circuit_harness.operations.guard import GUARD
from circuit_harness.remote.script import Scripts

_SCRIPTS = Scripts.beside(__file__)

PUT = _SCRIPTS.text("put")
"""Shell: a function that replaces the content of one of the host's files, which is complete at all times, whatever
fails.

``put CONTENT FILE LIKE``: the file gets the owner and mode of LIKE, and its time if that is also CONTENT.
"""


@dataclass(frozen=True)
class Edit:
    """One edit of the file ``path``; ``text`` is one line or several. As a string, an edit is the place of its text."""

    path: str
    text: str


class NewFile(Edit):
    """Make the file, with the text as its content."""

    def __str__(self) -> str:
        return f"a new file {self.path}"


class Append(Edit):
    """Write the text behind the file's last line."""

    def __str__(self) -> str:
        return f"the end of {self.path}"


@dataclass(frozen=True)
class ReplaceLine(Edit):
    """Replace line number ``line``, from 1, by the text."""

    line: int

    def __str__(self) -> str:
        return f"line {self.line} of {self.path}"


def guard(edits: Sequence[Edit]) -> str:
    """Shell, for root: end with status 1 unless only root can change the files, and make the new ones.

    In a folder that other users can write to, a link in place of the new file could make root write elsewhere.
    """
    refusals = []
    for path, own in _by_path(edits):
        place = posixpath.dirname(path) if isinstance(own[0], NewFile) else path
        # In a folder like /tmp, existing files of root are safe, but new ones are not.
        safe = f"only_roots {shlex.quote(place)} && [ ! -k {shlex.quote(place)} ]"
        refusals.append(f"{{ {safe}; }} || {{ echo {shlex.quote(place)} is not root\\'s alone to write >&2; exit 1; }}")
    return "\n".join([GUARD, *refusals])


def apply(edits: Sequence[Edit], backups: str) -> str:
    """Shell, for `set -e`: save the files into the folder ``backups``, then replace them by the edited ones."""
    calls = [_apply(path, own, f"{backups}/{_saved_name(path)}") for path, own in _by_path(edits)]
    return "\n".join([PUT, _SCRIPTS.text("edit_files"), *calls])


def restore(edits: Sequence[Edit], backups: str) -> str:
    """Shell: restore the saved files; set ``kept`` if somebody else has changed one since, which then stays."""
    calls = [
        shlex.join(
            ["remove_file" if isinstance(own[0], NewFile) else "restore_file", path, f"{backups}/{_saved_name(path)}"]
        )
        for path, own in _by_path(edits)
    ]
    return "\n".join([PUT, _SCRIPTS.text("restore_files"), *calls])


def proof(edits: Sequence[Edit], backups: str) -> str:
    """Shell: print a complaint for each file that is not restored yet. Restoring a file removes its saved copy, or the
    mark that there was none, as its last step."""
    complaints = []
    for path, own in _by_path(edits):
        left = shlex.quote(f"{backups}/{_saved_name(path)}{'.made' if isinstance(own[0], NewFile) else ''}")
        complaints.append(f"[ ! -e {left} ] || echo {shlex.quote(path)} is not as it was")
    return "; ".join(complaints)


def _by_path(edits: Sequence[Edit]) -> list[tuple[str, list[Edit]]]:
    paths = dict.fromkeys(edit.path for edit in edits)
    return [(path, [edit for edit in edits if edit.path == path]) for path in paths]


def _apply(path: str, edits: Sequence[Edit], saved: str) -> str:
    if isinstance(edits[0], NewFile):
        return shlex.join(["make_file", path, saved, edits[0].text])
    # sed counts the lines that it reads, so the text of one edit does not shift the next.
    replaced = [edit for edit in edits if isinstance(edit, ReplaceLine)]
    script = "\n".join("{}c\\\n{}".format(edit.line, edit.text.replace("\n", "\\\n")) for edit in replaced)
    added = "\n\n".join(edit.text for edit in edits if isinstance(edit, Append))
    return shlex.join(["edit_file", path, saved, script, added])


def _saved_name(path: str) -> str:
    return path.strip("/").replace("/", "_")
