"""The Node.js app, put together on this machine and packed for a host."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from deploy.errors import Unfit

APP = Path(__file__).parent / "app"
_SOURCES = ("index.js", "package.json", "package-lock.json")
_NPM_LIMIT_S = 300.0


def build_bundle() -> bytes:
    """Return the app with all its packages as a gzipped tar, its files at the top level.

    ``npm ci`` installs what the lock file names; the outcome is kept in the user's cache folder, by the sources' hash,
    so that only the first build asks npm's registry.

    :raises Unfit: there is no npm here, or it failed; the message has what it said.
    """
    cached = _cache() / f"app-{_key()}.tar.gz"
    with contextlib.suppress(FileNotFoundError):
        return cached.read_bytes()
    npm = shutil.which("npm")
    if npm is None:
        raise Unfit("the Node.js app is put together here with npm, which is missing: apt-get install npm")
    with tempfile.TemporaryDirectory(prefix="tutorial-app-") as name:
        folder = Path(name)
        for source in _SOURCES:
            shutil.copyfile(APP / source, folder / source)
        _npm_ci(npm, folder)
        data = _pack(folder)
    cached.parent.mkdir(parents=True, exist_ok=True)
    # Aside first, then renamed: another run never sees half a bundle.
    with tempfile.NamedTemporaryFile(dir=cached.parent, delete=False) as aside:
        aside.write(data)
    Path(aside.name).replace(cached)
    return data


def _key() -> str:
    return hashlib.sha256(b"\0".join((APP / source).read_bytes() for source in _SOURCES)).hexdigest()[:16]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "circuit-harness"


def _npm_ci(npm: str, folder: Path) -> None:
    command = [npm, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        subprocess.run(
            command,
            cwd=folder,
            check=True,
            timeout=_NPM_LIMIT_S,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except subprocess.CalledProcessError as error:
        said = error.stdout.decode("utf-8", "replace").strip()
        raise Unfit(f"npm ci of deploy/app ended with exit status {error.returncode}: {said}") from None
    except subprocess.TimeoutExpired:
        raise Unfit(
            f"npm ci of deploy/app did not end within {_NPM_LIMIT_S:g} s: is npm's registry reachable?"
        ) from None


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
