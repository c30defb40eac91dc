"""What services need on their hosts, and what of it a host lacks, found out before anything is changed.

Listed is what a minimal system may be without. Debian's smallest (mmdebstrap's and debootstrap's minbase) has all else
that commands on hosts use: awk, sed, grep, find, tar, gzip, base64, sha256sum, setpriv, flock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from circuit_harness.errors import Unfit
from circuit_harness.remote import fact_lines
from circuit_harness.remote.command import Command
from circuit_harness.remote.host import Host
from circuit_harness.remote.script import Scripts

_SCRIPTS = Scripts.beside(__file__)
_MAJOR = re.compile(r"v?(\d+)(?:\D|$)")


@dataclass(frozen=True)
class Data:
    """The folder that a server keeps its data in, and that goes with its package.

    ``own`` are the names in it that the package itself makes; ``others`` is what to call the rest, as in "databases".
    """

    folder: str
    own: tuple[str, ...]
    others: str


@dataclass(frozen=True)
class Need:
    """A thing that is needed: in words, any one of these programs, and Debian's package that brings it.

    ``beside`` are other packages that bring it, by a program on the host that they belong to; the first that fits wins.
    ``oldest`` is the oldest major version that will do, of those that ``PROGRAM --version`` prints in its first line.
    ``data`` of another server must not be there where the package is to be installed.
    """

    what: str
    programs: tuple[str, ...]
    package: str
    beside: tuple[tuple[str, str], ...] = ()
    oldest: int = 0
    data: Data | None = None

    def is_met_by(self, version: str) -> bool:
        """Whether this version, as the program or its package states it, will do."""
        major = _MAJOR.match(version)
        return self.oldest == 0 or (major is not None and int(major[1]) >= self.oldest)


CURL = Need("curl", ("curl",), "curl")
SS = Need("ss", ("ss",), "iproute2")
PS = Need("ps", ("ps",), "procps")


@dataclass(frozen=True)
class Facts:
    """What :func:`look` found on a host.

    ``refusal`` says why the circuit's user, ``login``, cannot act as root; "" where it can. ``programs`` are those that
    were looked for, and apt-get, that are there; ``versions`` what they print, of those whose version matters.
    ``data`` are the folders of servers' data that are there.
    """

    login: str
    refusal: str = ""
    programs: frozenset[str] = frozenset()
    versions: Mapping[str, str] = field(default_factory=dict)
    data: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Missing:
    """A thing that a host lacks. ``need`` is what would be installed for it by ``package``; None where nothing is."""

    host: str
    lack: str
    remedy: str
    package: str = ""
    need: Need | None = None

    def __str__(self) -> str:
        return f"host {self.host} {self.lack}: {self.remedy}"


def look(host: Host, needs: Iterable[Need]) -> Facts:
    """Look for what is needed on a host. Changes nothing."""
    wanted = list(needs)
    text = _SCRIPTS.text(
        "look_at_programs",
        programs=" ".join(sorted({program for need in wanted for program in need.programs})),
        versions=" ".join(dict.fromkeys(program for need in wanted if need.oldest for program in need.programs)),
        data=" ".join(sorted({need.data.folder for need in wanted if need.data is not None})),
    )
    command = Command(f"{fact_lines.SAY}\n{text}")
    return parse_facts(host.run(command, timeout=30, limit=fact_lines.MOST_BYTES).text)


def parse_facts(text: str) -> Facts:
    """Parse what the look-up printed."""
    values = fact_lines.parse(text)
    versions = (line.partition(" ") for line in values.get("version", []))
    return Facts(
        login=fact_lines.first(values, "login"),
        refusal="" if "rights" in values else fact_lines.first(values, "refusal") or "sudo did not say why",
        programs=frozenset(values.get("program", [])),
        versions={program: version for program, _, version in versions},
        data=frozenset(values.get("data", [])),
    )


def missing(facts: Facts, host: str, needs: Iterable[Need]) -> list[Missing]:
    """What a host lacks of what is needed there, which may be nothing but root's rights."""
    found = []
    if facts.refusal:
        found.append(
            Missing(
                host,
                f"gives {facts.login} no root rights ({facts.refusal})",
                "run the circuit as root, or allow its user sudo without a password (NOPASSWD)",
            )
        )
    for need in dict.fromkeys(needs):
        there = [program for program in need.programs if program in facts.programs]
        if there:
            version = facts.versions.get(there[0], "")
            if not need.is_met_by(version):
                shown = version or "of an unknown version"
                found.append(
                    Missing(host, f"has {need.what} {shown}, and {need.oldest} or newer is needed", "replace it")
                )
        elif need.data is not None and need.data.folder in facts.data:
            # Another server's start could make the data unreadable to the one that wrote them.
            lack = f"has no {need.what}, though {need.data.folder}, which one has left"
            found.append(Missing(host, lack, "install that server, or move its data away"))
        elif "apt-get" in facts.programs:
            package = next((package for program, package in need.beside if program in facts.programs), need.package)
            found.append(Missing(host, f"has no {need.what}", f"apt-get install {package}", package, need))
        else:
            found.append(Missing(host, f"has no {need.what}, and no apt-get to install it with", "install it"))
    return found


def check_offer(host: str, need: Need, version: str) -> None:
    """Refuse what a host's archives offer where that does not help.

    :raises Unfit: it is too old.
    """
    if not need.is_met_by(version):
        raise Unfit(
            f"host {host}: its archives have {need.what} {version}, and {need.oldest} or newer is needed:"
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
