"""The programs that services need on their hosts, and which of them a host lacks, before anything is changed.

A need is a program that a minimal system may lack. Debian's smallest systems (mmdebstrap's and debootstrap's minbase)
have all other programs that commands on hosts use: awk, sed, grep, find, tar, gzip, base64, sha256sum, setpriv, flock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from circuit_harness.errors import DeployError, Unfit
from circuit_harness.operations import disk
from circuit_harness.remedies import Remedy
from circuit_harness.remote import fact_lines
from circuit_harness.remote.command import Command
from circuit_harness.remote.host import Host
from circuit_harness.remote.script import Scripts

_SCRIPTS = Scripts.beside(__file__)
_DISK = "/var/lib"
"""The folder below which records, programs and databases are."""

_MAJOR = re.compile(r"v?(\d+)(?:\D|$)")


@dataclass(frozen=True)
class Data:
    """The folder of a server's data, which is removed with its package.

    ``own`` are the names in it that the package itself makes; ``others`` is a word for the rest, as in "databases".
    """

    folder: str
    own: tuple[str, ...]
    others: str


@dataclass(frozen=True)
class Need:
    """A need: its name in words, the programs of which any one meets it, and the Debian package that has it.

    ``beside`` are other packages that have it, by a program on the host that they belong to; the first match wins.
    ``oldest`` is the oldest major version that meets it, as ``PROGRAM --version`` prints it in its first line.
    Where ``data`` of another server exists, the package cannot be installed.
    """

    what: str
    programs: Sequence[str]
    package: str
    beside: tuple[tuple[str, str], ...] = ()
    oldest: int = 0
    data: Data | None = None

    def __post_init__(self) -> None:
        if isinstance(self.programs, str):
            raise DeployError(f"Need({self.what!r}, ...): programs is a string: give a list, as in [{self.programs!r}]")
        if not self.programs:
            raise DeployError(
                f"Need({self.what!r}, ...): programs is empty: name one that the package has, or that needs the package"
            )
        # A list is as good, but has no hash.
        object.__setattr__(self, "programs", tuple(self.programs))

    def is_met_by(self, version: str) -> bool:
        """Return whether a version meets the need, in the format of the program or of its package."""
        major = _MAJOR.match(version)
        return self.oldest == 0 or (major is not None and int(major[1]) >= self.oldest)


CURL = Need("curl", ("curl",), "curl")
SS = Need("ss", ("ss",), "iproute2")
PS = Need("ps", ("ps",), "procps")


@dataclass(frozen=True)
class Facts:
    """The result of :func:`look` on a host.

    ``refusal`` is why the circuit's user, ``login``, cannot act as root; "" where it can. ``programs`` are the needed
    programs, and apt-get, that the host has; ``versions`` the version that each prints, where that matters. ``data``
    are the folders of servers' data that exist. ``shortage`` is what the disk lacks that deployments are on; "" where
    there is room.
    """

    login: str
    refusal: str = ""
    programs: frozenset[str] = frozenset()
    versions: Mapping[str, str] = field(default_factory=dict)
    data: frozenset[str] = frozenset()
    shortage: str = ""


@dataclass(frozen=True)
class Missing:
    """Something that a host lacks. ``package`` would meet ``need``; None where there is nothing to install."""

    host: str
    lack: str
    remedy: str
    package: str = ""
    need: Need | None = None

    def __str__(self) -> str:
        return f"host {self.host} {self.lack}: {self.remedy}"


def look(host: Host, needs: Iterable[Need], *, rights: bool = False) -> Facts:
    """Look for the needed programs on a host. Changes nothing.

    :param rights: whether root is known to be able to act there.
    """
    wanted = list(needs)
    text = _SCRIPTS.text(
        "look_at_programs",
        rights="yes" if rights else "",
        programs=" ".join(sorted({program for need in wanted for program in need.programs})),
        versions=" ".join(dict.fromkeys(",".join(need.programs) for need in wanted if need.oldest)),
        data=" ".join(sorted({need.data.folder for need in wanted if need.data is not None})),
    )
    command = Command(f"{fact_lines.SAY}\n{disk.look(_DISK)}\n{text}")
    return parse_facts(host.run(command, timeout=30, limit=fact_lines.MOST_BYTES).text)


def parse_facts(text: str) -> Facts:
    """Parse the output of the look."""
    values = fact_lines.parse(text)
    versions = (line.partition(" ") for line in values.get("version", []))
    return Facts(
        login=fact_lines.first(values, "login"),
        refusal="" if "rights" in values else fact_lines.first(values, "refusal") or "sudo did not say why",
        programs=frozenset(values.get("program", [])),
        versions={program: version for program, _, version in versions},
        data=frozenset(values.get("data", [])),
        shortage=disk.shortage(fact_lines.first(values, "disk"), _DISK),
    )


def missing(facts: Facts, host: str, needs: Iterable[Need]) -> list[Missing]:
    """Return what a host lacks of its needs, and of root's rights."""
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
            # A newly installed server could change the data so that the one that wrote them cannot read them any more.
            lack = f"has no {need.what}, though {need.data.folder}, which one has left"
            found.append(Missing(host, lack, "install that server, or move its data away"))
        elif "apt-get" in facts.programs:
            package = next((package for program, package in need.beside if program in facts.programs), need.package)
            # Its package may be there, and the name of the program wrong.
            named = any(program in need.what.lower() for program in need.programs)
            lack = f"has no {need.what}" if named else f"has no {need.what} (no program {' or '.join(need.programs)})"
            found.append(Missing(host, lack, f"apt-get install {package}", package, need))
        else:
            found.append(Missing(host, f"has no {need.what}, and no apt-get to install it with", "install it"))
    return found


def check_offer(host: str, need: Need, version: str) -> None:
    """Refuse a version in a host's archives that does not meet a need.

    :raises Unfit: the version is too old.
    """
    if not need.is_met_by(version):
        raise Unfit(
            f"host {host}: its archives have {need.what} {version}, and {need.oldest} or newer is needed:"
            " install it from elsewhere"
        )


def refusal(found: Sequence[Missing], *, install: bool) -> str:
    """Return a message why hosts that lack this cannot be deployed onto; "" where they can.

    :param install: whether the run installs what has a package.
    """
    if all(install and lack.package for lack in found):
        return ""
    hint = "" if install or not all(lack.package for lack in found) else f" ({Remedy.INSTALL} does that, and undoes it)"
    if len(found) == 1:
        return f"{found[0]}{hint}"
    return "\n".join([f"the hosts lack {len(found)} things that are needed{hint}:", *(f"  {lack}" for lack in found)])
