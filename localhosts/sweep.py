"""Remove what a killed supervisor leaves.

The kernel removes its processes, mounts, links and network namespaces. It leaves the folders of control groups, a lock
file and the circuit's key. All their names have the cluster's identity, random digits that are never used twice. A
cluster is alive as long as its lock file is locked. The sweep touches nothing of a cluster that is alive, and no file
or folder with another kind of name.

Containers may share control groups but not lock files. So an identity begins with digits for the folder of its lock
file, and the sweep touches no cluster whose lock file belongs in another folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from . import cgroups

LOCKS = Path("/run")
"""The folder of the lock files and the keys. Only root may write to it, so nobody else can replace a key's file."""

_IDENTITY = r"[0-9a-f]{16}|[0-9a-f]{24}"
"""Earlier versions used the shorter identities, which have no digits for a folder."""

_LONG = 24


def new_identity() -> str:
    """Return an identity that no other cluster has or had."""
    return _place() + secrets.token_hex(8)


def _place() -> str:
    """Return digits that stand for the folder of the lock files.

    No other folder gets the same digits while a cluster with its lock there is alive, because it keeps the folder open.
    """
    folder = LOCKS.stat()
    return hashlib.sha256(f"{folder.st_dev} {folder.st_ino}".encode()).hexdigest()[:8]


def group(identity: str, host: int) -> str:
    """Return the name of the control group of host number ``host``."""
    return f"{cgroups.PREFIX}{identity}-{host}"


@contextlib.contextmanager
def alive(identity: str, key: str, owner: tuple[int, int]) -> Iterator[None]:
    """Mark the cluster as alive until the block or the process ends. Raises OSError.

    Meanwhile a file that only ``owner``, a user's and a group's number, can read holds ``key``, unless that is empty.
    The block may mount another file system over the folder of the files.
    """
    name = _lock_file(identity).name
    making = f"{name}.making"
    folder = os.open(LOCKS, os.O_RDONLY | os.O_DIRECTORY)
    try:
        lock = os.open(making, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
        try:
            # Locked before it gets the name that a sweep looks for, so that no sweep finds it unlocked.
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.rename(making, name, src_dir_fd=folder, dst_dir_fd=folder)
            with _written(folder, key_file(identity).name, key, owner) if key else contextlib.nullcontext():
                yield
        finally:
            os.unlink(name, dir_fd=folder)
            os.close(lock)
    finally:
        os.close(folder)


@contextlib.contextmanager
def _written(folder: int, name: str, text: str, owner: tuple[int, int]) -> Iterator[None]:
    """Write ``text`` to a file in ``folder``, and remove the file at the end of the block."""
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
    try:
        with os.fdopen(file, "w") as opened:
            os.fchown(file, *owner)
            opened.write(text)
        yield
    finally:
        os.unlink(name, dir_fd=folder)


def remains(identity: str) -> list[str]:
    """Return the files and folders of the cluster ``identity``, alive or dead."""
    groups = [root / name for root in cgroups.roots() for name in _groups(identity)]
    return [str(path) for path in (_lock_file(identity), key_file(identity), *groups) if path.exists()]


def sweep() -> tuple[list[str], list[str]]:
    """Remove what dead clusters left. Runs as root.

    Returns the identities of the clusters swept, and the paths that could not be removed.
    """
    swept: list[str] = []
    left: list[str] = []
    for identity in sorted(_identities()):
        if not _is_ours(identity):
            if len(identity) < _LONG:
                for name in _groups(identity):
                    cgroups.remove_empty(name)
            continue
        with _dead(identity) as dead:
            if dead:
                for name in _groups(identity):
                    left.extend(str(folder) for folder in cgroups.remove(name))
                key_file(identity).unlink(missing_ok=True)
                swept.append(identity)
    return swept, left


def _is_ours(identity: str) -> bool:
    """Return whether the cluster's lock file belongs in this folder, and so shows whether the cluster is alive."""
    return (len(identity) == _LONG and identity.startswith(_place())) or _lock_file(identity).exists()


@contextlib.contextmanager
def _dead(identity: str) -> Iterator[bool]:
    """Yield whether the cluster is dead. If so, hold its lock during the block and remove its lock file afterwards."""
    path = _lock_file(identity)
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        # A living cluster has a lock file: it makes that before its first control group and removes it after the last.
        yield True
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
        path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _identities() -> set[str]:
    # Groups first: a cluster that starts between the two listings has its lock file before the second.
    names = [*cgroups.ours(), *(path.name for path in LOCKS.glob(f"{cgroups.PREFIX}*.lock"))]
    found = (re.fullmatch(rf"{cgroups.PREFIX}({_IDENTITY})(-\d+|\.lock)", name) for name in names)
    return {match[1] for match in found if match}


def _groups(identity: str) -> list[str]:
    return [name for name in sorted(cgroups.ours()) if name.startswith(f"{cgroups.PREFIX}{identity}-")]


def key_file(identity: str) -> Path:
    """Return the file that holds the key of the cluster's circuit, in base64."""
    return LOCKS / f"{cgroups.PREFIX}{identity}.key"


def _lock_file(identity: str) -> Path:
    return LOCKS / f"{cgroups.PREFIX}{identity}.lock"
