"""Check the requirements of hosts on this machine; each missing one has its own message."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from pathlib import Path

from . import cgroups, commands
from .errors import LocalHostsError
from .privilege import as_root, require_root

TOOLS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
    "ip": "iproute2",
    "systemd-nspawn": "systemd-container",
}
"""Tools that are needed to make hosts, and the Debian package of each."""

IMAGE_TOOLS = {"mmdebstrap": "mmdebstrap"}
"""Tools that are needed to make an image, and the Debian package of each."""

NAMESPACES = ("--mount", "--propagation", "private", "--pid", "--mount-proc", "--net", "--fork")
"""Options of unshare(1): the namespaces that a cluster lives in."""

UBUNTU_SUITES = ("noble",)
"""Suites of Ubuntu, whose packages are signed with other keys than Debian's."""

UBUNTU_KEYS = Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg")
"""The keys that verify the packages of Ubuntu."""

DEBIAN_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""The keys that verify the packages of Debian."""

TRIAL_LIMIT = 10.0
"""Seconds that the test of one requirement may take."""


def search_path() -> str:
    """Return the command search path with the folders of the administrator's tools, which a user's path may lack."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def require_tools(tools: dict[str, str]) -> None:
    """Raise LocalHostsError, naming tool and package, when one of ``tools`` is not installed."""
    for tool, package in tools.items():
        if shutil.which(tool, path=search_path()) is None:
            raise LocalHostsError(
                f"hosts on this machine need {tool}, which is not installed: apt-get install {package}"
            )


def look_before_building(suite: str) -> None:
    """Check the requirements of making an image of ``suite``. Raises LocalHostsError at the first missing one."""
    require_tools(IMAGE_TOOLS)
    if not DEBIAN_KEYS.exists():
        raise LocalHostsError(f"the image needs Debian's keys in {DEBIAN_KEYS}: apt-get install {DEBIAN_KEYS.stem}")
    if suite in UBUNTU_SUITES and not UBUNTU_KEYS.exists():
        raise LocalHostsError(f"the image needs Ubuntu's keys in {UBUNTU_KEYS}: apt-get install ubuntu-keyring")


def look_from_outside() -> None:
    """Check the requirements that show before a supervisor runs. Raises LocalHostsError at the first missing one."""
    require_tools(TOOLS)
    require_root()
    try:
        tried = subprocess.run(
            as_root(["unshare", *NAMESPACES, "true"]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TRIAL_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LocalHostsError(f"a test of unshare(1) was not done after {TRIAL_LIMIT:g} s") from None
    if tried.returncode != 0:
        printed = " ".join(tried.stderr.decode(errors="replace").split())
        raise LocalHostsError(
            f"new namespaces are not permitted here (unshare printed: {printed}): hosts need CAP_SYS_ADMIN and "
            "CAP_NET_ADMIN, which an unprivileged container does not have; run on the machine itself"
        )


async def look_from_inside() -> bool:
    """Check the requirements that only a supervisor can test, in its own namespaces. Raises LocalHostsError.

    Returns whether hosts can have user namespaces.
    """
    _try_cgroups()
    await _try_overlay()
    return await _has_user_namespaces()


def _try_cgroups() -> None:
    trial = f"{cgroups.PREFIX}trial-{uuid.uuid4().hex}"
    roots = cgroups.roots()
    if not roots:
        raise LocalHostsError("no cgroup file system is mounted here: hosts boot systemd, which needs one")
    try:
        for root in roots:
            (root / trial).mkdir()
            (root / trial).rmdir()
    except OSError as error:
        raise LocalHostsError(
            f"cgroups are not writable here ({error}): hosts boot systemd, which needs to write them; if this is a "
            "container, run it with --privileged"
        ) from error


async def _has_user_namespaces() -> bool:
    try:
        await commands.run("unshare", "--user", "true")
    except LocalHostsError:
        return False
    return True


async def _try_overlay() -> None:
    # On a tmpfs, like the hosts' own layers. It hides /run from this supervisor only, and the trial's folders vanish
    # with it.
    await commands.run("mount", "-t", "tmpfs", "tmpfs", "/run")
    try:
        for part in ("lower", "upper", "work", "root"):
            Path("/run", part).mkdir()
        layers = "lowerdir=/run/lower,upperdir=/run/upper,workdir=/run/work"
        await commands.run("mount", "-t", "overlay", "overlay", "-o", layers, "/run/root")
        await commands.run("umount", "/run/root")
    except LocalHostsError as error:
        raise LocalHostsError(
            f"the kernel cannot mount an overlay here, and hosts need overlayfs: try modprobe overlay; {error}"
        ) from error
    finally:
        await commands.run("umount", "/run")
