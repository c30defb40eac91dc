"""Work on several hosts concurrently."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def on_each(function: Callable[[T], R], items: Iterable[T], name: str) -> list[R]:
    """Call a function with each item concurrently; return the results in the items' order when all calls have ended.

    Then raises the error of the first item whose call failed. ``name`` is the prefix of the threads' names.
    """
    listed = list(items)
    with ThreadPoolExecutor(max(len(listed), 1), thread_name_prefix=name) as pool:
        futures = [pool.submit(function, item) for item in listed]
    return [future.result() for future in futures]
