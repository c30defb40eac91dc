"""How a host runs its MySQL server: by systemd, by a System V init script, or by nothing, as in a container.

Without a manager the server is started detached from everything of ours, and ended by TERM. It is known by the program
that its process runs and the folder of data that it stands in, never by a name, or by a file that may be stale.

A service is started and stopped, never enabled or disabled: it begins by itself at the host's next start or not, as
before, and that is proven.
"""

from __future__ import annotations

import base64
import posixpath
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from circuit_harness.errors import Unfit

SYSTEMD = "systemd"
SYSV = "sysv"
NONE = "none"

LIMIT_S = 150.0
"""Seconds that a service may take to stop and to start again, whatever manages it."""

_CHANGE_LIMIT_S = 60
_PAUSE_S = 0.2
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = (_PATH, "HOME=/nonexistent", "LANG=C.UTF-8")

# Of a running server's environment, what changes how it works. The rest stays behind: containers are given passwords in
# theirs, and everyone can read what env(1) is given.
_KEPT = "^(TZ|LANG|LC_[A-Z]+|LD_PRELOAD|LD_LIBRARY_PATH|PATH|HOME|MYSQL_HOME|UMASK|UMASK_DIR)="

GUARD = r"""
only_roots() {
    case $1 in /*) ;; *) return 1 ;; esac
    for part in "$1" "$(readlink -f "$1")"; do
        while [ -n "$part" ]; do
            [ -n "$(find "$part" -maxdepth 0 -uid 0 \( -type l -o ! -perm /022 -o -gid 0 ! -perm /002 \
                -o -type d -perm -1000 \))" ] || return 1
            part=${part%/*}
        done
    done
}
as_user() {
    whom=$1
    shift
    [ "$whom" != "$(id -u):$(id -g)" ] || { "$@"; return; }
    if getent passwd "${whom%:*}" >/dev/null; then groups=--init-groups; else groups=--clear-groups; fi
    # Others of that user can read what stands in its environment, and take it over.
    setpriv --reuid="${whom%:*}" --regid="${whom#*:}" $groups --no-new-privs --inh-caps=-all -- \
        env -i PATH="$PATH" HOME=/nonexistent "$@"
}
"""
"""Shell, for root: ``only_roots PATH`` ends with status 0 where nobody else can change what is there, or put something
else there; ``as_user UID:GID COMMAND...`` runs a command with these rights and groups."""

NOBODY = "65534:65534"

