"""``run``: a command on a host, as if it were a local one; or on all of them."""

from __future__ import annotations

import argparse
import queue

from circuit.cli.attached import AttachedCommand, Event, catch_signals, kill_and_scrub, start_command
from circuit.cli.lookup import dial, names_of_new
from circuit.cli.run_everywhere import run_everywhere


def run(options: argparse.Namespace) -> int:
    """Run a command; return its exit status.

    :raises CircuitError: the circuit failed, or the input or output.
    :raises OutputLost: an output takes no more.
    """
    return run_everywhere(options) if options.all else _run_on_one(options)


def _run_on_one(options: argparse.Namespace) -> int:
    names = names_of_new(options.anchor, "run")
    with dial(options) as client:
        anchor = client.walk(*names)
        # From here on a signal must not end this process before the command.
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        catch_signals(events.put)
        proc = start_command(anchor, options.argv)
        try:
            return AttachedCommand(proc, events).run()
        except BaseException:
            kill_and_scrub(proc)
            raise
