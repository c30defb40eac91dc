"""A deployed MySQL server: find it again, query it, stop it and start it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from circuit_harness.errors import NotReady
from circuit_harness.remote.command import Command, as_root, root
from circuit_harness.remote.host import Host
from circuit_harness.remote.waiting import wait_until
from circuit_harness.secret import Secret
from circuit_harness.services.mysql import accounts, manager
from circuit_harness.services.mysql.client import DENIED, client, shut_out
from circuit_harness.services.mysql.manager import Manager
from circuit_harness.services.signalled import Signalled
from circuit_harness.steps import Steps

_READY_LIMIT_S = 60.0


@dataclass(frozen=True)
class RunningMySQL(Signalled):
    """A deployed server. ``config`` is the option file that binds it to ``address``.

    The app's account, ``user``, may connect from the addresses ``admitted``, and the checks' account from
    ``check_from``, which is "" if the machine that deployed the server could not reach it. ``check_file`` on the host
    contains the password of the checks' account, and only root can read it. ``password`` is the app's; None if the
    account has none, and for a server that :meth:`at` has returned.
    """

    host: Host
    address: str
    port: int
    config: str
    version: str
    service: Manager
    admitted: tuple[str, ...]
    tls: bool
    ca: str
    check_from: str
    check_file: str
    database: str
    user: str
    password: Secret | None = None

    anchor = ""

    @property
    def admits(self) -> str:
        """The first of the addresses that the app's account may connect from."""
        return self.admitted[0]

    @property
    def check_user(self) -> str:
        """The checks' account."""
        return accounts.check_user(self.user)

    @property
    def is_open(self) -> bool:
        """Whether the app's account may connect from everywhere, as in the tutorial."""
        return self.admitted == (accounts.ANYWHERE,)

    @property
    def client(self) -> str:
        """Shell, for root: its own client."""
        return client(self.service)

    def describe(self) -> dict[str, Any]:
        """Return all but the host and the secrets, as plain values that :meth:`at` takes."""
        apart = ("host", "password", "service")
        plain = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in apart}
        return {**plain, "admitted": list(self.admitted), "service": self.service.describe()}

    @classmethod
    def at(cls, host: Host, described: Mapping[str, Any]) -> RunningMySQL:
        """Return the server on a host that :meth:`describe`, of this version or of an older one, described.

        Older versions had one database, and did not record its name.
        """
        values = {"database": "tutorial", "user": "tutorial", **described}
        if "admits" in values:
            values["admitted"] = [values.pop("admits")]
        values |= {"admitted": tuple(values["admitted"]), "service": manager.of(values["service"])}
        return cls(host=host, **values)

    def logs(self) -> tuple[str, str]:
        """Return the name of its log, and shell for root that prints the log's last lines."""
        return self.service.log_name(), self.service.log()

    def stop(self) -> None:
        """Stop it.

        :raises CommandFailed: it does not stop.
        """
        self.host.run(root(f"{self.service.settle()}; {self.service.stop()}"), timeout=manager.LIMIT_S)

    def start(self, steps: Steps) -> None:
        """Start it unless it runs, and wait until it answers.

        :raises NotReady: it does not answer, or listens on another address.
        :raises CommandFailed: it does not start.
        """
        self.host.run(root(self.service.start()), timeout=manager.LIMIT_S)
        await_answer(self.host, self.service, self.address, self.port, steps)

    def signal(self, name: str) -> str:
        """Shell, for root: send a signal, named without SIG, to all its processes; fail if it has none."""
        return self.service.signal(name)


def await_answer(host: Host, server: Manager, address: str, port: int, steps: Steps) -> None:
    """Wait until a server answers on this address and port.

    :raises NotReady: it does not answer, refuses root, or listens on another address or port.
    """
    ask = as_root(f"{client(server)} -e 'SELECT @@bind_address, @@port'")

    def probe() -> str:
        result = host.run(Command(ask), timeout=10, check=False)
        if result.exit_status != 0:
            said = result.stderr.decode("utf-8", "replace").strip()
            if DENIED.search(said):
                raise NotReady(shut_out(host.name, said))
            return said
        if result.text.split() != [address, str(port)]:
            # A running server does not change its address.
            raise NotReady(
                f"MySQL on host {host.name} is bound to {' port '.join(result.text.split())}, not to {address} port"
                f" {port} as in its option files: what starts {server}, such as $MYSQLD_OPTS, sets it; take that out"
            )
        return ""

    wait_until(probe, f"MySQL on host {host.name} to answer", _READY_LIMIT_S, steps)
