"""The record of a deployment: a file on each of its hosts, written before what it tells is done.

It is the only truth about what was changed there: the machine that ran the deployment may be gone. Whoever finds it can
undo everything with it, by :mod:`circuit_harness.journal.undo`. It holds no secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from circuit import Hidden
from circuit_harness.errors import CommandFailed, Lost, OutputTooLong
from circuit_harness.remote.address import Addresses
from circuit_harness.remote.command import Command, root
from circuit_harness.remote.host import Host
from circuit_harness.remote.script import Scripts
from circuit_harness.remote.shell import MAX_OUTPUT_BYTES, ShellResult

FOLDER = "/var/lib/tutorial-deploy"
"""Root's alone. Backups of changed files stand in it, too, in a folder named after the run. A run locks it."""

PATH = f"{FOLDER}/record.json"
FORMAT = 2
RUNNING = "running"
KEPT = "kept"

MOST_BYTES = 1 << 20
"""How long the file may be. A deployment's is about 10 KB; read as values, it can take thirty times its length."""

MOST_CHANGES = 100
LONGEST_S = 3600.0
"""How many changes a record may tell, and how long undoing them all may take: other hosts wait for it. Packages, a
server and an app, which is all that there is, take about six, and are granted 20 minutes."""

_NOTHING = 66
_ANOTHER_S = 67
_LIMIT_S = 20.0
_NOT_WRITTEN = "the-record-was-not-written"

_SCRIPTS = Scripts.beside(__file__)


class NotWritten(CommandFailed):
    """A record could not be written, as on a full disk. What it was to tell has not been begun."""


