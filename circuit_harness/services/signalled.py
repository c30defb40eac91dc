"""Send signals to a service that runs as processes of its own."""

from __future__ import annotations

from circuit_harness.remote.command import root
from circuit_harness.remote.host import Host


class Signalled:
    """A service whose processes run on ``host``."""

    host: Host

    def signal(self, name: str) -> str:
        """Shell, for root: send a signal, named without SIG, to all its processes; fail if it has none."""
        raise NotImplementedError

    def kill(self) -> None:
        """Kill its processes. A service manager that watches them may start it again.

        :raises CommandFailed: it does not run.
        """
        self.host.run(root(self.signal("KILL")))

    def pause(self) -> None:
        """Suspend its processes: its port still accepts connections, but nothing answers.

        :raises CommandFailed: it does not run.
        """
        self.host.run(root(self.signal("STOP")))

    def resume(self) -> None:
        """Resume its suspended processes.

        :raises CommandFailed: it does not run.
        """
        self.host.run(root(self.signal("CONT")))