# For root. `say NAME VALUE` prints a line; `program` is the server's, or nothing. Leaves in `server` the number of its
# process where it runs, and in `starter` that of what it was started by: itself, or mysqld_safe where `watched` is set,
# which starts it again whenever it crashes, goes with it, and has to come back with it; and in `user` whom it runs as,
# UID:GID, or would: never root where root does not run it.
LOOK = rf"""
{GUARD}
[ -z "$program" ] || say program "$program"
manager= active= server=
if [ -d /run/systemd/system ]; then
    # A unit that is masked tells of a service only where there is no other.
    for loaded in loaded masked; do
        for unit in mariadb mysql mysqld; do
            [ -z "$manager" ] || break
            [ "$(systemctl show -p LoadState --value $unit.service 2>/dev/null)" = $loaded ] || continue
            manager={SYSTEMD} named=$unit
            say service "{SYSTEMD} $unit"
            say enabled "$(systemctl is-enabled $unit.service 2>/dev/null)"
            systemctl is-active --quiet $unit.service || continue
            active=yes
            server=$(systemctl show -p MainPID --value $unit.service)
            # That of an init script that systemd runs has no main process, and another's is a watchman.
            [ /proc/$server/exe -ef "$program" ] || server=
        done
    done
else
    for unit in mariadb mysql mysqld; do
        # In a container scripts lie about that nothing runs.
        case $(cat /proc/1/comm) in init|openrc-init) ;; *) break ;; esac
        [ -x /etc/init.d/$unit ] || continue
        manager={SYSV}
        say service "{SYSV} $unit"
        say enabled "$(echo $(ls -d /etc/rc[0-6S].d/[SK][0-9][0-9]$unit 2>/dev/null))"
        break
    done
fi
if [ -n "$program" ] && [ -z "$server" ] && [ "$manager$active" != {SYSTEMD} ]; then
    # One that was upgraded since runs what is deleted.
    running=$(find /proc/[0-9]*/exe -maxdepth 0 -lname "$program (deleted)" 2>/dev/null | cut -d / -f 3)
    for process in /proc/[0-9]*; do
        [ $process/exe -ef "$program" ] && running="$running ${{process#/proc/}}"
    done
    # Anybody can run the program. The server is root's or its package's user's, whose arguments can be trusted.
    set --
    for process in $running; do
        case $(awk '/^Uid:/ {{ print $3 }}' /proc/$process/status 2>/dev/null) in
            0 | "$(id -u mysql 2>/dev/null || echo 0)") set -- "$@" "$process" ;;
        esac
    done
    if [ $# = 1 ]; then
        server=$1
    elif [ $# -gt 1 ] && [ "$manager" != {SYSTEMD} ]; then
        say several "$*"
    fi
fi
# The user who began a process: one that runs setuid is still his.
ids() {{ awk '/^Uid:/ {{ uid = $2 }} /^Gid:/ {{ gid = $2 }} END {{ print uid ":" gid }}' /proc/$1/status; }}
parent() {{ awk '/^PPid:/ {{ print $2 }}' /proc/$1/status; }}
words() {{ tr '\0' ' ' < /proc/$1/cmdline; }}
starter=$server watched= user=
if [ -n "$server" ]; then
    user=$(ids $server)
    above=$(parent $server)
    case $above:$(words $above 2>/dev/null) in
        *mysqld_safe*|*mysqld-safe*|*mariadbd-safe*) starter=$above watched=yes ;;
    esac
    # The server's user can start what becomes root, with words of his own, and a program below it.
    [ ! -u /proc/$starter/exe ] || {{ starter=$server watched=; }}
else
    unit_user=
    [ -z "$named" ] || unit_user=$(systemctl show -p User --value $named.service 2>/dev/null)
    for name in $unit_user mysql; do
        [ "$(id -u "$name" 2>/dev/null || echo 0)" != 0 ] || continue
        user=$(id -u "$name"):$(id -g "$name")
        break
    done
    user=${{user:-{NOBODY}}}
fi
if [ -z "$manager" ] && [ -n "$program" ]; then
    say service "{NONE} ${{program##*/}}"
    if [ -n "$server" ]; then
        keeper=$(parent $starter)
        say command "$(base64 -w0 /proc/$starter/cmdline)"
        say owner "$(ids $starter)"
        tr '\0' '\n' < /proc/$starter/environ | grep -E {shlex.quote(_KEPT)} | sed 's/^/variable /'
        output=$(readlink /proc/$starter/fd/2)
        # What it could write into by itself, not what it has open to read.
        case $(awk '/^flags:/ {{ print $2 }}' /proc/$starter/fdinfo/2) in
            *[12]) [ ! -f "$output" ] || say output "$output" ;;
        esac
        # An init for one program ends with it: tini -- mysqld.
        case $starter:$keeper:$(words 1) in
            1:*|*:1:*mysqld*|*:1:*mariadbd*) say keeper "1 $(cat /proc/1/comm)" ;;
            *:[01]:*) ;;
            *) say keeper "$keeper $(cat /proc/$keeper/comm)" ;;
        esac
        # The same as when the look began, so that all of this is of one process.
        if [ -u /proc/$starter/exe ] || [ $starter != $server ] && [ "$(parent $server)" != $starter ]; then
            say several "$server $starter"
        fi
    fi
fi
[ -z "$active$server" ] || say active yes
"""

# What can be told once the server's options are: `value NAME` prints an option's value.
# One that runs has its folders, whatever it says.
LOOK_PLACES = """
datadir=$(value datadir)
if [ -z "$server" ]; then
    for place in "$(value socket)" "$(value pid-file)"; do
        folder=${place%/*}
        case $folder in
            /run/*/*|/var/run/*/*) ;;
            /run/*mysql*|/run/*maria*|/var/run/*mysql*|/var/run/*maria*) [ -d "$folder" ] || say missing "$folder" ;;
        esac
    done
    if [ -d "$datadir" ]; then
        owner=$(stat -c %u:%g "$datadir")
        say owner "$owner"
        [ "${owner%:*}" = 0 ] || user=$owner
    fi
fi
say runs-as "$user"
"""


