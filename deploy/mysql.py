"""MySQL on a host: bound to the private address, with the tutorial's database and table, and accounts for both ends.

In three parts: :func:`look` reads facts and changes nothing, :func:`check_fit`, :func:`check_free` and :func:`plan`
decide, :func:`deploy` acts. What is there already is refused before anything is changed, unless it is to be replaced.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from circuit import Hidden
from circuit_harness.errors import CommandFailed, Conflict, NotReady, Unfit
from circuit_harness.remote import fact_lines
from circuit_harness.remote.command import Command, as_root, root
from circuit_harness.remote.host import Host
from circuit_harness.remote.script import Scripts
from circuit_harness.remote.waiting import wait_until
from circuit_harness.secret import Secret, generate
from circuit_harness.steps import Steps
from deploy import accounts, edits, option_files, ports, service
from deploy.accounts import CHECK_USER, USER, Account, Tls
from deploy.changes import Changes
from deploy.edits import END, NEW, Edit
from deploy.option_files import Options, is_on
from deploy.ports import Listening, Ports, parse_listening
from deploy.record import FOLDER, Change
from deploy.service import Service, State

PART = "mysql"
"""This part's name, in records and among the wishes for a deployment."""

PORT = Ports.mysql
DATABASE = "tutorial"
TABLE = "NameValue"

CHARSET = "utf8mb4"
COLLATION = "utf8mb4_bin"
"""Names are equal where their characters are. What servers do by themselves differs, down to all emoji being one."""

# MariaDB's client would load what sends root's password as it is, from root's option file, to whatever server asks. The
# methods that it has without loading any prove the password, and do not tell it; a socket's needs none.
_CLIENT_OPTIONS = "-N -B --local-infile=0 --plugin-dir=/nonexistent"

CLIENT = f"$(command -v mariadb || command -v mysql) {_CLIENT_OPTIONS}"
"""Shell: the server's own client, whose rows are lines, and their values stand between tabs. It sends no files, and no
password in clear text."""

OLDEST = {"mariadb": 10, "mysql": 8}
"""By flavor, the oldest version that this is made for."""

_READY_LIMIT_S = 60.0
# Or by a method that the client is not to load.
_DENIED = re.compile(r"Access denied|^ERROR .*[Pp]lugin .* (could not|cannot) be loaded", re.MULTILINE)
_DROP_IN = "zz-tutorial.cnf"
_RESTARTED = "restarted"
_SKIP_NAMES = "skip-name-resolve"
_MOST_NAMES = 3

_FOUND_SQL = (
    f"SELECT CONCAT('database ', schema_name) FROM information_schema.schemata WHERE schema_name = '{DATABASE}'"
    f" UNION ALL SELECT CONCAT('user ', user, '@', host) FROM mysql.user WHERE user IN ('{USER}', '{CHECK_USER}')"
    " UNION ALL SELECT CONCAT('version ', VERSION())"
    " UNION ALL SELECT CONCAT('validation ', plugin_name) FROM information_schema.plugins"
    " WHERE plugin_type = 'PASSWORD VALIDATION' AND plugin_status = 'ACTIVE'"
    f" UNION ALL SELECT 'option {_SKIP_NAMES} TRUE' FROM dual WHERE @@skip_name_resolve;"
    # The tables' collations differ. What has a colon is an IPv6 address.
    " SELECT CONCAT('named ', IFNULL(GROUP_CONCAT(DISTINCT host ORDER BY host SEPARATOR ' '), '')) FROM ("
    + " UNION ALL ".join(
        f"SELECT CONVERT(host USING utf8mb4) AS host FROM mysql.{table}" for table in ("user", "db", "proxies_priv")
    )
    + ") AS hosts WHERE host REGEXP '[^0-9._%/]' AND host NOT LIKE '%:%' AND host <> 'localhost'"
)

# The rows that this asks for.
_FOUND_ROWS = f"^((database|version|validation|named) |user ({USER}|{CHECK_USER})@|option {_SKIP_NAMES} TRUE$)"

# A server that logs all queries would log passwords, and one that logs slow ones can take all for slow.
_UNLOGGED_SQL = "SET SESSION sql_log_off = 1; SET SESSION long_query_time = 31536000;"

# Where passwords are judged they cannot be sent hashed, and the binary log would keep them. It has no use for accounts
# of one host: servers with others that read it are refused.
_NOT_IN_BINARY_LOG_SQL = "SET SESSION sql_log_bin = 0;"

