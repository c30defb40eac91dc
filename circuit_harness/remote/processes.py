"""End processes that are elements, and verify that they have ended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from circuit import CallFailed
from circuit_harness.remote.host import Element, Host, Process
from circuit_harness.remote.waiting import wait_until
from circuit_harness.steps import Steps

_TERM_LIMIT_S = 5.0
_KILL_LIMIT_S = 5.0


def end(host: Host, anchor: str, proc: Process) -> None:
    """End the process at an anchor of a host: TERM, after 5 s KILL. Then remove its element.

    :raises CircuitError: the process did not end, or its host is lost.
    """
    # The server waits for the end of the streams, which a run that was killed as it started the process did not close.
    proc.discard_streams()
    # A process that has ended meanwhile cannot be signalled, and need not be.
    for signal, limit in (("TERM", _TERM_LIMIT_S), ("KILL", _KILL_LIMIT_S)):
        with contextlib.suppress(CallFailed):
            proc.signal(signal)
        try:
            proc.wait(limit)
            break
        except CallFailed:
            break
        except TimeoutError:
            if signal == "KILL":
                raise
    if proc.peek().cmd.scrub:
        # The server scrubs the element. To scrub it here, too, could hit an element that another client has just made.
        wait_until(lambda: _still(host, anchor, proc), f"{proc.anchor.path} to be empty", _KILL_LIMIT_S, Steps())
    else:
        proc.scrub()


@contextmanager
def looked_at(host: Host, anchor: str) -> Iterator[Element | None]:
    """Give the element at an anchor, if there is one, and release it in the end: an anchor that is held stays."""
    element = host.element(anchor)
    try:
        yield element
    finally:
        if element is not None:
            element.release()
            element.anchor.release()


def _still(host: Host, anchor: str, proc: Process) -> str:
    with looked_at(host, anchor) as element:
        return f"the {element.kind} element is there" if element is not None and element.same(proc) else ""