@dataclass(frozen=True)
class Service:
    """A server's service on a host: what manages it, and its name there. All methods return shell text for root.

    ``program`` is the server's, ``datadir`` and ``socket`` its own, ``folders`` those that are made when it is started
    and were not there before. Where nothing manages it, ``command`` is how it is started, with ``environment``, as
    ``owner`` (UID:GID); and what it has to say goes into the file ``output``. ``logs`` are the files that it writes
    besides. ``user`` (UID:GID) is whom it runs as, with whose rights its files are read.
    """

    manager: str
    name: str
    program: str = ""
    datadir: str = ""
    socket: str = ""
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    owner: str = ""
    folders: tuple[str, ...] = ()
    output: str = ""
    logs: tuple[str, ...] = ()
    user: str = ""

    def __str__(self) -> str:
        return self.name if self.manager != NONE else f"{self.name} (no service manager)"

    def describe(self) -> dict[str, Any]:
        """Plain values; :meth:`of` is the way back."""
        return asdict(self)

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Service:
        """The service that :meth:`describe` told of."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in described.items()
        }
        return cls(**values)

    def is_active(self) -> str:
        """Ends with status 0 where it runs."""
        if self.manager == SYSTEMD:
            return f"systemctl is-active --quiet {self.name}.service"
        return f'[ -n "$({self._processes()})" ]'

    def start(self) -> str:
        """Start it; one that runs goes on."""
        if self.manager == SYSTEMD:
            return f"systemctl start {self.name}.service"
        if self.manager == SYSV:
            return self._script("start")
        return self._start()

    def stop(self) -> str:
        """Stop it; one that does not run is fine."""
        if self.manager == SYSTEMD:
            return f"systemctl stop {self.name}.service"
        if self.manager == SYSV:
            return self._script("stop")
        return self._stop()

    def restart(self) -> str:
        """Stop it if it runs, and start it."""
        if self.manager == SYSTEMD:
            return f"systemctl restart {self.name}.service"
        return f"{self.stop()} && {self.start()}"

    def settle(self) -> str:
        """Wait, 10 s at most, until the server is alone in its service.

        Debian's has the tables checked behind its back when it has started. Stopped meanwhile, that leaves files in
        /tmp.
        """
        waiting = f"[ $tries -lt {10 / _PAUSE_S:g} ]"
        again = f"do sleep {_PAUSE_S}; tries=$((tries + 1)); done"
        if self.manager == SYSTEMD:
            unit = f"{self.name}.service"
            return (
                f"main=$(systemctl show -p MainPID --value {unit});"
                f" group=$(grep -s '/{unit}$' /proc/$main/cgroup | head -n 1); tries=0;"
                f' while [ -n "$group" ] && {waiting}'
                f' && [ "$(grep -slFx "$group" /proc/[0-9]*/cgroup | wc -l)" -gt 1 ]; {again}'
            )
        if self.manager == SYSV:
            # In brackets, lest it find itself.
            return f"tries=0; while {waiting} && grep -qsa '[d]ebian-start' /proc/[0-9]*/cmdline; {again}"
        return "true"

    def log(self) -> str:
        """Print the last lines that it wrote."""
        journal = []
        if self.manager == SYSTEMD:
            journal.append(f"journalctl --no-pager -q -n {8 if self.logs else 20} -u {self.name} 2>&1")
        if self.manager == SYSV:
            journal.append(f"grep -shE '{self.name}|mysqld|mariadbd' /var/log/syslog /var/log/daemon.log | tail -n 8")
        files = dict.fromkeys(path for path in (*self.logs, self.output) if path)
        lines = 20 if not journal else 12
        return GUARD + "; ".join([*journal, *(self.reading(path, f"tail -n {lines}") for path in files)])

    def reading(self, path: str, command: str) -> str:
        """Have ``command`` read a file, behind :data:`GUARD`.

        Where others than root could have put a link there, or a pipe, it is read with the server's own rights.
        """
        file = shlex.quote(path)
        return f"if only_roots {file}; then {command} {file}; else {self.reading_as_it_does(path, command)}; fi"

    def reading_as_it_does(self, path: str, command: str) -> str:
        """Have ``command`` read a file that the server names, with the server's own rights, behind :data:`GUARD`.

        It could name a device of root's, or a pipe that nobody feeds.
        """
        return f"as_user {shlex.quote(self.user or NOBODY)} timeout 5 {command} {shlex.quote(path)}"

    def log_name(self) -> str:
        """What to call that."""
        return f"{'journal' if self.manager == SYSTEMD else 'log'} of {self.name}"

    def enabled(self) -> str:
        """Print a word on whether it begins with the host, as the look does."""
        if self.manager == SYSTEMD:
            return f"systemctl is-enabled {self.name}.service 2>/dev/null"
        if self.manager == SYSV:
            return f"echo $(ls -d /etc/rc[0-6S].d/[SK][0-9][0-9]{self.name} 2>/dev/null)"
        return "echo"

    def clear(self) -> str:
        """Remove the folders that were made for it, once it does not run; anything but its own files stays."""
        removals = [
            f"[ ! -d {folder} ] || {self.is_active()}"
            f" || {{ rm -f {folder}/*.sock {folder}/*.sock.lock {folder}/*.pid; rmdir {folder}; }}"
            for folder in map(shlex.quote, self.folders)
        ]
        return "; ".join(removals) or "true"

    def proof(self, *, active: bool, enabled: str) -> str:
        """Print a complaint where the service is in another state than the given one."""
        same = shlex.quote(enabled)
        # A server that was installed for the deployment is gone by then, and its service with it.
        gone = f"[ ! -e {shlex.quote(self.program)} ]"
        differs = f"echo service {self.name} is no longer enabled as before: {same}"
        proofs = [f'{gone} || [ "$({self.enabled()})" = {same} ] || {differs}']
        if active:
            proofs.append(f"{self.is_active()} || echo service {self.name} does not run")
        else:
            proofs.append(f"! {self.is_active()} || echo service {self.name} still runs")
            proofs += [f"[ ! -e {path} ] || echo {path} is still there" for path in map(shlex.quote, self.folders)]
        return "; ".join(proofs)

    def _processes(self) -> str:
        """Print the numbers of the server's processes. One whose program was upgraded runs what is deleted.

        Anybody can run the program in that folder, and have it stopped so that it does not end.
        """
        program, datadir = shlex.quote(self.program), shlex.quote(self.datadir)
        deleted = shlex.quote(f"{self.program} (deleted)")
        users = "|".join(dict.fromkeys(["0", *(who.partition(":")[0] for who in (self.user, self.owner) if who)]))
        # Older versions recorded no user.
        theirs = f"case $(awk '/^Uid:/ {{ print $3 }}' $process/status) in {users}) ;; *) continue ;; esac;"
        return (
            f"for process in /proc/[0-9]*; do [ $process/cwd -ef {datadir} ] || continue; {theirs if self.user else ''}"
            f' [ $process/exe -ef {program} ] || [ "$(readlink $process/exe)" = {deleted} ] || continue;'
            " echo ${process#/proc/}; done"
        )

    def _script(self, verb: str) -> str:
        """Have the script do it, and show what it says. What it starts would hold our streams as long as it runs."""
        run = f"setsid env -i {_PATH} LANG=C.UTF-8 /etc/init.d/{self.name} {verb}"
        told = 's=$?; cat "$said" >&2; rm -f "$said"; exit $s'
        return f'(cd /; said=$(mktemp) && {{ {run} </dev/null >"$said" 2>&1; {told}; }})'

    def _start(self) -> str:
        uid, _, gid = self.owner.partition(":")
        made = "".join(
            f"[ -d {folder} ] || install -d -m 755 -o {uid} -g {gid} {folder} || exit\n"
            for folder in map(shlex.quote, self.folders)
        )
        output = shlex.quote(self.output or "/dev/null")
        environment = shlex.join(["env", "-i", *_ENVIRONMENT, *self.environment])
        opening = 'if [ -f "$0" ] && (: >>"$0"); then exec "$@" >>"$0" 2>&1; else exec "$@" >/dev/null 2>&1; fi'
        server = shlex.join(self.command)
        return f"""(
{GUARD}
[ -z "$({self._processes()})" ] || exit 0
cd /
{made}output={output}
if [ ! -e "$output" ] && only_roots "${{output%/*}}" && [ ! -k "${{output%/*}}" ]; then : >>"$output"; fi
# Where it can be led elsewhere, the server opens it itself.
if only_roots "$output"; then theirs=/dev/null
elif [ {uid} = 0 ]; then theirs=/dev/null output=/dev/null
else theirs=$output output=/dev/null
fi
if getent passwd {uid} >/dev/null; then groups=--init-groups; else groups=--clear-groups; fi
if [ "$theirs" = /dev/null ]; then set --; else set -- sh -c {shlex.quote(opening)} "$theirs"; fi
# What the server is given is nothing for root's own programs to heed.
setsid env -i {_PATH} setpriv --reuid={uid} --regid={gid} $groups -- "$@" \\
    {environment} {server} </dev/null >>"$output" 2>&1 &
pid=$! tries=0
until awk -v path={shlex.quote(self.socket)} '$NF == path {{ found = 1 }} END {{ exit !found }}' /proc/net/unix; do
    if [ ! -e /proc/$pid/exe ]; then
        wait $pid
        s=$?
        # One that is told to become a daemon leaves another process behind.
        [ $s = 0 ] && [ -n "$({self._processes()})" ] && exit 0
        echo "{self.name} ended with exit status $s while it started" >&2
        exit 1
    fi
    if [ $tries -ge {_CHANGE_LIMIT_S / _PAUSE_S:.0f} ]; then
        echo "{self.name} (process $pid) does not listen on {self.socket} after {_CHANGE_LIMIT_S} s" >&2
        exit 1
    fi
    sleep {_PAUSE_S}
    tries=$((tries + 1))
done
)"""

    def _stop(self) -> str:
        return f"""(
pids=$({self._processes()})
[ -n "$pids" ] || exit 0
kill -TERM $pids
tries=0
while left=$({self._processes()}) && [ -n "$left" ]; do
    if [ $tries -ge {_CHANGE_LIMIT_S / _PAUSE_S:.0f} ]; then
        echo "{self.name} (process" $pids") was told to end, and process" $left "runs after {_CHANGE_LIMIT_S} s" >&2
        exit 1
    fi
    sleep {_PAUSE_S}
    tries=$((tries + 1))
done
)"""


@dataclass(frozen=True)
class State:
    """A service as it was found: whether it runs, and whether it begins with the host, in the manager's own words.

    ``keeper`` is the process that the server is started by and would be missed by, as number and name, where nothing
    manages it; ``several`` are the numbers of servers of which it cannot be told which one is meant.
    """

    active: bool = False
    enabled: str = ""
    keeper: str = ""
    several: str = ""


def parse(values: Mapping[str, Sequence[str]], options: Mapping[str, str], log: str) -> Service | None:
    """Read what the look printed: lines by their first word; None where there is no server.

    :param options: the server's options in effect.
    :param log: the file that it writes its errors into, if it is told to; a relative path is one in its data.
    """
    found = _one(values, "service")
    if not found:
        return None
    manager, _, name = found.partition(" ")
    datadir = options.get("datadir", "").rstrip("/")
    service = Service(
        manager=manager,
        name=name,
        program=_one(values, "program"),
        datadir=datadir,
        socket=options.get("socket", ""),
        logs=(posixpath.join(datadir, log),) if log else (),
        # A unit has systemd make and remove its own.
        folders=() if manager == SYSTEMD else tuple(dict.fromkeys(values.get("missing", []))),
        user=_one(values, "runs-as"),
    )
    if manager != NONE:
        return service
    return replace(
        service,
        command=words(_one(values, "command")) or (service.program,),
        environment=tuple(values.get("variable", [])),
        owner=_one(values, "owner"),
        output=_one(values, "output"),
    )


def told_to(service: Service, output: str) -> Service:
    """The service with what a server without a manager has to say going into a file of ours."""
    return replace(service, output=output) if service.manager == NONE else service


def parse_state(values: Mapping[str, Sequence[str]]) -> State:
    """Read what the look printed."""
    return State(
        active="active" in values,
        enabled=_one(values, "enabled"),
        keeper=_one(values, "keeper"),
        several=_one(values, "several"),
    )


def words(encoded: str) -> tuple[str, ...]:
    """A command line as ``/proc`` has it, in base64."""
    return tuple(base64.b64decode(encoded).decode("utf-8", "surrogateescape").split("\0")[:-1])


def check_fit(service: Service, state: State, host: str) -> None:
    """Refuse a service that could not be stopped and started.

    :raises Unfit: it is masked, or its end would be taken for a crash by what has started it.
    """
    if state.enabled in ("masked", "masked-runtime"):
        raise Unfit(
            f"host {host}: service {service.name} is masked: systemctl unmask {service.name} allows it to start"
        )
    if state.several:
        raise Unfit(
            f"host {host} runs several MySQL servers (processes {state.several}), and no service manager tells which"
            " one is meant: stop the others"
        )
    pid, _, name = state.keeper.partition(" ")
    if pid == "1":
        raise Unfit(
            f"host {host}: its MySQL server is what the host's first process ({name}) is there for, and to restart it"
            " would end the host: start it by something else, or name another host"
        )
    if pid:
        raise Unfit(
            f"host {host}: its MySQL server was started by process {pid} ({name}), which would miss it: stop it there,"
            " or start it detached (setsid --fork)"
        )


def _one(values: Mapping[str, Sequence[str]], name: str) -> str:
    return values[name][0] if values.get(name) else ""
