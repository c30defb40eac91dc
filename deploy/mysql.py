"""MySQL on a host: bound to the private address, with the tutorial's user, database and table.

In three parts: :func:`look` reads facts and changes nothing, :func:`check_fit`, :func:`check_free` and :func:`plan`
decide, :func:`deploy` acts. What is there already is refused before anything is changed, unless it is to be replaced.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from circuit import Anchor
from deploy import ports
from deploy.changes import FORCE, Changes
from deploy.errors import CommandFailed, Conflict, Unfit
from deploy.option_files import last_directory, winning
from deploy.ports import Listening, parse_listening
from deploy.record import FOLDER, Change
from deploy.shell import as_root, run_shell
from deploy.steps import Steps
from deploy.waiting import wait_until

PART = "mysql"
"""This part's name, in records and among the wishes for a deployment."""

PORT = 3306
USER = "tutorial"
DATABASE = "tutorial"
TABLE = "NameValue"

CHARSET = "utf8mb4"
COLLATION = "utf8mb4_bin"
"""Names are equal where their characters are. What servers do by themselves differs, down to all emoji being one."""

CLIENT = "$(command -v mariadb || command -v mysql) -N -B"
"""Shell: the server's own client, whose rows are lines, and their values stand between tabs."""

_READY_LIMIT_S = 60.0
_SERVICE_LIMIT_S = 90.0
_DROP_IN = "zz-tutorial.cnf"

_FOUND_SQL = (
    f"SELECT CONCAT('database ', schema_name) FROM information_schema.schemata WHERE schema_name = '{DATABASE}'"
    f" UNION ALL SELECT CONCAT('user ', user, '@', host) FROM mysql.user WHERE user = '{USER}'"
    " UNION ALL SELECT CONCAT('version ', VERSION())"
)

_CREATE_SQL = f"""
CREATE DATABASE {DATABASE} CHARACTER SET {CHARSET} COLLATE {COLLATION};
CREATE USER {USER};
GRANT ALL ON {DATABASE}.* TO {USER};
CREATE TABLE {DATABASE}.{TABLE} (name VARCHAR(100), value TEXT, PRIMARY KEY (name));
"""

# One line a fact: its name, a blank, its value. Whatever the host lacks has no line.
_LOOK = f"""
PATH=$PATH:/usr/sbin:/sbin
say() {{ printf '%s %s\\n' "$1" "$2"; }}
if [ "$(id -u)" = 0 ]; then sudo=; else sudo='sudo -n'; fi
say login "$(id -un)"
$sudo true 2>/dev/null && say rights yes
for name in mariadbd mysqld; do command -v $name >/dev/null && {{ say server "$(command -v $name)"; break; }}; done
for name in mariadb mysql; do command -v $name >/dev/null && {{ client=$name; say client $name; break; }}; done
for name in mariadb mysql mysqld; do
    if [ -d /run/systemd/system ] && systemctl cat $name.service >/dev/null 2>&1; then
        say service "systemd $name"
        systemctl is-active --quiet $name.service && say active yes
        break
    elif [ ! -d /run/systemd/system ] && [ -x /etc/init.d/$name ]; then
        say service "sysv $name"
        $sudo /etc/init.d/$name status >/dev/null 2>&1 && say active yes
        break
    fi
done
for file in /etc/my.cnf /etc/mysql/my.cnf /etc/my.cnf.d/*.cnf /etc/mysql/*.d/*.cnf; do
    [ -f "$file" ] && say file "$file $($sudo base64 -w0 "$file")"
done
datadir=$(my_print_defaults mysqld server mariadb mariadbd 2>/dev/null | sed -n 's/^--datadir=//p' | tail -n 1)
datadir=${{datadir:-/var/lib/mysql}}
say datadir "${{datadir%/}}"
$sudo test -d "$datadir/{DATABASE}" && say database {DATABASE}
[ -n "$client" ] && $sudo $client -N -B -e {shlex.quote(_FOUND_SQL)} 2>/dev/null
{ports.LIST}
exit 0
"""


