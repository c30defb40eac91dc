"""Control groups: one group for each host, in every mounted hierarchy.

An option makes systemd-nspawn stay in the group it is started in. Hosts that share a group also share its children, and
a child left by an earlier host makes a boot fail. So a group's name has the cluster's identity, which is never used
twice, and the host's number.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "localhosts-"
"""The first part of every group's name."""

JOIN_AND_EXEC = 'until [ "$1" = -- ]; do echo 0 > "$1/cgroup.procs" || exit 1; shift; done; shift; exec "$@"'
"""Shell text: enter the groups given before ``--``, then execute the command after it."""

_PAUSE = 0.01
_CPUSET_INHERITED = ("cpuset.cpus", "cpuset.mems")


def _mounted() -> dict[Path, bool]:
    """Return every hierarchy's mount point, and whether it is of the first version."""
    found: dict[str, tuple[Path, bool]] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind = after.split()[0]
        fields = before.split()
        if kind in ("cgroup", "cgroup2"):
            found.setdefault(fields[2], (Path(fields[4]), kind == "cgroup"))
    return dict(found.values())


def roots() -> tuple[Path, ...]:
    """Return the root folder of each hierarchy."""
    return tuple(_mounted())


def create(name: str) -> list[Path]:
    """Make the group ``name`` in every hierarchy and return its folders. Raises OSError."""
    folders = []
    for root, first_version in _mounted().items():
        folder = root / name
        folder.mkdir()
        folders.append(folder)
        if first_version:
            # A new group of the first version's cpuset hierarchy has no processors, and so refuses every process.
            for setting in _CPUSET_INHERITED:
                if (folder / setting).exists():
                    (folder / setting).write_text((root / setting).read_text())
    return folders


def ours() -> set[str]:
    """Return the names of the groups of all clusters on this machine, dead or alive."""
    return {folder.name for root in roots() for folder in root.glob(f"{PREFIX}*")}


def pids(name: str) -> list[int]:
    """Return the ids, in the caller's process namespace, of the processes in group ``name`` and below it."""
    found: set[int] = set()
    for folder in _tree(name):
        # While this reads, a folder may vanish and a thread group may be half gone.
        with contextlib.suppress(OSError):
            found.update(int(line) for line in (folder / "cgroup.procs").read_text().split())
    # 0 stands for a process outside the caller's namespace.
    return sorted(found - {0})


def kill(name: str) -> None:
    """Kill every process in group ``name`` and below it; return before they have ended."""
    for pid in pids(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def remove(name: str, limit: float = 2.0) -> list[Path]:
    """Kill all processes in group ``name`` and remove its folders; return those still busy after ``limit`` seconds.

    A group stays busy for a moment after its last process has ended. Only the second version of control groups reports
    the end of that moment, so this tries again after a pause.
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
    """Remove the folders of group ``name`` if none of them holds a process of any namespace."""
    folders = list(_tree(name))
    # Another process may remove a folder meanwhile.
    with contextlib.suppress(OSError):
        if not any((folder / "cgroup.procs").read_text() for folder in folders):
            for folder in folders:
                folder.rmdir()


def _tree(name: str) -> Iterator[Path]:
    """Yield the folders of group ``name`` in every hierarchy, children before parents."""
    for root in roots():
        for folder, _, _ in os.walk(root / name, topdown=False):
            yield Path(folder)
