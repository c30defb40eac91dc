"""Ways to break a deployment that stands, each with the checks that find it, and undone in the end."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from circuit import Client, Cmd
from circuit_harness.journal import lease
from circuit_harness.journal.record import PATH as RECORD
from circuit_harness.remote.host import as_process
from circuit_harness.remote.processes import end
from circuit_harness.services.mysql import RunningMySQL
from circuit_harness.services.program import RunningProgram
from deploy.services import USER
from localhosts import Host
from tests.jobs import ROOT

START_LIMIT_S = 20.0

CODE = 2
"""Which word of the app's command is its file."""


@dataclass(frozen=True)
class Standing:
    """A deployment that was kept, and its hosts, which are reached past the circuit. ``runner`` is this machine.

    ``circuit`` are the options that name their circuit.
    """

    circuit: list[str]
    client: Client
    mysql: RunningMySQL
    nodejs: RunningProgram
    mysql_host: Host
    api_host: Host
    runner: str

    def sql(self, *statements: str) -> None:
        """Run statements as the server's administrator."""
        root(self.mysql_host, f"mariadb -e {shlex.quote('; '.join(statements))}")

    @contextmanager
    def log_cut_back(self) -> Iterator[None]:
        """The app's log is what it was in the end, or that of an app that has been started anew."""
        path = self.nodejs.process.log
        size = int(root(self.api_host, f"stat -c %s {path}"))
        yield
        root(self.api_host, f"truncate -c -s {size} {path}")

    def restart_mysql(self) -> None:
        """Restart the server, once Debian's checks behind its start are done."""
        service = self.mysql.service
        root(self.mysql_host, f"{service.settle()}; {service.restart()}")

    def restart_app(self, command: str = "") -> None:
        """Start the app anew at its anchor, with a new log; by another shell command than its own, if one is given.

        :raises AssertionError: it did not come to listen.
        """
        nodejs, process = self.nodejs, self.nodejs.process
        root(self.api_host, process.end())
        # What a breakage has started as another user; in brackets, lest it find itself.
        root(self.api_host, f"pkill -KILL -f '[/]{process.command[CODE].removeprefix('/')}' || true")
        # Whoever runs it next makes them, and owns them.
        root(self.api_host, f"rm -f {process.log} {process.pid_file}")
        deadline = time.monotonic() + START_LIMIT_S
        while nodejs.host.element(nodejs.anchor) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        shell = command or process.launch()
        proc = nodejs.host.start(nodejs.anchor, Cmd("/bin/sh", ["-c", shell], dir=process.folder, scrub=True))
        proc.discard_streams()
        while "Listening" not in (log := root(self.api_host, f"cat {process.start_log} {process.log} || true")):
            assert time.monotonic() < deadline, log
            time.sleep(0.02)


def root(host: Host, script: str) -> str:
    """Run a script on a host as root, past the circuit; it must succeed."""
    done = host.run("/bin/sh", "-c", script, timeout=60)
    assert done.returncode == 0, (script, done.stdout, done.stderr)
    return done.stdout.decode()


TLS_OPTIONS = "/etc/mysql/mariadb.conf.d/60-tls.cnf"
MAKE_CERTIFICATE = (ROOT / "localhosts" / "make_certificate.sh").read_text("utf-8")


Break = Callable[[Standing], AbstractContextManager[None]]


@dataclass(frozen=True)
class Breakage:
    """One way, and the names of the checks that fail then: these, and no other.

    ``disruptive`` has the disruptive checks run as well; some find what only they can. ``down`` is what the probe of a
    service that was stopped says, a pattern behind the service and its host; "" where the service works.
    """

    name: str
    broken: Break
    found_by: frozenset[str]
    disruptive: bool = field(default=False)
    down: str = field(default="")


def variants(check: str, *ids: str) -> set[str]:
    """The names of a check's variants."""
    return {f"{check}[{name}]" for name in ids}


# What checks have in common.

FROM_HERE = {
    "test_bind_address_of_the_running_server",
    "test_schema_columns",
    "test_schema_primary_key",
    "test_schema_has_no_other_table",
    "test_schema_database_charset",
    "test_schema_columns_charset",
    "test_schema_engine_has_transactions",
    "test_open_to_all_only_in_compat_mode",
    "test_user_of_the_checks_reads_the_database_alone",
    "test_tls_is_used",
    "test_tls_is_required",
    "test_user_unknown_is_refused",
    "test_user_root_is_refused_from_here",
}
"""Connect to MySQL from this machine."""

