"""MySQL as a service: bound to the private address, with one database, its schema, and accounts for app and checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from circuit_harness.errors import DeployError
from circuit_harness.journal.record import FOLDER
from circuit_harness.operations import edits
from circuit_harness.operations.needs import CURL, SS, Data, Need
from circuit_harness.operations.ports import Listening
from circuit_harness.remote.command import root
from circuit_harness.remote.host import Host
from circuit_harness.secret import generate
from circuit_harness.services import parameters
from circuit_harness.services.mysql import accounts, configuration, data, facts, fit, manager
from circuit_harness.services.mysql.data import Seen
from circuit_harness.services.mysql.facts import SKIP_NAMES, Facts
from circuit_harness.services.mysql.running import RunningMySQL, await_answer, bound_facts
from circuit_harness.services.protocol import Action, Context, Guard, Local, Probe, Results, Site, Stage

_SERVER = Need(
    "MySQL or MariaDB server",
    ("mariadbd", "mysqld"),
    "mariadb-server",
    data=Data("/var/lib/mysql", ("mysql", "performance_schema", "sys"), "databases"),
)
_CLIENT = Need(
    "MySQL client (mariadb or mysql)",
    ("mariadb", "mysql"),
    "mariadb-client",
    # The client from the server's vendor, if the host has a server.
    beside=(("mariadbd", "mariadb-client"), ("mysqld", "mysql-client")),
)


@dataclass(frozen=True)
class MySQL:
    """A MySQL or MariaDB server that the host has, or from a package.

    The run binds it to the host's private address and ``port``, makes ``database`` and loads the ``schema`` files into
    it. The account ``user`` has all rights on the database and a generated password, and may connect from the hosts of
    the services that use the server; with ``open_to_all``, it has no password, and may connect from everywhere. Checks
    get an account that can only read.

    :raises DeployError: a name, a port or a file is not valid.
    """

    database: str
    user: str = ""
    schema: Path | Sequence[Path] = ()
    open_to_all: bool = False
    port: int = configuration.PORT
    name: str = "mysql"
    place: str = ""
    title: str = "MySQL"
    speaks: str = field(default="SQL", init=False)
    announced: str = field(default="MySQL on private address", init=False)
    uses: tuple[str, ...] = field(default=(), init=False)
    needs: tuple[Need, ...] = field(default=(_SERVER, _CLIENT, CURL, SS), init=False)
    here: tuple[Local, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "user", self.user or self.database)
        parameters.check(self.name, self.port)
        for what, value in (("database", self.database), ("user", self.user)):
            if not parameters.is_name(value):
                raise DeployError(f"service {self.name}: {value!r} is not a valid {what} name: use {parameters.NAMES}")
        for file in self._schema_files:
            if not file.is_file():
                raise DeployError(f"service {self.name}: schema {file} is not a file")

    @property
    def _schema_files(self) -> tuple[Path, ...]:
        return (self.schema,) if isinstance(self.schema, Path) else tuple(self.schema)

    @property
    def _users(self) -> tuple[str, ...]:
        return self.user, accounts.check_user(self.user), accounts.load_user(self.user)

    def look(self, host: Host, deployment: str = "") -> Facts:
        """Read the facts of a host; change nothing."""
        return facts.look(host, self.database, self._users)

    def remarks(self, facts: Facts, host: str) -> list[str]:
        """Return lines for the user about a running server that the deployment uses."""
        return fit.remarks(facts, host)

    def refuse(self, facts: Facts, site: Site) -> Iterator[DeployError]:
        """Return the reasons against a deployment on this host."""
        replace = site.replace or site.recorded is not None
        for check in (
            partial(fit.check_fit, facts, site.host),
            partial(fit.check_free, facts, site.host, self.port, replace=replace),
        ):
            try:
                check()
            except DeployError as error:
                yield error

    def shares(self, described: Mapping[str, Any]) -> str:
        """Return a reason for any other MySQL: a host has one server, whose options fit one deployment only."""
        return "its MySQL server is in use" if "datadir" in dict(described.get("service") or {}) else ""

    def address(self, site: Site) -> str:
        """Return the private address of its host."""
        return site.addresses.private

    def plan(self, facts: Facts, site: Site) -> list[Stage]:
        """Return the stages: bind and start the server, then make accounts, database and tables."""
        plan = _Plan(self, facts, site)
        ready = Probe("now", "MySQL: wait for a query", plan.look_again, facts)
        reached = Probe("seen", "MySQL: test access from here", plan.see, Seen(accounts.Tls(ca="<tls>"), "<seen>"))
        return [
            Stage(plan.start),
            Stage(plan.allow_names, [ready]),
            Stage(plan.make_data, [reached]),
        ]

    def result(self, host: Host, facts: Facts, site: Site, results: Results) -> RunningMySQL:
        """Return the running server."""
        return _Plan(self, facts, site).running(host, results)

    def find(self, host: Host, described: Mapping[str, Any]) -> RunningMySQL:
        """Return the server that :meth:`RunningMySQL.describe` described."""
        return RunningMySQL.at(host, described)


class _Plan:
    """The stages of one server on one host, from the facts."""

    def __init__(self, declared: MySQL, seen: Facts, site: Site) -> None:
        assert seen.service is not None
        self._declared, self._facts, self._site = declared, seen, site
        self._address, self._port = site.addresses.private, declared.port
        self._backups = f"{FOLDER}/{site.run}"
        self._server = seen.service.told_to(f"{self._backups}/server.log")
        self._edits = configuration.plan(seen, self._address, self._port)
        self._passwords = (None if declared.open_to_all else site.secret, generate(), generate())
        self._offered = accounts.Tls()
        """The encryption that the running server offers, once it was looked at."""
        self._answer = ""
        """What it has answered while it was started."""

    def start(self, results: Results) -> list[Action]:
        """Write its address into the option files, and start or restart it."""
        saving = f"set -e; mkdir -p -m 700 {FOLDER} {self._backups}"
        apply = f"{saving}; {edits.guard(self._edits)}; {edits.apply(self._edits, self._backups)}"
        if self._facts.state.active:
            verb, control = "restart", f"touch {self._backups}/{configuration.RESTARTED} && {self._server.restart()}"
        else:
            verb, control = "start", facts.starting(self._server, self._looking)
        log = root(self._server.log())
        return [
            Action(
                f"MySQL: bind to {Listening(self._address, self._port)} in {PurePosixPath(self._edits[0].path).name}",
                root(f"{apply}\n{configuration.asking(self._facts)}"),
                configuration.undo(self._facts, self._server, self._edits, self._backups, self._port),
                details=_lines(self._edits),
                check=self._see_it_wins,
            ),
            Action(
                f"MySQL: {verb} {self._server}", root(control), limit=manager.LIMIT_S, log=log, check=self._keep_answer
            ),
        ]

    def allow_names(self, results: Results) -> list[Action]:
        """Let it look up names again, if its accounts turn out to be for host names."""
        now: Facts = results["now"]
        with_names = configuration.plan_with_names(self._facts, now, self._address, self._port)
        guard = Guard("where it has accounts for host names", bool(now.named) and with_names != self._edits)
        back = f'{edits.restore(self._edits, self._backups)}; [ -z "$kept" ] || exit 1; set -e'
        again = f"{back}; {edits.guard(with_names)}; {edits.apply(with_names, self._backups)}"
        restart = f"{self._server.settle()}; {self._server.restart()}"
        # The accounts of a server that ran before are known.
        unknown = not self._facts.state.active and any(SKIP_NAMES in edit.text for edit in self._edits)
        actions = [
            Action(f"MySQL: remove {SKIP_NAMES}", root(again), guard=guard),
            Action(
                f"MySQL: restart without {SKIP_NAMES}",
                root(restart),
                limit=manager.LIMIT_S,
                guard=guard,
                check=self._await_answer,
                log=root(self._server.log()),
            ),
        ]
        return actions if unknown or guard.holds else []

    def make_data(self, results: Results) -> list[Action]:
        """Make accounts, database and tables."""
        made = self._data(results)
        files = self._declared._schema_files
        load = f", load {', '.join(file.name for file in files)}" if files else ""
        return [
            Action(
                f"MySQL: make database {made.database} and accounts{load}",
                made.create(self._server, results["now"], [file.read_text("utf-8") for file in files]),
                made.undo(self._server),
                details=[*self._dropped(results["now"]), f"accounts {', '.join(self._declared._users[:2])}"],
            )
        ]

    def running(self, host: Host, results: Results) -> RunningMySQL:
        """Return the running server."""
        seen: Seen = results["seen"]
        return RunningMySQL(
            host=host,
            address=self._address,
            port=self._port,
            config=self._edits[0].path,
            version=results["now"].version,
            service=self._server,
            admitted=self._admitted,
            tls=seen.tls.on,
            ca=seen.tls.ca,
            check_from=seen.check_from,
            check_file=self._data(results).check_file,
            database=self._declared.database,
            user=self._declared.user,
            password=self._passwords[0],
        )

    @property
    def _admitted(self) -> tuple[str, ...]:
        if self._declared.open_to_all:
            return (accounts.ANYWHERE,)
        return self._site.clients or (self._address,)

    def _data(self, results: Results) -> data.Data:
        return data.make(
            self._declared.database,
            self._declared.user,
            self._admitted,
            self._passwords,
            results["seen"],
            # This machine cannot compute MySQL's hash, and a server that validates passwords accepts no hash.
            hashed=self._facts.flavor == "mariadb" and not results["now"].validates,
            backups=self._backups,
        )

    def _dropped(self, now: Facts) -> list[str]:
        if self._site.recorded is not None:
            return []
        return [f"drop {what} first, with all its data" for what in fit.existing(now)]

    @property
    def _looking(self) -> str:
        return facts.looking_again(self._server, self._facts, self._declared.database, self._declared._users)

    def _see_it_wins(self, context: Context, printed: str) -> None:
        configuration.see_it_wins(
            context.host, self._facts, self._address, self._port, self._edits, self._backups, printed
        )

    def _keep_answer(self, context: Context, printed: str) -> None:
        self._answer = printed

    def _await_answer(self, context: Context, printed: str) -> None:
        await_answer(context.host, self._server, self._address, self._port, context.steps)

    def look_again(self, context: Context) -> Facts:
        """Wait until it answers, and read the facts that only a running server has.

        :raises Unfit: it shares its data with other servers.
        :raises Conflict: a database or user exists that the run may not replace, and the first look could not see it.
        """
        place = context.host, self._server, self._address, self._port
        now = facts.parse_facts(
            bound_facts(self._answer, *place) if self._answer else await_answer(*place, context.steps, self._looking)
        )
        self._offered = now.tls
        fit.refuse_replication(now, context.host.name)
        if not self._site.replace:
            fit.refuse_existing(now, context.host.name)
        with_names = configuration.plan_with_names(self._facts, now, self._address, self._port)
        if now.named and with_names != self._edits:
            context.say(f"  {fit.needs_names(now.named, context.host.name)}")
        return now

    def see(self, context: Context) -> Seen:
        """Test the access to it from this machine."""
        return data.see(self._offered, self._address, self._port, self._declared.user)


def _lines(planned: Sequence[edits.Edit]) -> list[str]:
    return [f"write {' / '.join(edit.text.splitlines())!r} into {edit}" for edit in planned]
