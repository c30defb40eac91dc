"""Images of Debian and Ubuntu releases, with a database server, Node.js and curl, or bare.

Every image has the user ubuntu, who may use sudo without a password.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from .image import Image

ImageInit = Literal["systemd", "sysv"]
"""The init program of an image."""

# Every machine in use has these, but since Debian 13 no other package requires them.
_ONCE_ESSENTIAL = ("mount", "passwd")


@dataclass(frozen=True)
class _Database:
    """A database server: its package, its service, and the shell text that keeps its tables small.

    ``after`` and ``tools`` are shell text for the installed server, and the packages of the programs that it runs.
    """

    package: str
    service: str
    before: str
    after: str = ""
    tools: tuple[str, ...] = ()


# A change of these texts changes the image's key: every user of the image builds it again.
_MARIADB = _Database(
    "mariadb-server",
    "mariadb",
    """\
set -eu
# In place before the package is configured, so that the tables it makes come with small redo logs: every host that
# starts the server copies them into its own layer.
mkdir -p "$1/etc/mysql/mariadb.conf.d"
printf '[mariadbd]\\ninnodb_log_file_size = 4M\\n' > "$1/etc/mysql/mariadb.conf.d/60-small-redo-log.cnf"
""",
)
# Before 11.4, MariaDB has TLS only with a certificate. Debian's 50-server.cnf has these three lines as comments.
_MARIADB_WITH_CERTIFICATE = replace(
    _MARIADB,
    after=f"""\
chroot "$1" sh -s /etc/mysql <<'END'
{Path(__file__).with_name("make_certificate.sh").read_text("utf-8")}END
cat > "$1/etc/mysql/mariadb.conf.d/60-tls.cnf" <<'END'
[mariadbd]
ssl-ca = /etc/mysql/cacert.pem
ssl-cert = /etc/mysql/server-cert.pem
ssl-key = /etc/mysql/server-key.pem
END
""",
    tools=("openssl",),
)
_MYSQL = _Database(
    "mysql-server",
    "mysql",
    """\
set -eu
# As for MariaDB.
mkdir -p "$1/etc/mysql/mysql.conf.d"
printf '[mysqld]\\ninnodb_redo_log_capacity = 8M\\n' > "$1/etc/mysql/mysql.conf.d/60-small-redo-log.cnf"
""",
)

_INIT_PACKAGES: dict[ImageInit, tuple[str, ...]] = {
    "systemd": ("dbus", "systemd-sysv"),
    "sysv": ("initscripts", "sysvinit-core"),
}

_USER_AND_NAMES = """\
chroot "$1" useradd --create-home --shell /bin/bash --user-group --uid 1000 ubuntu
printf 'ubuntu ALL=(ALL:ALL) NOPASSWD: ALL\\n' > "$1/etc/sudoers.d/ubuntu"
chmod 0440 "$1/etc/sudoers.d/ubuntu"
# The building machine's own, which mmdebstrap has copied in.
rm -f "$1/etc/resolv.conf"
: > "$1/etc/resolv.conf"
echo localhost > "$1/etc/hostname"
"""

_NO_TERMINALS = """\
# Hosts have no terminals to log in at.
sed -i '/getty/d' "$1/etc/inittab"
"""


def debian12(*, bare: bool = False, init: ImageInit = "systemd") -> Image:
    """Debian 12, bookworm: MariaDB 10.11, with a certificate of the image's own, and Node.js 18.

    ``bare``: with neither, and without curl.
    """
    return _image("bookworm", _MARIADB_WITH_CERTIFICATE, bare, init)


def debian13(*, bare: bool = False, init: ImageInit = "systemd") -> Image:
    """Debian 13, trixie: MariaDB 11.8 and Node.js 20. ``bare``: with neither, and without curl."""
    return _image("trixie", _MARIADB, bare, init, *_ONCE_ESSENTIAL)


def unstable(*, bare: bool = False, init: ImageInit = "systemd") -> Image:
    """Debian's unstable suite, sid: MySQL 9, whose package has no init script, and Node.js 24 or later.

    ``bare``: with neither, and without curl.
    """
    made = _image("sid", _MYSQL, bare, init, *_ONCE_ESSENTIAL)
    # The archive's lists are valid for a week; for tests, a mirror with older lists is as good.
    return replace(made, apt_options=('Acquire::Check-Valid-Until "false"',))


def ubuntu2404(*, bare: bool = False, init: ImageInit = "systemd") -> Image:
    """Ubuntu 24.04, noble: MySQL 8.0 and Node.js 18. ``bare``: with neither, and without curl."""
    return replace(_image("noble", _MYSQL, bare, init), components=("main", "universe"))


SUITES: dict[str, Callable[..., Image]] = {
    "bookworm": debian12,
    "trixie": debian13,
    "sid": unstable,
    "noble": ubuntu2404,
}
"""The functions above, by the name of the suite."""


def current_keys() -> frozenset[str]:
    """Return the keys of all images that the functions above describe."""
    inits: tuple[ImageInit, ...] = ("systemd", "sysv")
    kinds = itertools.product(SUITES.values(), (False, True), inits)
    return frozenset(make(bare=bare, init=init).key for make, bare, init in kinds)


def _image(suite: str, database: _Database, bare: bool, init: ImageInit, *more: str) -> Image:
    # The circuit server needs python3 alone; with the other package, it encrypts far faster.
    tools = ("iproute2", "procps", "python3", "python3-pycryptodome", "sudo", *_INIT_PACKAGES[init], *more)
    after = _USER_AND_NAMES if init == "systemd" else _USER_AND_NAMES + _NO_TERMINALS
    if bare:
        return Image(suite, tuple(sorted(tools)), "true", f"set -eu\n{after}")
    packages = tuple(sorted((*tools, "curl", "nodejs", database.package, *database.tools)))
    service = database.service
    if init == "systemd":
        off = f'chroot "$1" systemctl disable {service}.service'
    else:
        off = f'[ ! -e "$1/etc/init.d/{service}" ] || chroot "$1" update-rc.d {service} disable'
    return Image(suite, packages, database.before, f"set -eu\n{off}\n{database.after}{after}")
