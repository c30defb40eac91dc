"""What can be done to anything that runs as processes of its own, by signals."""

from __future__ import annotations

from circuit_harness.remote.command import root
from circuit_harness.remote.host import Host


class Signalled:
    """Something that runs on ``host``."""

    host: Host

    def signal(self, name: str) -> str:
        """Shell, for root: send a signal, named without SIG, to all its processes; fail where there is none."""
        raise NotImplementedError

    def kill(self) -> None:
        """End its processes at once. Where a service manager watches over them, that may start it again.

        :raises CommandFailed: it does not run.
        """
        self.host.run(root(self.signal("KILL")))

    def pause(self) -> None:
        """Stop its processes where they are: its port accepts connections, and nothing answers.

        :raises CommandFailed: it does not run.
        """
        self.host.run(root(self.signal("STOP")))

    def resume(self) -> None:
        """Have its processes go on.

        :raises CommandFailed: it does not run.
        """
        self.host.run(root(self.signal("CONT")))
