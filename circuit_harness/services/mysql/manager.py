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
from typing import Any, ClassVar

from circuit_harness.errors import Unfit
from circuit_harness.operations.guard import GUARD
from circuit_harness.remote.script import Scripts

LIMIT_S = 150.0
"""Seconds that a service may take to stop and to start again, whatever manages it."""

_CHANGE_LIMIT_S = 60
_PAUSE_S = 0.2
_WAITING = f"[ $tries -lt {10 / _PAUSE_S:g} ]"
_AGAIN = f"do sleep {_PAUSE_S}; tries=$((tries + 1)); done"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = (_PATH, "HOME=/nonexistent", "LANG=C.UTF-8")

# Of a running server's environment, what changes how it works. The rest stays behind: containers are given passwords in
# theirs, and everyone can read what env(1) is given.
_KEPT = "^(TZ|LANG|LC_[A-Z]+|LD_PRELOAD|LD_LIBRARY_PATH|PATH|HOME|MYSQL_HOME|UMASK|UMASK_DIR)="

_SCRIPTS = Scripts.beside(__file__)

NOBODY = "65534:65534"

LOOK = _SCRIPTS.text("look_at_service", nobody=NOBODY, kept=_KEPT)
"""Shell, for root, behind ``say`` and :data:`GUARD`: look for the server and what it is started by."""


LOOK_PLACES = _SCRIPTS.text("look_at_places")
"""Shell, for root: look at what can be told once the server's options are; ``value NAME`` prints an option's value."""


@dataclass(frozen=True)
class Manager:
    """A server's service on a host: its name there, and what manages it. All methods return shell text for root.

    ``program`` is the server's, ``datadir`` and ``socket`` its own, ``folders`` those that are made when it is started
    and were not there before. Where nothing manages it, ``command`` is how it is started, with ``environment``, as
    ``owner`` (UID:GID); and its output goes into the file ``output``. ``logs`` are the files that it writes besides.
    ``user`` (UID:GID) is whom it runs as, with whose rights its files are read.
    """

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

    kind: ClassVar[str]
    """What records call it."""

    log_word: ClassVar[str] = "log"

    def __str__(self) -> str:
        return self.name

    def describe(self) -> dict[str, Any]:
        """Plain values; :func:`of` takes them."""
        return {"manager": self.kind, **asdict(self)}

    # what each manager has its own way for

    def is_active(self) -> str:
        """Ends with status 0 where it runs."""
        return f'[ -n "$(\n{self._processes()}\nprocesses\n)" ]'

    def start(self) -> str:
        """Start it; one that runs goes on."""
        raise NotImplementedError

    def stop(self) -> str:
        """Stop it; one that does not run is fine."""
        raise NotImplementedError

    def restart(self) -> str:
        """Stop it if it runs, and start it."""
        return f"{self.stop()} && {self.start()}"

    def settle(self) -> str:
        """Wait, 10 s at most, until the server is alone in its service.

        Debian's has the tables checked behind its back when it has started. Stopped meanwhile, that leaves files in
        /tmp.
        """
        return "true"

    def enabled(self) -> str:
        """Print a word on whether it begins with the host, as the look does."""
        return "echo"

    def own_log(self) -> str:
        """Print the last lines that the manager has of it; "" where it has none."""
        return ""

    # the same for all

    def is_gone(self) -> str:
        """Ends with status 0 where the server was removed, as with the packages that brought it."""
        return f"[ ! -e {shlex.quote(self.program)} ]"

    def told_to(self, output: str) -> Manager:
        """The service with the output of a server without a manager going into a file of ours."""
        return self

    def log(self) -> str:
        """Print the last lines that it wrote."""
        own = self.own_log()
        files = dict.fromkeys(path for path in (*self.logs, self.output) if path)
        lines = 12 if own else 20
        readings = (self.reading(path, f"tail -n {lines}") for path in files)
        return f"{GUARD}\n" + "; ".join([*([own] if own else []), *readings])

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
        return f"{self.log_word} of {self.name}"

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
        differs = f"echo service {self.name} is no longer enabled as before: {same}"
        proofs = [f'{self.is_gone()} || [ "$({self.enabled()})" = {same} ] || {differs}']
        if active:
            proofs.append(f"{self.is_active()} || echo service {self.name} does not run")
        else:
            proofs.append(f"! {self.is_active()} || echo service {self.name} still runs")
            proofs += [f"[ ! -e {path} ] || echo {path} is still there" for path in map(shlex.quote, self.folders)]
        return "; ".join(proofs)

    def signal(self, name: str) -> str:
        """Send a signal, named without SIG, to the server's processes.

        Ends with a status other than 0 where it does not run.
        """
        return f"(\n{self._processes()}\nkill -s {name} $(processes)\n)"

    def _processes(self) -> str:
        """Shell: a function that prints the numbers of the server's processes."""
        who = dict.fromkeys(["0", *(one.partition(":")[0] for one in (self.user, self.owner) if one)])
        return _SCRIPTS.text(
            "processes", program=self.program, datadir=self.datadir, users=" ".join(who) if self.user else ""
        )


