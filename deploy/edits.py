"""Lines of files that are not ours, changed, and put back byte for byte; owner, mode and time stay as well.

Each is written anew beside itself, compared, synced and renamed: on a full disk it stays what it was. Where that would
take it apart from its other names, or it is a mount of its own, as in containers, it is written in place.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.changes import FORCE
from deploy.service import GUARD

NEW = 0
END = -1

ASIDE = ".tutorial-new"
"""What is behind a file's name where it is written before it is renamed."""

PUT = rf"""
put() {{ # content file like: owner and mode are those of the last, and the time, if it is the content
    place=$(readlink -f "$2") && aside=$place{ASIDE} || return
    cp -p --attributes-only --remove-destination "$3" "$aside" && cat "$1" > "$aside" &&
        {{ [ "$1" != "$3" ] || touch -r "$3" "$aside"; }} && cmp -s "$1" "$aside" && sync "$aside" || {{
        rm -f "$aside"
        return 1
    }}
    case $(stat -c %h "$place" 2>/dev/null) in
    '' | 1) mv -fT "$aside" "$place" 2>/dev/null && sync "${{place%/*}}/" && return ;;
    esac
    rm -f "$aside"
    # Grown first: where there is no room for that, nothing is overwritten.
    size=$(stat -c %s "$place") && {{ tail -c +$((size + 1)) "$1" >> "$place" || {{
        truncate -s "$size" "$place"
        return 1
    }}; }} && dd if="$1" of="$place" conv=notrunc,fsync status=none && truncate -s "$(stat -c %s "$1")" "$place" &&
        {{ [ "$1" != "$3" ] || touch -r "$3" "$place"; }} && cmp -s "$1" "$place"
}}
"""
"""Shell: a function that puts content into a file of others, which is whole at all times, whatever fails."""

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
    return f"{GUARD}{'; '.join(refusals)}"


def apply(edits: Sequence[Edit], backups: str) -> str:
    """Shell, for `set -e`: save the files into the folder ``backups``, then put others in their places.

    What stands under a saved file's name is whole: on a full disk the name does not come to be.
    """
    return f"{PUT}{'; '.join(_apply(path, own, backups) for path, own in _by_path(edits))}"


def restore(edits: Sequence[Edit], backups: str) -> str:
    """Shell: write the saved files back, unless somebody else has changed one since; ``kept`` is set if one was not."""
    return f"{PUT}{'; '.join(['kept=', *(_restore(path, own, backups) for path, own in _by_path(edits))])}"


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
        return (
            f"[ ! -e {path} ] && [ ! -L {path} ] || {{ echo {path} has come to be meanwhile >&2; exit 1; }};"
            f" : > {saved}{_MADE}; (umask 022; printf '%s\\n' {shlex.quote(edits[0].text)} > {saved}.next);"
            f" put {saved}.next {path} {saved}.next; {note}"
        )
    # Numbers are those of the lines read, whatever is written in their place.
    script = "\n".join(
        "{}c\\\n{}".format(edit.line, edit.text.replace("\n", "\\\n")) for edit in edits if edit.line > 0
    )
    added = "".join(
        f" printf '\\n%s\\n' {shlex.quote(edit.text)} >> {saved}.next;" for edit in edits if edit.line == END
    )
    return (
        f"cp -p {path} {saved}.new; cmp -s {path} {saved}.new; sync {saved}.new; mv {saved}.new {saved};"
        f" sed {shlex.quote(script)} {saved} > {saved}.next;{added} put {saved}.next {path} {path}; {note}"
    )


def _restore(name: str, edits: Sequence[Edit], backups: str) -> str:
    path, saved = shlex.quote(name), shlex.quote(f"{backups}/{_saved_name(name)}")
    theirs = f'[ -e {saved}.ours ] && [ "$(sha256sum < {path})" != "$(cat {saved}.ours)" ] && [ -z "${FORCE}" ]'
    if edits[0].line == NEW:
        return (
            f"if [ -e {path} ] && {theirs}; then kept=yes; echo {path}, a file of this deployment, was changed since by"
            " somebody else, and is left as it is '(--replace removes it)' >&2;"
            f" elif [ -e {saved}{_MADE} ]; then rm -f {path} {path}{ASIDE}"
            f" && rm -f {saved}.ours {saved}{_MADE} || kept=yes; fi"
        )
    return (
        f"if {theirs}; then kept=yes; echo {path} was changed since by somebody else, and is left as it is: the saved"
        f" one is {saved}, '(--replace puts it back)' >&2;"
        # From here on it is ours to finish, if this is cut short.
        f" elif [ -e {saved} ]; then rm -f {saved}.ours;"
        f" if put {saved} {path} {saved}; then rm -f {saved};"
        f" else kept=yes; echo {path} could not be put back: the saved one is {saved} >&2; fi; fi"
    )


def _saved_name(path: str) -> str:
    return path.strip("/").replace("/", "_")
