"""The room that is left on the disk of a folder, as one of the facts that a script prints."""

from __future__ import annotations

import shlex

FULL_BELOW_BYTES = 1 << 20
"""A disk with fewer free bytes is full: no service works for long on what is left."""


def look(folder: str) -> str:
    """Shell, for root, behind ``say``: print the room on a folder's disk; :func:`shortage` takes the value of ``disk``.

    The blocks that only root may use do not count, because services do not run as root.
    """
    return f"say disk \"$(stat -f -c '%a %b %S %d %c' {shlex.quote(folder)} 2>/dev/null)\""


def show_use(folder: str) -> str:
    """Shell, for root, for a person to type: list the largest files of a folder's disk, the largest first.

    Not by ``du -x``: in an overlay, files are on another device than their folders.
    """
    top = f'"$(df --output=target {shlex.quote(folder)} | tail -n 1)"'
    return f"find {top} -xdev -type f -size +1M -exec ls -lhS {{}} + 2>/dev/null | head -n 20"


def shortage(fact: str, folder: str) -> str:
    """Return what the disk of a folder lacks, in words; "" where there is room, or where nothing is known."""
    numbers = [int(word) for word in fact.split() if word.isdigit()]
    if len(numbers) != 5:
        return ""
    free, blocks, size, free_inodes, inodes = numbers
    if free * size < FULL_BELOW_BYTES:
        return f"the disk of {folder} is full ({free * size >> 10} KiB of {blocks * size >> 20} MiB are free)"
    # Some file systems have no fixed number of inodes, and report none.
    if inodes and not free_inodes:
        return f"the disk of {folder} has no inodes left, so no file can be made"
    return ""
