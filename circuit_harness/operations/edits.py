"""Lines of files that are not ours, changed, and put back byte for byte; owner, mode and time stay as well.

Each is written anew beside itself, compared, synced and renamed: on a full disk it stays what it was. Where that would
take it apart from its other names, or it is a mount of its own, as in containers, it is written in place.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from circuit_harness.operations.guard import GUARD
from circuit_harness.remote.script import Scripts

NEW = 0
END = -1

_SCRIPTS = Scripts.beside(__file__)

PUT = _SCRIPTS.text("put")
"""Shell: a function that puts content into a file of others, which is whole at all times, whatever fails.

``put CONTENT FILE LIKE``: owner and mode are those of the last, and the time, if it is the content.
"""


@dataclass(frozen=True)
class Edit:
    """One edit of the file ``path``: its line ``line``, from 1, becomes ``text``, which may be several.

    Where ``line`` is :data:`END`, the text is added at the end; where it is :data:`NEW`, it is all of a new file.
    """

    path: str
    line: int
    text: str

    @property
    def where(self) -> str:
        """The place, in words."""
        if self.line == NEW:
            return f"a new file {self.path}"
        return f"the end of {self.path}" if self.line == END else f"line {self.line} of {self.path}"


def guard(edits: Sequence[Edit]) -> str:
    """Shell, for root: end with status 1 unless the files are root's alone to change, and new ones to make.

    In a folder of others they could have root write elsewhere, by a link in the place of what is written aside.
    """
    refusals = []
    for path, own in _by_path(edits):
        place = posixpath.dirname(path) if own[0].line == NEW else path
        # In a folder like /tmp what stands is safe, and what is yet to be made is not.
        safe = f"only_roots {shlex.quote(place)} && [ ! -k {shlex.quote(place)} ]"
        refusals.append(f"{{ {safe}; }} || {{ echo {shlex.quote(place)} is not root\\'s alone to write >&2; exit 1; }}")
    return "\n".join([GUARD, *refusals])


def apply(edits: Sequence[Edit], backups: str) -> str:
    """Shell, for `set -e`: save the files into the folder ``backups``, then put others in their places."""
    calls = [_apply(path, own, f"{backups}/{_saved_name(path)}") for path, own in _by_path(edits)]
    return "\n".join([PUT, _SCRIPTS.text("edit_files"), *calls])


def restore(edits: Sequence[Edit], backups: str) -> str:
    """Shell: write the saved files back, unless somebody else has changed one since; ``kept`` is set if one was not."""
    calls = [
        shlex.join(["remove_file" if own[0].line == NEW else "restore_file", path, f"{backups}/{_saved_name(path)}"])
        for path, own in _by_path(edits)
    ]
    return "\n".join([PUT, _SCRIPTS.text("restore_files"), *calls])


def proof(edits: Sequence[Edit], backups: str) -> str:
    """Shell: complain where a file is not as it was: its saved one, or what says that there was none, goes last."""
    complaints = []
    for path, own in _by_path(edits):
        left = shlex.quote(f"{backups}/{_saved_name(path)}{'.made' if own[0].line == NEW else ''}")
        complaints.append(f"[ ! -e {left} ] || echo {shlex.quote(path)} is not as it was")
    return "; ".join(complaints)


def _by_path(edits: Sequence[Edit]) -> list[tuple[str, list[Edit]]]:
    return [
        (path, [edit for edit in edits if edit.path == path]) for path in dict.fromkeys(edit.path for edit in edits)
    ]


def _apply(path: str, edits: Sequence[Edit], saved: str) -> str:
    if edits[0].line == NEW:
        return shlex.join(["make_file", path, saved, edits[0].text])
    # Numbers are those of the lines read, whatever is written in their place.
    script = "\n".join(
        "{}c\\\n{}".format(edit.line, edit.text.replace("\n", "\\\n")) for edit in edits if edit.line > 0
    )
    added = "\n\n".join(edit.text for edit in edits if edit.line == END)
    return shlex.join(["edit_file", path, saved, script, added])


def _saved_name(path: str) -> str:
    return path.strip("/").replace("/", "_")