ADMIN = {
    "test_grants_of_tutorial",
    "test_check_account_is_read_only",
    "test_user_tutorial_is_one_account",
    "test_user_without_a_name_is_none",
    "test_user_root_is_local",
}
"""Ask MySQL as its administrator."""

VALUES_BY_URL = variants(
    "test_http_value_by_url_comes_back_as_it_was", "quotes", "percent", "emoji", "sql", "url", "blanks"
)
VALUES_BY_POST = variants(
    "test_http_value_by_post_comes_back_as_it_was", "quotes", "percent", "emoji", "sql", "url", "blanks"
)
FULL_COLUMN = variants("test_http_value_that_fills_the_column", "ascii", "utf-8")
ROUTES = variants("test_http_missing_route_is_json", "/", "/get", "/get/", "/put/name", "/del/", "/get/name/more")

SEEN_IN_MYSQL = {
    "test_http_put_is_seen_in_mysql",
    "test_http_put_replaces",
    "test_http_post_is_seen_in_mysql",
    "test_http_get_tells_what_mysql_has",
    "test_http_del_is_seen_in_mysql",
    "test_http_many_requests_at_once_lose_no_write",
}
"""Use the API, and look into MySQL from this machine."""

READY = "test_http_is_ready_with_a_new_connection_to_mysql"
STORED = (
    {
        "test_http_answers_from_here",
        READY,
        "test_http_answers_are_json_and_not_to_be_kept",
        "test_http_missing_name_is_json",
        "test_http_name_may_be_as_long_as_the_column",
        "test_http_names_differ_by_case",
        "test_http_del_of_a_missing_name_is_fine",
        "test_http_value_may_be_empty",
        "test_http_value_of_12_kib_by_url",
        "test_http_value_that_is_too_long_is_refused",
        "test_http_value_that_is_no_text_is_refused",
    }
    | VALUES_BY_URL
    | VALUES_BY_POST
    | FULL_COLUMN
    | SEEN_IN_MYSQL
)
"""Need an API that stores, be it only to remove a name in the end."""

API = STORED | ROUTES | {"test_http_name_that_is_longer_is_refused"}
"""Reach the API from this machine."""

ELEMENT = {
    "test_element_is_a_running_process",
    "test_element_is_at_the_documented_anchor",
    "test_element_has_the_command_line",
}
PROCESS = {
    "test_process_is_node_itself",
    "test_process_is_the_circuit_server_s",
    "test_process_belongs_to_a_user_of_its_own",
    "test_process_has_no_privilege_and_gets_none",
    "test_process_is_under_limits",
}
OUTAGE = {"test_http_says_503_while_mysql_is_away", "test_http_recovers_when_mysql_is_back"}
LISTENS = "test_listens_on_every_address"
LOG = "test_log_says_where_it_listens_and_no_more"
"""Found by whatever makes the API answer that it cannot do something: it logs that."""

OTHER_HOST = "test_http_answers_from_the_other_host"


# MySQL's configuration and service.


def _bound_to(value: str) -> Break:
    @contextmanager
    def broken(standing: Standing) -> Iterator[None]:
        with _configured(standing, value):
            standing.restart_mysql()
            yield
        standing.restart_mysql()

    return broken


@contextmanager
def _configured(standing: Standing, value: str) -> Iterator[None]:
    config = standing.mysql.config
    root(
        standing.mysql_host, f"cp -p {config} /root/saved; sed -i 's/^bind-address.*/bind-address = {value}/' {config}"
    )
    try:
        yield
    finally:
        root(standing.mysql_host, f"cp -p /root/saved {config}; rm /root/saved")


@contextmanager
def _mysql_stopped(standing: Standing) -> Iterator[None]:
    root(standing.mysql_host, standing.mysql.service.stop())
    yield
    root(standing.mysql_host, standing.mysql.service.start())


