"""The images of hosts: Debian trees, and layers of packages above them, each built once and cached for the user."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Container, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from . import commands, preflight
from .errors import LocalHostsError

BUILD_LIMIT = 900.0
"""Seconds that building the image may take; mmdebstrap fetches and unpacks about 300 MB."""

LAYER_LIMIT = 300.0
"""Seconds that adding packages to an image may take."""

WAIT_LIMIT = BUILD_LIMIT + 60.0
"""Seconds to wait for another run that is building an image."""

_LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*")
_BUILDING = ".building"
_REMOVING = ".removing"
_LAYER = "+"
"""Between the name of a tree and what distinguishes its layers."""
_PAUSE = 0.2
_ADD_PACKAGES = Path(__file__).with_name("add_packages.sh")


@dataclass(frozen=True)
class Image:
    """The content of an image. Equal values share one tree in the cache.

    ``before`` and ``after`` are shell texts that run before and after the packages are installed, with the tree's
    folder as ``$1``. ``apt_options`` are lines of apt's configuration, for the build and in the tree. ``components``
    are the archive's; empty stands for its first. ``more`` are packages for a layer above the tree, which gets those
    that the tree does not have; nothing that they bring is started at boot.
    """

    suite: str
    packages: tuple[str, ...]
    before: str
    after: str
    apt_options: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    more: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The name of the tree's folder in the cache, made of the paths left out and of all fields except ``more``."""
        # Empty fields do not count, so that a new field does not change the keys of existing images.
        content = {name: value for name, value in asdict(self).items() if value != () and name != "more"}
        text = json.dumps([content, _LEFT_OUT], sort_keys=True)
        return f"{self.suite}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def cache_folder() -> Path:
    """Return the folder of the user's images."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "circuit-harness" / "images"


async def ensure(
    image: Image, folder: Path, network: Path, say: Callable[[str, float], None]
) -> tuple[Path, Path | None]:
    """Return the tree of ``image`` below the cache ``folder``, and the layer above it; build what is not there.

    Runs as root. Packages are fetched in the network namespace that the file ``network`` stands for. ``say`` is called
    before each step, with its name and the seconds it may take. This builds tree and layer under another name and
    renames them under a lock: nobody finds an incomplete one, and concurrent runs build each once.
    Raises LocalHostsError.
    """
    tree = folder / image.key
    if not tree.is_dir():
        preflight.look_before_building(image.suite)
        async with _alone(folder, say):
            if not tree.is_dir():
                say("making the image (once, about a minute)", BUILD_LIMIT)
                await _build(image, tree, network)
    more = [package for package in image.more if not _has(tree, package)]
    if not more:
        return tree, None
    layer = tree.with_name(f"{tree.name}{_LAYER}{hashlib.sha256(' '.join(more).encode()).hexdigest()[:16]}")
    if not layer.is_dir():
        async with _alone(folder, say):
            if not layer.is_dir():
                say(f"adding {', '.join(more)} to the image (once)", LAYER_LIMIT)
                await _add(more, tree, layer, network)
    return tree, layer


@contextlib.asynccontextmanager
async def _alone(folder: Path, say: Callable[[str, float], None]) -> AsyncIterator[None]:
    """Keep other runs from building during the block. Raises LocalHostsError when another run builds for too long."""
    with _lock_file(folder) as lock:
        if not _locked(lock, fcntl.LOCK_EX):
            say("waiting for another run to make an image", WAIT_LIMIT)
            deadline = time.monotonic() + WAIT_LIMIT
            while not _locked(lock, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise LocalHostsError(f"another run has locked {folder} for {WAIT_LIMIT:g} s; is it stuck?")
                await asyncio.sleep(_PAUSE)
        yield


def _has(tree: Path, package: str) -> bool:
    """Return whether a package is installed in a tree."""
    info = tree / "var/lib/dpkg/info"
    return (info / f"{package}.list").exists() or any(info.glob(f"{package}:*.list"))


async def _build(image: Image, tree: Path, network: Path) -> None:
    aside = tree.with_name(tree.name + _BUILDING)
    await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)
    # mmdebstrap and apt leave temporary files where they are killed; these go with the folder.
    temporary = aside / "tmp"
    try:
        temporary.mkdir(parents=True)
        # apt may verify signatures as a user of its own.
        temporary.chmod(0o1777)
        await commands.run(
            # The supervisor's own network namespace has no way out, so this fetches packages in the runner's.
            *("nsenter", f"--net={network}", "--", "env", f"TMPDIR={temporary}"),
            *("mmdebstrap", "--quiet", "--mode=root", "--variant=apt", f"--include={','.join(image.packages)}"),
            *(f"--aptopt={option}" for option in image.apt_options),
            *([f"--components={','.join(image.components)}"] if image.components else []),
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
            f"--essential-hook={image.before}",
            f"--customize-hook={image.after}",
            image.suite,
            str(aside / "tree"),
            timeout=BUILD_LIMIT,
        )
        (aside / "tree").rename(tree)
    except (LocalHostsError, OSError) as error:
        raise LocalHostsError(f"could not make the image {tree}: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


async def _add(packages: Sequence[str], tree: Path, layer: Path, network: Path) -> None:
    """Build a layer of packages above a tree."""
    aside = layer.with_name(layer.name + _BUILDING)
    await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)
    # Made on a tmpfs and then copied, because the cache may be on an overlay, which cannot be another overlay's upper
    # layer.
    place = layer.with_name(f"{layer.name}.mounted{_BUILDING}")
    place.mkdir(exist_ok=True)
    await commands.run("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(place))
    try:
        await commands.run(
            *("sh", str(_ADD_PACKAGES), str(place), str(tree), str(network), *packages), timeout=LAYER_LIMIT
        )
        await commands.run("cp", "-a", f"{place}/upper", str(aside), timeout=LAYER_LIMIT)
        aside.rename(layer)
    except LocalHostsError as error:
        raise LocalHostsError(f"could not add {', '.join(packages)} to the image {tree}: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        await commands.run("umount", "--recursive", "--lazy", str(place))
        place.rmdir()


@contextlib.contextmanager
def hold(tree: Path) -> Iterator[None]:
    """Keep ``remove`` in other processes from removing ``tree``. Raises LocalHostsError when one is removing it."""
    with _lock_file(tree) as lock:
        if not _locked(lock, fcntl.LOCK_SH):
            raise LocalHostsError(f"another run is removing the image {tree}; start again")
        yield


def remove(folder: Path, *, but: Container[str] = ()) -> tuple[list[str], list[str]]:
    """Remove the images below the cache ``folder``, and their layers, except those with a key in ``but``.

    Runs as root. Returns the names removed, and the names kept because a cluster or a build uses them.
    """
    removed: list[str] = []
    used: list[str] = []
    if not folder.is_dir():
        return removed, used
    with _lock_file(folder) as lock:
        builds_run = not _locked(lock, fcntl.LOCK_EX)
        for tree in sorted(folder.iterdir()):
            if tree.name.partition(_LAYER)[0] in but or not tree.is_dir():
                continue
            with _lock_file(tree) as own:
                if not _locked(own, fcntl.LOCK_EX) or (builds_run and tree.name.endswith(_BUILDING)):
                    used.append(tree.name)
                    continue
                # Renamed first, so that a cluster that starts now finds no image instead of half of one.
                going = tree if tree.name.endswith(_REMOVING) else tree.rename(tree.with_name(tree.name + _REMOVING))
                shutil.rmtree(going)
                removed.append(tree.name)
    return removed, used


@contextlib.contextmanager
def _lock_file(folder: Path) -> Iterator[int]:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise LocalHostsError(f"cannot open the image folder {folder}: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(descriptor: int, how: int) -> bool:
    """Take the lock if it is free; return whether it was."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
