"""Build a Node.js app on this machine, and pack it for a host."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from circuit_harness.errors import NotReady, Unfit
from circuit_harness.remote.waiting import wait_until
from circuit_harness.steps import Steps

PACKAGE = "package.json"
LOCK = "package-lock.json"

_NPM_CI = ("ci", "--omit=dev", "--omit=peer", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
"""Peer dependencies are types for compilers; nothing loads them at run time."""

_NPM_LIMIT_S = 300.0


@dataclass(frozen=True)
class Bundle:
    """An app with all its packages: a gzipped tar with the files at its top level."""

    data: bytes

    def __str__(self) -> str:
        return f"{len(self.data) / 1e6:.1f} MB"


def build(app: Path, steps: Steps) -> Bundle:
    """Return the app of a folder with all its packages.

    ``npm ci`` installs the packages of the lock file. The user's cache folder keeps the bundle, by the hash of its
    sources, so that only the first build needs npm's registry. An incomplete bundle is built again.

    :param steps: npm ends when these are stopped.
    :raises Unfit: this machine has no npm; or npm failed, with its output in the message; or a file cannot be read.
    :raises Stopped: the steps were stopped.
    """
    try:
        cached = _cache() / f"app-{_key(app)}.tar.gz"
        with contextlib.suppress(FileNotFoundError):
            data = cached.read_bytes()
            if _is_whole(data):
                return Bundle(data)
        npm = shutil.which("npm")
        if npm is None:
            raise Unfit("this machine has no npm, which builds the Node.js app: apt-get install npm")
        with tempfile.TemporaryDirectory(prefix="tutorial-app-") as name:
            folder = Path(name) / "app"
            shutil.copytree(app, folder, symlinks=True, ignore=_ignored)
            _npm_ci(npm, app, folder, steps)
            data = _pack(folder)
    except OSError as error:
        raise Unfit(f"the app in {app} cannot be built: {error}") from None
    cached.parent.mkdir(parents=True, exist_ok=True)
    # A new file is synced before it is renamed: neither another run nor the next boot sees half a bundle.
    with tempfile.NamedTemporaryFile(dir=cached.parent, delete=False) as aside:
        try:
            aside.write(data)
            aside.flush()
            os.fsync(aside.fileno())
            Path(aside.name).replace(cached)
        except OSError:
            Path(aside.name).unlink()
            raise
    return Bundle(data)


def _ignored(folder: str, names: list[str]) -> set[str]:
    """Return the names that are not part of an app: packages installed into its folder, and version control."""
    return {"node_modules", ".git"} & set(names)


def _is_whole(data: bytes) -> bool:
    """Return whether a bundle is complete and its checksum is right."""
    try:
        return bool(gzip.decompress(data))
    except (OSError, EOFError, zlib.error):
        return False


def _key(app: Path) -> str:
    """Return a hash of a bundle's sources: the files' names, modes and contents, and npm's arguments."""
    whole = hashlib.sha256("\0".join(_NPM_CI).encode())
    for folder, folders, files in os.walk(app):
        folders[:] = sorted(set(folders) - _ignored(folder, folders))
        for name in sorted(files):
            path = Path(folder) / name
            content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
            header = f"{path.relative_to(app)}\0{path.lstat().st_mode:o}\0{len(content)}\0"
            whole.update(header.encode("utf-8", "surrogateescape") + content)
    return whole.hexdigest()[:16]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "circuit-harness"


def _npm_ci(npm: str, app: Path, folder: Path, steps: Steps) -> None:
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(
            [npm, *_NPM_CI],
            cwd=folder,
            # The bundle is what is kept: npm's own cache goes with the folder that this is built in.
            env={**os.environ, "npm_config_cache": f"{folder}.npm"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            wait_until(lambda: "" if process.poll() is not None else "it runs", "npm ci", _NPM_LIMIT_S, steps)
        except NotReady:
            raise Unfit(
                f"npm ci of {app} did not end within {_NPM_LIMIT_S:g} s: is npm's registry reachable?"
            ) from None
        finally:
            process.kill()
        output.seek(0)
        said = output.read().decode("utf-8", "replace").strip()
    if process.returncode:
        raise Unfit(f"npm ci of {app} ended with exit status {process.returncode}: {said}")


def _pack(folder: Path) -> bytes:
    def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        return entry

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name, filter=anonymous)
    return buffer.getvalue()