_NO_REPLICATION = ("skip-replica-start", "skip-slave-start")

_TLS_SQL = (
    "SHOW GLOBAL VARIABLES WHERE variable_name IN ('have_ssl', 'ssl_ca', 'datadir');"
    " SHOW GLOBAL STATUS WHERE variable_name = 'Ssl_server_not_after'"
)

# Some servers keep names in lower case.
_STORED_TABLE_SQL = f"IF(@@lower_case_table_names = 1, '{TABLE.lower()}', '{TABLE}')"

_MOST_AUTHORITIES = 4
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")

_CREATE_SQL = f"""
CREATE DATABASE {DATABASE} CHARACTER SET {CHARSET} COLLATE {COLLATION};
CREATE TABLE {DATABASE}.{TABLE} (name VARCHAR(100), value TEXT, PRIMARY KEY (name));
"""

_SCRIPTS = Scripts.beside(__file__)
_LOOK_AT_REPLICATION = _SCRIPTS.text("look_at_replication")
_LOOK_AS_ROOT = "\n".join(
    [
        fact_lines.SAY,
        service.GUARD,
        _SCRIPTS.text("find_server"),
        service.LOOK,
        _SCRIPTS.text("look_at_version"),
        option_files.LOOK,
        service.LOOK_PLACES,
        _LOOK_AT_REPLICATION,
        _SCRIPTS.text("look_at_data", database=DATABASE, options=_CLIENT_OPTIONS, query=_FOUND_SQL, rows=_FOUND_ROWS),
        ports.OWN,
    ]
)
_LOOK = "\n".join([as_root(_LOOK_AS_ROOT), ports.LIST, "exit 0"])


@dataclass(frozen=True)
class Facts:
    """What :func:`look` found on a host.

    ``flavor`` is mariadb or mysql, and ``version`` the server's, which need not run to tell. ``refusal`` is what root
    was told by one that runs and does not let root in. ``validates`` is whether it judges passwords, by a plugin.
    ``named`` are the host names, and patterns of such, that its accounts are for, None where these could not be seen.
    ``own`` are those of the listening sockets that are its own. ``replication`` is how it shares data with others.
    """

    client: str = ""
    flavor: str = ""
    version: str = ""
    service: Service | None = None
    state: State = field(default_factory=State)
    options: Options = field(default_factory=Options)
    databases: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    refusal: str = ""
    validates: bool = False
    named: tuple[str, ...] | None = None
    listening: tuple[Listening, ...] = ()
    own: tuple[Listening, ...] = ()
    replication: tuple[str, ...] = ()


@dataclass(frozen=True)
class MySQL:
    """A deployed server. ``config`` is the option file that binds it to ``address``.

    The app's account is admitted from ``admits``, the checks' from ``check_from``, which is "" where the server could
    not be reached from the machine that deployed it. ``check_file`` on the host has the password of the latter, and is
    root's alone; ``password`` is the app's, None where it has none, and for who did not deploy.
    """

    host: Host
    address: str
    port: int
    config: str
    version: str
    service: Service
    admits: str
    tls: bool
    ca: str
    check_from: str
    check_file: str
    password: Secret | None = None

    @property
    def is_open(self) -> bool:
        """Whether the app's account is open to all, as the tutorial has it."""
        return self.admits == accounts.ANYWHERE

    @property
    def client(self) -> str:
        """Shell: its own client, as :data:`CLIENT`."""
        return _client(self.service)

    def describe(self) -> dict[str, Any]:
        """All but the host and what is secret, as plain values; :meth:`at` is the way back."""
        apart = ("host", "password", "service")
        plain = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in apart}
        return {**plain, "service": self.service.describe()}

    @classmethod
    def at(cls, host: Host, described: Mapping[str, Any]) -> MySQL:
        """The server on a host that :meth:`describe` told of."""
        return cls(host=host, **{**described, "service": Service.of(described["service"])})


def look(host: Host) -> Facts:
    """Read the facts of a host. Changes nothing."""
    return parse_facts(host.run(Command(_LOOK), timeout=30, limit=fact_lines.MOST_BYTES).text)


