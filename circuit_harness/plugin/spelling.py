"""How the user types what messages name: remedies as options, and whole commands."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from circuit_harness.plugin.command_line import PRIVATE, PUBLIC, WORKSPACE
from circuit_harness.remedies import Remedy

_OPTIONS = {
    Remedy.REPLACE: "--replace",
    Remedy.INSTALL: "--install",
    Remedy.KEEP: "--keep=always",
    Remedy.ATTACH: "--attach",
    Remedy.TEAR_DOWN: "--circuit-teardown",
    Remedy.TEAR_DOWN_CRASHED: "--circuit-teardown --crashed-only",
    Remedy.WAIT: "--lease-wait",
    Remedy.NAME_HOSTS: "--hosts",
    Remedy.PRIVATE_ADDRESS: PRIVATE,
    Remedy.PUBLIC_ADDRESS: PUBLIC,
}


Verb = Literal["up", "check", "down", "status", "reset"]

_IN_WORKSPACE: dict[Remedy, Verb] = {
    Remedy.KEEP: "up",
    Remedy.ATTACH: "check",
    Remedy.TEAR_DOWN: "down",
    Remedy.TEAR_DOWN_CRASHED: "up",
}


def spell_in_workspace(remedy: Remedy, what: str) -> str:
    """Return what the user types for a remedy on the workspace's hosts; as :func:`spell`."""
    return command(_IN_WORKSPACE[remedy]) if remedy in _IN_WORKSPACE else spell(remedy, what)


def spell(remedy: Remedy, what: str) -> str:
    """Return the options for a remedy; ``what`` are the hosts that it is for, "" where it is for none in particular."""
    option = _OPTIONS[remedy]
    if not what:
        return option
    return f"{option}={what}=IP" if option in (PRIVATE, PUBLIC) else f"{option} --hosts={what}"


FRONT_END = "CIRCUIT_HARNESS_RUN"
"""A variable by which a program that runs pytest with this plugin says what its user has typed to run it. It has the
verbs up, check, down, status, reset, clean and circuit."""

_ON_CIRCUIT = {"check": "--attach", "down": "--circuit-teardown"}


def command(verb: Verb, options: Sequence[str] = ()) -> str:
    """Return a command for the user to paste.

    :param options: those that name a circuit and its hosts; without any, the workspace of this folder is meant.
    """
    if front_end := os.environ.get(FRONT_END):
        return shlex.join([front_end, verb, *options])
    of_verb = _ON_CIRCUIT.get(verb) if options else None
    # The services are those that this folder declares, and without options, the hosts are this folder's.
    words = [*_pytest(), *options, of_verb or f"{WORKSPACE}={verb}"]
    return f"cd {shlex.quote(str(Path.cwd()))} && {shlex.join(words)}"


def typed(mode: str) -> str:
    """Return the option that says what to do as the user has typed it: some stand for a verb of the front end."""
    option, _, verb = mode.partition("=")
    front_end = os.environ.get(FRONT_END)
    return f"{front_end} {verb}" if front_end and option == WORKSPACE else mode


def circuit_command(named: Sequence[str], verb: str, *words: str, in_workspace: bool) -> str:
    """Return a command of the ``circuit`` program for the user to paste.

    :param named: the options that name the circuit.
    :param in_workspace: whether it is the one of the workspace, which the front end's users need not name.
    """
    if front_end := os.environ.get(FRONT_END):
        return shlex.join([front_end, "circuit", verb, *([] if in_workspace else named), *words])
    return shlex.join([sys.executable, "-m", "circuit", verb, *named, *words])


def clean_command() -> str:
    """Return the command that removes what killed runs have left on this machine."""
    if front_end := os.environ.get(FRONT_END):
        return shlex.join([front_end, "clean"])
    return shlex.join([sys.executable, "-m", "localhosts", "clean"])


def _pytest() -> list[str]:
    """The words that have begun this run of pytest, with a full path."""
    program = Path(sys.argv[0])
    if program.name in ("pytest", "py.test"):
        return [str(program.parent.resolve() / program.name)]
    return [sys.executable, "-m", "pytest"]