@contextmanager
def _mysql_forgets(standing: Standing) -> Iterator[None]:
    """Empties the table whenever it starts."""
    drop_in = "/etc/mysql/mariadb.conf.d/99-forget.cnf"
    root(
        standing.mysql_host,
        "echo 'DELETE FROM tutorial.NameValue;' > /var/lib/mysql/forget.sql;"
        f" printf '[mysqld]\\ninit-file = /var/lib/mysql/forget.sql\\n' > {drop_in}",
    )
    yield
    root(standing.mysql_host, f"rm {drop_in} /var/lib/mysql/forget.sql")
    standing.restart_mysql()


@contextmanager
def _x_protocol_everywhere(standing: Standing) -> Iterator[None]:
    """A stand-in by name and port: MariaDB does not speak it."""
    root(
        standing.mysql_host,
        "mkdir /run/stand-in; cp $(readlink -f /usr/bin/python3) /run/stand-in/mysqld;"
        " systemd-run -q --unit=stand-in /run/stand-in/mysqld -m http.server 33060 --bind 0.0.0.0;"
        " tries=0; until ss -Hltn | grep -q :33060; do"
        " tries=$((tries + 1)); [ $tries -lt 100 ] || exit 1; sleep 0.1; done",
    )
    yield
    root(standing.mysql_host, "systemctl stop stand-in; rm -r /run/stand-in")


# MySQL's users and tables.


def _sql(broken: str, *undone: str) -> Break:
    @contextmanager
    def act(standing: Standing) -> Iterator[None]:
        standing.sql(broken)
        yield
        # What a check leaves behind in a table that is broken would be in the way of its repair.
        standing.sql("DELETE FROM tutorial.NameValue", *undone)

    return act


@contextmanager
def _another_password(standing: Standing) -> Iterator[None]:
    account = f"'{USER}'@'{standing.mysql.admits}'"
    before = root(standing.mysql_host, f'mariadb -N -B -e "SHOW CREATE USER {account}"')
    standing.sql(f"ALTER USER {account} IDENTIFIED BY 'another'")
    # Without its old connections, whose number would decide which checks do not notice.
    standing.restart_app()
    yield
    standing.sql(before.replace("CREATE USER", "ALTER USER", 1))


def _granted(broken: str, undone: str) -> Break:
    """As :func:`_sql`, where ``{app}`` and ``{checks}`` are the accounts."""

    @contextmanager
    def act(standing: Standing) -> Iterator[None]:
        mysql = standing.mysql
        accounts = {"app": f"'{USER}'@'{mysql.admits}'", "checks": f"'{mysql.check_user}'@'{mysql.check_from}'"}
        with _sql(broken.format(**accounts), undone.format(**accounts))(standing):
            yield

    return act


@contextmanager
def _tls_off(standing: Standing) -> Iterator[None]:
    root(standing.mysql_host, f"mv {TLS_OPTIONS} /root/tls")
    standing.restart_mysql()
    yield
    root(standing.mysql_host, f"mv /root/tls {TLS_OPTIONS}")
    standing.restart_mysql()


@contextmanager
def _another_authority(standing: Standing) -> Iterator[None]:
    """The server's certificate is not by the authority that was its own when it was deployed."""
    root(standing.mysql_host, f"cp -p /etc/mysql/*.pem /root; set -- /etc/mysql\n{MAKE_CERTIFICATE}")
    standing.restart_mysql()
    yield
    root(standing.mysql_host, "mv /root/*.pem /etc/mysql")
    standing.restart_mysql()


_CHARSET = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"


# The API: its process, its log, its code.


@contextmanager
def _node_killed(standing: Standing) -> Iterator[None]:
    nodejs = standing.nodejs
    process = as_process(nodejs.host.element(nodejs.anchor))
    assert process is not None
    end(nodejs.host, nodejs.anchor, process)
    yield
    standing.restart_app()


def _started_by(command: Callable[[RunningProgram], str]) -> Break:
    @contextmanager
    def broken(standing: Standing) -> Iterator[None]:
        standing.restart_app(command(standing.nodejs))
        yield
        standing.restart_app()

    return broken


def _without(pattern: str, replacement: str = "") -> Callable[[RunningProgram], str]:
    """The command that the app is started by, but for what the pattern matches, once."""

    def command(nodejs: RunningProgram) -> str:
        changed, times = re.subn(pattern, replacement, nodejs.process.launch())
        assert times == 1, f"{pattern!r} matches {times} times"
        return changed

    return command


