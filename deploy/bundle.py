"""The Node.js app, put together on this machine and packed for a host."""

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
from pathlib import Path

from circuit_harness.errors import NotReady, Unfit
from circuit_harness.remote.waiting import wait_until
from circuit_harness.steps import Steps

APP = Path(__file__).parent / "app"
_SOURCES = ("index.js", "package.json", "package-lock.json")
_NPM_CI = ("ci", "--omit=dev", "--omit=peer", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
"""Peers are types for compilers, which nothing at run time loads."""

_NPM_LIMIT_S = 300.0


def build_bundle(steps: Steps) -> bytes:
    """Return the app with all its packages as a gzipped tar, its files at the top level.

    ``npm ci`` installs what the lock file names; the outcome is kept in the user's cache folder, by the hash of what it
    is made from, so that only the first build asks npm's registry. One that is not whole is made again.

    :param steps: whose end ends npm, too.
    :raises Unfit: there is no npm here, or it failed; the message has what it said.
    :raises Stopped: the steps were stopped.
    """
    cached = _cache() / f"app-{_key()}.tar.gz"
    with contextlib.suppress(FileNotFoundError):
        data = cached.read_bytes()
        if _is_whole(data):
            return data
    npm = shutil.which("npm")
    if npm is None:
        raise Unfit("the Node.js app is put together here with npm, which is missing: apt-get install npm")
    with tempfile.TemporaryDirectory(prefix="tutorial-app-") as name:
        folder = Path(name)
        for source in _SOURCES:
            shutil.copyfile(APP / source, folder / source)
        _npm_ci(npm, folder, steps)
        data = _pack(folder)
    cached.parent.mkdir(parents=True, exist_ok=True)
    # Aside first, on the disk before it is renamed: neither another run nor the next boot sees half a bundle.
    with tempfile.NamedTemporaryFile(dir=cached.parent, delete=False) as aside:
        try:
            aside.write(data)
            aside.flush()
            os.fsync(aside.fileno())
            Path(aside.name).replace(cached)
        except OSError:
            Path(aside.name).unlink()
            raise
    return data


def _is_whole(data: bytes) -> bool:
    """Whether a bundle ends where it should, with the sum of what it holds."""
    try:
        return bool(gzip.decompress(data))
    except (OSError, EOFError, zlib.error):
        return False


def _key() -> str:
    made_of = [(APP / source).read_bytes() for source in _SOURCES]
    return hashlib.sha256(b"\0".join([*made_of, *(word.encode() for word in _NPM_CI)])).hexdigest()[:16]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "circuit-harness"


def _npm_ci(npm: str, folder: Path, steps: Steps) -> None:
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(
            [npm, *_NPM_CI], cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ) as process,
    ):
        try:
            wait_until(lambda: "" if process.poll() is not None else "it runs", "npm ci", _NPM_LIMIT_S, steps)
        except NotReady:
            raise Unfit(
                f"npm ci of deploy/app did not end within {_NPM_LIMIT_S:g} s: is npm's registry reachable?"
            ) from None
        finally:
            process.kill()
        output.seek(0)
        said = output.read().decode("utf-8", "replace").strip()
    if process.returncode:
        raise Unfit(f"npm ci of deploy/app ended with exit status {process.returncode}: {said}")


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
