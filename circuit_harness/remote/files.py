"""Files on hosts."""

from __future__ import annotations

from circuit import Hidden
from circuit_harness.errors import CommandFailed, CommandTimedOut, OutputTooLong
from circuit_harness.remote.command import Command
from circuit_harness.remote.host import Host
from circuit_harness.secret import Secret, know


def read_secret(host: Host, path: str) -> Secret:
    """Read a file as root; return its content, without white space around it, as a secret.

    :raises DeployError, CircuitError: as :meth:`Host.run` does.
    """
    try:
        return Secret(Hidden(host.run(Command.of("cat", "--", path).as_root()).stdout.strip()))
    except (CommandFailed, CommandTimedOut, OutputTooLong) as error:
        # The output of a failed command may be the secret, too, and no report may show it.
        know(Hidden(error.stdout.strip()))
        raise
