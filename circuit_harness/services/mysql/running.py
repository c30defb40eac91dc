"""A deployed MySQL server: find it again, query it, stop it and start it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import pymysql

from circuit_harness.errors import CommandFailed, NotReady
from circuit_harness.operations import disk, ports
from circuit_harness.operations.ports import Listening, parse_listening
from circuit_harness.remote import fact_lines
from circuit_harness.remote.command import root
from circuit_harness.remote.files import read_secret
from circuit_harness.remote.host import Host
from circuit_harness.remote.script import Scripts
from circuit_harness.remote.waiting import wait_until
from circuit_harness.secret import Secret
from circuit_harness.services.mysql import accounts, manager
from circuit_harness.services.mysql.client import DENIED, client, shut_out
from circuit_harness.services.mysql.manager import Manager
from circuit_harness.services.signalled import Signalled
from circuit_harness.steps import Steps

_READY_LIMIT_S = 60.0
_ANSWERED_LIMIT_S = 20.0
_PROBE_LIMIT_S = 15.0
_ANSWER_LIMIT_S = 5

_SCRIPTS = Scripts.beside(__file__)


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

    def down(self) -> str:
        """Return why the server does not serve: it does not run or answer, its disk is full, or it refuses the checks.

        "" where it serves. One command on its host, and a connection from here where the checks have an account.
        """
        values = fact_lines.parse(self.host.run(root(self._probe()), timeout=_PROBE_LIMIT_S).text)
        active, refusal = "active" in values, fact_lines.first(values, "refusal")
        wrong = ""
        if not active:
            wrong = f"{self.service.name} is {fact_lines.first(values, 'ActiveState') or 'not running'}"
        elif refusal:
            wrong = f"{self.service.name} runs, and does not answer: {refusal}"
        elif not self._is_listened_on(values.get("listening", ())):
            wrong = f"{self.service.name} runs, and does not listen on {Listening(self.address, self.port)}"
        shortage = disk.shortage(fact_lines.first(values, "disk"), self.service.datadir)
        if not wrong and not shortage:
            wrong = self._refusal()
        if not wrong and not shortage:
            return ""
        since = manager.parse_since(values)
        state = [f"{'running' if active else 'down'} since {since}"] if since else []
        ended = "" if active else manager.parse_end(values)
        lines = ["; ".join(filter(None, (shortage, wrong))), *state, *([f"it ended: {ended}"] if ended else [])]
        lines += [f"? {disk.show_use(self.service.datadir)}"] if shortage else []
        lines += [f"$ {show}"] if not shortage and (show := self.service.show_log()) else []
        hangs = refusal and not DENIED.search(refusal)
        if (hangs or not active) and (start := self.service.start_by_hand(running=active)):
            lines.append(f"! {start}")
        return "\n".join(lines)

    def _probe(self) -> str:
        """Shell, for root: print facts about the server."""
        ask = f"timeout {_ANSWER_LIMIT_S} {self.client} -e 'SELECT 1'"
        return "\n".join(
            [
                fact_lines.SAY,
                disk.look(self.service.datadir),
                self.service.status(),
                f"if {self.service.is_active()}; then",
                "say active yes",
                f"ask_root() {{ {ask}; }}",
                _SCRIPTS.text("probe_server", limit_s=_ANSWER_LIMIT_S),
                ports.LIST,
                "fi",
                "exit 0",
            ]
        )

    def _is_listened_on(self, sockets: Iterable[str]) -> bool:
        """Return whether a socket is bound to the server's port, at its address or at all."""
        found = {socket.ip for socket in map(parse_listening, sockets) if socket.port == self.port}
        return bool(found & {self.address, "0.0.0.0", "::"})

    def _refusal(self) -> str:
        """Return why the server refuses the checks' account here; "" where it lets it in, or is not to be asked."""
        if not self.check_from or accounts.own_address(self.address, self.port) != self.check_from:
            return ""
        tls = accounts.Tls(self.tls, self.ca)
        try:
            accounts.connect(self.address, self.port, self.check_user, self._check_password, None, tls).close()
        except (pymysql.MySQLError, OSError) as error:
            said = str(error.args[1] if len(error.args) > 1 else error)
            return f"{self.service.name} refuses user {self.check_user}: {' '.join(said.split())}"
        return ""

    @cached_property
    def _check_password(self) -> Secret:
        """The password of the checks' account, read once."""
        return read_secret(self.host, self.check_file)

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


def await_answer(host: Host, server: Manager, address: str, port: int, steps: Steps, looking: str = "") -> str:
    """Wait until a server answers on this address and port; return the facts that it prints then.

    :param looking: defines ``look_again``, as :func:`facts.looking_again` does; without it there are no facts.
    :raises NotReady: it does not answer, refuses root, or listens on another address or port.
    :raises CommandFailed: it answers, and ``look_again`` failed.
    """
    ask = f"{looking}\nlook_again" if looking else f"{client(server)} -e 'SELECT @@bind_address, @@port'"
    command = root(ask)
    facts = ""

    def probe() -> str:
        nonlocal facts
        result = host.run(command, timeout=_ANSWERED_LIMIT_S, check=False)
        if not result.text:
            said = result.stderr.decode("utf-8", "replace").strip()
            if DENIED.search(said):
                raise NotReady(shut_out(host.name, said))
            return said or f"exit status {result.exit_status}"
        facts = bound_facts(result.text, host, server, address, port)
        if result.exit_status != 0:
            raise CommandFailed(host.name, command.text, result.exit_status, result.stdout, result.stderr)
        return ""

    wait_until(probe, f"MySQL on host {host.name} to answer", _READY_LIMIT_S, steps)
    return facts


def bound_facts(answer: str, host: Host, server: Manager, address: str, port: int) -> str:
    """Return the facts behind the first line of an answer.

    :raises NotReady: the line has another address or port. A running server does not change these.
    """
    bound, _, facts = answer.partition("\n")
    if bound.split() != [address, str(port)]:
        raise NotReady(
            f"MySQL on host {host.name} is bound to {' port '.join(bound.split())}, not to {address} port"
            f" {port} as in its option files: what starts {server}, such as $MYSQLD_OPTS, sets it; take that out"
        )
    return facts
