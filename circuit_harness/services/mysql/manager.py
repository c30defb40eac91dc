"""The manager of a host's MySQL server: systemd, a System V init script, or none, as in a container.

Without a manager, the harness starts the server detached from its own processes, and ends it by TERM. It recognizes the
server by the program that its process runs and by the folder of data that is its working directory, never by a name or
by a file that may be stale.

The harness starts and stops a service, but never enables or disables it. The take-down verifies that the service starts
at the host's next boot, or not, as before.
"""

from __future__ import annotations

import base64
import posixpath
import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from circuit_harness.errors import Unfit
from circuit_harness.operations.guard import GUARD
from circuit_harness.remote.script import Scripts

LIMIT_S = 150.0
"""Seconds that a service may take to stop and to start again, with any manager."""

_CHANGE_LIMIT_S = 60
_PAUSE_S = 0.05
_WAITING = f"[ $tries -lt {10 / _PAUSE_S:g} ]"
_AGAIN = f"do sleep {_PAUSE_S}; tries=$((tries + 1)); done"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = (_PATH, "HOME=/nonexistent", "LANG=C.UTF-8")

# The variables of a running server's environment that change how it works. No others are passed on: containers get
# passwords in theirs, and every user can read the arguments of env(1).
_KEPT = "^(TZ|LANG|LC_[A-Z]+|LD_PRELOAD|LD_LIBRARY_PATH|PATH|HOME|MYSQL_HOME|UMASK|UMASK_DIR)="

_SCRIPTS = Scripts.beside(__file__)

NOBODY = "65534:65534"

LOOK = _SCRIPTS.text("look_at_service", nobody=NOBODY, kept=_KEPT)
"""Shell, for root, behind ``say`` and :data:`GUARD`: look for the server and for the manager that starts it."""


LOOK_PLACES = _SCRIPTS.text("look_at_places")
"""Shell, for root, behind the look at the options: find the places that depend on these; ``value NAME`` prints an
option's value."""


