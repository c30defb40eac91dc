"""One host: its root, its boot and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import cgroups, commands, network, server
from .errors import LocalHostsError
from .inits import Kind
from .protocol import HostMade

IMAGE = Path("/run/image")
"""Where the supervisor has bound the image."""

LAYER = Path("/run/layer")
"""Where it has bound the layer of more packages; an empty folder where there is none."""

PROJECT = Path("/run/project")
"""The layer between these and a host's own changes: what the project puts on every host."""

USERS = 1 << 16
"""How many user numbers a host has."""

END_LIMIT = 5.0
"""Seconds that a killed host may take to end."""

_TICK = 0.02
_SHOWN_LINES = 12
_MOST_BYTES = 1 << 20


@dataclass
class Machine:
    """Host number ``number`` of the cluster with range ``range``, of this ``kind``, in control group ``group``.

    ``walled``: with a user namespace of its own.
    """

    range: network.Range
    number: int
    kind: Kind
    group: str
    extras: network.Extras
    walled: bool
    circuit_address: str = ""
    _began: float = field(default=0.0, init=False)
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)
    _join: int = field(default=-1, init=False)

    @property
    def name(self) -> str:
        """The host's name."""
        return f"{self.range.name}-{self.number}"

    @property
    def private(self) -> str:
        """The private address."""
        return self.range.private(self.number)

    @property
    def public(self) -> str:
        """The public address."""
        return self.range.public(self.number)

    @property
    def users(self) -> int:
        """The number that its root has on the runner: 0 where it is the runner's."""
        return self.range.users(self.number) if self.walled else 0

    def made(self) -> HostMade:
        """What the run is told of it."""
        has6, number = self.extras.ipv6, self.number
        return HostMade(
            name=self.name,
            private_address=self.private,
            public_address=self.public,
            circuit_address=self.circuit_address,
            group=self.group,
            users=self.users,
            private_address6=self.range.private6(number) if has6 else "",
            public_address6=self.range.public6(number) if has6 else "",
            second_address=self.range.second(number) if self.extras.second else "",
        )

    @property
    def folder(self) -> Path:
        """The folder of everything that makes this host."""
        return Path("/run/hosts", str(self.number))

    @property
    def root(self) -> Path:
        """The host's root folder."""
        return self.folder / "root"

    async def prepare(self, program: server.Server, key: str, limit: float) -> None:
        """Mount the root and write what differs from host to host. ``limit``: seconds for the server's start."""
        for part in ("upper", "work", "root"):
            (self.folder / part).mkdir(parents=True)
        # Files change their owners without being copied.
        layers = (
            f"metacopy=on,lowerdir={PROJECT}:{LAYER}:{IMAGE},upperdir={self.folder}/upper,workdir={self.folder}/work"
        )
        await commands.run("mount", "-t", "overlay", "overlay", "-o", layers, str(self.root))
        (self.root / "etc/hostname").write_text(f"{self.name}\n")
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{self.private} {self.name}\n")
        (self.root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
        self.kind.install(self.root, program.command(self.private), limit)
        pipe = self.root / server.JOIN_PIPE
        pipe.parent.mkdir(parents=True)
        for name, text in {**dict.fromkeys(server.PRIVATE, ""), server.KEY: key}.items():
            with os.fdopen(os.open(self.root / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
                os.fchown(file.fileno(), self.kind.owner, self.kind.owner)
        os.mkfifo(pipe)
        # For both ends, so that neither opening nor writing waits for the host.
        self._join = os.open(pipe, os.O_RDWR | os.O_CLOEXEC)

    async def boot(self, deadline: float) -> int:
        """Start the host and return the number of its first process, which has a network namespace of its own then.

        Raises LocalHostsError when that is refused, or has not happened at ``deadline`` (monotonic time).
        """
        self._began = time.monotonic()
        try:
            folders = cgroups.create(self.group)
        except OSError as error:
            raise LocalHostsError(f"could not make the control group of host {self.name}: {error}") from error
        options, command = self.kind.boot()
        with (self.folder / "console").open("wb") as console:
            self._process = await asyncio.create_subprocess_exec(
                *("sh", "-c", cgroups.JOIN_AND_EXEC, "sh", *map(str, folders), "--"),
                *("systemd-nspawn", "--quiet", "--directory", str(self.root), f"--machine={self.name}", *options),
                *("--keep-unit", "--register=no", "--link-journal=no", "--resolv-conf=off", "--timezone=off"),
                *("--console=read-only", "--private-network", "--suppress-sync=yes"),
                *self._walls(),
                *("--", *command),
                # Whatever this machine has: new releases of systemd refuse to boot with the first version.
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        while (pid := self._first_process()) is None:
            self._require_running()
            if time.monotonic() > deadline:
                raise LocalHostsError(f"host {self.name} has not begun to boot; its console:\n{self._console()}")
            await asyncio.sleep(_TICK)
        return pid

    def _walls(self) -> Sequence[str]:
        """What systemd-nspawn is told of what root of the host may do outside: nothing, by a user namespace."""
        if self.users:
            return (f"--private-users={self.users}:{USERS}", "--private-users-ownership=chown")
        return (f"--drop-capability={','.join(self.kind.needless)}",)

    def _first_process(self) -> int | None:
        """The host's first process, once it has left this process's network."""
        ours = Path("/proc/self/ns/net").readlink()
        for pid in cgroups.pids(self.group):
            # It may end meanwhile.
            with contextlib.suppress(OSError):
                if _is_first(pid) and Path("/proc", str(pid), "ns/net").readlink() != ours:
                    return pid
        return None

    def _require_running(self) -> None:
        if self._process is None or self._process.returncode is not None:
            raise LocalHostsError(f"host {self.name} ended while it booted; its console:\n{self._console()}")

    def join(self, circuit_address: str | None) -> None:
        """Let the circuit server start, joining the circuit at ``circuit_address`` (None: a circuit of its own)."""
        os.write(self._join, server.join_line(circuit_address).encode())

    async def wait_for_circuit(self, deadline: float) -> None:
        """Wait until the circuit server has printed its address, at the latest until ``deadline`` (monotonic time).

        Raises LocalHostsError with the server's or the boot's last lines when it has not, or has ended.
        """
        log = self.root / server.LOG
        while True:
            if ended := _text(self.root / server.ENDED).strip():
                raise LocalHostsError(f"the circuit server on {self.name} ended: {ended}; {self._last_words()}")
            self._require_running()
            if address := server.find_address(_text(log), self.private):
                self.circuit_address = address
                return
            if time.monotonic() > deadline:
                waited = f"{time.monotonic() - self._began:.0f} s"
                raise LocalHostsError(
                    f"the circuit server on {self.name} printed no address within {waited}; {self._last_words()}"
                )
            # The file is written in another mount namespace, by a process that is not ours: a look 50 times a second
            # costs less than watching it.
            await asyncio.sleep(_TICK)

    async def end(self) -> list[str]:
        """End the host at once, whatever runs in it; return what could not be removed.

        Its root is thrown away, so nothing in it needs to be stopped in order.
        """
        if self._join >= 0:
            os.close(self._join)
            self._join = -1
        left = [str(folder) for folder in await asyncio.to_thread(cgroups.remove, self.group, END_LIMIT)]
        if self._process is not None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._process.wait(), END_LIMIT)
            if self._process.returncode is None:
                left.append(f"systemd-nspawn of {self.name}")
        return left

    def _last_words(self) -> str:
        lines = _text(self.root / server.LOG).splitlines()[-_SHOWN_LINES:]
        if lines:
            return "its last lines:\n" + "\n".join(lines)
        return f"it has written nothing; the host's console:\n{self._console()}"

    def _console(self) -> str:
        return "\n".join(_text(self.folder / "console").splitlines()[-_SHOWN_LINES:])


def _is_first(pid: int) -> bool:
    """Whether a process is the first one of a process namespace below this process's own."""
    status = Path("/proc", str(pid), "status").read_text()
    numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
    return len(numbers) > 1 and numbers[-1] == "1"


def _text(path: Path) -> str:
    """What the file holds so far, its first MiB; nothing when it is not there yet, or is none.

    Root of the host can put anything in its place, and in that of its folder: a link to a file of this machine, or a
    pipe that nobody feeds.
    """
    with contextlib.ExitStack() as opened:
        try:
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            opened.callback(os.close, folder)
            file = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            opened.callback(os.close, file)
        except OSError:
            return ""
        is_ours = Path(f"/proc/self/fd/{folder}").readlink() == path.parent and stat.S_ISREG(os.fstat(file).st_mode)
        return os.read(file, _MOST_BYTES).decode(errors="replace") if is_ours else ""