def parse_facts(text: str) -> Facts:
    """Parse what the look-up printed."""
    values = fact_lines.parse(text)
    options = option_files.parse(values)
    log = options.winning("log-error")
    about, refusal = fact_lines.first(values, "about"), fact_lines.first(values, "refusal")
    release = re.search(r"\bVer (\S+)", about)
    return Facts(
        client=fact_lines.first(values, "client"),
        flavor=("mariadb" if "mariadb" in about.lower() else "mysql") if about else "",
        version=release[1] if release else fact_lines.first(values, "version"),
        service=service.parse(values, options.values, log.value if log else ""),
        state=service.parse_state(values),
        options=options,
        databases=tuple(dict.fromkeys(values.get("database", []))),
        users=tuple(values.get("user", [])),
        refusal=refusal if _DENIED.search(refusal) else "",
        validates="validation" in values,
        named=tuple(fact_lines.first(values, "named").split()) if "named" in values else None,
        listening=tuple(parse_listening(entry) for entry in values.get("listening", [])),
        own=tuple(parse_listening(entry) for entry in values.get("own", [])),
        replication=tuple(values.get("replication", [])),
    )


def check_fit(facts: Facts, host: str) -> None:
    """Refuse a host whose server cannot be controlled. What it lacks is told by :mod:`deploy.prerequisites`.

    :raises Unfit: the server is too old, cannot be stopped and started, runs and does not let root in, cannot read its
        option files, or shares its data with other servers.
    """
    if facts.service is None:
        return
    major = facts.version.partition(".")[0]
    if major.isdigit() and int(major) < OLDEST[facts.flavor]:
        raise Unfit(
            f"host {host} has {facts.service.program} {facts.version}: MariaDB {OLDEST['mariadb']} or MySQL"
            f" {OLDEST['mysql']}, or newer, is needed"
        )
    service.check_fit(facts.service, facts.state, host)
    if facts.refusal:
        raise Unfit(_shut_out(host, facts.refusal))
    _refuse_replication(facts, host)
    if facts.options.unsafe:
        raise Unfit(
            f"host {host}: its MySQL server reads {', '.join(facts.options.unsafe)}, which is not root's alone to write"
            " or not called .cnf or .ini: it would be changed as root, so chown it to root and chmod it go-w, with its"
            " folders"
        )
    unreadable = [path for path in facts.options.unreadable if facts.options.has_own_group(path)]
    if unreadable:
        raise Unfit(
            f"host {host}: its MySQL server's own user cannot read {', '.join(unreadable)}, as whom it is asked what it"
            " would start with: let that user's group read it (chgrp mysql, chmod 640)"
        )
    if facts.options.error or not facts.options.roots:
        raise Unfit(
            f"host {host}: its MySQL server cannot start with its option files, as {facts.service.program} --verbose"
            f" --help tells: {facts.options.error or 'nothing at all'}; correct them first"
        )


def _refuse_replication(facts: Facts, host: str) -> None:
    """Refuse a server whose changes reach others, or that is changed by them."""
    options = facts.options
    found = list(facts.replication)
    if not facts.state.active and is_on(options.values.get("wsrep-on", "OFF")):
        found.append("is a member of a Galera cluster (wsrep_on)")
    if not facts.state.active and options.winning("group-replication-group-name"):
        found.append("is a member of group replication (group_replication_group_name)")
    if found:
        raise Unfit(
            f"host {host} has a MySQL server that {' and '.join(dict.fromkeys(found))}: a deployment would reach"
            " the other servers, too; name a host whose server is on its own (--hosts)"
        )


def check_free(facts: Facts, host: str, port: int, *, replace: bool) -> None:
    """Refuse a host that has something which the deployment would destroy.

    :raises Conflict: there is a user or database of that name already, and it is not to be replaced; or the port is
        another program's.
    """
    taken = [str(socket) for socket in facts.listening if socket.port == port and socket not in facts.own]
    if taken:
        raise Conflict(
            f"host {host}: port {port} is in use ({', '.join(taken)}), and not by its MySQL service: free it"
        )
    if not replace:
        _refuse_existing(facts, host)


def _shut_out(host: str, refusal: str) -> str:
    """What to say of a server that does not let root in."""
    return (
        f"host {host} has a MySQL server that does not let root in ({refusal}): have it know root by its socket, as"
        " packages set it up, or write a [client] password into /root/.my.cnf"
    )


def _refuse_existing(facts: Facts, host: str) -> None:
    existing = [f"database {name}" for name in facts.databases] + [f"user {name}" for name in facts.users]
    if existing:
        raise Conflict(f"host {host} has {' and '.join(existing)} already: --replace drops them, with all their data")