def _on_public_address_alone(nodejs: RunningProgram) -> str:
    return nodejs.process.launch().replace(f"--api_host {nodejs.listen} ", f"--api_host {nodejs.address} ")


def _root_does(done: Callable[[RunningProgram], str], undone: Callable[[RunningProgram], str]) -> Break:
    """Something done to the API's files by root."""

    @contextmanager
    def broken(standing: Standing) -> Iterator[None]:
        root(standing.api_host, done(standing.nodejs))
        yield
        root(standing.api_host, undone(standing.nodejs))

    return broken


def _patched(pattern: str, replacement: str) -> Break:
    """The app with another text in place of what the pattern matches, just once."""

    @contextmanager
    def broken(standing: Standing) -> Iterator[None]:
        path = f"{standing.nodejs.process.folder}/index.js"
        code = root(standing.api_host, f"cat {path}")
        patched, times = re.subn(pattern, lambda _: replacement, code)
        assert times == 1, f"{pattern!r} matches {times} times"
        _write(standing.api_host, path, patched)
        standing.restart_app()
        yield
        _write(standing.api_host, path, code)
        standing.restart_app()

    return broken


def _write(host: Host, path: str, text: str) -> None:
    assert host.run("/bin/sh", "-c", f"cat > {path}", input=text.encode()).returncode == 0


_GIVES_UP = """async function query(pool, sql, values) {
  if (query.lost) throw new ApiError(503, 'given up');
  return ask(pool, sql, values).catch((err) => {
    query.lost = err.status === 503;
    throw err;
  });
}

async function ask(pool, sql, values) {"""


@contextmanager
def _errors_in_the_log(standing: Standing) -> Iterator[None]:
    log = standing.nodejs.process.log
    root(standing.api_host, f"for i in $(seq 1000); do echo 'Error: no'; done | tee -a {log} >/dev/null")
    yield


# The network, and the circuit.


@contextmanager
def _cut_between_the_hosts(standing: Standing) -> Iterator[None]:
    address = standing.nodejs.address
    root(standing.mysql_host, f"ip route add unreachable {address}/32")
    yield
    root(standing.mysql_host, f"ip route del unreachable {address}/32")


@contextmanager
def _port_dropped_for_the_runner(standing: Standing) -> Iterator[None]:
    rule = f"to {standing.runner} ipproto 6 sport {standing.nodejs.port} blackhole"
    root(standing.api_host, f"ip rule add {rule}")
    yield
    root(standing.api_host, f"ip rule del {rule}")


@contextmanager
def _other_private_address(standing: Standing) -> Iterator[None]:
    """The metadata service, or what is heard of it, tells an address that is not MySQL's."""
    wrapper = '#!/bin/sh\ncase "$*" in *local-ipv4*) echo 10.255.255.254 ;; *) exec /usr/bin/curl "$@" ;; esac\n'
    path = "/usr/local/bin/curl"
    _write(standing.mysql_host, path, wrapper)
    root(standing.mysql_host, f"chmod 755 {path}")
    yield
    root(standing.mysql_host, f"rm {path}")


@contextmanager
def _leased_by_another(standing: Standing) -> Iterator[None]:
    taken = lease.take(standing.mysql.host, "somebody else")
    assert taken is not None
    yield
    taken.give_up()


@contextmanager
def _record_for_all_to_read(standing: Standing) -> Iterator[None]:
    root(standing.api_host, f"chmod 644 {RECORD}")
    yield
    root(standing.api_host, f"chmod 600 {RECORD}")


