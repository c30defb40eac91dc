"""Make the database of a deployment with its accounts and tables, and drop all of them again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from circuit import Hidden
from circuit_harness.remote.command import Command, root
from circuit_harness.remote.script import Scripts
from circuit_harness.secret import Secret
from circuit_harness.services.mysql import accounts, client, manager
from circuit_harness.services.mysql.accounts import Account, Tls
from circuit_harness.services.mysql.facts import Facts
from circuit_harness.services.mysql.manager import Manager
from circuit_harness.services.protocol import Undo

CHARSET = "utf8mb4"
COLLATION = "utf8mb4_bin"
"""Names are equal if their characters are. The servers' defaults differ; with some of them, all emoji are equal."""

# A server that logs all queries would log passwords, and so would one to which every query is slow.
_UNLOGGED_SQL = "SET SESSION sql_log_off = 1; SET SESSION long_query_time = 31536000;"

# A server that validates passwords accepts no hashes of them, and its binary log would keep the passwords. The log does
# not need these accounts: a server whose log others read is refused.
_NOT_IN_BINARY_LOG_SQL = "SET SESSION sql_log_bin = 0;"

_OBJECTS = (
    ("table", "table_name", "table_schema"),
    ("routine", "routine_name", "routine_schema"),
    ("event", "event_name", "event_schema"),
    ("trigger", "trigger_name", "trigger_schema"),
)

_SCRIPTS = Scripts.beside(__file__)


@dataclass(frozen=True)
class Data:
    """The database ``database`` with its accounts: ``apps``, one for each address that the app connects from;
    ``checks``, with ``check_password``, None if the checks cannot connect; and ``loader``, which loads the schema and
    is then dropped.

    ``backups`` is the run's folder on the host, which only root can read.
    """

    database: str
    apps: tuple[Account, ...]
    checks: Account | None
    check_password: Secret
    loader: Account
    backups: str

    @property
    def check_file(self) -> str:
        """The file with the password of the checks' account."""
        return f"{self.backups}/{accounts.check_user(self.apps[0].user)}"

    @property
    def accounts(self) -> list[Account]:
        """All accounts."""
        return [*self.apps, *([self.checks] if self.checks else []), self.loader]

    def create(self, server: Manager, now: Facts, schema: Sequence[str]) -> Command:
        """Return the command that drops existing accounts and databases of these names, makes new ones, and loads the
        schema.
        """
        assert self.loader.password is not None
        statements = [
            *(f"DROP DATABASE `{name}`;" for name in now.databases),
            f"CREATE DATABASE {self.database} CHARACTER SET {CHARSET} COLLATE {COLLATION};\n",
            _UNLOGGED_SQL,
            _NOT_IN_BINARY_LOG_SQL,
            *("DROP USER '{}'@'{}';".format(*name.rsplit("@", 1)) for name in now.users),
            *(account.create() for account in self.accounts),
        ]
        sql = "".join(statements).encode()
        as_loader = client.CLIENT.replace(client.OPTIONS, f'--defaults-file="$login" {client.OPTIONS}', 1)
        text = "\n".join(
            [
                f'client() {{ {client.client(server)} "$@"; }}',
                f"load() {{ {as_loader} --socket={shlex.quote(server.socket)} {self.database}; }}",
                _SCRIPTS.text(
                    "make_data",
                    size=len(sql),
                    user=self.loader.user,
                    objects=_objects_sql(self.database),
                    file=self._list,
                    check_file=self.check_file,
                    drop=f"{_NOT_IN_BINARY_LOG_SQL} DROP USER {self.loader.name}",
                ),
            ]
        )
        passwords = f"{self.check_password.reveal()}\n{self.loader.password.reveal()}\n".encode()
        return root(text, Hidden(passwords + sql + "\n".join([*schema, ""]).encode()))

    def undo(self, server: Manager) -> Undo:
        """Return the undo: drop the database and the accounts, unless somebody else has added to the database."""
        users = ", ".join(account.name for account in self.accounts)
        drop = f"DROP DATABASE IF EXISTS {self.database}; {_NOT_IN_BINARY_LOG_SQL} DROP USER IF EXISTS {users};"
        command = "\n".join(
            [
                f"{server.is_gone()} && exit",
                f"{server.is_active()} || {server.start()} || exit",
                f'client() {{ {client.client(server)} "$@"; }}',
                _SCRIPTS.text(
                    "drop_data",
                    database=self.database,
                    objects=_objects_sql(self.database),
                    file=self._list,
                    drop=drop,
                    check_file=self.check_file,
                ),
            ]
        )
        there = shlex.quote(f"{server.datadir}/{self.database}")
        return Undo(
            f"MySQL: drop database {self.database} and its accounts",
            command,
            proof=f"[ ! -e {there} ] || echo 'database {self.database} is still there'",
            limit=manager.LIMIT_S,
        )

    @property
    def _list(self) -> str:
        return f"{self.backups}/objects"


def make(
    database: str,
    user: str,
    admitted: Sequence[str],
    passwords: tuple[Secret | None, Secret, Secret],
    seen: Seen,
    *,
    hashed: bool,
    backups: str,
) -> Data:
    """Return the database and the accounts to make.

    :param admitted: the addresses that the app connects from, or :data:`accounts.ANYWHERE`.
    :param passwords: the app's, None for an account without one; the checks'; the loader's.
    :param hashed: see :class:`Account`.
    """
    app, checks, loader = passwords
    grant, tls = f"GRANT ALL ON {database}.*", seen.tls.on
    return Data(
        database,
        tuple(Account(user, host, grant, app, tls and app is not None, hashed) for host in admitted),
        Account(accounts.check_user(user), seen.check_from, f"GRANT SELECT ON {database}.*", checks, tls, hashed)
        if seen.check_from
        else None,
        checks,
        Account(accounts.load_user(user), "localhost", grant, loader, False, hashed),
        backups,
    )


@dataclass(frozen=True)
class Seen:
    """The access to the server from this machine: its ``tls``, and the address at which it sees this machine,
    ``check_from``, "" if this machine cannot reach it.
    """

    tls: Tls
    check_from: str


def see(tls: Tls, address: str, port: int, user: str) -> Seen:
    """Test the access to a running server from this machine.

    :param tls: the encryption that it offers.
    :raises DeployError: it accepts any password, or requests passwords by a method that reveals them.
    """
    check_from = accounts.seen_from(address, port, tls, user)
    if check_from is None and tls.ca:
        # The authority that the server trusts for its clients need not be the one that signed its own certificate.
        check_from = accounts.seen_from(address, port, Tls(on=True), user)
        tls = tls if check_from is None else Tls(on=True)
    return Seen(tls, check_from or "")


def _objects_sql(database: str) -> str:
    """Return the query that lists all objects in the database, each as a line with its kind and its name."""
    return " UNION ALL ".join(
        f"SELECT CONCAT('{kind} ', {name}) FROM information_schema.{kind}s WHERE {schema} = '{database}'"
        for kind, name, schema in _OBJECTS
    )
