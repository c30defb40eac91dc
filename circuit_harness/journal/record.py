"""The record of a deployment: a file on each of its hosts, written before the changes that it lists are made.

It is the only source about the changes on its host: the machine that ran the deployment may be gone. Any run that finds
it can undo everything with it, by :mod:`circuit_harness.journal.undo`. It contains no secret.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from circuit_harness.errors import CommandFailed, CommandTimedOut, LeaseLost, Lost, OutputTooLong
from circuit_harness.remote.address import Addresses
from circuit_harness.remote.command import Command, joined, root
from circuit_harness.remote.concurrently import Outcome, Run
from circuit_harness.remote.host import Host
from circuit_harness.remote.script import Scripts
from circuit_harness.remote.shell import ShellResult

FOLDER = "/var/lib/tutorial-deploy"
"""Only root can read and write it. It also holds the backups of changed files, in a folder named after the run. A run
locks it."""

PATH = f"{FOLDER}/record.json"
FORMAT = 2
RUNNING = "running"
KEPT = "kept"

MOST_BYTES = 1 << 20
"""The most bytes that the file may have. A deployment's has about 10 KB. Parsed, it can take thirty times as much."""

MOST_CHANGES = 100
LONGEST_S = 3600.0
"""The most changes that a record may list, and the most seconds that undoing them all may take: other hosts wait for
it. A deployment of packages, a server and an app has about six changes, with 20 minutes in total."""

NAME = re.compile(r"[a-z][a-z0-9-]{0,23}")
"""A deployment's name, which is a part of names of files and anchors."""

_RECORD = re.compile(rf"record-({NAME.pattern})\.json")
_NOTHING = 66
_ANOTHER_S = 67
_LIMIT_S = 20.0
_NOT_WRITTEN = "the-record-was-not-written"

_SCRIPTS = Scripts.beside(__file__)


class NotWritten(CommandFailed):
    """A record could not be written, as on a full disk. The change that it would list has not been begun."""


@dataclass(frozen=True)
class Change:
    """One change of a host, described by how to undo it; to undo it must be harmless where it was never made.

    ``command`` is a shell command for root that undoes the change within ``limit`` seconds. Where the change is a
    process at ``anchor``, below the host's own, with ``mark`` in its arguments, the command ends that process, before
    anything else is undone; a process that does not end, or has no command, is signalled through the circuit. ``proof``
    is a shell command that prints what is left of the change, and nothing where the host is as before. ``what`` is the
    undoing in words, for a line of a report; ``part`` is the part of the deployment that the change belongs to.
    """

    what: str
    part: str = ""
    command: str = ""
    proof: str = ""
    anchor: str = ""
    mark: str = ""
    limit: float = 30.0