def remarks(facts: Facts, host: str) -> list[str]:
    """Lines for the user on a running server that is deployed onto."""
    values = facts.options.values
    return [_needs_names(facts.named, host)] if facts.named and not is_on(values.get(_SKIP_NAMES, "FALSE")) else []


def _needs_names(named: Sequence[str], host: str) -> str:
    """What to say of a server that goes on looking up names."""
    more = f" and {len(named) - _MOST_NAMES} more" if len(named) > _MOST_NAMES else ""
    shown = ", ".join(name if name.isprintable() else ascii(name)[1:-1] for name in named[:_MOST_NAMES])
    return (
        f"host {host}: its MySQL server has accounts for host names ({shown}{more}), so it looks up the name of each"
        f" client, without {_SKIP_NAMES}: connecting takes long where no resolver answers"
    )


def plan(facts: Facts, address: str, port: int) -> list[Edit]:
    """Which option files to change so that the server listens on ``address`` and ``port`` alone.

    The line that wins is rewritten, wherever it is: a file of ours could not be sure to be read after it. Where no
    line sets an option it is set behind the one that sets bind-address; and where that has no line either, in a file of
    ours that sorts last in the directory that is read last. The first edit is the one that has bind-address.

    MySQL's X protocol, which nobody here speaks, must not be reached from elsewhere. MariaDB has none.

    The server does not look up the names of its clients, unless an account is for a name: each client waits for that,
    in vain where no resolver answers. A running server does not begin to do so before its accounts have been seen.
    """
    options = facts.options
    bind = options.winning("bind-address")
    edits, added = [], []
    for name, text in _wanted(facts, address, port).items():
        if line := options.winning(name):
            edits.append(Edit(line.path, line.line, text))
        else:
            added.append(text)
    if bind is not None:
        edits[0] = replace(edits[0], text="\n".join([edits[0].text, *added]))
    else:
        edits.insert(0, _file_of_ours(options, "\n".join(["[mysqld]", *added])))
    return edits


def _wanted(facts: Facts, address: str, port: int) -> dict[str, str]:
    """The lines that there have to be, by option; bind-address is the first."""
    values = facts.options.values
    line = facts.options.winning("port")
    wanted = {"bind-address": f"bind-address = {address}"}
    if (line.value if line else values.get("port", str(PORT))) != str(port):
        wanted["port"] = f"port = {port}"
    wanted |= {name: name for name in _start_alone(facts)}
    if is_on(values.get("skip-networking", "FALSE")):
        wanted["skip-networking"] = "skip-networking = 0"
    if facts.flavor == "mysql" and _x_is_open(values, address):
        # What does not know the option is not to stumble over it.
        wanted["mysqlx-bind-address"] = "loose-mysqlx-bind-address = 127.0.0.1"
    needs_none = facts.named == () or (facts.named is None and not facts.state.active)
    # A server that does not tell of the option does not know it.
    if needs_none and not is_on(values.get(_SKIP_NAMES, "TRUE")):
        wanted[_SKIP_NAMES] = f"{_SKIP_NAMES} = 1"
    return wanted


def _plan_with_names(facts: Facts, now: Facts, address: str, port: int) -> list[Edit]:
    """The plan, had the accounts been seen that can be seen now."""
    return plan(replace(facts, named=now.named), address, port)


def _start_alone(facts: Facts) -> list[str]:
    """The options that keep a server from replicating once it is started for a look: the newest name that it knows."""
    known = [name for name in _NO_REPLICATION if name in facts.options.values]
    return [] if facts.state.active else known[:1]


def _x_is_open(values: Mapping[str, str], address: str) -> bool:
    """Whether the X protocol can be reached at another address than this one and the host's own."""
    if values.get("mysqlx", "OFF").upper() in ("OFF", "0"):
        return False
    return any(
        part.strip() != address and not _is_local(part) for part in values.get("mysqlx-bind-address", "*").split(",")
    )


def _is_local(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.strip()).is_loopback
    except ValueError:
        return address.strip() == "localhost"


def _file_of_ours(options: Options, text: str) -> Edit:
    directory = options.last_directory()
    if directory is not None:
        path = f"{directory}/{_DROP_IN}"
        return Edit(path, END if path in options.files else NEW, text)
    roots = [root for root in options.roots if root in options.files]
    return Edit(roots[-1], END, text) if roots else Edit(options.roots[0], NEW, text)


