"""What a deployment needs on its hosts: one table, and what of it a host lacks, found out before anything is changed.

Listed is what a minimal system may be without. Debian's smallest (mmdebstrap's and debootstrap's minbase) has all else
that commands on hosts use: awk, sed, grep, find, tar, gzip, base64, sha256sum, setpriv, flock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import deploy.mysql
import deploy.nodejs
from circuit_harness.errors import Unfit
from circuit_harness.remote import fact_lines
from circuit_harness.remote.command import Command
from circuit_harness.remote.host import Host
from circuit_harness.remote.script import Scripts

DATA = "/var/lib/mysql"
"""Where a server that Debian's package brings keeps its data."""


@dataclass(frozen=True)
class Need:
    """A thing that is needed: in words, any one of these programs, and Debian's package that brings it."""

    what: str
    programs: tuple[str, ...]
    package: str


_SERVER = Need("MySQL or MariaDB server", ("mariadbd", "mysqld"), "mariadb-server")
_CLIENT = Need("MySQL client (mariadb or mysql)", ("mariadb", "mysql"), "mariadb-client")
_NODE = Need("Node.js", deploy.nodejs.PROGRAMS, "nodejs")
# Asks the API whether it answers: on its own host, and from MySQL's, as a check does.
_CURL = Need("curl", ("curl",), "curl")
# Tells checks and reports what listens where.
_SOCKETS = Need("ss", ("ss",), "iproute2")
# Tells checks what runs as whom.
_PROCESSES = Need("ps", ("ps",), "procps")

NEEDS: Mapping[str, tuple[Need, ...]] = {
    deploy.mysql.PART: (_SERVER, _CLIENT, _CURL, _SOCKETS),
    deploy.nodejs.PART: (_NODE, _CURL, _SOCKETS, _PROCESSES),
}
"""What each part needs on its host, besides root's rights."""

_PROGRAMS = sorted({program for needs in NEEDS.values() for need in needs for program in need.programs})

_LOOK = "\n".join(
    [
        fact_lines.SAY,
        Scripts.beside(__file__).text(
            "look_at_programs", programs=" ".join(_PROGRAMS), nodes=" ".join(deploy.nodejs.PROGRAMS), data=DATA
        ),
    ]
)


@dataclass(frozen=True)
class Facts:
    """What :func:`look` found on a host.

    ``refusal`` says why the circuit's user, ``login``, cannot act as root; "" where it can. ``programs`` are those of
    the table, and apt-get, that are there; ``version`` is Node.js's. ``data`` is whether :data:`DATA` is there.
    """

    login: str
    refusal: str = ""
    programs: frozenset[str] = frozenset()
    version: str = ""
    data: bool = False


@dataclass(frozen=True)
class Missing:
    """A thing that a host lacks. ``package`` is the one that brings it, "" where --install does not bring it."""

    host: str
    lack: str
    remedy: str
    package: str = ""

    def __str__(self) -> str:
        return f"host {self.host} {self.lack}: {self.remedy}"


def look(host: Host) -> Facts:
    """Look what is there on a host. Changes nothing."""
    return parse_facts(host.run(Command(_LOOK), timeout=30, limit=fact_lines.MOST_BYTES).text)


def parse_facts(text: str) -> Facts:
    """Parse what the look printed."""
    values = fact_lines.parse(text)
    return Facts(
        login=fact_lines.first(values, "login"),
        refusal="" if "rights" in values else fact_lines.first(values, "refusal") or "sudo did not say why",
        programs=frozenset(values.get("program", [])),
        version=fact_lines.first(values, "version"),
        data="data" in values,
    )


def missing(facts: Facts, host: str, parts: Collection[str]) -> list[Missing]:
    """What a host of a deployment lacks for the parts that are to come onto it, which may be none."""
    found = []
    if facts.refusal:
        found.append(
            Missing(
                host,
                f"gives {facts.login} no root rights ({facts.refusal})",
                "run the circuit as root, or allow its user sudo without a password (NOPASSWD)",
            )
        )
    needs = dict.fromkeys(need for part, of_part in NEEDS.items() if part in parts for need in of_part)
    for need in needs:
        if not facts.programs.isdisjoint(need.programs):
            if need is _NODE and not deploy.nodejs.new_enough(facts.version):
                version = facts.version or "of an unknown version"
                lack = f"has Node.js {version}, and {deploy.nodejs.OLDEST_NODE} or newer is needed"
                found.append(Missing(host, lack, "replace it"))
            continue
        if need is _SERVER and facts.data:
            # Another server's start could make the data unreadable to the one that wrote them.
            lack = f"has no {need.what}, though {DATA}, which one has left"
            found.append(Missing(host, lack, "install that server, or move its data away"))
        elif "apt-get" in facts.programs:
            package = _client_of(facts) if need is _CLIENT else need.package
            found.append(Missing(host, f"has no {need.what}", f"apt-get install {package}", package))
        else:
            found.append(Missing(host, f"has no {need.what}, and no apt-get to install it with", "install it"))
    return found


def _client_of(facts: Facts) -> str:
    """The package of a client: of the server's own make, where there is a server."""
    return "mysql-client" if "mysqld" in facts.programs and "mariadbd" not in facts.programs else _CLIENT.package


def check_offer(host: str, package: str, version: str) -> None:
    """Refuse what a host's archives offer where that does not help.

    :raises Unfit: it is too old.
    """
    if package == _NODE.package and not deploy.nodejs.new_enough(version):
        raise Unfit(
            f"host {host}: its archives have Node.js {version}, and {deploy.nodejs.OLDEST_NODE} or newer is needed:"
            " install it from elsewhere"
        )


def refusal(found: Sequence[Missing], *, install: bool) -> str:
    """Why hosts that lack this cannot be deployed onto, as a message; "" where they can.

    :param install: whether what has a package is to be installed.
    """
    if all(install and lack.package for lack in found):
        return ""
    hint = "" if install or not all(lack.package for lack in found) else " (--install does that, and undoes it)"
    if len(found) == 1:
        return f"{found[0]}{hint}"
    return "\n".join([f"the hosts lack {len(found)} things that are needed{hint}:", *(f"  {lack}" for lack in found)])
