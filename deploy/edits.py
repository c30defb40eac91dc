"""Lines of files that are not ours, changed, and put back byte for byte; owner, mode and time stay as well."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.changes import FORCE

NEW = 0
END = -1

_MADE = ".made"


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


def apply(edits: Sequence[Edit], backups: str) -> str:
    """Shell, for `set -e`: save the files into the folder ``backups``, then write into them.

    What stands under a saved file's name is whole: on a full disk the name does not come to be.
    """
    return "; ".join(_apply(path, own, backups) for path, own in _by_path(edits))


def restore(edits: Sequence[Edit], backups: str) -> str:
    """Shell: write the saved files back, unless somebody else has changed one since; ``kept`` is set if one was not."""
    return "; ".join(["kept=", *(_restore(path, own, backups) for path, own in _by_path(edits))])


def proof(edits: Sequence[Edit], backups: str) -> str:
    """Shell: complain where a file is not as it was: its saved one, or what says that there was none, goes last."""
    complaints = []
    for path, own in _by_path(edits):
        left = shlex.quote(f"{backups}/{_saved_name(path)}{_MADE if own[0].line == NEW else ''}")
        complaints.append(f"[ ! -e {left} ] || echo {shlex.quote(path)} is not as it was")
    return "; ".join(complaints)


def _by_path(edits: Sequence[Edit]) -> list[tuple[str, list[Edit]]]:
    return [
        (path, [edit for edit in edits if edit.path == path]) for path in dict.fromkeys(edit.path for edit in edits)
    ]


def _apply(name: str, edits: Sequence[Edit], backups: str) -> str:
    path, saved = shlex.quote(name), shlex.quote(f"{backups}/{_saved_name(name)}")
    note = f"sha256sum < {path} > {saved}.ours.new; [ -s {saved}.ours.new ]; mv {saved}.ours.new {saved}.ours"
    if edits[0].line == NEW:
        there = f"[ ! -e {path} ] || {{ echo {path} has come to be meanwhile >&2; exit 1; }}"
        return f"{there}; : > {saved}{_MADE}; (umask 022; printf '%s\\n' {shlex.quote(edits[0].text)} > {path}); {note}"
    # Numbers are those of the lines read, whatever is written in their place.
    script = "\n".join(
        "{}c\\\n{}".format(edit.line, edit.text.replace("\n", "\\\n")) for edit in edits if edit.line > 0
    )
    added = "".join(f"; printf '\\n%s\\n' {shlex.quote(edit.text)}" for edit in edits if edit.line == END)
    return (
        f"cp -p {path} {saved}.new; cmp -s {path} {saved}.new; mv {saved}.new {saved};"
        f" {{ sed {shlex.quote(script)} {saved}{added}; }} > {path}; {note}"
    )


def _restore(name: str, edits: Sequence[Edit], backups: str) -> str:
    path, saved = shlex.quote(name), shlex.quote(f"{backups}/{_saved_name(name)}")
    theirs = f'[ -e {saved}.ours ] && [ "$(sha256sum < {path})" != "$(cat {saved}.ours)" ] && [ -z "${FORCE}" ]'
    if edits[0].line == NEW:
        return (
            f"if [ -e {path} ] && {theirs}; then kept=yes; echo {path}, a file of this deployment, was changed since by"
            " somebody else, and is left as it is '(--replace removes it)' >&2;"
            f" elif [ -e {saved}{_MADE} ]; then rm -f {path} && rm -f {saved}.ours {saved}{_MADE} || kept=yes; fi"
        )
    return (
        f"if {theirs}; then kept=yes; echo {path} was changed since by somebody else, and is left as it is: the saved"
        f" one is {saved}, '(--replace puts it back)' >&2;"
        # From here on it is ours to finish, if this is cut short.
        f" elif [ -e {saved} ]; then rm -f {saved}.ours;"
        f" if cat {saved} > {path} && cmp -s {saved} {path}; then touch -r {saved} {path}; rm -f {saved};"
        f" else kept=yes; echo {path} could not be put back: the saved one is {saved} >&2; fi; fi"
    )


def _saved_name(path: str) -> str:
    return path.strip("/").replace("/", "_")