@dataclass(frozen=True)
class Change:
    """One change of a host, told by how to undo it, which must be harmless where the change did not come about.

    A change is what ``command`` undoes, a shell command for root that is granted ``limit`` seconds. Where it is a
    process at ``anchor``, below the host's own, whose arguments hold ``mark``, the command ends that process, before
    anything else is undone; what does not obey, or has no command, is signalled through the circuit. ``proof`` is one
    that prints what is left of the change, nothing where the host is as it was. ``what`` says what undoing it does, as
    a line of a report; ``part`` names the part of the deployment that it belongs to.
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

    ``run`` names the run, ``owner`` who started it where, ``started`` when, as ISO 8601 in UTC. ``addresses`` are the
    host's. ``state`` is running, or kept: left standing on purpose. ``services`` tells what came to run on this host,
    by the part's name: addresses, versions, files. ``changes`` are in the order in which they were made. ``anchor`` is
    the host's name in the circuit, at which what was started stands; "" where an older version wrote the record.
    """

    run: str
    owner: str
    started: str
    addresses: Addresses
    state: str = RUNNING
    services: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    anchor: str = ""

    def __str__(self) -> str:
        return f"run {self.run} of {self.owner}, started {self.started}"

    def explains(self, part: str) -> bool:
        """Whether what there is of a part on the host may be this deployment's."""
        return any(change.part == part for change in self.changes)

    def encode(self) -> bytes:
        """The file's content."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1).encode() + b"\n"


def decode(data: bytes) -> Record:
    """Parse the file's content.

    :raises ValueError: it is none.
    """
    try:
        document = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"not a record of format {FORMAT}")
    try:
        # Older versions take no notice of the anchor, and write none.
        known = {f.name: document[f.name] for f in fields(Record) if f.name in document or f.name != "anchor"}
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
    """Refuse values of other types than are written, and changes whose undoing has no end: the host may have been taken
    over, and others are to be cleared all the same.

    :raises ValueError: there are some.
    """
    texts = [record.run, record.owner, record.started, record.state, record.anchor, *asdict(record.addresses).values()]
    for change in record.changes:
        texts += [change.what, change.part, change.command, change.proof, change.anchor, change.mark]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a number, or the like, where a text is to be")
    services = record.services.values() if isinstance(record.services, dict) else [None]
    if not all(isinstance(service, dict) for service in services):
        raise ValueError("services that are none")
    limits = [change.limit for change in record.changes]
    if not all(type(limit) in (int, float) and 0 < limit <= LONGEST_S for limit in limits):
        raise ValueError(f"a time limit that is not within {LONGEST_S:g} s")
    if len(limits) > MOST_CHANGES or sum(limits) > LONGEST_S:
        raise ValueError(f"{len(limits)} changes that are granted {sum(limits):g} s")


def read(host: Host) -> Record | None:
    """The record on a host, or None.

    :raises Lost: there is one, and it cannot be made sense of.
    :raises CommandFailed: root's files cannot be read there.
    """
    command = root(f"[ -e {PATH} ] || exit {_NOTHING}; cat {PATH}")
    try:
        result = host.run(command, timeout=_LIMIT_S, check=False, limit=MOST_BYTES)
    except OutputTooLong:
        raise Lost(
            f"host {host.name}: {PATH} is longer than {MOST_BYTES} bytes, so that it is no record of this program: look"
            " at it there, and undo what it tells by hand"
        ) from None
    if result.exit_status == _NOTHING:
        return None
    if result.exit_status:
        raise CommandFailed(host.name, f"cat {PATH}", result.exit_status, result.stdout, result.stderr)
    try:
        return decode(result.stdout)
    except ValueError as error:
        raise Lost(
            f"host {host.name}: {PATH} is no record that this program understands ({error}): another version wrote it,"
            " or it is damaged. Have that version take the deployment down, or undo it by hand and remove the file"
        ) from None


def write(
    host: Host, record: Record, then: Command | None = None, timeout: float = _LIMIT_S, limit: int = MAX_OUTPUT_BYTES
) -> ShellResult:
    """Put the record on a host, in place of an older one of the same run; readers get one or the other, whole.

    :param then: a command of root's that runs once the record is written, in the same shell; its result is returned.
    :param timeout: seconds for both.
    :raises Lost: another run's stands there: this run's lease has ended, and the other has taken the host over.
    :raises NotWritten: the record was not written, and the command not begun.
    :raises CommandFailed: the command failed.
    """
    data = record.encode()
    text = _SCRIPTS.text("write_record", folder=FOLDER, path=PATH, run=record.run, size=len(data), another_s=_ANOTHER_S)
    save = f"(\n{text}\n) || {{ s=$?; echo {_NOT_WRITTEN} >&2; exit $s; }}"
    wanted = root("true") if then is None else then
    stdin = Hidden(data + wanted.stdin.reveal()) if isinstance(wanted.stdin, Hidden) else data + wanted.stdin
    done = host.run(root(f"{save}\n{wanted.text}", stdin), timeout=timeout, check=False, limit=limit)
    if done.exit_status == 0:
        return done
    if done.stderr.decode("utf-8", "replace").strip().endswith(_NOT_WRITTEN):
        if done.exit_status == _ANOTHER_S:
            raise Lost(_taken_over(host, record.run))
        raise NotWritten(host.name, f"write {PATH}", done.exit_status, done.stdout, done.stderr)
    raise CommandFailed(host.name, wanted.text, done.exit_status, done.stdout, done.stderr)


def remove(host: Host, run: str) -> None:
    """Remove a run's record, and its folder where that is empty then, and nobody's lock: it goes with that.

    :raises Lost: another run's stands there.
    """
    ours = f"""[ ! -e {PATH} ] || grep -q '"run": "{run}"' {PATH} || exit {_ANOTHER_S}"""
    clear = f"{ours}; rm -f {PATH} {PATH}.new; flock -n {FOLDER} rmdir {FOLDER} 2>/dev/null || true"
    result = host.run(root(clear), timeout=_LIMIT_S, check=False)
    if result.exit_status == _ANOTHER_S:
        raise Lost(_taken_over(host, run))
    if result.exit_status:
        raise CommandFailed(host.name, clear, result.exit_status, result.stdout, result.stderr)


def _taken_over(host: Host, run: str) -> str:
    return f"host {host.name}: this run, {run}, has lost its lease, and another has taken the host over"
