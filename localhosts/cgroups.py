"""Control groups: a group of its own for each host, in every hierarchy that is mounted.

systemd-nspawn is told to stay in the group it is started in. Hosts that shared one would share its children too, and a
child left by an earlier host makes a boot fail; so a group is named after the cluster's identity, which no other
cluster ever has, and the host's number.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "localhosts-"
"""What the name of every group of ours begins with."""

JOIN_AND_EXEC = 'until [ "$1" = -- ]; do echo 0 > "$1/cgroup.procs" || exit 1; shift; done; shift; exec "$@"'
"""Shell text: enter the groups given before ``--``, then become the command after it."""

_PAUSE = 0.01
_CPUSET_INHERITED = ("cpuset.cpus", "cpuset.mems")


def _mounted() -> dict[Path, bool]:
    """Every hierarchy's mount point, and whether it is of the first version."""
    found: dict[str, tuple[Path, bool]] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind = after.split()[0]
        fields = before.split()
        if kind in ("cgroup", "cgroup2"):
            found.setdefault(fields[2], (Path(fields[4]), kind == "cgroup"))
    return dict(found.values())


def roots() -> tuple[Path, ...]:
    """The root folder of each hierarchy."""
    return tuple(_mounted())


def create(name: str) -> list[Path]:
    """Make the group ``name`` in every hierarchy and return its folders. Raises OSError."""
    folders = []
    for root, first_version in _mounted().items():
        folder = root / name
        folder.mkdir()
        folders.append(folder)
        if first_version:
            # A group of the first version's cpuset hierarchy starts without processors and takes no process.
            for setting in _CPUSET_INHERITED:
                if (folder / setting).exists():
                    (folder / setting).write_text((root / setting).read_text())
    return folders


def ours() -> set[str]:
    """The names of all groups that clusters on this machine have made, dead or alive."""
    return {folder.name for root in roots() for folder in root.glob(f"{PREFIX}*")}


def pids(name: str) -> list[int]:
    """The processes in group ``name`` and below it, as the caller's process namespace counts them."""
    found: set[int] = set()
    for folder in _tree(name):
        # A folder may go, and a thread group may be half gone, while it is read.
        with contextlib.suppress(OSError):
            found.update(int(line) for line in (folder / "cgroup.procs").read_text().split())
    # 0 stands for a process that the caller's namespace does not see.
    return sorted(found - {0})


def kill(name: str) -> None:
    """Kill every process in group ``name`` and below it; returns before they have ended."""
    for pid in pids(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def remove(name: str, limit: float = 2.0) -> list[Path]:
    """Kill what still runs in group ``name``, remove its folders and return those that ``limit`` seconds did not free.

    A group stays busy for a moment after its last process has ended, and the kernel announces the end of that moment
    in the second version only: hence the pauses.
    """
    deadline = time.monotonic() + limit
    while left := list(_tree(name)):
        kill(name)
        for folder in left:
            with contextlib.suppress(OSError):
                folder.rmdir()
        if time.monotonic() > deadline:
            return list(_tree(name))
        time.sleep(_PAUSE)
    return []


def remove_empty(name: str) -> None:
    """Remove the folders of group ``name`` if none of them holds a process, seen from here or not."""
    folders = list(_tree(name))
    # A folder that goes meanwhile is someone else's work.
    with contextlib.suppress(OSError):
        if not any((folder / "cgroup.procs").read_text() for folder in folders):
            for folder in folders:
                folder.rmdir()


def _tree(name: str) -> Iterator[Path]:
    """The folders of group ``name`` in every hierarchy, children before parents."""
    for root in roots():
        for folder, _, _ in os.walk(root / name, topdown=False):
            yield Path(folder)
