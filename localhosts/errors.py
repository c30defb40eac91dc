"""The one error of this package."""

from __future__ import annotations


class LocalHostsError(Exception):
    """Hosts on this machine could not be made, used or removed.

    The message is one line or opens with one: what was tried, what came back, what to do next. Lines after the first
    are output of what failed.
    """