@dataclass(frozen=True)
class Facts:
    """What :func:`look` found on a host.

    ``manager`` is systemd or sysv, ``service`` its name for the server. ``files`` are the option files' texts by path.
    """

    login: str = ""
    rights: bool = False
    server: str = ""
    client: str = ""
    version: str = ""
    manager: str = ""
    service: str = ""
    active: bool = False
    datadir: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    databases: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    listening: tuple[Listening, ...] = ()


@dataclass(frozen=True)
class Edit:
    """A change of an option file: line ``line`` becomes ``text``, or the file comes to be where ``line`` is 0."""

    path: str
    line: int
    text: str


@dataclass(frozen=True)
class MySQL:
    """A deployed server. ``config`` is the option file that binds it to ``address``."""

    host: Anchor
    address: str
    port: int
    config: str
    version: str
    service: str

    def describe(self) -> dict[str, Any]:
        """All but the host, as plain values; :meth:`at` is the way back."""
        return {name: getattr(self, name) for name in ("address", "port", "config", "version", "service")}

    @classmethod
    def at(cls, host: Anchor, described: Mapping[str, Any]) -> MySQL:
        """The server on a host that :meth:`describe` told of."""
        return cls(host=host, **described)


def look(host: Anchor) -> Facts:
    """Read the facts of a host. Changes nothing."""
    return parse_facts(run_shell(host, _LOOK, timeout=30).text)


