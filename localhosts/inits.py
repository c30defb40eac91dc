"""Kinds of hosts: how a host starts its circuit server, with systemd, an init script or as a container, and as whom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .errors import LocalHostsError
from .server import CODE, ENDED, ENVIRONMENT, JOIN, JOIN_PIPE, LOG

Init = Literal["systemd", "sysv", "none"]
"""A host's init program: systemd, the init of System V, or a stub that only reaps, as in a container."""

Login = Literal["ubuntu", "root"]
"""The user that a circuit server runs as, and all processes that are started through it."""

Sudo = Literal["passwordless", "password", "missing"]
"""Whether user ubuntu may use sudo without a password, or with one, or whether sudo is not installed."""

UNIT = "circuit.service"
"""The server's unit on a host with systemd."""

SCRIPT = "etc/init.d/circuit"
"""The server's init script, below the root of a host with sysv."""

START = f"{CODE}/start"
"""The program, below the host's root, that executes the circuit server."""

SERVE = f"{CODE}/serve"
"""The program, below the root of a host without systemd, that runs the server and waits for its end."""

_UNITS = "etc/systemd/system"
_HOMES: dict[Login, str] = {"ubuntu": "/home/ubuntu", "root": "/root"}
_NUMBERS: dict[Login, int] = {"ubuntu": 1000, "root": 0}
_SUDOERS = "etc/sudoers.d/ubuntu"

_UNIT_TEXT = """\
[Unit]
Description=Circuit server

[Service]
User={login}
WorkingDirectory={home}
Environment={environment}
# The answer is kept: a server that is started again joins the same circuit.
ExecStartPre=+/bin/sh -c 'test -s /{join} || head -n 1 /{pipe} > /{join}'
ExecStart=/{start}
ExecStopPost=+/bin/sh -c 'echo "$SERVICE_RESULT ($EXIT_CODE, status $EXIT_STATUS)" > /{ended}'
TimeoutStartSec={limit:g}
StandardOutput=append:/{log}
StandardError=append:/{log}
# What was started through the circuit outlives its server, as it does where the server is started by hand.
KillMode=process
"""

_PID = "run/circuit.pid"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"

_SERVE_TEXT = """\
#!/bin/sh
# The answer is kept: a server that is started again joins the same circuit.
test -s /{join} || timeout {limit:g} head -n 1 /{pipe} > /{join}
test -s /{join} || exit
cd {home} || exit
# In a session of its own: what is started through it must have no terminal.
setsid setpriv --reuid={login} --regid={login} --init-groups \\
    env -i HOME={home} USER={login} LOGNAME={login} SHELL=/bin/bash PATH={path} {environment} \\
    /{start} >> /{log} 2>&1 &
echo $! > /{pid}
wait $!
echo "exit status $?" > /{ended}
"""

_SCRIPT_TEXT = """\
#!/bin/sh
# What was started through the circuit outlives its server: only the server itself is stopped.
case $1 in
start) start-stop-daemon --start --oknodo --background --pidfile /{pid} --startas /{serve} ;;
stop) start-stop-daemon --stop --oknodo --retry 5 --remove-pidfile --pidfile /{pid} ;;
restart | force-reload) "$0" stop && "$0" start ;;
status) start-stop-daemon --status --pidfile /{pid} ;;
*) echo "usage: $0 start|stop|restart|force-reload|status" >&2; exit 3 ;;
esac
"""

# The host outlives its server, as a host with an init does.
_CONTAINER = f"/{SERVE}; exec sleep infinity"


_CAPABILITIES_BEYOND_HOST = (
    *("CAP_AUDIT_CONTROL", "CAP_AUDIT_WRITE", "CAP_DAC_READ_SEARCH", "CAP_LEASE", "CAP_LINUX_IMMUTABLE", "CAP_MKNOD"),
    *("CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_PTRACE", "CAP_SYS_RESOURCE", "CAP_SYS_TTY_CONFIG"),
)
"""Capabilities to reach the kernel, devices and files outside a host. The one to load modules is missing here, because
systemd-nspawn does not grant it."""


@dataclass(frozen=True)
class Kind:
    """A kind of host."""

    init: Init = "systemd"
    login: Login = "ubuntu"
    sudo: Sudo = "passwordless"

    def require_init(self, tree: Path) -> None:
        """Raise LocalHostsError unless hosts from the image ``tree`` can have this init."""
        has = "systemd" if (tree / "sbin/init").is_symlink() else "sysv"
        if self.init not in ("none", has):
            raise LocalHostsError(f"hosts cannot have init {self.init}: the image {tree.name} has {has}")

    def install(self, root: Path, command: str, limit: float) -> None:
        """Write this kind's files into a host's ``root``, with ``command`` as the circuit server's command.

        ``limit`` is the seconds that the server's start may wait at the pipe.
        """
        values = {
            "login": self.login,
            "home": _HOMES[self.login],
            "environment": ENVIRONMENT,
            "join": JOIN,
            "pipe": JOIN_PIPE,
            "ended": ENDED,
            "log": LOG,
            "pid": _PID,
            "path": _PATH,
            "serve": SERVE,
            "start": START,
            "limit": limit,
        }
        _program(root / START, f"#!/bin/sh\nexec {command}\n")
        if self.init == "systemd":
            units = root / _UNITS
            (units / UNIT).write_text(_UNIT_TEXT.format(**values))
            wanted = units / "multi-user.target.wants"
            wanted.mkdir(parents=True, exist_ok=True)
            (wanted / UNIT).symlink_to(f"../{UNIT}")
        else:
            _program(root / SERVE, _SERVE_TEXT.format(**values))
        if self.init == "sysv":
            _program(root / SCRIPT, _SCRIPT_TEXT.format(**values))
            # No link in a runlevel's folder: init would ignore it until insserv(8) updates its lists.
            with (root / "etc/inittab").open("a") as inittab:
                inittab.write(f"ci:2345:once:/{SCRIPT} start\n")
        if self.sudo == "password":
            (root / _SUDOERS).write_text("ubuntu ALL=(ALL:ALL) ALL\n")
        elif self.sudo == "missing":
            (root / "usr/bin/sudo").unlink()

    @property
    def owner(self) -> int:
        """The number, on the host, of the circuit server's user and group."""
        return _NUMBERS[self.login]

    @property
    def dropped_capabilities(self) -> tuple[str, ...]:
        """Capabilities that reach outside a host without a user namespace, and that such a host can work without."""
        return _CAPABILITIES_BEYOND_HOST if self.init != "none" else (*_CAPABILITIES_BEYOND_HOST, "CAP_SYS_ADMIN")

    @property
    def danger_without_user_namespace(self) -> str:
        """What root of a host without a user namespace can do on this machine."""
        if self.init == "none":
            return "root of a host is this machine's root with few capabilities"
        return "root of a host can become root of this machine; hosts with --init none, as containers, are safer"

    def boot(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the options and the command with which systemd-nspawn boots a host of this kind."""
        if self.init == "none":
            return ("--as-pid2",), ("/bin/sh", "-c", _CONTAINER)
        if self.init == "sysv":
            # --boot would prefer systemd, which a package may have installed.
            return (), ("/sbin/init",)
        return ("--boot",), ()


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
