"""Read the state of MySQL on a host: the server, its options, its databases and accounts. Changes nothing."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from circuit_harness.operations import ports
from circuit_harness.operations.guard import GUARD
from circuit_harness.operations.ports import Listening, parse_listening
from circuit_harness.remote import fact_lines
from circuit_harness.remote.command import Command, as_root
from circuit_harness.remote.host import Host
from circuit_harness.remote.script import Scripts
from circuit_harness.services.mysql import client, manager, option_files
from circuit_harness.services.mysql.accounts import Tls
from circuit_harness.services.mysql.manager import Manager, State
from circuit_harness.services.mysql.option_files import Options

SKIP_NAMES = "skip-name-resolve"

_TLS_SQL = (
    "SHOW GLOBAL VARIABLES WHERE variable_name IN ('have_ssl', 'ssl_ca', 'datadir');"
    " SHOW GLOBAL STATUS WHERE variable_name = 'Ssl_server_not_after'"
)
_CLUSTERS_AND_PROCESSES_SQL = (
    "SHOW GLOBAL VARIABLES WHERE variable_name IN ('wsrep_on', 'group_replication_group_name'); SHOW PROCESSLIST"
)
_MOST_AUTHORITIES = 4
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")

_SCRIPTS = Scripts.beside(__file__)
_REST_OF_LINE = _SCRIPTS.text("rest_of_line")
_SAY_REPLICATION = _SCRIPTS.text("say_replication")

_FIRST_REPLICA_WORDS = (8, 0, 22)
"""MySQL's version that has other words than slave."""

HANGS_S = 8
"""How long a running server may take to answer root."""


@dataclass(frozen=True)
class Facts:
    """The result of :func:`look` on a host.

    ``flavor`` is mariadb or mysql, and ``version`` the server's, even if it does not run. ``refusal`` is the error of a
    running server that refuses root, and ``hangs`` is whether it does not answer at all. ``validates`` is whether a
    plugin of the server validates passwords. ``named`` are the host names, and patterns of names, that its accounts are
    for, None where the accounts could not be read. ``own`` are the listening sockets that belong to the server.
    ``replication`` is how it shares data with other servers. ``tls`` is the encryption that a running one offers, with
    its authority.
    """

    client: str = ""
    flavor: str = ""
    version: str = ""
    service: Manager | None = None
    state: State = field(default_factory=State)
    options: Options = field(default_factory=Options)
    databases: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    refusal: str = ""
    hangs: bool = False
    validates: bool = False
    named: tuple[str, ...] | None = None
    listening: tuple[Listening, ...] = ()
    own: tuple[Listening, ...] = ()
    replication: tuple[str, ...] = ()
    tls: Tls = field(default_factory=Tls)


def look(host: Host, database: str, users: Sequence[str]) -> Facts:
    """Read the facts of a host, and which of these database and user names exist there."""
    as_root_text = "\n".join(
        [
            fact_lines.SAY,
            GUARD,
            _REST_OF_LINE,
            _SCRIPTS.text("find_server"),
            manager.LOOK,
            option_files.LOOK,
            _SCRIPTS.text("look_at_version"),
            manager.LOOK_PLACES,
            _SAY_REPLICATION,
            _SCRIPTS.text("look_at_replication", others=_CLUSTERS_AND_PROCESSES_SQL),
            _SCRIPTS.text(
                "look_at_data",
                database=database,
                options=client.OPTIONS,
                query=_found_sql(database, users),
                rows=_found_rows(users),
                limit_s=HANGS_S,
            ),
            ports.OWN,
        ]
    )
    command = Command("\n".join([as_root(as_root_text), ports.LIST, "exit 0"]))
    return parse_facts(host.run(command, timeout=30, limit=fact_lines.MOST_BYTES).text)


def looking_again(server: Manager, seen: Facts, database: str, users: Sequence[str]) -> str:
    """Shell, for root: the function ``look_again``, which fails while the server does not answer. It prints the address
    and the port that the server is bound to, as a line, then the facts that only a running server has: databases,
    accounts, replication, encryption.

    :param seen: the facts from before it ran.
    """
    sources, replicas = _replication_sql(seen)
    statements = [
        "SELECT @@bind_address, @@port",
        *(_found_sql(database, users), _TLS_SQL),
        *("SELECT '# sources'", sources, "SELECT '# replicas'", replicas, "SELECT '# others'"),
        _CLUSTERS_AND_PROCESSES_SQL,
    ]
    return "\n".join(
        [
            fact_lines.SAY,
            GUARD,
            _REST_OF_LINE,
            f'client() {{ timeout {HANGS_S} {client.client(server)} "$@"; }}',
            _SAY_REPLICATION,
            _SCRIPTS.text(
                "look_again",
                sql="; ".join(statements),
                rows=_found_rows(users),
                user=server.user or manager.NOBODY,
            ),
        ]
    )