def parse_facts(text: str) -> Facts:
    """Parse what the look-up printed."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        values.setdefault(name, []).append(value)

    def one(name: str) -> str:
        return values.get(name, [""])[0]

    files = {}
    for entry in values.get("file", []):
        path, _, content = entry.partition(" ")
        files[path] = base64.b64decode(content).decode("utf-8", "replace")
    return Facts(
        login=one("login"),
        rights="rights" in values,
        server=one("server"),
        client=one("client"),
        version=one("version"),
        manager=one("service").partition(" ")[0],
        service=one("service").partition(" ")[2],
        active="active" in values,
        datadir=one("datadir"),
        files=files,
        databases=tuple(dict.fromkeys(values.get("database", []))),
        users=tuple(values.get("user", [])),
        listening=tuple(parse_listening(entry) for entry in values.get("listening", [])),
    )


def check_fit(facts: Facts, host: str) -> None:
    """Refuse a host that cannot take the deployment.

    :raises Unfit: a program or a right is missing.
    """
    if not facts.rights:
        raise Unfit(
            f"host {host}: MySQL needs root, and the circuit runs as {facts.login or 'a user'} without password-less"
            " sudo: run it as root, or allow that user sudo"
        )
    if not (facts.server and facts.client and facts.service):
        raise Unfit(f"host {host} has no MySQL or MariaDB server: install one (apt-get install mariadb-server)")


def check_free(facts: Facts, host: str, *, replace: bool) -> None:
    """Refuse a host that has something which the deployment would destroy.

    :raises Conflict: there is a user or database of that name already, and it is not to be replaced; or the port is
        another program's.
    """
    taken = [str(socket) for socket in facts.listening if socket.port == PORT]
    if taken and not facts.active:
        raise Conflict(
            f"host {host}: port {PORT} is in use ({', '.join(taken)}), and not by its MySQL service: free it"
        )
    if not replace:
        _refuse_existing(facts, host)


def _refuse_existing(facts: Facts, host: str) -> None:
    existing = [f"database {name}" for name in facts.databases] + [f"user {name}" for name in facts.users]
    if existing:
        raise Conflict(f"host {host} has {' and '.join(existing)} already: --replace drops them, with all their data")


def plan(facts: Facts, address: str) -> list[Edit]:
    """Which option files to change so that the server listens on ``address`` and :data:`PORT` alone.

    The line that wins is rewritten, wherever it is: a file of ours could not be sure to be read after it. Where no
    line sets the option, a file of ours comes to be in the directory that is read last.

    :raises Unfit: no line sets it, and there is no directory for a file.
    """
    edits = []
    bind = winning(facts.files, "bind-address")
    if bind is not None:
        edits.append(Edit(bind.path, bind.line, f"bind-address = {address}"))
    else:
        directory = last_directory(facts.files)
        if directory is None:
            raise Unfit("no option file sets bind-address, and none includes a directory where one could")
        edits.append(Edit(f"{directory}/{_DROP_IN}", 0, f"[mysqld]\nbind-address = {address}"))
    port = winning(facts.files, "port")
    if port is not None and port.value != str(PORT):
        edits.append(Edit(port.path, port.line, f"port = {PORT}"))
    return edits


def deploy(host: Anchor, address: str, facts: Facts, changes: Changes, *, replace: bool, steps: Steps) -> MySQL:
    """Bind MySQL to ``address``, start it, and make user, database and table.

    :param facts: of this host, fresh, and passed by both checks.
    :raises Conflict: the server, once started, turned out to have what :func:`check_free` could not see while it was
        down.
    :raises NotReady: it does not answer, or not on that address.
    :raises CommandFailed: a step failed.
    """
    edits = plan(facts, address)
    client = f"{facts.client} -N -B"
    backups = f"{FOLDER}/{changes.record.run}"
    with steps.step(f"MySQL: bind to {Listening(address, PORT)} in {edits[0].path}", host.name):
        changes.add(_configuration(facts, edits, backups))
        saving = f"set -e; mkdir -p -m 700 {FOLDER} {backups}"
        run_shell(host, as_root("; ".join([saving, *(_apply(edit, backups) for edit in edits)])))
    with steps.step("MySQL: start", host.name):
        verb = "restart" if facts.active else "start"
        try:
            run_shell(host, as_root(_control(facts, verb)), timeout=_SERVICE_LIMIT_S)
        except CommandFailed as error:
            raise _with_log(error, host, facts) from None
    with steps.step("MySQL: wait for a query", host.name):
        wait_until(lambda: _probe(host, client, address), f"MySQL on host {host.name} to answer", _READY_LIMIT_S, steps)
    now = parse_facts(run_shell(host, as_root(f"{client} -e {shlex.quote(_FOUND_SQL)}")).text)
    if not replace:
        _refuse_existing(now, host.name)
    with steps.step(f"MySQL: make user, database and table {DATABASE}.{TABLE}", host.name):
        changes.add(_data(facts, client))
        drops = [f"DROP DATABASE `{name}`;" for name in now.databases]
        drops += ["DROP USER '{}'@'{}';".format(*name.split("@", 1)) for name in now.users]
        run_shell(host, as_root(client), stdin="".join([*drops, _CREATE_SQL]).encode())
        service = MySQL(host, address, PORT, edits[0].path, now.version, facts.service)
        changes.tell(PART, service.describe())
    return service


def stop(mysql: MySQL) -> None:
    """Stop a deployed server.

    :raises CommandFailed: it does not stop.
    """
    facts = _service_facts(mysql)
    run_shell(mysql.host, as_root(f"{_settle(facts)}; {_control(facts, 'stop')}"), timeout=_SERVICE_LIMIT_S)


def start(mysql: MySQL, steps: Steps) -> None:
    """Start a deployed server, and return when it answers; one that runs goes on.

    :raises NotReady: it does not answer, or not on its address.
    :raises CommandFailed: it does not start.
    """
    run_shell(mysql.host, as_root(_control(_service_facts(mysql), "start")), timeout=_SERVICE_LIMIT_S)
    host = mysql.host
    wait_until(
        lambda: _probe(host, CLIENT, mysql.address), f"MySQL on host {host.name} to answer", _READY_LIMIT_S, steps
    )


def _service_facts(mysql: MySQL) -> Facts:
    """What of its facts says how a deployed server is started and stopped."""
    has_systemd = run_shell(mysql.host, "[ -d /run/systemd/system ]", check=False).exit_status == 0
    return Facts(manager="systemd" if has_systemd else "sysv", service=mysql.service)


def _configuration(facts: Facts, edits: list[Edit], backups: str) -> Change:
    """The change of option files and of the service's state."""
    # Newest first: a second edit of one file saved it with the first edit in it.
    restore = "; ".join(["kept=", *(_restore(edit, backups) for edit in reversed(edits))])
    clear = f'[ -n "$kept" ] || rm -rf {backups}'
    proofs = [_still_edited(edit, backups) for edit in edits]
    if facts.active:
        what = "MySQL: put the configuration back, restart"
        command = f'{restore}; {clear}; {_control(facts, "restart")} && [ -z "$kept" ]'
        proofs.append(f"{_is_active(facts)} || echo 'service {facts.service} does not run'")
    else:
        what = "MySQL: stop, put the configuration back"
        command = f'{_settle(facts)}; {_control(facts, "stop")}; s=$?; {restore}; {clear}; [ $s = 0 ] && [ -z "$kept" ]'
        proofs += [f"! {_is_active(facts)} || echo 'service {facts.service} still runs'", ports.still_open(PORT)]
    return Change(what, PART, command, proof="; ".join(proofs), limit=_SERVICE_LIMIT_S)