BREAKAGES = [
    Breakage(
        "bound to every address",
        _bound_to("0.0.0.0"),
        frozenset(
            {
                "test_bind_address_in_the_option_file",
                "test_bind_address_of_the_running_server",
                "test_bind_address_of_the_socket",
                "test_bind_address_is_the_only_one",
                "test_bind_address_is_never_every_address",
                "test_bind_address_has_no_other_port",
            }
        ),
    ),
    Breakage(
        "bound to another address",
        _bound_to("127.0.0.1"),
        frozenset(
            {
                "test_bind_address_in_the_option_file",
                "test_bind_address_of_the_socket",
                "test_bind_address_is_the_only_one",
                "test_bind_address_has_no_other_port",
                LOG,
            }
            | FROM_HERE
            | STORED
        ),
    ),
    Breakage(
        "bound to another address after its next start",
        lambda standing: _configured(standing, "127.0.0.1"),
        frozenset({"test_bind_address_in_the_option_file"}),
    ),
    Breakage(
        "X protocol on every address",
        _x_protocol_everywhere,
        frozenset({"test_bind_address_is_never_every_address", "test_bind_address_has_no_other_port"}),
    ),
    Breakage(
        "MySQL stopped",
        _mysql_stopped,
        frozenset(
            {
                "test_service_is_running",
                "test_bind_address_of_the_socket",
                "test_bind_address_is_the_only_one",
                "test_bind_address_is_never_every_address",
                "test_bind_address_has_no_other_port",
                LOG,
            }
            | FROM_HERE
            | ADMIN
            | STORED
        ),
        down="mariadb is inactive",
    ),
    Breakage(
        "MySQL forgets when it is restarted",
        _mysql_forgets,
        frozenset({"test_data_survives_a_restart", "test_http_recovers_when_mysql_is_back"}),
        disruptive=True,
    ),
    Breakage(
        "primary key dropped",
        _sql(
            "ALTER TABLE tutorial.NameValue DROP PRIMARY KEY", "ALTER TABLE tutorial.NameValue ADD PRIMARY KEY (name)"
        ),
        frozenset({"test_schema_primary_key", "test_http_put_replaces"}),
    ),
    Breakage(
        "type of a column changed",
        _sql(
            "ALTER TABLE tutorial.NameValue MODIFY value VARCHAR(2000)",
            "ALTER TABLE tutorial.NameValue MODIFY value TEXT",
        ),
        frozenset({"test_schema_columns", "test_http_value_of_12_kib_by_url", LOG} | FULL_COLUMN),
    ),
    Breakage(
        "name shorter than documented",
        _sql(
            "ALTER TABLE tutorial.NameValue MODIFY name VARCHAR(90)",
            "ALTER TABLE tutorial.NameValue MODIFY name VARCHAR(100)",
        ),
        frozenset({"test_schema_columns", "test_http_name_may_be_as_long_as_the_column", LOG}),
    ),
    Breakage(
        "another table",
        _sql("CREATE TABLE tutorial.another (id INT)", "DROP TABLE tutorial.another"),
        frozenset({"test_schema_has_no_other_table"}),
    ),
    Breakage(
        "table in another charset",
        _sql(
            "ALTER TABLE tutorial.NameValue CONVERT TO CHARACTER SET latin1",
            f"ALTER TABLE tutorial.NameValue CONVERT TO {_CHARSET}",
            "ALTER TABLE tutorial.NameValue MODIFY value TEXT",
        ),
        frozenset(
            {
                "test_schema_columns_charset",
                "test_http_names_differ_by_case",
                "test_http_value_by_url_comes_back_as_it_was[emoji]",
                "test_http_value_by_post_comes_back_as_it_was[emoji]",
                LOG,
            }
        ),
    ),
    Breakage(
        "database in another collation",
        _sql("ALTER DATABASE tutorial COLLATE utf8mb4_general_ci", f"ALTER DATABASE tutorial {_CHARSET}"),
        frozenset({"test_schema_database_charset"}),
    ),
    Breakage(
        "table without transactions",
        _sql("ALTER TABLE tutorial.NameValue ENGINE = MyISAM", "ALTER TABLE tutorial.NameValue ENGINE = InnoDB"),
        frozenset({"test_schema_engine_has_transactions"}),
    ),
    Breakage(
        "grant widened",
        _granted("GRANT SELECT ON *.* TO {app}", "REVOKE SELECT ON *.* FROM {app}"),
        frozenset({"test_grants_of_tutorial"}),
    ),
    Breakage(
        "grant narrowed",
        _granted("REVOKE DROP ON tutorial.* FROM {app}", "GRANT ALL ON tutorial.* TO {app}"),
        frozenset({"test_grants_of_tutorial"}),
    ),
    Breakage(
        "checks may write",
        _granted("GRANT DELETE ON tutorial.* TO {checks}", "REVOKE DELETE ON tutorial.* FROM {checks}"),
        frozenset({"test_check_account_is_read_only", "test_user_of_the_checks_reads_the_database_alone"}),
    ),
    Breakage(
        "checks may see the users",
        _granted("GRANT SELECT ON mysql.* TO {checks}", "REVOKE SELECT ON mysql.* FROM {checks}"),
        frozenset({"test_check_account_is_read_only", "test_user_of_the_checks_reads_the_database_alone"}),
    ),
    Breakage(
        "open to all, as in the tutorial",
        _sql("CREATE USER tutorial@'%'; GRANT ALL ON tutorial.* TO tutorial@'%'", "DROP USER tutorial@'%'"),
        frozenset({"test_user_tutorial_is_one_account", "test_open_to_all_only_in_compat_mode"}),
    ),
    Breakage(
        "another password for the app",
        _another_password,
        frozenset({LOG} | STORED),
        down=r"http://[\d.]+:8080/ready, asked on its host: .*MySQL refused: Access denied for user 'tutorial'@.* 500",
    ),
    Breakage(
        "TLS not required",
        _granted("ALTER USER {checks} REQUIRE NONE", "ALTER USER {checks} REQUIRE SSL"),
        frozenset({"test_tls_is_required"}),
    ),
    Breakage("TLS switched off", _tls_off, frozenset({LOG} | (FROM_HERE - {"test_tls_is_required"}) | STORED)),
    Breakage(
        "TLS by another authority",
        _another_authority,
        frozenset({LOG} | (FROM_HERE - {"test_tls_is_required"}) | STORED),
    ),
    Breakage(
        "anonymous user",
        _sql("CREATE USER ''@'%'", "DROP USER ''@'%'"),
        frozenset(
            {
                "test_user_without_a_name_is_none",
                "test_open_to_all_only_in_compat_mode",
                "test_user_unknown_is_refused",
                "test_user_root_is_refused_from_here",
            }
        ),
    ),
    Breakage(
        "another account for this machine",
        lambda standing: _sql(
            f"CREATE USER tutorial@'{standing.runner}'; GRANT ALL ON tutorial.* TO tutorial@'{standing.runner}'",
            f"DROP USER tutorial@'{standing.runner}'",
        )(standing),
        frozenset({"test_user_tutorial_is_one_account", "test_open_to_all_only_in_compat_mode"}),
    ),
    Breakage(
        "root from everywhere",
        _sql("CREATE USER root@'%'", "DROP USER root@'%'"),
        frozenset({"test_user_root_is_local", "test_user_root_is_refused_from_here"}),
    ),
    Breakage(
        "Node killed",
        _node_killed,
        frozenset(ELEMENT | PROCESS | API | {LISTENS, OTHER_HOST}),
        down="its process at /X[0-9a-f]+/nodejs has ended",
    ),
    Breakage(
        "Node under a shell",
        _started_by(_without(r"&& exec /usr/bin/nodejs (.*2>&1)", "&& /usr/bin/nodejs \\1; true")),
        frozenset({"test_element_has_the_command_line", "test_process_is_node_itself"}),
    ),
    Breakage(
        "Node as root",
        _started_by(_without(r"setpriv .* --inh-caps=-all \$tied ")),
        frozenset(
            {
                "test_element_has_the_command_line",
                "test_process_is_node_itself",
                "test_process_belongs_to_a_user_of_its_own",
                "test_process_has_no_privilege_and_gets_none",
            }
        ),
    ),
    Breakage(
        "Node can gain privileges",
        _started_by(_without("--no-new-privs ")),
        frozenset({"test_element_has_the_command_line", "test_process_has_no_privilege_and_gets_none"}),
    ),
    Breakage(
        "Node without limits",
        _started_by(_without(r"prlimit (--\w+=\d+ )+")),
        frozenset({"test_element_has_the_command_line", "test_process_is_under_limits"}),
    ),
    Breakage(
        "Node away from its element",
        _started_by(
            lambda nodejs: f"setsid -f /bin/sh -c {shlex.quote(nodejs.process.launch())}; while :; do sleep 0.2; done"
        ),
        frozenset({"test_element_has_the_command_line", "test_process_is_the_circuit_server_s"}),
    ),
    Breakage(
        "code for its user to change",
        _root_does(
            lambda nodejs: f"chown {nodejs.process.owner} {nodejs.process.command[CODE]}",
            lambda nodejs: f"chown root:root {nodejs.process.command[CODE]}",
        ),
        frozenset({"test_files_are_not_the_app_s_to_change"}),
    ),
    Breakage(
        "password for all to read",
        _root_does(
            lambda nodejs: f"chmod 444 {nodejs.secrets['mysql']}", lambda nodejs: f"chmod 400 {nodejs.secrets['mysql']}"
        ),
        frozenset({"test_password_is_in_a_file_of_the_app_s_user_alone"}),
    ),
    Breakage(
        "password in the log",
        _root_does(
            lambda nodejs: f"tee -a {nodejs.process.log} < {nodejs.secrets['mysql']} >/dev/null",
            lambda nodejs: "true",
        ),
        frozenset({"test_password_stands_nowhere_else", LOG}),
    ),
    Breakage(
        "Node on its public address alone",
        _started_by(_on_public_address_alone),
        frozenset({"test_element_has_the_command_line", "test_process_is_node_itself", LISTENS, LOG}),
    ),
    Breakage("errors in the log", _errors_in_the_log, frozenset({LOG})),
    Breakage(
        "quotes doubled",
        _patched(r"\[name, value\]\)", "[name, value.replaceAll(`'`, `''`)])"),
        frozenset(
            variants("test_http_value_by_url_comes_back_as_it_was", "quotes", "sql")
            | variants("test_http_value_by_post_comes_back_as_it_was", "quotes", "sql")
        ),
    ),
    Breakage(
        "long URLs refused",
        _patched(r"HEADER_BYTES = 256 \* 1024", "HEADER_BYTES = 16 * 1024"),
        frozenset({"test_http_value_of_12_kib_by_url"}),
    ),
    Breakage(
        "values cut at a limit of their own",
        _patched("VALUE_BYTES = 65535", "VALUE_BYTES = 65536"),
        frozenset({"test_http_value_that_is_too_long_is_refused", LOG}),
    ),
    Breakage(
        "bytes mended",
        _patched("fatal: true", "fatal: false"),
        frozenset({"test_http_value_that_is_no_text_is_refused"}),
    ),
    Breakage(
        "answers to be kept",
        _patched("'no-store'", "'max-age=60'"),
        frozenset({"test_http_answers_are_json_and_not_to_be_kept"}),
    ),
    Breakage(
        "errors in HTML",
        _patched(r"res\.status\(status\)\.json\(.*\);", "res.status(status).send(`<p>${err.message}</p>`);"),
        frozenset(
            {
                "test_http_missing_name_is_json",
                "test_http_name_that_is_longer_is_refused",
                "test_http_value_that_is_too_long_is_refused",
                "test_http_value_that_is_no_text_is_refused",
                OTHER_HOST,
            }
            | ROUTES
        ),
    ),
    Breakage(
        "one write of a hundred lost",
        _patched(
            "  checkName\\(name\\);\n  if",
            "  checkName(name);\n  if ((put.n = (put.n ?? 0) + 1) % 100 === 99) return;\n  if",
        ),
        frozenset({"test_http_many_requests_at_once_lose_no_write"}),
    ),
    Breakage(
        "absence of MySQL not told",
        _patched(r"\? new ApiError\(503", "? new ApiError(500"),
        frozenset({"test_http_says_503_while_mysql_is_away"}),
        disruptive=True,
    ),
    Breakage(
        "absence of MySQL not overcome",
        _patched(r"async function query\(pool, sql, values\) \{", _GIVES_UP),
        frozenset({"test_http_recovers_when_mysql_is_back"}),
        disruptive=True,
    ),
    Breakage("cut between the hosts", _cut_between_the_hosts, frozenset({OTHER_HOST})),
    Breakage("port dropped for the runner", _port_dropped_for_the_runner, frozenset(API)),
    Breakage(
        "another private address",
        _other_private_address,
        frozenset({"test_host_has_its_private_address", "test_bind_address_is_the_private_one"}),
    ),
    Breakage("leased by another", _leased_by_another, frozenset({"test_lease_is_held_by_this_run_alone"})),
    Breakage("record readable by all", _record_for_all_to_read, frozenset({"test_record_is_there_and_root_s_alone"})),
]
