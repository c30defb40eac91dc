"""How the user of pytest types the remedies that messages name."""

from __future__ import annotations

from circuit_harness.plugin.command_line import PRIVATE, PUBLIC
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


def spell(remedy: Remedy, what: str) -> str:
    """Return the options for a remedy; ``what`` are the hosts that it is for, "" where it is for none in particular."""
    option = _OPTIONS[remedy]
    if not what:
        return option
    return f"{option}={what}=IP" if option in (PRIVATE, PUBLIC) else f"{option} --hosts={what}"
