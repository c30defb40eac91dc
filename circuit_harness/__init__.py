"""Deploys services onto the hosts of a circuit, and removes them again. It does not know which services.

A conftest.py declares them by the hook ``pytest_circuit_services``. The names below are public: what they mean, a
release with the same first number does not change. Each is loaded when it is first used, since every run of pytest
loads this package where it is installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from circuit_harness.engine.hosts import pick_hosts
    from circuit_harness.errors import (
        CommandFailed,
        CommandTimedOut,
        Conflict,
        DeployError,
        NoHosts,
        NotReady,
        OutputTooLong,
        Unfit,
    )
    from circuit_harness.operations.needs import Need
    from circuit_harness.remote.command import Command
    from circuit_harness.remote.files import read_secret
    from circuit_harness.remote.host import Host
    from circuit_harness.remote.shell import ShellResult, run_shell
    from circuit_harness.secret import Secret
    from circuit_harness.services.mysql import MySQL, RunningMySQL
    from circuit_harness.services.nodejs import NodeApp
    from circuit_harness.services.program import Place, Program, RunningProgram
    from circuit_harness.services.protocol import Peer, Running, Service

_WHERE = {
    "Command": "remote.command",
    "CommandFailed": "errors",
    "CommandTimedOut": "errors",
    "Conflict": "errors",
    "DeployError": "errors",
    "Host": "remote.host",
    "MySQL": "services.mysql",
    "Need": "operations.needs",
    "NoHosts": "errors",
    "NodeApp": "services.nodejs",
    "NotReady": "errors",
    "Peer": "services.protocol",
    "Place": "services.program",
    "Program": "services.program",
    "Running": "services.protocol",
    "RunningMySQL": "services.mysql",
    "RunningProgram": "services.program",
    "Secret": "secret",
    "Service": "services.protocol",
    "ShellResult": "remote.shell",
    "OutputTooLong": "errors",
    "Unfit": "errors",
    "pick_hosts": "engine.hosts",
    "read_secret": "remote.files",
    "run_shell": "remote.shell",
}

__all__ = [
    "Command",
    "CommandFailed",
    "CommandTimedOut",
    "Conflict",
    "DeployError",
    "Host",
    "MySQL",
    "Need",
    "NoHosts",
    "NodeApp",
    "NotReady",
    "Peer",
    "Place",
    "Program",
    "Running",
    "RunningMySQL",
    "RunningProgram",
    "Secret",
    "Service",
    "ShellResult",
    "OutputTooLong",
    "Unfit",
    "pick_hosts",
    "read_secret",
    "run_shell",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _WHERE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