@dataclass(frozen=True)
class Manager:
    """A server's service on a host: its name there, and its manager. All methods return shell text for root.

    ``program``, ``datadir`` and ``socket`` are the server's; ``folders`` are the missing folders that its start makes.
    Without a manager, ``command`` starts it, with ``environment``, as ``owner`` (UID:GID), and its output goes into the
    file ``output``. ``logs`` are the other files that it logs to. ``user`` (UID:GID) is the user that it runs as, with
    whose rights its files are read.
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
    """The manager's name in records."""

    log_word: ClassVar[str] = "log"

    def __str__(self) -> str:
        return self.name

    def describe(self) -> dict[str, Any]:
        """Return all fields as plain values, which :func:`of` takes."""
        return {"manager": self.kind, **asdict(self)}

    # different for each manager

    def is_active(self) -> str:
        """End with status 0 if the server runs."""
        return f'[ -n "$(\n{self._processes()}\nprocesses\n)" ]'

    def start(self) -> str:
        """Start the server; do nothing if it runs."""
        raise NotImplementedError

    def stop(self) -> str:
        """Stop the server; do nothing if it does not run."""
        raise NotImplementedError

    def restart(self) -> str:
        """Stop the server if it runs, and start it."""
        return f"{self.stop()} && {self.start()}"

    def settle(self) -> str:
        """Wait, for at most 10 s, until the server is the only process of its service.

        Debian's service checks the tables in the background after the start. To stop it meanwhile leaves files in /tmp.
        """
        return "true"

    def enabled(self) -> str:
        """Print a word for whether the service starts at boot, as the look does."""
        return "echo"

    def own_log(self) -> str:
        """Print the last lines of the manager's log about the server; "" where there is none."""
        return ""

    def status(self) -> str:
        """Print what the manager knows of the service's state, as facts, behind ``say``."""
        return "true"

    def show_log(self) -> str:
        """Print more of the log, for a person to type."""
        return "; ".join(f"tail -n 50 {shlex.quote(path)}" for path in (*self.logs, self.output) if path)

    def start_by_hand(self, *, running: bool) -> str:
        """Start the server, or restart one that runs, for a person to type; "" where nothing but a run does."""
        return ""

    # the same for all managers

    def is_gone(self) -> str:
        """End with status 0 if the server was removed, as together with its packages."""
        return f"[ ! -e {shlex.quote(self.program)} ]"

    def told_to(self, output: str) -> Manager:
        """Return the service with ``output`` as the file for the output of a server without a manager."""
        return self

    def log(self) -> str:
        """Print the last lines of the server's logs."""
        own = self.own_log()
        files = dict.fromkeys(path for path in (*self.logs, self.output) if path)
        lines = 12 if own else 20
        readings = (self.reading(path, f"tail -n {lines}") for path in files)
        return f"{GUARD}\n" + "; ".join([*([own] if own else []), *readings])

    def reading(self, path: str, command: str) -> str:
        """Let ``command`` read a file, behind :data:`GUARD`.

        Where other users than root could have replaced the file by a link or a pipe, it is read with the server's own
        rights.
        """
        file = shlex.quote(path)
        return f"if only_roots {file}; then {command} {file}; else {self.reading_as_it_does(path, command)}; fi"

    def reading_as_it_does(self, path: str, command: str) -> str:
        """Let ``command`` read a file that the server names, with the server's own rights, behind :data:`GUARD`.

        The server could name a device that only root can read, or a pipe that nobody writes to.
        """
        return f"as_user {shlex.quote(self.user or NOBODY)} timeout 5 {command} {shlex.quote(path)}"

    def log_name(self) -> str:
        """Return the name of this log for the user."""
        return f"{self.log_word} of {self.name}"

    def clear(self) -> str:
        """Remove the folders that its start has made, unless the server runs; other files than its own stay."""
        removals = [
            f"[ ! -d {folder} ] || {self.is_active()}"
            f" || {{ rm -f {folder}/*.sock {folder}/*.sock.lock {folder}/*.pid; rmdir {folder}; }}"
            for folder in map(shlex.quote, self.folders)
        ]
        return "; ".join(removals) or "true"

    def proof(self, *, active: bool, enabled: str) -> str:
        """Print a complaint for each difference between the service's state and the given one."""
        same = shlex.quote(enabled)
        # A server that was installed for the deployment is removed by then, with its service.
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

        End with a status other than 0 if the server does not run.
        """
        return f"(\n{self._processes()}\nkill -s {name} $(processes)\n)"

    def _processes(self) -> str:
        """Shell: a function that prints the ids of the server's processes."""
        who = dict.fromkeys(["0", *(one.partition(":")[0] for one in (self.user, self.owner) if one)])
        return _SCRIPTS.text(
            "processes", program=self.program, datadir=self.datadir, users=" ".join(who) if self.user else ""
        )


