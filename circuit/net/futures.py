"""What asyncio's futures lack."""

from __future__ import annotations

import asyncio
from typing import Any


def mark_retrieved(done: asyncio.Future[Any]) -> None:
    """Keep asyncio from logging a failure that no caller is left to handle."""
    if not done.cancelled():
        done.exception()