def _data(facts: Facts, client: str) -> Change:
    """The change that database and user are. What came to be in the database since is somebody's."""
    others = " UNION ALL ".join(
        f"SELECT {name} FROM information_schema.{kind}s WHERE {schema} = '{DATABASE}'{but}"
        for kind, name, schema, but in (
            # Names that differ from ours in case alone are other tables.
            ("table", "table_name", "table_schema", f" AND BINARY table_name <> '{TABLE}'"),
            ("routine", "routine_name", "routine_schema", ""),
            ("event", "event_name", "event_schema", ""),
            ("trigger", "trigger_name", "trigger_schema", ""),
        )
    )
    drop = f"DROP DATABASE IF EXISTS {DATABASE}; DROP USER IF EXISTS {USER};"
    command = f"""
        {_is_active(facts)} || {_control(facts, "start")} || exit
        tries=0
        until {client} -e 'SELECT 1' >/dev/null 2>&1 || [ $tries -ge 100 ]; do sleep 0.2; tries=$((tries + 1)); done
        others=$({client} -e {shlex.quote(others)}) || exit
        if [ -n "$others" ] && [ -z "${FORCE}" ]; then
            echo "kept, as database {DATABASE} has what is not of this deployment:" $others \
                "(--replace drops them)" >&2
            exit 1
        fi
        {client} -e {shlex.quote(drop)}
    """
    there = shlex.quote(f"{facts.datadir}/{DATABASE}")
    return Change(
        f"MySQL: drop database and user {DATABASE}",
        PART,
        command,
        proof=f"[ ! -e {there} ] || echo 'database {DATABASE} is still there'",
        limit=_SERVICE_LIMIT_S,
    )


def _settle(facts: Facts) -> str:
    """Shell: wait, 10 s at most, until the server is alone in its service.

    Debian's unit has the tables checked behind its back when it has started. Stopped meanwhile, that leaves files in
    /tmp.
    """
    if facts.manager != "systemd":
        return "true"
    unit = f"{facts.service}.service"
    return (
        f"main=$(systemctl show -p MainPID --value {unit}); group=$(grep -s '/{unit}$' /proc/$main/cgroup | head -n 1);"
        ' tries=0; while [ -n "$group" ] && [ $tries -lt 50 ]'
        ' && [ "$(grep -slFx "$group" /proc/[0-9]*/cgroup | wc -l)" -gt 1 ];'
        " do sleep 0.2; tries=$((tries + 1)); done"
    )


