"""Shell scripts, kept as files for shellcheck, and sent as text behind the assignments of their parameters."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

_PARAMETER = re.compile(r'"\$\{(\w+):?\?\}"')
_COMMENT = re.compile(r"^\s*#.*\n", re.MULTILINE)


class Scripts:
    """The scripts of a folder.

    A script's first line names its parameters: ``: "${folder:?}" "${mark?}"``; the second of these may be empty. Such a
    line further down checks the variables that the script in front of it has set.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def beside(cls, module: str) -> Scripts:
        """Return the scripts of the folder beside a module, which passes its ``__file__``."""
        return cls(Path(module).parent / "scripts")

    def text(self, name: str, /, **parameters: str | int | float) -> str:
        """Return the text of ``NAME.sh`` behind its parameters, without its comments and its last line end.

        The text is self-contained, because records embed it: any version of this program can undo what another did.

        :raises TypeError: a parameter is missing, or the script does not have it.
        """
        text, names = _read(self._folder / f"{name}.sh")
        if set(names) != set(parameters):
            raise TypeError(f"script {name} takes {sorted(names)}, and was given {sorted(parameters)}")
        return "".join(f"{each}={shlex.quote(str(parameters[each]))}\n" for each in names) + text

    def program(self, file: str) -> str:
        """Return the text of a program in another language, for use as a script's parameter."""
        return _read_program(self._folder / file)

    def line(self, name: str) -> str:
        """Return the text of a script without parameters as one line, for use in front of a command on its own line.

        Each line of the script must end where a command ends, or with a keyword that a command follows.
        """
        lines = map(str.strip, self.text(name).splitlines())
        return re.sub(r"\b(then|else|do); ", r"\1 ", "; ".join(lines))


@cache
def _read(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return the text of a script without its comments, and the names of its parameters."""
    first, _, rest = (text := path.read_text()).partition("\n")
    names = tuple(_PARAMETER.findall(first)) if first.startswith(": ") else ()
    return _COMMENT.sub("", rest if names else text).strip("\n"), names


@cache
def _read_program(path: Path) -> str:
    """Return the text of a program without its comments."""
    return _COMMENT.sub("", path.read_text())


HARNESS = Scripts(Path(__file__).parent.parent / "scripts")
"""The harness's own scripts."""
