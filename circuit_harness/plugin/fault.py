"""Faults in a user's code, in one line."""

from __future__ import annotations

import traceback


def fault(error: Exception) -> str:
    """Describe a fault in a program in one line, with its place."""
    *_, frame = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {error}, at line {frame.lineno} of {frame.filename}, in {frame.name}"
