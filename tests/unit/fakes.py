"""Hosts that are none: they answer commands from data, keep a record and elements, and fail where they are told to.

They prove order and decisions. What a command does to a host is proven on hosts.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from circuit import CallFailed, Cmd, ElementExists, Exit, Hidden, Stat, TimedOut
from circuit_harness.errors import CommandFailed
from circuit_harness.journal.lease import ANCHOR as LEASE
from circuit_harness.journal.record import PATH as RECORD
from circuit_harness.remote.command import Command
from circuit_harness.remote.host import COMMAND_LIMIT_S, Element
from circuit_harness.remote.shell import MAX_OUTPUT_BYTES, ShellResult
from circuit_harness.steps import Steps

Answer = str | Callable[[Command], str]

BEFORE = "before"
BETWEEN = "between"
AFTER = "after"
"""The moments at which an action can be cut: before it has reached the host; once it is recorded there, and before it
is made; once it is made, and before the host has said so."""

DATA = Path(__file__).parent / "data"
_ETC = DATA / "etc"
_RECORDED = "echo the-record-was-not-written >&2; exit $s; }\n"
"""What a command begins with ends so, where it writes a record first."""


def mysql(name: str) -> str:
    """What a host says of its MySQL server, by the file of that name; option files go with it."""
    lines = [(DATA / f"mysql/{name}.txt").read_text().rstrip("\n")]
    for number, file in enumerate(sorted(path for path in _ETC.rglob("*") if path.is_file()), 1):
        lines.append(f"file /{file.relative_to(DATA)}")
        lines += [f"line {number} {line}" for line in file.read_text().splitlines()]
    return "\n".join(lines)


class FakePlace:
    """Where a fake element stands."""

    def __init__(self, path: str) -> None:
        self.path = path

    def release(self) -> None:
        """Nothing is held."""


class FakeProcess:
    """A process that runs until it is ended; a lease's says what a real one would say of its lock."""

    kind = "proc"

    def __init__(self, host: FakeHost, anchor: str, cmd: Cmd) -> None:
        self.anchor = FakePlace(f"/{host.name}/{anchor}")
        self.stdin = self.stdout = self
        self.obeys = True
        self.discarded = False
        self._host = host
        self._name = anchor
        self._cmd = cmd
        self._over = threading.Event()
        self._said = f"{'locked':<32000}".encode() if anchor == LEASE else b""

    def peek(self) -> Stat:
        """How it is right now."""
        over = self._over.is_set()
        return Stat(self._cmd, "exited" if over else "running", Exit(status=0) if over else None)

    def signal(self, name: str) -> None:
        """End it, if it obeys."""
        if self._over.is_set():
            raise CallFailed("it has ended")
        self._host.log.append(f"signal {name} to {self._name}")
        if self.obeys or name == "KILL":
            self.end()

    def wait(self, timeout: float | None = None) -> Stat:
        """Wait for its end; whoever has a limit waits for a moment, so that tests are quick."""
        endless = timeout is None or math.isinf(timeout)
        if not self._over.wait(None if endless else 0.05):
            raise TimedOut(f"wait for {self.anchor.path}")
        return self.peek()

    def end(self) -> None:
        """Let it be over, and its element gone."""
        self._over.set()
        if self._host.there.get(self._name) is self:
            del self._host.there[self._name]

    def discard_streams(self) -> None:
        """A lease ends with its input."""
        self.discarded = True
        if self._name == LEASE:
            self.end()

    def write(self, data: bytes) -> int:
        """Its input is taken."""
        return len(data)

    def read(self, timeout: float | None = None) -> bytes:
        """What it has to say, once."""
        said, self._said = self._said, b""
        return said

    def scrub(self) -> None:
        """Take its element away."""
        self._host.there.pop(self._name, None)

    def release(self) -> None:
        """Nothing is held."""

    def same(self, other: Any) -> bool:
        """Whether both are one."""
        return other is self

    def describe(self) -> dict[str, object]:
        """The process, as plain values."""
        return {"kind": self.kind}


