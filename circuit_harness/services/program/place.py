"""The place where a program will run, and the parameters that depend on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from circuit_harness.remote.address import Addresses
from circuit_harness.secret import Secret
from circuit_harness.services.protocol import Peer, Site

FOLDERS = "/var/lib"
"""The parent of all programs' folders: only root can make a file in it, so nobody else can take such a folder's place.
"""

SECRET = "-password"
"""The end of the name of a file with a password; in front of it is the name of the password's service."""


class Place:
    """The place where a program will run: the argument of those parameters of a service that are functions.

    ``addresses`` are the host's, ``port`` is the program's own. ``folder`` belongs to root and contains the program's
    files; the program can write to ``work``.
    """

    def __init__(self, site: Site, name: str, port: int) -> None:
        self.addresses: Addresses = site.addresses
        self.port = port
        self.folder = folder_of(name, site.run)
        self.work = f"{self.folder}/run"
        self._site = site
        self._name = name
        self._secrets: dict[str, str] = {}

    def __getitem__(self, name: str) -> Peer:
        """Return a service that this one uses: its address and port, and when it is ready, all else."""
        return self._site[name]

    @property
    def address(self) -> str:
        """The host's private address."""
        return self.addresses.private

    @property
    def password(self) -> Secret:
        """The password of this service, generated for this run."""
        return self._site.secret

    def secret(self, name: str) -> str:
        """Return the path of a file for the program alone, with the password of this service or of one that it uses."""
        return self._secrets.setdefault(name, f"{self.folder}/{name}{SECRET}")

    @property
    def secrets(self) -> dict[str, str]:
        """The paths that :meth:`secret` has returned, by the service's name."""
        return dict(self._secrets)

    def secret_values(self) -> dict[str, Secret]:
        """Return the passwords for these files, by path."""
        return {path: self._site.secret_of(name) for name, path in self._secrets.items()}


Words: TypeAlias = "Sequence[str] | Callable[[Place], Sequence[str]]"
Variables: TypeAlias = "Mapping[str, str] | Callable[[Place], Mapping[str, str]]"
Files: TypeAlias = "Mapping[str, str | Secret] | Callable[[Place], Mapping[str, str | Secret]]"


def folder_of(name: str, run: str) -> str:
    """Return the folder of a run's program. It is also the mark of the program's element."""
    return f"{FOLDERS}/tutorial-{name}-{run}"
