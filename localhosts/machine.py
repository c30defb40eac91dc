"""One host: prepare its root, boot it, end it."""

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

from . import cgroups, commands, idmap, network, server
from .errors import LocalHostsError
from .inits import Kind
from .protocol import HostMade

IMAGE = Path("/run/image")
"""The folder at which the supervisor mounts the image."""

LAYER = Path("/run/layer")
"""The folder at which it mounts the layer of added packages; an empty folder where there is none."""

PROJECT = Path("/run/project")
"""The layer between these and a host's own changes, with the files that the project adds to every host."""

USERS = 1 << 16
"""The number of user numbers that a host has."""

END_LIMIT = 5.0
"""Seconds that a killed host may take to end."""

_TICK = 0.02
_SHOWN_LINES = 12
_MOST_BYTES = 1 << 20


@dataclass
class Machine:
    """Host number ``number`` of the cluster with range ``range``, of this ``kind``, in control group ``group``.

    ``has_user_namespace``: whether the host has its own user namespace.
    """

    range: network.Range
    number: int
    kind: Kind
    group: str
    extras: network.Extras
    has_user_namespace: bool
    circuit_address: str = ""
    _began: float = field(default=0.0, init=False)
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)
    _join: int = field(default=-1, init=False)
    _is_mapped: bool = field(default=False, init=False)
    """Whether the layers are mounted as files of the host's own users."""

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
        """The user number that its root has on the runner: 0, the runner's root, without a user namespace."""
        return self.range.users(self.number) if self.has_user_namespace else 0

    def made(self) -> HostMade:
        """Return its description for the run."""
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
        """The folder with all files of this host."""
        return Path("/run/hosts", str(self.number))

    @property
    def root(self) -> Path:
        """The host's root folder."""
        return self.folder / "root"

    async def prepare(self, program: server.Server, key: str, limit: float) -> None:
        """Mount the root and write the files that differ between hosts. ``limit``: seconds for the server's start."""
        for part in ("upper", "work", "root"):
            (self.folder / part).mkdir(parents=True)
        self._is_mapped = self.users != 0 and await self._mount_mapped()
        if not self._is_mapped:
            await self._mount_root(PROJECT, LAYER, IMAGE)
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
        # Opened for both ends, so that neither opening nor writing waits for the host.
        self._join = os.open(pipe, os.O_RDWR | os.O_CLOEXEC)
        if self._is_mapped:
            self._hand_over()

    async def _mount_mapped(self) -> bool:
        """Mount the root with all files as those of the host's users; return False where the kernel cannot do that."""
        own = {layer: self.folder / layer.name for layer in (PROJECT, LAYER, IMAGE)}
        try:
            async with idmap.namespace(self.users, USERS) as users:
                for layer, target in own.items():
                    target.mkdir()
                    idmap.mount(layer, target, users)
            await self._mount_root(*own.values())
        except (OSError, LocalHostsError):
            return False
        os.chown(self.root, self.users, self.users)
        return True

    async def _mount_root(self, *layers: Path) -> None:
        # With metacopy, a change of a file's owner does not copy the file.
        options = (
            f"metacopy=on,lowerdir={':'.join(map(str, layers))},upperdir={self.folder}/upper,workdir={self.folder}/work"
        )
        await commands.run("mount", "-t", "overlay", "overlay", "-o", options, str(self.root))

    def _hand_over(self) -> None:
        """Give the files that this process has made to the host's users of the same numbers."""
        upper = self.folder / "upper"
        for path in upper.rglob("*"):
            made = path.lstat()
            # What was removed is in the upper layer, and not in the root.
            if made.st_uid < USERS:
                with contextlib.suppress(FileNotFoundError):
                    place = self.root / path.relative_to(upper)
                    os.lchown(place, made.st_uid + self.users, made.st_gid + self.users)

    async def boot(self, deadline: float) -> int:
        """Start the host; once its first process has its own network namespace, return that process's id.

        Raises LocalHostsError when the host does not start, or not before ``deadline`` (monotonic time).
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
                *self._isolation(),
                *("--", *command),
                # On every machine, because new releases of systemd do not boot with the first version.
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        while (pid := self._first_process()) is None:
            self._require_running()
            if time.monotonic() > deadline:
                raise LocalHostsError(
                    f"host {self.name} did not begin to boot in time; its console:\n{self._console()}"
                )
            await asyncio.sleep(_TICK)
        return pid

    def _isolation(self) -> Sequence[str]:
        """Return the options of systemd-nspawn that keep the host's root from changing this machine."""
        if self.users:
            ownership = "off" if self._is_mapped else "chown"
            return (f"--private-users={self.users}:{USERS}", f"--private-users-ownership={ownership}")
        return (f"--drop-capability={','.join(self.kind.dropped_capabilities)}",)

    def _first_process(self) -> int | None:
        """Return the host's first process, once it has left this process's network namespace."""
        ours = Path("/proc/self/ns/net").readlink()
        for pid in cgroups.pids(self.group):
            # The process may end meanwhile.
            with contextlib.suppress(OSError):
                if _is_first(pid) and Path("/proc", str(pid), "ns/net").readlink() != ours:
                    return pid
        return None

    def _require_running(self) -> None:
        if self._process is None or self._process.returncode is not None:
            raise LocalHostsError(f"host {self.name} ended while it booted; its console:\n{self._console()}")

    def join(self, circuit_address: str | None) -> None:
        """Let the circuit server start and join the circuit at ``circuit_address`` (None: its own new circuit)."""
        os.write(self._join, server.join_line(circuit_address).encode())

    async def wait_for_circuit(self, deadline: float) -> None:
        """Wait until the circuit server has printed its address, at most until ``deadline`` (monotonic time).

        Raises LocalHostsError, with the last lines of the server or the console, at the deadline and when the server
        has ended.
        """
        log = self.root / server.LOG
        while True:
            if ended := _text(self.root / server.ENDED).strip():
                raise LocalHostsError(f"the circuit server on {self.name} ended: {ended}; {self._last_output()}")
            self._require_running()
            if address := server.find_address(_text(log), self.private):
                self.circuit_address = address
                return
            if time.monotonic() > deadline:
                waited = f"{time.monotonic() - self._began:.0f} s"
                raise LocalHostsError(
                    f"the circuit server on {self.name} printed no address within {waited}; {self._last_output()}"
                )
            # The writer is in another mount namespace. To read the file 50 times a second costs less than to watch it.
            await asyncio.sleep(_TICK)

    async def end(self) -> list[str]:
        """Kill all processes of the host and remove its control groups; return what could not be removed.

        Nothing on the host needs an orderly stop, because its root is discarded.
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

    def _last_output(self) -> str:
        lines = _text(self.root / server.LOG).splitlines()[-_SHOWN_LINES:]
        if lines:
            return "its last lines:\n" + "\n".join(lines)
        return f"it printed nothing; the host's console:\n{self._console()}"

    def _console(self) -> str:
        return "\n".join(_text(self.folder / "console").splitlines()[-_SHOWN_LINES:])


def _is_first(pid: int) -> bool:
    """Return whether a process is the first of a process namespace below this process's own."""
    status = Path("/proc", str(pid), "status").read_text()
    numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
    return len(numbers) > 1 and numbers[-1] == "1"


def _text(path: Path) -> str:
    """Return the file's first MiB; "" when it does not exist yet or is not a regular file.

    The host's root can replace the file and its folder: by a link to a file of this machine, or by a pipe that nobody
    writes to.
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
