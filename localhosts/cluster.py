"""The package's interface: clusters of hosts on this machine."""

from __future__ import annotations

import base64
import contextlib
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType

from . import cgroups, images, network, preflight, sweep
from .control import Supervisor
from .errors import LocalHostsError
from .image import Image, cache_folder
from .inits import Init, Kind, Login, Sudo
from .metadata import MetadataMode
from .privilege import as_root
from .protocol import Ready, Request
from .server import Server

PYTHON_NODE = Path(__file__).parent.parent / "circuit"
"""The package whose module ``node`` is the circuit server that hosts run by default."""

_NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd")
_ENVIRONMENT = ("HOME=/root", "LANG=C.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
_SLACK = 10.0
# timeout(1) ends with the first when the command obeyed its signal. When it did not, timeout kills itself, too, which a
# sudo in between reports as the second.
_TIMED_OUT = (124, 137, -9)


def ignore(_: str) -> None:
    """Print nothing."""


@dataclass(frozen=True)
class Host:
    """A host on this machine. ``group`` is the control group, in every hierarchy, that holds its processes.

    ``users`` is the user number that the host's root has on this machine, the first of 65,536 that no other host has;
    it is 0 where this machine refuses user namespaces.
    The IPv6 addresses and the address in the second private network are empty unless the cluster has them.
    """

    name: str
    private_address: str
    public_address: str
    circuit_address: str
    group: str = field(repr=False)
    users: int = 0
    private_address6: str = ""
    public_address6: str = ""
    second_address: str = ""

    def run(
        self,
        *argv: str,
        input: bytes = b"",
        timeout: float = 30.0,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command as root inside the host, without the circuit, and return its status and output.

        Raises LocalHostsError when the host is gone, or when the command is not done after ``timeout`` seconds; the
        command is killed then.
        """
        command = as_root(
            [
                *("nsenter", f"--target={self._init()}", *_NAMESPACES, *(["--user"] if self.users else [])),
                *("--", "env", "-i", *_ENVIRONMENT),
                # Inside the host, because a limit from outside would not kill what runs there.
                *("timeout", "--kill-after=1", str(timeout), *argv),
            ]
        )
        shown = shlex.join(argv)
        start = time.monotonic()
        try:
            done = subprocess.run(command, input=input, capture_output=True, timeout=timeout + _SLACK, check=False)
        except subprocess.TimeoutExpired:
            raise LocalHostsError(f"`{shown}` on host {self.name} could not be ended after {timeout:g} s") from None
        if done.returncode in _TIMED_OUT and time.monotonic() - start >= timeout:
            raise LocalHostsError(f"`{shown}` on host {self.name} was not done after {timeout:g} s")
        return done

    def _init(self) -> int:
        """Return the process id, on the runner, of the host's first process. Raises LocalHostsError."""
        for pid in cgroups.pids(self.group):
            with contextlib.suppress(OSError):
                status = Path("/proc", str(pid), "status").read_text()
                # One number for each process namespace: the runner's, the supervisor's, the host's own.
                numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
                if len(numbers) >= 3 and numbers[-1] == "1":
                    return pid
        raise LocalHostsError(f"host {self.name} is not running; has its cluster been closed?")


class Cluster:
    """Hosts on this machine, each with its own root, network and processes; together they are one circuit.

    The circuit has its own random key, in the file ``key_file``. Only the user who made the cluster can read that file,
    and ``close`` removes it.
    A context manager; ``start`` and ``close`` do the same without one. However the run ends, the hosts end with it.
    """

    def __init__(
        self,
        hosts: int = 2,
        *,
        circuit_bin: Path | None = None,
        image: Image | None = None,
        node_options: Sequence[str] = (),
        init: Init = "systemd",
        login: Login = "ubuntu",
        sudo: Sudo = "passwordless",
        metadata: MetadataMode = "optional",
        ipv6: bool = False,
        second_network: bool = False,
        keyed: bool = True,
        packages: Collection[str] = (),
        say: Callable[[str], None] = ignore,
        timeout: float = 60.0,
    ) -> None:
        """Describe a cluster of ``hosts`` hosts; ``start`` makes it.

        ``circuit_bin`` is a gocircuit program to run on the hosts in place of the Python node; ``node_options`` are
        arguments added to the Python node's. ``image`` (``localhosts.images`` has some; None: Debian 12 with that
        ``init``) must have the first process ``init``; with init "none", every image will do. ``login`` is the user
        that the circuit servers run as; ``sudo``, what sudo does for user ubuntu. ``metadata`` is whether the metadata
        service requires a token, or "none" for no service. With ``ipv6``, hosts and this machine have IPv6 addresses,
        too; the circuit stays on IPv4. With ``second_network``, each host has an address on an interface ``eth1``, in
        a network that only the hosts are in. Without ``keyed``, every user of this machine can be root of the hosts:
        only for a gocircuit program, whose servers lose messages when they join each other with a key, and then wait
        for ever. ``packages`` are Debian packages to add to those of the image; none starts anything at boot. ``say``
        is called with a line for each step. ``timeout`` is the seconds from the boot until every circuit server has its
        address; the time to make the image, once, does not count. Raises LocalHostsError when the parameters do not fit
        each other.
        """
        if not 1 <= hosts <= network.MOST_HOSTS:
            raise LocalHostsError(f"a cluster has 1 to {network.MOST_HOSTS} hosts, not {hosts}")
        self.name = ""
        self.gateway = ""
        self.gateway6 = ""
        self.hosts: tuple[Host, ...] = ()
        self.key_file: Path | None = None
        self._say = say
        self._ready: Ready | None = None
        self._supervisor: Supervisor | None = None
        made_from = image or images.debian12(init="sysv" if init == "sysv" else "systemd")
        self._request = Request(
            image=replace(made_from, more=tuple(sorted({*made_from.more, *packages}))),
            images=str(cache_folder()),
            hosts=hosts,
            server=_server(circuit_bin, node_options, keyed),
            kind=Kind(init, login, sudo),
            metadata=metadata,
            ipv6=ipv6,
            second_network=second_network,
            owner=(os.geteuid(), os.getegid()),
            keyed=keyed,
            timeout=timeout,
        )

    @property
    def key(self) -> bytes | None:
        """The circuit's key, if it has one. Raises OSError when its hosts are gone."""
        return None if self.key_file is None else base64.b64decode(self.key_file.read_bytes())

    def start(self) -> Cluster:
        """Make the hosts and return when every circuit server has printed its address. Raises LocalHostsError.

        A server prints its address before it has joined the others, so the circuit may not show all hosts yet.
        """
        if self._supervisor is not None:
            raise LocalHostsError(f"cluster {self.name} is already started")
        self._supervisor = _start(self._request, self._say)
        try:
            ready = self._supervisor.wait_until_ready()
        except BaseException:
            with contextlib.suppress(LocalHostsError):
                self.close()
            raise
        assert ready is not None
        self._ready = ready
        self.key_file = Path(ready.key_file) if ready.key_file else None
        self.name, self.gateway, self.gateway6 = ready.name, ready.gateway, ready.gateway6
        self.hosts = tuple(Host(**asdict(made)) for made in ready.hosts)
        return self

    def close(self) -> None:
        """Remove the hosts and everything made for them; do nothing when there are no hosts.

        Raises LocalHostsError, which names what is left, when something could not be removed.
        """
        if self._supervisor is None:
            return
        supervisor, self._supervisor = self._supervisor, None
        ready, self._ready = self._ready, None
        left = supervisor.end()
        if ready is not None:
            left += [path for path in sweep.remains(ready.identity) if path not in left]
        if left:
            raise LocalHostsError(
                f"cluster {self.name} was torn down, but this is left: {', '.join(left)}; "
                "remove it with `python3 -m localhosts clean`"
            )

    @property
    def ready(self) -> Ready:
        """What was made. Only for a cluster that is started."""
        assert self._ready is not None
        return self._ready

    def hand_over(self) -> tuple[int, int]:
        """Leave the hosts to another process: they stay as long as the first of these descriptors is open somewhere.

        The second one has the supervisor's events. ``close`` does nothing from now on.
        """
        assert self._supervisor is not None
        supervisor, self._supervisor = self._supervisor, None
        self._ready = None
        return supervisor.release()

    def __enter__(self) -> Cluster:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def make_image(image: Image | None = None, say: Callable[[str], None] = ignore) -> Path:
    """Make the image if it is not in the cache, and return its folder. Raises LocalHostsError."""
    image = image or images.debian12()
    supervisor = _start(Request(image=image, images=str(cache_folder())), say)
    try:
        supervisor.wait_until_ready()
    finally:
        supervisor.end()
    return cache_folder() / image.key


def _start(request: Request, say: Callable[[str], None]) -> Supervisor:
    preflight.look_from_outside()
    try:
        # Here, because the folder is to belong to the user; what the supervisor puts into it belongs to root.
        Path(request.images).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LocalHostsError(f"cannot make the image folder {request.images}: {error.strerror}") from error
    return Supervisor(request, say)


def _server(circuit_bin: Path | None, node_options: Sequence[str], keyed: bool) -> Server:
    if circuit_bin is None:
        if not any((PYTHON_NODE / module).exists() for module in ("node/__main__.py", "node.py")):
            raise LocalHostsError(f"{PYTHON_NODE} has no circuit server: pass a gocircuit program (--circuit-bin FILE)")
        return Server(str(PYTHON_NODE), tuple(node_options), keyed)
    if not os.access(circuit_bin, os.X_OK) or not circuit_bin.is_file():
        raise LocalHostsError(f"{circuit_bin} is not a program that can be run: build gocircuit, or correct the path")
    return Server(str(circuit_bin.resolve()), keyed=keyed)