def _is_active(facts: Facts) -> str:
    if facts.manager == "systemd":
        return f"systemctl is-active --quiet {facts.service}.service"
    return f"/etc/init.d/{facts.service} status >/dev/null 2>&1"


def _control(facts: Facts, verb: str) -> str:
    if facts.manager == "systemd":
        return f"systemctl {verb} {facts.service}.service"
    return f"/etc/init.d/{facts.service} {verb}"


def _apply(edit: Edit, backups: str) -> str:
    """Shell: save the file, then write its new content into it, so that owner and mode stay.

    What stands under a saved file's name is whole: on a full disk the name does not come to be.
    """
    path, saved = shlex.quote(edit.path), f"{backups}/{_saved_name(edit)}"
    if not edit.line:
        return f"printf '%s\\n' {shlex.quote(edit.text)} > {path}"
    replace_line = shlex.quote(f"{edit.line}c\\\n{edit.text}")
    return (
        f"cp -p {path} {saved}.new; cmp -s {path} {saved}.new; mv {saved}.new {saved};"
        f" sed {replace_line} {saved} > {path};"
        f" sha256sum < {path} > {saved}.ours.new; [ -s {saved}.ours.new ]; mv {saved}.ours.new {saved}.ours"
    )


def _restore(edit: Edit, backups: str) -> str:
    """Shell: write the saved file back, unless somebody else has changed it since; ``kept`` is set if it was not."""
    path, saved = shlex.quote(edit.path), f"{backups}/{_saved_name(edit)}"
    if not edit.line:
        return f"rm -f {path} || kept=yes"
    theirs = f'[ -e {saved}.ours ] && [ "$(sha256sum < {path})" != "$(cat {saved}.ours)" ] && [ -z "${FORCE}" ]'
    return (
        f"if {theirs}; then kept=yes; echo {path} was changed since by somebody else, and is left as it is: the saved"
        f" one is {saved}, '(--replace puts it back)' >&2;"
        # From here on it is ours to finish, if this is cut short.
        f" elif [ -e {saved} ]; then rm -f {saved}.ours;"
        f" if cat {saved} > {path} && cmp -s {saved} {path}; then touch -r {saved} {path};"
        f" else kept=yes; echo {path} could not be put back: the saved one is {saved} >&2; fi; fi"
    )


def _still_edited(edit: Edit, backups: str) -> str:
    """Shell: complain where an option file is not as it was: its saved one goes only when it is."""
    path = shlex.quote(edit.path)
    left = f"{backups}/{_saved_name(edit)}" if edit.line else path
    return f"[ ! -e {left} ] || echo {path} is not as it was"


def _saved_name(edit: Edit) -> str:
    return shlex.quote(edit.path.strip("/").replace("/", "_") + f".{edit.line}")


def _probe(host: Anchor, client: str, address: str) -> str:
    ask = as_root(f"{client} -e 'SELECT @@bind_address, @@port'")
    result = run_shell(host, ask, timeout=10, check=False)
    if result.exit_status != 0:
        return result.stderr.decode("utf-8", "replace").strip()
    if result.text.split() != [address, str(PORT)]:
        return f"it is bound to {' port '.join(result.text.split())}, not to {address} port {PORT}"
    return ""


def log_command(service: str) -> str:
    """Shell, for root: print the last lines that a service wrote."""
    return f"journalctl --no-pager -q -n 20 -u {service} 2>&1"


def _with_log(error: CommandFailed, host: Anchor, facts: Facts) -> CommandFailed:
    """The error of a start that failed, with the last lines of the server's log, which are what tells why."""
    log = run_shell(host, as_root(log_command(facts.service)), check=False)
    return CommandFailed(error.host, error.command, error.exit_status, error.stdout, error.stderr + log.stdout)
