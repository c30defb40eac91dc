"""A workspace: the hosts of one user and one folder, which stay when the command that made them has ended.

They stay until they are ended, or the machine is. A keeper, a process of its own, holds the supervisor's input open.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from . import protocol, sweep
from .cluster import PYTHON_NODE, Cluster, Host
from .control import END_LIMIT, SLACK
from .errors import LocalHostsError
from .keeper import END
from .protocol import Failed, Gone, Ready

_CONNECT_LIMIT = 5.0


@dataclass(frozen=True)
class Kept:
    """What stands in a workspace: the folder that it is for, when its hosts were made (ISO 8601, UTC), and of what.

    ``code`` identifies the circuit server's code that the hosts run.
    """

    folder: str
    made: str
    code: str
    ready: Ready

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Its hosts."""
        return tuple(Host(**asdict(made)) for made in self.ready.hosts)

    @property
    def addresses(self) -> list[str]:
        """The circuit addresses of its servers."""
        return [made.circuit_address for made in self.ready.hosts]

    @property
    def key_file(self) -> Path:
        """The file with the key of its circuit."""
        return Path(self.ready.key_file)

    def is_current(self) -> bool:
        """Return whether its hosts run the circuit server's code as it is now."""
        return self.code == _code()


class Workspace:
    """The workspace of this user for one folder, whether there are hosts in it or not."""

    def __init__(self, folder: Path) -> None:
        """Name it; this makes nothing."""
        self._for = str(folder.resolve())
        self._folder = _workspaces() / hashlib.sha256(self._for.encode()).hexdigest()[:16]

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands from changing the workspace during the block. Raises LocalHostsError where one does.

        Without hosts, the workspace's folder goes at the end.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise LocalHostsError(f"cannot use {self._folder} for the workspace: {error.strerror}") from None
        try:
            if not self._is_taken(lock):
                raise LocalHostsError(f"another command is changing the workspace of {self._for}: try again")
            try:
                yield
            finally:
                self._remove_unused()
        finally:
            os.close(lock)

    def _is_taken(self, lock: int) -> bool:
        """Take the lock if it is free; return whether it was, and is still the workspace's."""
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had the lock may have removed the file since it was opened here.
            return os.path.samestat(os.fstat(lock), (self._folder / "lock").stat())
        return False

    def _remove_unused(self) -> None:
        """Remove the folder, unless there are hosts in it, and the folders above it that are empty then."""
        with contextlib.suppress(OSError):
            if (self._folder / "state").exists():
                with _connected(self._folder):
                    return
        with contextlib.suppress(OSError):
            for name in ("keeper", "state.new", "state", "lock"):
                (self._folder / name).unlink(missing_ok=True)
            for folder in (self._folder, *self._folder.parents[:2]):
                folder.rmdir()

    def find(self) -> Kept | None:
        """Return what stands there; None where nothing does."""
        return _read(self._folder)

    def keep(self, cluster: Cluster) -> Kept:
        """Keep the hosts of a cluster that was started; it is not to be closed then. Raises LocalHostsError."""
        kept = Kept(self._for, datetime.now(timezone.utc).isoformat(timespec="seconds"), _code(), cluster.ready)
        # Bound here, so that whoever finds the state finds the keeper, too.
        with _bound(self._folder) as listening:
            state = self._folder / "state.new"
            state.write_text(json.dumps(asdict(kept)))
            given, events = cluster.hand_over()
            keeper = (sys.executable, "-B", "-m", f"{__package__}.keeper")
            kept_open = (given, events, listening.fileno())
            try:
                subprocess.run(
                    # In the background of a shell that ends, so that it is not this process's child.
                    ["sh", "-c", '"$@" &', "sh", *keeper, *map(str, kept_open)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=kept_open,
                    cwd=Path(__file__).parent.parent,
                    # So that neither the terminal's end nor Ctrl-C reaches it.
                    start_new_session=True,
                    timeout=_CONNECT_LIMIT,
                    check=True,
                )
            except (OSError, subprocess.SubprocessError) as error:
                raise LocalHostsError(f"cannot start the keeper of the hosts, which end: {error}") from None
            finally:
                os.close(given)
                os.close(events)
            state.rename(self._folder / "state")
        return kept

    def end(self) -> None:
        """Remove the hosts. Raises LocalHostsError, which names what is left, when something could not be removed."""
        kept = self.find()
        if kept is None:
            return
        left: list[str] = []
        with contextlib.suppress(OSError), _connected(self._folder) as keeper:
            keeper.sendall(END)
            left = _torn_down(keeper)
        (self._folder / "state").unlink(missing_ok=True)
        left += [path for path in sweep.remains(kept.ready.identity) if path not in left]
        if left:
            raise LocalHostsError(
                f"the hosts of {self._for} were torn down, but this is left: {', '.join(left)}; remove it with"
                " `python3 -m localhosts clean`"
            )


def standing() -> list[Kept]:
    """Return what stands in all workspaces of this user."""
    folders = sorted(_workspaces().glob("*")) if _workspaces().is_dir() else []
    return [kept for folder in folders if (kept := _read(folder)) is not None]


def _workspaces() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "circuit-harness" / "workspaces"


def _read(folder: Path) -> Kept | None:
    try:
        with _connected(folder):
            fields = json.loads((folder / "state").read_text())
        ready = protocol.decode(json.dumps({"event": "Ready", **fields.pop("ready")}).encode())
        return Kept(ready=ready, **fields) if isinstance(ready, Ready) else None
    except (OSError, ValueError, TypeError, LookupError):
        # Its keeper has ended, with the machine or by itself; or another version wrote it.
        return None


@contextlib.contextmanager
def _bound(folder: Path) -> Iterator[socket.socket]:
    """Give a socket that listens in a folder, in place of one that nobody listens at any more."""
    with _opened(folder) as path, socket.socket(socket.AF_UNIX) as listening:
        Path(path).unlink(missing_ok=True)
        listening.bind(path)
        listening.listen()
        yield listening


@contextlib.contextmanager
def _connected(folder: Path) -> Iterator[socket.socket]:
    """Give a connection to the keeper of a folder. Raises OSError where there is none."""
    with _opened(folder) as path, socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_CONNECT_LIMIT)
        connection.connect(path)
        yield connection


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[str]:
    """Give a path of the folder's socket that is short, as addresses of sockets must be."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}/keeper"
    finally:
        os.close(opened)


def _torn_down(keeper: socket.socket) -> list[str]:
    """Read the supervisor's events until it has ended; return what is left. Raises LocalHostsError after a limit."""
    keeper.settimeout(END_LIMIT + SLACK)
    events = b""
    try:
        while read := keeper.recv(65536):
            events += read
    except TimeoutError:
        raise LocalHostsError(f"the hosts were not torn down within {END_LIMIT + SLACK:g} s") from None
    for line in events.splitlines():
        event = protocol.decode(line)
        if isinstance(event, Gone):
            return list(event.left)
        if isinstance(event, Failed):
            raise LocalHostsError(event.text)
    return []


def _code() -> str:
    """Return what identifies the circuit server's present code."""
    digest = hashlib.sha256()
    for file in sorted(PYTHON_NODE.rglob("*.py")):
        digest.update(f"{file.relative_to(PYTHON_NODE)}\0".encode() + file.read_bytes())
    return digest.hexdigest()