class Systemd(Manager):
    """A unit of systemd's."""

    kind = "systemd"
    log_word = "journal"

    def is_active(self) -> str:
        """Ends with status 0 where it runs."""
        return f"systemctl is-active --quiet {self.name}.service"

    def start(self) -> str:
        """Start it; one that runs goes on."""
        return f"systemctl start {self.name}.service"

    def stop(self) -> str:
        """Stop it; one that does not run is fine."""
        return f"systemctl stop {self.name}.service"

    def restart(self) -> str:
        """Stop it if it runs, and start it."""
        return f"systemctl restart {self.name}.service"

    def settle(self) -> str:
        """Wait, 10 s at most, until the server is alone in its service."""
        unit = f"{self.name}.service"
        return (
            f"main=$(systemctl show -p MainPID --value {unit});"
            f" group=$(grep -s '/{unit}$' /proc/$main/cgroup | head -n 1); tries=0;"
            f' while [ -n "$group" ] && {_WAITING}'
            f' && [ "$(grep -slFx "$group" /proc/[0-9]*/cgroup | wc -l)" -gt 1 ]; {_AGAIN}'
        )

    def enabled(self) -> str:
        """Print a word on whether it begins with the host."""
        return f"systemctl is-enabled {self.name}.service 2>/dev/null"

    def own_log(self) -> str:
        """Print the last lines of its journal."""
        return f"journalctl --no-pager -q -n {8 if self.logs else 20} -u {self.name} 2>&1"


class SysV(Manager):
    """A System V init script."""

    kind = "sysv"

    def start(self) -> str:
        """Start it; one that runs goes on."""
        return self._script("start")

    def stop(self) -> str:
        """Stop it; one that does not run is fine."""
        return self._script("stop")

    def settle(self) -> str:
        """Wait, 10 s at most, until the server is alone in its service."""
        # In brackets, lest it find itself.
        return f"tries=0; while {_WAITING} && grep -qsa '[d]ebian-start' /proc/[0-9]*/cmdline; {_AGAIN}"

    def enabled(self) -> str:
        """Print the links that start it with the host."""
        return f"echo $(ls -d /etc/rc[0-6S].d/[SK][0-9][0-9]{self.name} 2>/dev/null)"

    def own_log(self) -> str:
        """Print the last lines of the system's log that are about it."""
        return f"grep -shE '{self.name}|mysqld|mariadbd' /var/log/syslog /var/log/daemon.log | tail -n 8"

    def _script(self, verb: str) -> str:
        """Have the script do it, and show what it prints. What it starts would hold our streams as long as it runs."""
        run = f"setsid env -i {_PATH} LANG=C.UTF-8 /etc/init.d/{self.name} {verb}"
        shown = 's=$?; cat "$said" >&2; rm -f "$said"; exit $s'
        return f'(cd /; said=$(mktemp) && {{ {run} </dev/null >"$said" 2>&1; {shown}; }})'


class Unmanaged(Manager):
    """No service manager, as in a container: the server is started detached from everything of ours."""

    kind = "none"

    def __str__(self) -> str:
        return f"{self.name} (no service manager)"

    def told_to(self, output: str) -> Manager:
        """The service with its output going into a file of ours."""
        return replace(self, output=output)

    def start(self) -> str:
        """Start it; one that runs goes on."""
        starting = _SCRIPTS.text(
            "start_server",
            name=self.name,
            owner=self.owner,
            folders="\n".join(self.folders),
            output=self.output or "/dev/null",
            socket=self.socket,
            limit_s=_CHANGE_LIMIT_S,
            path=_PATH.partition("=")[2],
        )
        start = shlex.join(["start_server", "env", "-i", *_ENVIRONMENT, *self.environment, *self.command])
        return "\n".join(["(", GUARD, self._processes(), starting, start, ")"])

    def stop(self) -> str:
        """Stop it; one that does not run is fine."""
        stopping = _SCRIPTS.text("stop_server", name=self.name, limit_s=_CHANGE_LIMIT_S)
        return "\n".join(["(", self._processes(), stopping, ")"])


_KINDS: Mapping[str, type[Manager]] = {kind.kind: kind for kind in (Systemd, SysV, Unmanaged)}


def of(described: Mapping[str, Any]) -> Manager:
    """The service that :meth:`Manager.describe` told of.

    :raises LookupError, TypeError: it tells of none.
    """
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in described.items()
    }
    return _KINDS[values.pop("manager")](**values)


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


def parse(values: Mapping[str, Sequence[str]], options: Mapping[str, str], log: str) -> Manager | None:
    """Read what the look printed: lines by their first word; None where there is no server.

    :param options: the server's options in effect.
    :param log: the file that it writes its errors into, if it is told to; a relative path is one in its data.
    """
    found = _one(values, "service")
    if not found:
        return None
    manager, _, name = found.partition(" ")
    kind = _KINDS[manager]
    datadir = options.get("datadir", "").rstrip("/")
    service = kind(
        name=name,
        program=_one(values, "program"),
        datadir=datadir,
        socket=options.get("socket", ""),
        logs=(posixpath.join(datadir, log),) if log else (),
        # A unit has systemd make and remove its own.
        folders=() if kind is Systemd else tuple(dict.fromkeys(values.get("missing", []))),
        user=_one(values, "runs-as"),
    )
    if kind is not Unmanaged:
        return service
    return replace(
        service,
        command=words(_one(values, "command")) or (service.program,),
        environment=tuple(values.get("variable", [])),
        owner=_one(values, "owner"),
        output=_one(values, "output"),
    )


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


def check_fit(service: Manager, state: State, host: str) -> None:
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
