"""Work on several hosts at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def on_each(function: Callable[[T], R], items: Iterable[T], name: str) -> list[R]:
    """Call a function with each item, all at once; return the results in the items' order, once all calls have ended.

    What the first failing call raised is raised then. ``name`` is that of the threads.
    """
    listed = list(items)
    with ThreadPoolExecutor(max(len(listed), 1), thread_name_prefix=name) as pool:
        futures = [pool.submit(function, item) for item in listed]
    return [future.result() for future in futures]
