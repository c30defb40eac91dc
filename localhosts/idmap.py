"""Mounts whose files belong to other users than on the disk, although no file is changed.

The kernel calls them idmapped. It has them for ext4 and xfs since Linux 5.12, below an overlay since 5.19, for tmpfs
since 6.3.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from collections.abc import AsyncIterator
from pathlib import Path

# The same numbers on every architecture.
_OPEN_TREE = 428
_MOVE_MOUNT = 429
_MOUNT_SETATTR = 442

_HERE = -100
_EMPTY_PATH = 0x1000
_CLONE = 0x1 | os.O_CLOEXEC
_FROM_DESCRIPTOR = 0x4
_READ_ONLY = 0x1
_MAPPED = 0x100000


class _Attributes(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns"))


@contextlib.asynccontextmanager
async def namespace(first: int, number: int) -> AsyncIterator[int]:
    """Yield a descriptor of a user namespace with ``number`` users, those from ``first`` on. Raises OSError."""
    holder = await asyncio.create_subprocess_exec(
        *("unshare", "--user", "sh", "-c", "echo; read -r _"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        await holder.stdout.readline()
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{holder.pid}/{name}").write_text(f"0 {first} {number}\n")
        descriptor = os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        with contextlib.suppress(ProcessLookupError):
            holder.kill()
        await holder.wait()
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def mount(source: Path, target: Path, users: int) -> None:
    """Mount ``source`` on ``target``, read-only, with its files' owners as in namespace ``users``. Raises OSError."""
    tree = _call(_OPEN_TREE, _HERE, bytes(source), _CLONE)
    try:
        attributes = _Attributes(_READ_ONLY | _MAPPED, 0, 0, users)
        _call(_MOUNT_SETATTR, tree, b"", _EMPTY_PATH, ctypes.byref(attributes), ctypes.sizeof(attributes))
        _call(_MOVE_MOUNT, tree, b"", _HERE, bytes(target), _FROM_DESCRIPTOR)
    finally:
        os.close(tree)


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = int(libc.syscall(ctypes.c_long(number), *words))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
