"""Carrying out a stage: its probes, then its actions, each undo in the journal before what it undoes."""

from __future__ import annotations

from contextlib import suppress
from itertools import zip_longest
from typing import Any

from circuit import CircuitError, ElementExists
from circuit_harness.errors import CommandFailed, Conflict, DeployError
from circuit_harness.journal.journal import Journal
from circuit_harness.journal.record import Change
from circuit_harness.remote.command import Command, root
from circuit_harness.remote.host import Host, Process
from circuit_harness.remote.processes import end
from circuit_harness.services.protocol import Action, Context, Element, End, Stage


def carry_out(service: str, stage: Stage, results: dict[str, Any], journal: Journal, context: Context) -> None:
    """Carry out a stage of a service on its host.

    :param results: what was found so far, which this stage adds to.
    :raises DeployError, CircuitError: an action failed, or had not its effect. What was journalled stays so.
    """
    host = context.host
    for probe in stage.probes:
        with context.steps.step(probe.what, host.name):
            results[probe.name] = probe.ask(context)
    actions = [action for action in stage.actions(results) if action.guard is None or action.guard.holds]
    recorded: Action | None = None
    for action, following in zip_longest(actions, actions[1:]):
        with context.steps.step(action.what, host.name):
            printed = ""
            if isinstance(action.do, End):
                end(host, action.do.anchor, action.do.process)
            elif action is not recorded:
                recorded = following if following is not None and _is_started_alone(following) else None
                command = action.do if isinstance(action.do, Command) else action.do.prepare or root("true")
                printed = _run(service, action, recorded, command, journal, context)
            if isinstance(action.do, Element):
                results[action.do.anchor] = _start(action.do, context)
            if action.check is not None:
                action.check(context, printed)


def _is_started_alone(action: Action) -> bool:
    """Return whether an action is a process that no command prepares: the one before it can record both."""
    return isinstance(action.do, Element) and action.do.prepare is None


def _run(
    service: str, action: Action, also: Action | None, command: Command, journal: Journal, context: Context
) -> str:
    """Run a command, which records the undo of its action and that of another one; return what it printed."""
    changes = [_change(service, each) for each in (action, also) if each is not None and each.undo is not None]
    try:
        if not changes:
            return context.host.run(command, timeout=action.limit).text
        return journal.change(changes, command, action.limit).text
    except CommandFailed as error:
        if action.log is None:
            raise
        raise _with_log(error, action.log, context.host) from None


def _with_log(error: CommandFailed, log: Command, host: Host) -> CommandFailed:
    """The error of an action, with what its log holds, which may be the only reason that is known."""
    said = b""
    with suppress(DeployError, CircuitError):
        said = host.run(log, check=False).stdout
    return CommandFailed(error.host, error.command, error.exit_status, error.stdout, error.stderr + said)


def _change(service: str, action: Action) -> Change:
    undo = action.undo
    assert undo is not None
    element = action.do if isinstance(action.do, Element) else None
    return Change(
        undo.what,
        service,
        undo.command,
        proof=undo.proof,
        anchor=element.anchor if element else "",
        mark=element.mark if element else "",
        limit=undo.limit,
    )


def _start(element: Element, context: Context) -> Process:
    host = context.host
    try:
        process = host.start(element.anchor, element.cmd)
    except ElementExists as error:
        raise Conflict(f"/{host.name}/{element.anchor} is in use: another run was quicker ({error})") from None
    process.discard_streams()
    return process