def deploy(
    host: Host,
    address: str,
    port: int,
    admits: str,
    facts: Facts,
    changes: Changes,
    *,
    replace: bool,
    steps: Steps,
    say: Callable[[str], None],
) -> MySQL:
    """Bind MySQL to ``address`` and ``port``, start it, and make accounts, database and table.

    :param admits: the address that the app connects from; or :data:`deploy.accounts.ANYWHERE`, and without a password.
    :param facts: of this host, fresh, and passed by both checks.
    :param say: tells the user a line.
    :raises Unfit: the server would not listen there, whatever its option files say; they are put back. Or, once
        started, it turned out to share its data with other servers.
    :raises Conflict: the server, once started, turned out to have what :func:`check_free` could not see while it was
        down.
    :raises NotReady: it does not answer, or not on that address.
    :raises CommandFailed: a step failed.
    """
    assert facts.service is not None
    planned = plan(facts, address, port)
    backups = f"{FOLDER}/{changes.record.run}"
    server = service.told_to(facts.service, f"{backups}/server.log")
    with steps.step(f"MySQL: bind to {Listening(address, port)} in {planned[0].path}", host.name):
        changes.add(_configuration(facts, server, planned, backups, port))
        saving = f"set -e; mkdir -p -m 700 {FOLDER} {backups}"
        host.run(root(f"{saving}; {edits.guard(planned)}; {edits.apply(planned, backups)}"))
        _see_it_wins(host, facts, address, port, planned, backups)
    with steps.step("MySQL: start", host.name):
        control = f"touch {backups}/{_RESTARTED} && {server.restart()}" if facts.state.active else server.start()
        _control(host, server, control)
    with steps.step("MySQL: wait for a query", host.name):
        _await_answer(host, server, address, port, steps)
    client = _client(server)
    asked = f"found=$({client} -e {shlex.quote(_FOUND_SQL)}) || exit"
    told = f"printf '%s\\n' \"$found\" | grep -aE {shlex.quote(_FOUND_ROWS)}"
    sql = f'sql() {{ {client} -e "$1" 2>/dev/null; }}'
    asking = "\n".join([asked, told, sql, fact_lines.SAY, _LOOK_AT_REPLICATION, "look_at_replication"])
    now = parse_facts(host.run(root(asking)).text)
    _refuse_replication(now, host.name)
    if not replace:
        _refuse_existing(now, host.name)
    with_names = _plan_with_names(facts, now, address, port)
    if now.named and with_names != planned:
        say(f"  {_needs_names(now.named, host.name)}")
        with steps.step(f"MySQL: take {_SKIP_NAMES} out, restart", host.name):
            put_back = f'{edits.restore(planned, backups)}; [ -z "$kept" ] || exit 1; set -e'
            host.run(root(f"{put_back}; {edits.guard(with_names)}; {edits.apply(with_names, backups)}"))
            _control(host, server, f"{server.settle()}; {server.restart()}")
            _await_answer(host, server, address, port, steps)
    with steps.step("MySQL: see how it is reached from here", host.name):
        tls = _tls(host, server)
        check_from = accounts.seen_from(address, port, tls)
        if check_from is None and tls.ca:
            # The authority that the server trusts for its clients need not be the one that vouches for itself.
            check_from = accounts.seen_from(address, port, Tls(on=True))
            tls = tls if check_from is None else Tls(on=True)
        check_from = check_from or ""
    with steps.step(f"MySQL: make accounts, database and table {DATABASE}.{TABLE}", host.name):
        app, checks = _accounts(admits, check_from, tls, hashed=facts.flavor == "mariadb" and not now.validates)
        made = [app, *([checks] if check_from else [])]
        check_file = f"{backups}/{CHECK_USER}"
        changes.add(_data(server, made, check_file))
        if checks.password is not None:
            save = f"umask 077; cat > {check_file}"
            host.run(root(save, checks.password.hidden()))
        databases = [*(f"DROP DATABASE `{name}`;" for name in now.databases), _CREATE_SQL]
        users = ["DROP USER '{}'@'{}';".format(*name.rsplit("@", 1)) for name in now.users]
        statements = [
            *databases,
            _UNLOGGED_SQL,
            _NOT_IN_BINARY_LOG_SQL,
            *users,
            *(account.create() for account in made),
        ]
        host.run(root(client, Hidden("".join(statements).encode())))
        mysql = MySQL(
            *(host, address, port, planned[0].path, now.version, server),
            *(admits, tls.on, tls.ca, check_from, check_file, app.password),
        )
        changes.tell(PART, mysql.describe())
    return mysql