def starting(server: Manager, looking: str) -> str:
    """Shell, for root: start the server; print what ``look_again`` of ``looking`` prints, or nothing."""
    if not server.socket:
        return server.start()
    start_and_look = _SCRIPTS.text("start_and_look", socket=server.socket)
    return "\n".join([looking, f"start() {{\n{server.start()}\n}}", start_and_look])


def _replication_sql(seen: Facts) -> tuple[str, str]:
    """Return the statements that list the sources and the replicas of a server."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", seen.version)[:3])
    if seen.flavor == "mariadb":
        return "SHOW ALL SLAVES STATUS", "SHOW SLAVE HOSTS"
    if numbers and numbers < _FIRST_REPLICA_WORDS:
        return "SHOW SLAVE STATUS", "SHOW SLAVE HOSTS"
    return "SHOW REPLICA STATUS", "SHOW REPLICAS"


def parse_facts(text: str) -> Facts:
    """Parse the output of a look."""
    values = fact_lines.parse(text)
    options = option_files.parse(values)
    log = options.winning("log-error")
    about, refusal = fact_lines.first(values, "about"), fact_lines.first(values, "refusal")
    release = re.search(r"\bVer (\S+)", about)
    return Facts(
        client=fact_lines.first(values, "client"),
        flavor=("mariadb" if "mariadb" in about.lower() else "mysql") if about else "",
        version=release[1] if release else fact_lines.first(values, "version"),
        service=manager.parse(values, options.values, log.value if log else ""),
        state=manager.parse_state(values),
        options=options,
        databases=tuple(dict.fromkeys(values.get("database", []))),
        users=tuple(values.get("user", [])),
        refusal=refusal if client.DENIED.search(refusal) else "",
        hangs="hangs" in values,
        validates="validation" in values,
        named=tuple(fact_lines.first(values, "named").split()) if "named" in values else None,
        listening=tuple(parse_listening(entry) for entry in values.get("listening", [])),
        own=tuple(parse_listening(entry) for entry in values.get("own", [])),
        replication=tuple(values.get("replication", [])),
        tls=_parse_tls(values),
    )


def _parse_tls(values: Mapping[str, Sequence[str]]) -> Tls:
    if "tls" not in values:
        return Tls()
    certificates = _CERTIFICATE.findall(base64.b64decode(values["tls"][0]).decode("utf-8", "replace"))
    # With a bundle of public authorities, a client would accept anybody's certificate.
    return Tls(on=True, ca="\n".join(certificates) if len(certificates) <= _MOST_AUTHORITIES else "")


def _found_sql(database: str, users: Sequence[str]) -> str:
    named = ", ".join(f"'{user}'" for user in users)
    return (
        f"SELECT CONCAT('database ', schema_name) FROM information_schema.schemata WHERE schema_name = '{database}'"
        f" UNION ALL SELECT CONCAT('user ', user, '@', host) FROM mysql.user WHERE user IN ({named})"
        " UNION ALL SELECT CONCAT('version ', VERSION())"
        " UNION ALL SELECT CONCAT('validation ', plugin_name) FROM information_schema.plugins"
        " WHERE plugin_type = 'PASSWORD VALIDATION' AND plugin_status = 'ACTIVE'"
        f" UNION ALL SELECT 'option {SKIP_NAMES} TRUE' FROM dual WHERE @@skip_name_resolve;"
        # Converted, because the tables' collations differ. A host with a colon is an IPv6 address.
        " SELECT CONCAT('named ', IFNULL(GROUP_CONCAT(DISTINCT host ORDER BY host SEPARATOR ' '), '')) FROM ("
        + " UNION ALL ".join(
            f"SELECT CONVERT(host USING utf8mb4) AS host FROM mysql.{table}" for table in ("user", "db", "proxies_priv")
        )
        + ") AS hosts WHERE host REGEXP '[^0-9._%/]' AND host NOT LIKE '%:%' AND host <> 'localhost'"
    )


def _found_rows(users: Sequence[str]) -> str:
    """Return a pattern of the rows that the query can return."""
    return f"^((database|version|validation|named) |user ({'|'.join(users)})@|option {SKIP_NAMES} TRUE$)"