@dataclass
class FakeHost:
    """A host by its ``name`` and ``address``: prepared for MySQL and Node.js, unless ``answers`` say otherwise.

    ``answers`` are by a part of the command's text, the first that fits wins. ``log`` has the commands as they came, by
    the words of :data:`WORDS` and of ``words``, with elements that were started and signals; a command that records a
    change first is two entries. ``cut`` is asked at each moment of each entry, and may raise: see :data:`BEFORE`.
    ``answers_at_start`` is whether its MySQL server answers while it is started.
    """

    name: str
    ip: str
    machine: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    cut: Callable[[str, str], None] = lambda entry, moment: None
    record: bytes = field(default=b"", repr=False)
    log: list[str] = field(default_factory=list, repr=False)
    there: dict[str, FakeProcess] = field(default_factory=dict, repr=False)
    commands: list[Command] = field(default_factory=list, repr=False)
    swept: int = 0
    answers_at_start: bool = True

    @property
    def address(self) -> str:
        """Its circuit address."""
        return f"circuit://{self.ip}:11022/1/Q0000000000000001"

    def run(
        self,
        command: Command,
        timeout: float = COMMAND_LIMIT_S,
        *,
        check: bool = True,
        limit: int = MAX_OUTPUT_BYTES,
    ) -> ShellResult:
        """Answer a command: where it records a change first, take the record from its input, then the change."""
        self.commands.append(command)
        saving, recorded, rest = command.text.partition(_RECORDED)
        change = replace(command, text=rest) if recorded else command
        # Records that tell no change of their own are a command, too.
        entry = "write the record" if recorded and rest == "true" else self._words(change.text)
        try:
            self.cut(entry, BEFORE)
            if recorded:
                change = self._write(saving, change)
            if rest != "true":
                self.log.append(entry)
            self.cut(entry, BETWEEN)
            text, status = self._answer(change)
            if "@@bind_address" in change.text:
                # Asked first, in the same command.
                text = f"{self.ip}\t3306\n{text}"
            if "systemctl start" in change.text and not self.answers_at_start:
                text = ""
        except CommandFailed as failed:
            # A shell's status is all that tells of it.
            if check:
                raise
            return ShellResult(failed.stdout, failed.stderr, failed.exit_status)
        self.cut(entry, AFTER)
        if check and status:
            raise CommandFailed(self.name, command.text, status, text.encode(), b"")
        return ShellResult(text.encode(), b"", status)

    def sweep(self, steps: Steps) -> None:
        """No command leaves anything here."""
        self.swept += 1

    def element(self, anchor: str) -> Element | None:
        """What stands at an anchor."""
        return self.there.get(anchor)

    def start(self, anchor: str, cmd: Cmd) -> FakeProcess:
        """Start a process."""
        if anchor in self.there:
            raise ElementExists(f"/{self.name}/{anchor}")
        entry = f"start {anchor}"
        self.cut(entry, BEFORE)
        self.log.append(entry)
        process = self.there[anchor] = FakeProcess(self, anchor, cmd)
        self.cut(entry, AFTER)
        return process

    def undone(self) -> list[str]:
        """What was undone, in its order, by the words of the record that told how."""
        return [entry.removeprefix("undo ") for entry in self.log if entry.startswith("undo ")]

    def journal(self) -> list[str]:
        """What the record on the host says is to be undone, in the order in which it came."""
        return [change["what"] for change in json.loads(self.record)["changes"]] if self.record else []

    def is_as_it_was(self) -> bool:
        """Whether nothing is left: neither a record nor an element."""
        return not self.record and not self.there

    def _write(self, saving: str, change: Command) -> Command:
        """Take as many bytes of the input for the record as the command says; return what has the rest."""
        size = int(re.findall(r"^size=(\d+)$", saving, re.MULTILINE)[0])
        stdin = change.stdin.reveal() if isinstance(change.stdin, Hidden) else change.stdin
        self.record, rest = stdin[:size], stdin[size:]
        json.loads(self.record)
        self.log.append("write the record")
        return replace(change, stdin=Hidden(rest) if isinstance(change.stdin, Hidden) else rest)

    def _words(self, text: str) -> str:
        """What a command is, in words."""
        undo = {change["command"]: change["what"] for change in self._changes() if change["command"]}
        for command, what in undo.items():
            if command in text:
                return f"undo {what}"
        return next((words for part, words in {**self.words, **WORDS}.items() if part in text), text)

    def _changes(self) -> list[Mapping[str, str]]:
        # Those of all records so far: the last may have gone already.
        if self.record:
            self._seen = {change["command"]: change for change in json.loads(self.record)["changes"]}
        return list(getattr(self, "_seen", {}).values())

    def _answer(self, command: Command) -> tuple[str, int]:
        text = command.text
        for part, answer in self.answers.items():
            if part in text:
                return (answer if isinstance(answer, str) else answer(command)), 0
        if f"rm -f {RECORD}" in text:
            self.record = b""
        elif f"cat {RECORD}" in text:
            # Behind a line for the other records, where these are asked for, too.
            others = "record-*.json/\n" if "record-*.json" in text else ""
            return (others + self.record.decode(), 0) if self.record else (others, 66)
        else:
            return self._known(text), 0
        return "", 0

    @staticmethod
    def _targets(text: str) -> list[str]:
        return shlex.split(text.partition("targets=")[2].partition("\n")[0])[0].split() if "targets=" in text else []

    def _known(self, text: str) -> str:
        """What a prepared host says; the first part of the command that fits wins."""
        programs = "".join(f"program {name}\n" for name in ("mariadbd", "mariadb", "curl", "ss", "node", "ps"))
        options = f"bind-address {self.ip}\nport 3306\nskip-networking FALSE\nskip-slave-start TRUE".splitlines()
        known = {
            "boot_id": self.machine or self.name,
            "fib_trie": f"own {self.ip}\nown 127.0.0.1\n",
            "targets=": "".join(f"{target} {self.ip}\n" for target in self._targets(text)),
            "say login": f"login root\nrights yes\nversion node v18.19.0\n{programs}",
            "say client": mysql("stopped"),
            'say uid "$nobody"': "uid 60578\nprogram /usr/bin/node\n",
            "\noptions ": "".join(f"option {line}\n" for line in options),
            "schema_name": (DATA / "mysql/answering.txt").read_text(),
            "%{http_code}": "200",
        }
        return next((answer for part, answer in known.items() if part in text), "")


