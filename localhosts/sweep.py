"""What a killed supervisor leaves, and its removal.

The kernel takes its processes, mounts, links and network namespaces along. Left are the folders of control groups and
a lock file; both bear the cluster's identity, random digits that are never used twice. A cluster lives as long as its
lock file is locked: nothing of it is touched, and nothing that does not bear such a name.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from . import cgroups

LOCKS = Path("/run")
"""The folder of the lock files."""

_IDENTITY = r"[0-9a-f]{16}"


def new_identity() -> str:
    """An identity that no other cluster has or had."""
    return secrets.token_hex(8)


def group(identity: str, host: int) -> str:
    """The control group of host number ``host``."""
    return f"{cgroups.PREFIX}{identity}-{host}"


@contextlib.contextmanager
def alive(identity: str) -> Iterator[None]:
    """Mark the cluster as alive until the block or the process ends. Raises OSError.

    Something else may be mounted over the folder of the lock files meanwhile.
    """
    name = _lock_file(identity).name
    making = f"{name}.making"
    folder = os.open(LOCKS, os.O_RDONLY | os.O_DIRECTORY)
    try:
        lock = os.open(making, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
        try:
            # Locked before it gets the name that a sweep looks for: a sweep never sees it free.
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.rename(making, name, src_dir_fd=folder, dst_dir_fd=folder)
            yield
        finally:
            os.unlink(name, dir_fd=folder)
            os.close(lock)
    finally:
        os.close(folder)


def remains(identity: str) -> list[str]:
    """What is there of the cluster ``identity``, alive or dead."""
    lock = _lock_file(identity)
    groups = [root / name for root in cgroups.roots() for name in _groups(identity)]
    return [str(path) for path in (lock, *groups) if path.exists()]


def sweep() -> tuple[list[str], list[str]]:
    """Remove what dead clusters left. Runs as root.

    Returns the identities of the clusters swept, and the paths that could not be removed.
    """
    swept: list[str] = []
    left: list[str] = []
    for identity in sorted(_identities()):
        with _dead(identity) as dead:
            if dead:
                for name in _groups(identity):
                    left.extend(str(folder) for folder in cgroups.remove(name))
                swept.append(identity)
    return swept, left


@contextlib.contextmanager
def _dead(identity: str) -> Iterator[bool]:
    """Whether the cluster is dead. If so its lock is held meanwhile, and its lock file is gone afterwards."""
    path = _lock_file(identity)
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        # A cluster has its lock file before its first control group and until after its last.
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
    # Groups first: a cluster that begins between the two looks has its lock file by the second.
    names = [*cgroups.ours(), *(path.name for path in LOCKS.glob(f"{cgroups.PREFIX}*.lock"))]
    found = (re.fullmatch(rf"{cgroups.PREFIX}({_IDENTITY})(-\d+|\.lock)", name) for name in names)
    return {match[1] for match in found if match}


def _groups(identity: str) -> list[str]:
    return [name for name in sorted(cgroups.ours()) if name.startswith(f"{cgroups.PREFIX}{identity}-")]


def _lock_file(identity: str) -> Path:
    return LOCKS / f"{cgroups.PREFIX}{identity}.lock"
