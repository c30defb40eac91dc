"""The one error of this package."""

from __future__ import annotations


class LocalHostsError(Exception):
    """Hosts on this machine could not be made, used or removed.

    The message's first line is complete: what was tried, what came back, what to do next. Further lines are output of
    what failed.
    """