@dataclass(frozen=True)
class Record:
    """A deployment's record on one host.

    ``run`` is the run's id, ``owner`` who started it and where, ``started`` when, as ISO 8601 in UTC. ``addresses`` are
    the host's. ``state`` is running, or kept: not taken down on purpose. ``services`` describes the services that run
    on this host, by part: addresses, versions, files. ``changes`` are in the order in which they were made. ``anchor``
    is the host's name in the circuit, below which the processes were started; "" in records of older versions.
    ``deployment`` is the deployment's name, "" where it has none; a host has at most one record for each name.
    """

    run: str
    owner: str
    started: str
    addresses: Addresses
    state: str = RUNNING
    services: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    anchor: str = ""
    deployment: str = ""

    def __str__(self) -> str:
        of = f"deployment {self.deployment}, " if self.deployment else ""
        return f"{of}run {self.run} of {self.owner}, started {self.started}"

    @property
    def parts(self) -> list[str]:
        """The parts that have changed the host."""
        return list(dict.fromkeys(change.part for change in self.changes if change.part))

    def explains(self, part: str) -> bool:
        """Return whether what exists of a part on the host may belong to this deployment."""
        return any(change.part == part for change in self.changes)

    def encode(self) -> bytes:
        """Return the file's content."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1).encode() + b"\n"


def decode(data: bytes) -> Record:
    """Parse the file's content.

    :raises ValueError: it is not a valid record.
    """
    try:
        document = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"not a record of format {FORMAT}")
    try:
        # Older versions ignore these fields, and do not write them.
        later = ("anchor", "deployment")
        known = {f.name: document[f.name] for f in fields(Record) if f.name in document or f.name not in later}
        known["addresses"] = Addresses(**document["addresses"])
        known["changes"] = tuple(Change(**change) for change in document["changes"])
        record = Record(**known)
    except (KeyError, TypeError) as error:
        raise ValueError(f"incomplete: {error}") from None
    _check(record)
    if not re.fullmatch(r"[0-9a-f]+", record.run) or record.state not in (RUNNING, KEPT):
        raise ValueError(f"run {record.run!r} in state {record.state!r}")
    return record


def _check(record: Record) -> None:
    """Refuse values of unexpected types, and changes that take too long to undo: an attacker may control the host, and
    the other hosts must be taken down nevertheless.

    :raises ValueError: the record has such a value or change.
    """
    texts = [record.run, record.owner, record.started, record.state, record.anchor, record.deployment]
    texts += asdict(record.addresses).values()
    for change in record.changes:
        texts += [change.what, change.part, change.command, change.proof, change.anchor, change.mark]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a value that must be a text is not")
    services = record.services.values() if isinstance(record.services, dict) else [None]
    if not all(isinstance(service, dict) for service in services):
        raise ValueError("services that are not valid")
    limits = [change.limit for change in record.changes]
    if not all(type(limit) in (int, float) and 0 < limit <= LONGEST_S for limit in limits):
        raise ValueError(f"a time limit that is not within {LONGEST_S:g} s")
    if len(limits) > MOST_CHANGES or sum(limits) > LONGEST_S:
        raise ValueError(f"{len(limits)} changes that are granted {sum(limits):g} s")


def path_of(deployment: str) -> str:
    """Return the path of the record of a deployment with this name, or of one without a name."""
    return f"{FOLDER}/record-{deployment}.json" if deployment else PATH


def listing_and_reading(host: Host) -> Run:
    """Return what prints the files of all records with a name on a host, as a line, and then the record without one;
    see :func:`split_listing`.
    """
    others = "for file in record-*.json; do printf '%s/' \"$file\"; done; echo"
    command = root(f"cd {FOLDER} 2>/dev/null || exit {_NOTHING}\n{others}\n{_reading('')}")
    return Run(host, command, _LIMIT_S, check=False, limit=MOST_BYTES)


def split_listing(outcome: Outcome) -> tuple[list[str], Outcome]:
    """Split what :func:`listing_and_reading` has printed: return the names of the deployments that have a name and a
    record on the host, and the outcome for :func:`understand`.
    """
    # The names are known even where the record without one does not end.
    printed = outcome.stdout if isinstance(outcome, ShellResult | CommandTimedOut | OutputTooLong) else b""
    listed, _, rest = printed.partition(b"\n")
    files = (_RECORD.fullmatch(file) for file in listed.decode("utf-8", "replace").split("/"))
    names = sorted(match[1] for match in files if match)
    return names, replace(outcome, stdout=rest) if isinstance(outcome, ShellResult) else outcome


def read(host: Host, deployment: str = "") -> Record | None:
    """Return the record of a deployment on a host, or None.

    :raises Lost: there is a record, but it is not valid.
    :raises CommandFailed: root's files cannot be read there.
    """
    return understand(host, reading(host, deployment).outcome(), deployment)


def reading(host: Host, deployment: str = "") -> Run:
    """Return what reads the record of a deployment on a host; see :func:`understand`."""
    return Run(host, root(_reading(deployment)), _LIMIT_S, check=False, limit=MOST_BYTES)


def _reading(deployment: str) -> str:
    path = path_of(deployment)
    return f"[ -e {path} ] || exit {_NOTHING}; cat {path}"


def understand(host: Host, result: Outcome, deployment: str = "") -> Record | None:
    """Return the record that was read, as :func:`read` does, or raise what it raises."""
    path = path_of(deployment)
    if isinstance(result, OutputTooLong):
        raise Lost(
            f"host {host.name}: {path} is longer than {MOST_BYTES} bytes, so that it is no record of this program: look"
            " at it there, and undo by hand what it lists"
        )
    if isinstance(result, Exception):
        raise result
    if result.exit_status == _NOTHING:
        return None
    if result.exit_status:
        raise CommandFailed(host.name, f"cat {path}", result.exit_status, result.stdout, result.stderr)
    try:
        record = decode(result.stdout)
        if record.deployment != deployment:
            raise ValueError(f"it is of deployment {record.deployment!r}")
        return record
    except ValueError as error:
        raise Lost(
            f"host {host.name}: {path} is no record that this program understands ({error}): another version wrote it,"
            " or it is damaged. Have that version take the deployment down, or undo it by hand and remove the file"
        ) from None


def write(host: Host, record: Record, then: Command | None = None, timeout: float = _LIMIT_S) -> ShellResult:
    """Write the record to a host, in place of an older one of the same run; readers get one of the two, complete.

    :param then: a command to run as root after the record is written, in the same shell; its result is returned.
    :param timeout: seconds for both.
    :raises LeaseLost: the host has another run's record, as it uses the host by now.
    :raises NotWritten: the record was not written, and the command not begun.
    :raises CommandFailed: the command failed.
    """
    data, path = record.encode(), path_of(record.deployment)
    text = _SCRIPTS.text("write_record", folder=FOLDER, path=path, run=record.run, size=len(data), another_s=_ANOTHER_S)
    save = f"(\n{text}\n) || {{ s=$?; echo {_NOT_WRITTEN} >&2; exit $s; }}"
    wanted = root("true") if then is None else then
    done = host.run(root(f"{save}\n{wanted.text}", joined(data, wanted.stdin)), timeout=timeout, check=False)
    if done.exit_status == 0:
        return done
    if done.stderr.decode("utf-8", "replace").strip().endswith(_NOT_WRITTEN):
        if done.exit_status == _ANOTHER_S:
            raise LeaseLost(_taken_over(host, record.run))
        raise NotWritten(host.name, f"write {path}", done.exit_status, done.stdout, done.stderr)
    raise CommandFailed(host.name, wanted.text, done.exit_status, done.stdout, done.stderr)


def remove(host: Host, record: Record, proofs: str = "", timeout: float = _LIMIT_S, limit: int = MOST_BYTES) -> str:
    """Remove a record, and its folder if that is empty then and no process has it locked.

    :param proofs: shell for root; the record stays where this prints something, which is returned.
    :param timeout: seconds for both.
    :param limit: the most bytes that the proofs may print.
    :raises LeaseLost: the host has another run's record.
    """
    run, path = record.run, path_of(record.deployment)
    # Another version may have written them, with any error.
    prove = f"""found=$(eval {shlex.quote(proofs)} 2>&1); [ -z "$found" ] || {{ printf '%s\\n' "$found"; exit 0; }}"""
    ours = f"""[ ! -e {path} ] || grep -q '"run": "{run}"' {path} || exit {_ANOTHER_S}"""
    clear = f"rm -f {path} {path}.new; flock -n {FOLDER} rmdir {FOLDER} 2>/dev/null || true"
    text = f"{prove}; {ours}; {clear}"
    result = host.run(root(text), timeout=timeout, check=False, limit=limit)
    if result.exit_status == _ANOTHER_S:
        raise LeaseLost(_taken_over(host, run))
    if result.exit_status:
        raise CommandFailed(host.name, text, result.exit_status, result.stdout, result.stderr)
    return result.stdout.decode("utf-8", "replace")


def _taken_over(host: Host, run: str) -> str:
    return f"host {host.name}: this run, {run}, has lost its lease, and another has taken the host over"
