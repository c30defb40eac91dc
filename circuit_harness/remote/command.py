"""A command for a host: shell text with quoted words, its standard input, and whether root runs it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace

from circuit import Hidden
from circuit_harness.errors import DeployError
from circuit_harness.secret import Secret

_HIDDEN = tuple(repr(kind) for kind in (Hidden(b""), Secret("")))
"""The text that a formatted secret becomes, which must never be run in place of the value."""


@dataclass(frozen=True)
class Command:
    """Shell text for ``/bin/sh``, run by the circuit's user, or by root where ``root`` is set.

    The text appears in command lines, logs and reports, so it must not contain a secret: a secret is not a ``str``, and
    a text with a formatted one is refused here. Pass secrets by ``stdin``.

    :raises DeployError: a secret was formatted into the text.
    """

    text: str
    stdin: bytes | Hidden = b""
    root: bool = False

    def __post_init__(self) -> None:
        if holds_secret(self.text):
            raise DeployError(f"a secret was formatted into a command: pass it by standard input: {self.text}")

    @classmethod
    def of(cls, *words: str) -> Command:
        """Return a command that runs one program, with each argument quoted."""
        return cls(shlex.join(words))

    def as_root(self) -> Command:
        """Return the same command, run by root."""
        return replace(self, root=True)

    @property
    def line(self) -> str:
        """The shell text that the circuit's user runs."""
        return as_root(self.text) if self.root else self.text


def holds_secret(text: str) -> bool:
    """Return whether a secret was formatted into a text, which would then be used in place of the secret's value."""
    return any(hidden in text for hidden in _HIDDEN)


def root(text: str, stdin: bytes | Hidden = b"") -> Command:
    """Return a command that root runs."""
    return Command(text, stdin, root=True)


def joined(first: bytes, rest: bytes | Hidden) -> bytes | Hidden:
    """Return two inputs as one, which is hidden where the second one is."""
    return Hidden(first + rest.reveal()) if isinstance(rest, Hidden) else first + rest


def as_root(command: str) -> str:
    """Shell: run ``command`` as root with root's HOME, by sudo without a prompt where the circuit is not root."""
    # The effective user's id, as id(1) prints it, without a process.
    read = 'while read -r name _ uid _; do [ "$name" != Uid: ] || break; done </proc/self/status'
    return f'$({read}; [ "${{uid-}}" = 0 ] || echo sudo -nH) /bin/sh -c {shlex.quote(command)}'