class Systemd(Manager):
    """A systemd unit."""

    kind = "systemd"
    log_word = "journal"

    def is_active(self) -> str:
        """End with status 0 if the server runs."""
        return f"systemctl is-active --quiet {self.name}.service"

    def start(self) -> str:
        """Start the server; do nothing if it runs."""
        return f"systemctl start {self.name}.service"

    def stop(self) -> str:
        """Stop the server; do nothing if it does not run."""
        return f"systemctl stop {self.name}.service"

    def restart(self) -> str:
        """Stop the server if it runs, and start it."""
        return f"systemctl restart {self.name}.service"

    def settle(self) -> str:
        """Wait, for at most 10 s, until the server is the only process of its service."""
        unit = f"{self.name}.service"
        return (
            f"main=$(systemctl show -p MainPID --value {unit});"
            f" group=$(grep -s '/{unit}$' /proc/$main/cgroup | head -n 1); tries=0;"
            f' while [ -n "$group" ] && {_WAITING}'
            f' && [ "$(grep -slFx "$group" /proc/[0-9]*/cgroup | wc -l)" -gt 1 ]; {_AGAIN}'
        )

    def enabled(self) -> str:
        """Print a word for whether the unit starts at boot."""
        return f"systemctl is-enabled {self.name}.service 2>/dev/null"

    def own_log(self) -> str:
        """Print the last lines of the unit's journal."""
        return f"journalctl --no-pager -q -n {8 if self.logs else 20} -u {self.name} 2>&1"

    def status(self) -> str:
        """Print the unit's state, since when it is in it, and how its main process ended."""
        return _SCRIPTS.text(
            "show_unit", unit=self.name, names=" ".join((*_END, "ActiveState", "StateChangeTimestamp"))
        )

    def show_log(self) -> str:
        """Print more of the unit's journal."""
        return f"journalctl --no-pager -n 50 -u {self.name}"

    def start_by_hand(self, *, running: bool) -> str:
        """Start or restart the service, for a person to type."""
        return f"systemctl {'restart' if running else 'start'} {self.name}.service"


class SysV(Manager):
    """A System V init script."""

    kind = "sysv"

    def start(self) -> str:
        """Start the server; do nothing if it runs."""
        return self._script("start")

    def stop(self) -> str:
        """Stop the server; do nothing if it does not run."""
        return self._script("stop")

    def settle(self) -> str:
        """Wait, for at most 10 s, until the server is the only process of its service."""
        # In brackets, so that grep does not find itself.
        return f"tries=0; while {_WAITING} && grep -qsa '[d]ebian-start' /proc/[0-9]*/cmdline; {_AGAIN}"

    def enabled(self) -> str:
        """Print the links that start the service at boot."""
        return f"echo $(ls -d /etc/rc[0-6S].d/[SK][0-9][0-9]{self.name} 2>/dev/null)"

    def start_by_hand(self, *, running: bool) -> str:
        """Start or restart the service, for a person to type."""
        return f"/etc/init.d/{self.name} {'restart' if running else 'start'}"

    def own_log(self) -> str:
        """Print the last lines about the server in the system's log."""
        return f"grep -shE '{self.name}|mysqld|mariadbd' /var/log/syslog /var/log/daemon.log | tail -n 8"

    def _script(self, verb: str) -> str:
        """Run the script, and print its output from a file: the server that it starts would hold this shell's streams
        open for as long as it runs."""
        run = f"setsid env -i {_PATH} LANG=C.UTF-8 /etc/init.d/{self.name} {verb}"
        shown = 's=$?; cat "$said" >&2; rm -f "$said"; exit $s'
        return f'(cd /; said=$(mktemp) && {{ {run} </dev/null >"$said" 2>&1; {shown}; }})'


class Unmanaged(Manager):
    """No service manager, as in a container: the server is started detached from the harness's processes."""

    kind = "none"

    def __str__(self) -> str:
        return f"{self.name} (no service manager)"

    def told_to(self, output: str) -> Manager:
        """Return the service with ``output`` as the file for the server's output."""
        return replace(self, output=output)

    def start(self) -> str:
        """Start the server; do nothing if it runs."""
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
        """Stop the server; do nothing if it does not run."""
        stopping = _SCRIPTS.text("stop_server", name=self.name, limit_s=_CHANGE_LIMIT_S)
        return "\n".join(["(", self._processes(), stopping, ")"])


_END = ("Result", "ExecMainCode", "ExecMainStatus")
"""The properties of a unit that describe how its main process ended."""

_RESULTS = {
    "oom-kill": "the kernel killed it: out of memory",
    "timeout": "systemd killed it: it exceeded a time limit",
    "watchdog": "systemd killed it: it did not report to the watchdog",
    "start-limit-hit": "systemd does not start it again: it ended too often",
}
"""What systemd's results mean, where the exit of the process alone does not show it."""