def _accounts(admits: str, check_from: str, tls: Tls, *, hashed: bool) -> tuple[Account, Account]:
    """The app's and the checks'."""
    is_open = admits == accounts.ANYWHERE
    all_of_it = f"GRANT ALL ON {DATABASE}.*"
    app = Account(USER, admits, all_of_it, None if is_open else generate(), tls.on and not is_open, hashed)
    return app, Account(CHECK_USER, check_from, f"GRANT SELECT ON {DATABASE}.*", generate(), tls.on, hashed)


def _tls(host: Host, server: Service) -> Tls:
    """Whether the server has TLS, and who vouches for it."""
    answer = host.run(root(f"{_client(server)} -e {shlex.quote(_TLS_SQL)}"))
    found = {name.lower(): value for name, _, value in (line.partition("\t") for line in answer.text.splitlines())}
    # MySQL has no have_ssl any more, and MariaDB's certificate may be one that it made for itself.
    if found.get("have_ssl", "YES") != "YES" or not ("have_ssl" in found or found.get("ssl_server_not_after")):
        return Tls()
    ca = found.get("ssl_ca", "")
    if not ca:
        return Tls(on=True)
    path = posixpath.join(found.get("datadir", "/"), ca)
    # MySQL 9 writes a NUL behind the ones that it makes, which would end an argument.
    reading = f"{service.GUARD}\n{server.reading_as_it_does(path, 'cat --')}"
    certificates = _CERTIFICATE.findall(host.run(root(reading)).text)
    # A collection of the world's authorities vouches for anybody.
    return Tls(on=True, ca="\n".join(certificates) if len(certificates) <= _MOST_AUTHORITIES else "")


def stop(mysql: MySQL) -> None:
    """Stop a deployed server.

    :raises CommandFailed: it does not stop.
    """
    server = mysql.service
    mysql.host.run(root(f"{server.settle()}; {server.stop()}"), timeout=service.LIMIT_S)


def start(mysql: MySQL, steps: Steps) -> None:
    """Start a deployed server, and return when it answers; one that runs goes on.

    :raises NotReady: it does not answer, or not on its address.
    :raises CommandFailed: it does not start.
    """
    mysql.host.run(root(mysql.service.start()), timeout=service.LIMIT_S)
    _await_answer(mysql.host, mysql.service, mysql.address, mysql.port, steps)


def _see_it_wins(host: Host, facts: Facts, address: str, port: int, planned: Sequence[Edit], backups: str) -> None:
    """See, before the service is touched, that the server itself reads out of its files what they are to say.

    :raises Unfit: it does not; the files are put back.
    """
    assert facts.service is not None
    asked = host.run(
        root(option_files.ask(facts.service.program, facts.options.arguments, facts.service.user)), timeout=30
    )
    told = parse_facts(asked.text).options
    wanted = {"bind-address": address, "port": str(port), "skip-networking": "FALSE"}
    wanted |= dict.fromkeys(_start_alone(facts), "TRUE")
    wrong = [
        f"{name} {told.values.get(name, 'nothing')} instead of {value}"
        for name, value in wanted.items()
        if told.values.get(name) != value
    ]
    if facts.flavor == "mysql" and _x_is_open(told.values, address):
        value = told.values.get("mysqlx-bind-address")
        # Of all these it is the one that MySQL allows to be kept past its option files.
        wrong.append(f"mysqlx-bind-address {value} (RESET PERSIST mysqlx_bind_address, if SET PERSIST has kept that)")
    if not (wrong or told.error):
        return
    host.run(root(edits.restore(planned, backups)))
    lines = " and ".join(f"{' / '.join(edit.text.splitlines())!r} at {edit.where}" for edit in planned)
    why = told.error or f"the server would still start with {', '.join(wrong)}"
    if facts.options.arguments and not told.error:
        why += f", as it was started with {shlex.join(facts.options.arguments)}: take that out"
    raise Unfit(
        f"host {host.name}: with {lines}, {facts.service.program} --verbose --help tells: {why}. The files are put"
        " back, and the service was not touched"
    )