WORDS = {
    "boot_id": "identify the machine",
    f"rm -f {RECORD}": "remove the record",
    f"cat {RECORD}": "read the record",
    "say login": "look at programs and rights",
    "say client": "look at MySQL",
    "fib_trie": "look at addresses",
    "targets=": "look at routes",
    'say uid "$nobody"': "look at the program",
    "mkdir -p -m 700": "edit option files",
    "make_file": "edit option files again",
    "systemctl start": "start MySQL",
    "systemctl restart": "restart MySQL",
    "schema_name": "look at databases and accounts",
    "load()": "make accounts, database and tables",
    "; mkdir /var/lib/tutorial-": "unpack the app",
    "tar -xpf - --numeric-owner": "write the late files",
    "--download-only install": "fetch packages",
    "forbid_starts\n": "install packages",
    "%{http_code}": "ask the API",
    "echo": "prove",
}
"""What commands are called in a log, by a part of their texts; the first that fits wins."""


@dataclass
class FakeCircuit:
    """A circuit of such hosts."""

    members: Sequence[FakeHost]
    address: str = "circuit://10.0.0.1:11022/1/Q0000000000000001"

    def hosts(self) -> Mapping[str, FakeHost]:
        """All of them are live."""
        return {host.name: host for host in self.members}


def a_pair() -> Iterator[FakeHost]:
    """Two prepared hosts."""
    for number in itertools.islice(itertools.count(1), 2):
        yield FakeHost(f"X{number:016x}", f"10.0.0.{number}")