_EXITED, _DUMPED = "1", "3"
"""Values of ``ExecMainCode``; 2 is a signal without a core dump."""


def parse_end(values: Mapping[str, Sequence[str]]) -> str:
    """Return how a service ended, in words, from the output of :meth:`Manager.status`; "" where it is not known."""
    result, code, status = (_one(values, name) for name in _END)
    if result in _RESULTS:
        return _RESULTS[result]
    if (message := _one(values, "unit-message")) and not _one(values, "StateChangeTimestamp"):
        return message
    if code == _EXITED:
        return "stopped, exit status 0" if status == "0" else f"exit status {status}"
    if not status.isdigit() or status == "0":
        return ""
    try:
        name = signal.Signals(int(status)).name.removeprefix("SIG")
    except ValueError:
        name = status
    return f"signal {name}{', with a core dump' if code == _DUMPED else ''}"


def parse_since(values: Mapping[str, Sequence[str]]) -> str:
    """Return since when a service is in its state, from the output of :meth:`Manager.status`; "" if not known."""
    weekday, _, moment = _one(values, "StateChangeTimestamp").partition(" ")
    return moment or weekday or _one(values, "unit-time")


_KINDS: Mapping[str, type[Manager]] = {kind.kind: kind for kind in (Systemd, SysV, Unmanaged)}


def of(described: Mapping[str, Any]) -> Manager:
    """Return the service that :meth:`Manager.describe` described.

    :raises LookupError, TypeError: the values do not describe a service.
    """
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in described.items()
    }
    return _KINDS[values.pop("manager")](**values)


@dataclass(frozen=True)
class State:
    """The state of a service before the deployment: whether it runs, and the manager's word for whether it starts at
    boot.

    ``keeper`` is the process, by id and name, that has started a server without a manager and would notice its end;
    ``several`` are the ids of the servers where a host runs more than one and no manager shows which one to use.
    """

    active: bool = False
    enabled: str = ""
    keeper: str = ""
    several: str = ""


def parse(values: Mapping[str, Sequence[str]], options: Mapping[str, str], log: str) -> Manager | None:
    """Parse the output of the look, lines by their first word; return None where there is no server.

    :param options: the server's options in effect.
    :param log: the file of its error log, if its options name one; a relative path starts at its folder of data.
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
        # systemd makes and removes the folders of a unit.
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
    """Parse the output of the look."""
    return State(
        active="active" in values,
        enabled=_one(values, "enabled"),
        keeper=_one(values, "keeper"),
        several=_one(values, "several"),
    )


def words(encoded: str) -> tuple[str, ...]:
    """Return the words of a command line in the format of ``/proc``, in base64."""
    return tuple(base64.b64decode(encoded).decode("utf-8", "surrogateescape").split("\0")[:-1])


def check_fit(service: Manager, state: State, host: str) -> None:
    """Refuse a service that cannot be stopped and started.

    :raises Unfit: the service is masked, or the process that has started it would treat its end as a crash.
    """
    if state.enabled in ("masked", "masked-runtime"):
        raise Unfit(
            f"host {host}: service {service.name} is masked: systemctl unmask {service.name} allows it to start"
        )
    if state.several:
        raise Unfit(
            f"host {host} runs several MySQL servers (processes {state.several}), and no service manager shows which"
            " one to use: stop the others"
        )
    pid, _, name = state.keeper.partition(" ")
    if pid == "1":
        raise Unfit(
            f"host {host}: the host's first process ({name}) runs its MySQL server, and a restart of the server would"
            " end the host: start it by something else, or name another host"
        )
    if pid:
        raise Unfit(
            f"host {host}: its MySQL server was started by process {pid} ({name}), which would treat its end as a"
            " crash: stop it there, or start it detached (setsid --fork)"
        )


def _one(values: Mapping[str, Sequence[str]], name: str) -> str:
    return values[name][0] if values.get(name) else ""
