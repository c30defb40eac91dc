"""A command for a host: shell text with its words quoted, its standard input, and whose rights it has."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace

from circuit import Hidden
from circuit_harness.errors import DeployError
from circuit_harness.secret import Secret

_HIDDEN = tuple(repr(kind) for kind in (Hidden(b""), Secret("")))
"""What a secret prints as: it must never be run in the place of one."""


@dataclass(frozen=True)
class Command:
    """Shell text for ``/bin/sh``, run as the circuit's user, or by root where ``root`` is set.

    The text stands in command lines, logs and reports, so it holds no secret: a secret is not a ``str``, and what it
    prints as is refused here. A secret goes by ``stdin``.

    :raises DeployError: a secret was formatted into the text.
    """

    text: str
    stdin: bytes | Hidden = b""
    root: bool = False

    def __post_init__(self) -> None:
        if holds_secret(self.text):
            raise DeployError(f"a secret was formatted into a command, where it goes by standard input: {self.text}")

    @classmethod
    def of(cls, *words: str) -> Command:
        """One program with its arguments, each of them quoted."""
        return cls(shlex.join(words))

    def as_root(self) -> Command:
        """The same command, run by root."""
        return replace(self, root=True)

    @property
    def line(self) -> str:
        """What the circuit's user runs."""
        return as_root(self.text) if self.root else self.text


def holds_secret(text: str) -> bool:
    """Whether a secret was formatted into a text: it would be used in the place of the secret's value."""
    return any(hidden in text for hidden in _HIDDEN)


def root(text: str, stdin: bytes | Hidden = b"") -> Command:
    """A command that root runs."""
    return Command(text, stdin, root=True)


def as_root(command: str) -> str:
    """``command`` as root, in root's home: by sudo, without a prompt, where the circuit does not run as root."""
    return f'$([ "$(id -u)" = 0 ] || echo sudo -nH) /bin/sh -c {shlex.quote(command)}'