def _configuration(facts: Facts, server: Service, planned: Sequence[Edit], backups: str, port: int) -> Change:
    """The change of option files and of the service's state."""
    assert facts.service is not None
    restore = edits.restore(planned, backups)
    if facts.state.active:
        what = "MySQL: put the configuration back, restart"
        # Not where it has not been restarted: it serves others.
        control = f"[ ! -e {backups}/{_RESTARTED} ] || {facts.service.restart()}"
        command = f"{restore}; {control}; s=$?"
    else:
        what = "MySQL: stop, put the configuration back"
        # Done again, after packages could not all be removed, it may find the server gone.
        stop = f"s=0; {_is_gone(server)} || {{ {server.settle()}; {server.stop()}; s=$?; }}"
        command = f"{stop}; {server.clear()}; {restore}"
    done = '[ $s = 0 ] && [ -z "$kept" ]'
    proofs = [edits.proof(planned, backups), server.proof(active=facts.state.active, enabled=facts.state.enabled)]
    if not facts.state.active:
        proofs.append(ports.still_open(port))
    return Change(what, PART, f"{command}; {done} && rm -rf {backups}", proof="; ".join(proofs), limit=service.LIMIT_S)


def _data(server: Service, made: Sequence[Account], check_file: str) -> Change:
    """The change that database and accounts are. What came to be in the database since is somebody's."""
    others = " UNION ALL ".join(
        f"SELECT {name} FROM information_schema.{kind}s WHERE {schema} = '{DATABASE}'{but}"
        for kind, name, schema, but in (
            # Names that differ from ours in case alone are other tables.
            ("table", "table_name", "table_schema", f" AND BINARY table_name <> {_STORED_TABLE_SQL}"),
            ("routine", "routine_name", "routine_schema", ""),
            ("event", "event_name", "event_schema", ""),
            ("trigger", "trigger_name", "trigger_schema", ""),
        )
    )
    users = ", ".join(account.name for account in made)
    drop = f"DROP DATABASE IF EXISTS {DATABASE}; {_NOT_IN_BINARY_LOG_SQL} DROP USER IF EXISTS {users};"
    command = "\n".join(
        [
            f"{_is_gone(server)} && exit",
            f"{server.is_active()} || {server.start()} || exit",
            f'client() {{ {_client(server)} "$@"; }}',
            _SCRIPTS.text("drop_data", database=DATABASE, others=others, drop=drop, check_file=check_file),
        ]
    )
    there = shlex.quote(f"{server.datadir}/{DATABASE}")
    return Change(
        f"MySQL: drop database {DATABASE} and its accounts",
        PART,
        command,
        proof=f"[ ! -e {there} ] || echo 'database {DATABASE} is still there'",
        limit=service.LIMIT_S,
    )


def _is_gone(server: Service) -> str:
    """Shell: whether the server was removed, as with the packages that brought it."""
    return f"[ ! -e {shlex.quote(server.program)} ]"


def _client(server: Service) -> str:
    return f"{CLIENT} --socket={shlex.quote(server.socket)}"


def _await_answer(host: Host, server: Service, address: str, port: int, steps: Steps) -> None:
    ask = as_root(f"{_client(server)} -e 'SELECT @@bind_address, @@port'")

    def probe() -> str:
        result = host.run(Command(ask), timeout=10, check=False)
        if result.exit_status != 0:
            said = result.stderr.decode("utf-8", "replace").strip()
            if _DENIED.search(said):
                raise NotReady(_shut_out(host.name, said))
            return said
        if result.text.split() != [address, str(port)]:
            # It does not change any more, as it runs.
            raise NotReady(
                f"MySQL on host {host.name} is bound to {' port '.join(result.text.split())}, not to {address} port"
                f" {port} as its option files say: what starts {server}, such as $MYSQLD_OPTS, sets it; take that out"
            )
        return ""

    wait_until(probe, f"MySQL on host {host.name} to answer", _READY_LIMIT_S, steps)


def _control(host: Host, server: Service, command: str) -> None:
    """Run a command that starts the server.

    :raises CommandFailed: it does not start; the error has the last lines of its log.
    """
    try:
        host.run(root(command), timeout=service.LIMIT_S)
    except CommandFailed as error:
        raise _with_log(error, host, server) from None


def _with_log(error: CommandFailed, host: Host, server: Service) -> CommandFailed:
    """The error of a start that failed, with the last lines of the server's log, which are what tells why."""
    log = host.run(root(server.log()), check=False)
    return CommandFailed(error.host, error.command, error.exit_status, error.stdout, error.stderr + log.stdout)
