"""A program as a service: the run writes its files, starts it in a sandbox as an element, and waits for it."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

from circuit import CircuitError, Hidden
from circuit_harness.errors import Conflict, DeployError, NotReady, Unfit, tail
from circuit_harness.operations import ports, sandbox
from circuit_harness.operations.needs import CURL, PS, SS, Need
from circuit_harness.operations.ports import Listening, parse_listening, unreachable
from circuit_harness.operations.sandbox import SandboxedProcess
from circuit_harness.remedies import Remedy
from circuit_harness.remote import fact_lines
from circuit_harness.remote.command import Command, joined, root
from circuit_harness.remote.host import Element as AtAnchor
from circuit_harness.remote.host import Host, as_process
from circuit_harness.remote.script import Scripts
from circuit_harness.secret import Secret
from circuit_harness.services import parameters
from circuit_harness.services.program.files import pack
from circuit_harness.services.program.place import Files, Place, Variables, Words, folder_of
from circuit_harness.services.program.readiness import await_ready, listening, listens
from circuit_harness.services.program.running import RunningProgram, command_of
from circuit_harness.services.protocol import (
    Action,
    Context,
    Element,
    End,
    Local,
    Probe,
    Results,
    Site,
    Stage,
    Undo,
)

_ASIDE = ".log-aside"
"""A file in the program's folder: it contains the path of the folder, beside the log, that holds the earlier log."""

_SCRIPTS = Scripts.beside(__file__)


@dataclass(frozen=True)
class Facts:
    """The facts of a host: ``uid`` is a user id that nobody has there, ``program`` the path of the program, and
    ``there`` the element at the anchor, if there is one.
    """

    uid: int
    program: str
    listening: tuple[Listening, ...]
    there: AtAnchor | None


@dataclass(frozen=True)
class Program:
    """A program from a Debian package, or one that the host has.

    ``command`` are its words; the host finds the first one in its PATH. If a function returns them, the first word is
    one of the names in the first of ``programs``, and means the first of these that the host has. The run writes
    ``files`` into the program's folder, by relative names; only the program can read a file that contains a secret.
    ``env`` are its variables. All of these, and ``ready``, can be functions of the :class:`Place` where it will run.

    ``ready`` is a path that must answer 200 over HTTP, or the words of a command that must succeed as the program's
    user; without it, it must listen for clients on its port. ``log`` is a file, by default one in its own folder. With
    ``public``, clients reach it at the host's public address, otherwise at the private one. ``limits`` are prlimit's.

    With ``waits``, the run starts it when the services that it uses are ready. Otherwise all start at the same time,
    and it must be ready after those: its parameters can use only their addresses, ports and passwords, except
    ``late_files``, which the run writes when those are ready.

    :raises DeployError: a parameter is not valid.
    """

    name: str
    command: Words
    port: int
    programs: Sequence[Need] = ()
    ready: str | Words = ""
    files: Files = field(default_factory=dict)
    late_files: Files = field(default_factory=dict)
    env: Variables = field(default_factory=dict)
    uses: Sequence[str] = ()
    place: str = ""
    title: str = ""
    public: bool = False
    log: str = ""
    limits: Mapping[str, int] = field(default_factory=lambda: dict(sandbox.LIMITS))
    waits: bool = True

    noun: ClassVar[str] = "program"
    """The word for it in steps."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", self.title or self.name)
        object.__setattr__(self, "uses", (self.uses,) if isinstance(self.uses, str) else tuple(self.uses))
        parameters.check(self.name, self.port)
        if not self.command:
            raise DeployError(f"service {self.name}: its command is empty")
        parameters.check_words(self.name, "command", self.command)
        if isinstance(self.ready, str) and self.ready and not self.ready.startswith("/"):
            raise DeployError(
                f"service {self.name}: ready is {self.ready!r}: begin a path with /, or give a list of words"
            )
        if not isinstance(self.ready, str):
            parameters.check_words(self.name, "ready", self.ready)
        for what, value in (("files", self.files), ("late_files", self.late_files), ("env", self.env)):
            parameters.check_mapping(self.name, what, value)
        if isinstance(self.programs, Need) or not all(isinstance(need, Need) for need in self.programs):
            raise DeployError(f"service {self.name}: programs is not a list of Need(...)")

    @property
    def needs(self) -> tuple[Need, ...]:
        """The programs that its host must have."""
        over_http = isinstance(self.ready, str) and self.ready
        return (*self.programs, *([CURL] if over_http else []), SS, PS)

    @property
    def speaks(self) -> str:
        """The protocol of its clients."""
        return "HTTP" if self.ready and isinstance(self.ready, str) else "TCP"

    @property
    def announced(self) -> str:
        """The text that the run prints in front of its address."""
        return f"{self.title} on {'public' if self.public else 'private'} address"

    @property
    def here(self) -> tuple[Local, ...]:
        """The things that the run makes on this machine first."""
        return ()

    def look(self, host: Host, deployment: str = "") -> Facts:
        """Read the facts of a host; change nothing.

        :raises Unfit: the host's answer contains no valid user id.
        """
        programs = (
            f'[ -z "$(command -v {name})" ] || say program "$(command -v {name})"'
            for name in map(shlex.quote, self._program)
        )
        user = f'{sandbox.FIND_NOBODY}\nfind_nobody; say uid "$nobody"'
        look = "\n".join([fact_lines.SAY, user, *programs, ports.LIST, "exit 0"])
        values = fact_lines.parse(host.run(Command(look), timeout=30, limit=fact_lines.MOST_BYTES).text)
        uid = fact_lines.first(values, "uid")
        if not re.fullmatch(r"[0-9]{1,9}", uid):
            raise Unfit(f"host {host.name}: the answer contains no free user id for the app: {ascii(uid)[:40]}")
        return Facts(
            uid=int(uid),
            program=fact_lines.first(values, "program"),
            listening=tuple(parse_listening(entry) for entry in values.get("listening", [])),
            there=host.element(anchor_of(self.name, deployment)),
        )

    def remarks(self, facts: Facts, host: str) -> tuple[str, ...]:
        """Return lines for the user about the facts."""
        return ()

    def refuse(self, facts: Facts, site: Site) -> Iterator[DeployError]:
        """Return the reasons against a deployment on this host."""
        if not facts.program and not any(set(need.programs) & set(self._program) for need in self.programs):
            yield Unfit(
                f"host {site.host} has no program {' or '.join(self._program)}: install it, or add its package to"
                f" programs of service {self.name}"
            )
        taken = [str(socket) for socket in facts.listening if socket.port == self.port]
        if site.recorded is None and facts.there is not None:
            if not (site.replace and as_process(facts.there)):
                yield Conflict(
                    f"{self.name} app already running: {facts.there.anchor.path} has a {facts.there.kind} element;"
                    f" {Remedy.REPLACE} ends it and takes its place"
                )
            return
        # The recorded service, which the run takes down first, may have another port: this one is then somebody else's.
        own = site.recorded is not None and site.recorded.get("port", self.port) == self.port
        if taken and not own:
            yield Conflict(
                f"host {site.host}: port {self.port} is in use ({', '.join(taken)}) by another program: free it,"
                " or give the service another port"
            )

    def shares(self, described: Mapping[str, Any]) -> str:
        """Return "": only its port can be in use by another service, and the engine compares ports."""
        return ""

    def address(self, site: Site) -> str:
        """Return the address at which clients reach it."""
        return site.addresses.public if self.public else site.addresses.private

    def plan(self, facts: Facts, site: Site) -> list[Stage]:
        """Return the stages: make its folder, start it, and wait until it is ready, after the services that it uses."""
        run = _Plan(self, facts, site)
        ready = Probe("ready", f"{self.title}: wait until {self._wanted}", run.await_ready)
        first = (
            [Stage(lambda results: [*run.send(results), *run.start(results)])]
            if run.at_once
            else [Stage(run.send), Stage(run.start, after=self.uses)]
        )
        return [
            *first,
            Stage(run.write_late, after=self.uses),
            Stage(probes=[ready]),
        ]

    def result(self, host: Host, facts: Facts, site: Site, results: Results) -> RunningProgram:
        """Return the running program."""
        return _Plan(self, facts, site).running(host)

    def find(self, host: Host, described: Mapping[str, Any]) -> RunningProgram:
        """Return the program that :meth:`RunningProgram.describe` described."""
        return RunningProgram.at(host, self.name, described)

    # different for each kind of program

    def archive(self, results: Results) -> bytes:
        """Return the files that the run sends first, as a gzipped tar; b"" if there are none."""
        return b""

    def sending(self, results: Results) -> str:
        """Return the words for this step."""
        return "make its folder"

    def words(self, facts: Facts, place: Place) -> list[str]:
        """Return the words of its command, the program's path first."""
        words = self.command(place) if callable(self.command) else self.command
        parameters.check_words(self.name, "the result of command", words)
        first, *rest = words
        # The sandbox finds a program that is not in programs, such as sh, in its own PATH.
        return [facts.program if first in self._program else first, *rest]

    @property
    def _program(self) -> Sequence[str]:
        """The names of the program; a host uses the first of them that it has."""
        if callable(self.command):
            return [program for need in self.programs[:1] for program in need.programs]
        return self.command[:1]

    @property
    def _wanted(self) -> str:
        if isinstance(self.ready, str):
            return f"{self.ready} answers over HTTP" if self.ready else f"port {self.port} is listened on"
        return "its command reports that it is ready"


@dataclass(frozen=True)
class _Made:
    """The values of a program's parameters at its ``place``, which knows the secrets that they use.

    ``ready`` is a whole URL where the program is asked over HTTP.
    """

    place: Place
    process: SandboxedProcess
    files: Mapping[str, str | Secret]
    ready: str | Sequence[str]


class _Plan:
    """The stages of one program on one host, from the facts."""

    def __init__(self, declared: Program, facts: Facts, site: Site) -> None:
        self._declared, self._facts, self._site = declared, facts, site
        self._folder = folder_of(declared.name, site.run)
        self._anchor = anchor_of(declared.name, site.deployment)
        self._log = _log_of(declared.log, site.deployment) or f"{self._folder}/run/log"

    @property
    def at_once(self) -> bool:
        """Whether it is started as soon as its files are there, which it then gets by one command."""
        return not (self._declared.waits or self.replaces)

    def send(self, results: Results) -> list[Action]:
        """Make the program's folder, with the files that do not depend on the services that it uses."""
        archive = self._declared.archive(results)
        aside = "" if self._log.startswith(self._folder) else f"{_set_aside(self._log, self._folder)}; "
        unpack = f"tar -xzf - --no-same-owner -C {self._folder}" if archive else "true"
        stdin: bytes | Hidden = archive
        if self.at_once:
            store = self._store(self._made())
            if archive:
                # The rest of the input is the files.
                unpack = f"head -c {len(archive)} | {{ {unpack} && cat >/dev/null; }}"
            unpack, stdin = f"{unpack}; {store.text}", joined(archive, store.stdin)
        text = f"set -e; umask 022; mkdir {self._folder}; {aside}{unpack}"
        remove = _SCRIPTS.text("remove_app", log=self._log, folder=self._folder, kept=_ASIDE, uid=self._facts.uid)
        return [
            Action(
                f"{self._declared.title}: {self._declared.sending(results)}",
                root(text, stdin),
                Undo(
                    f"{self._declared.title}: remove the {self._declared.noun} and its log",
                    remove,
                    proof=f"[ ! -e {self._folder} ] || echo {self._folder} is still there",
                    limit=30,
                ),
                details=[f"in the folder {self._folder}"],
            )
        ]

    @property
    def replaces(self) -> bool:
        """Whether it takes the place of a program that no run has recorded: the undo does not start that again."""
        return as_process(self._facts.there) is not None and self._site.recorded is None

    def start(self, results: Results) -> list[Action]:
        """End the existing process, write the program's files, and start the program."""
        title, anchor = self._declared.title, self._anchor
        made = self._made()
        process = made.process
        there = as_process(self._facts.there)
        actions = []
        if self.replaces and there is not None:
            actions.append(Action(f"{title}: end the existing {self._declared.noun}", End(anchor, there)))
        prepare = None if self.at_once else self._store(made)
        listening = Listening(self._addresses()[1], self._declared.port)
        actions.append(
            Action(
                f"{title}: start it at /{self._site.host}/{anchor}",
                Element(anchor, command_of(process), process.folder, prepare),
                Undo(
                    f"{title}: end the {self._declared.noun}",
                    process.end(),
                    proof=ports.still_open(self._declared.port),
                    limit=30,
                ),
                details=[f"as a user of its own, listening on {listening}, with its log in {process.log}"],
            )
        )
        return actions

    def _store(self, made: _Made) -> Command:
        """Return the command that writes the program's files, and makes the folder that its user can write to."""
        process = made.process
        archive = pack(made.files, made.place.secret_values(), process.uid, process.folder)
        store = f"tar -xpf - --numeric-owner -C {process.folder}" if archive else "true"
        return root(f"set -e; {process.prepare()}; {store}", archive)

    def write_late(self, results: Results) -> list[Action]:
        """Write the files that depend on the services that it uses."""
        made = self._made(late=True)
        archive = pack(made.files, {}, made.process.uid, made.process.folder)
        if not archive:
            return []
        store = root(f"tar -xpf - --numeric-owner -C {made.process.folder}", archive)
        return [Action(f"{self._declared.title}: write {', '.join(made.files)}", store)]

    def await_ready(self, context: Context) -> None:
        """Wait until the program is ready.

        :raises NotReady: it died, or was not ready in time; the message contains the end of its log.
        """
        made, title = self._made(), self._declared.title
        try:
            await_ready(context.host, title, self._anchor, made.process, self._ask(made), context.steps)
        except NotReady as error:
            # The answer to ready may not show that it listens for itself alone.
            elsewhere = self._elsewhere(context.host) if self._declared.ready else ""
            cause = f"{title} on host {context.host.name}: {elsewhere}\n" if elsewhere else ""
            raise NotReady(f"{cause}{error}") from None

    def _elsewhere(self, host: Host) -> str:
        """Return that the program listens where clients do not reach it; "" where that is not known."""
        with suppress(DeployError, CircuitError):
            port = self._declared.port
            sockets = listening(host, port)
            if any(socket.port == port for socket in sockets):
                return unreachable(sockets, self._addresses()[1], port)
        return ""

    def running(self, host: Host) -> RunningProgram:
        """Return the running program."""
        made = self._made()
        address, listen = self._addresses()
        port, secrets = self._declared.port, made.place.secrets
        version = self._site.versions.get(posixpath.basename(self._facts.program), "")
        ready = made.ready if isinstance(made.ready, str) else tuple(made.ready)
        return RunningProgram(
            host, self._declared.name, self._anchor, address, listen, port, made.process, version, secrets, ready
        )

    def _addresses(self) -> tuple[str, str]:
        """Return the address at which clients reach it, and the one that it listens on."""
        address = self._declared.address(self._site)
        return address, listen_address(address) if self._declared.public else address

    def _made(self, *, late: bool = False) -> _Made:
        """Return the values of its parameters. Call all that are functions: each may use the file of a secret.

        :param late: whether the files are those that are written late.
        """
        declared = self._declared
        place = Place(self._site, declared.name, declared.port)
        words = declared.words(self._facts, place)
        variables = declared.env(place) if callable(declared.env) else declared.env
        environment = tuple(f"{name}={value}" for name, value in variables.items())
        process = SandboxedProcess(
            tuple(words), self._facts.uid, self._folder, self._log, environment, dict(declared.limits)
        )
        given = declared.late_files if late else declared.files
        files = given(place) if callable(given) else given
        ready = declared.ready(place) if callable(declared.ready) else declared.ready
        if isinstance(ready, str) and ready:
            ready = f"http://{Listening(self._site.addresses.private, declared.port)}{ready}"
        self._check(words, variables, files)
        return _Made(place, process, files, ready)

    def _check(self, words: Sequence[object], variables: Mapping[str, object], files: Mapping[str, object]) -> None:
        """Check the values that functions have returned.

        :raises DeployError: a value is not valid.
        """
        service = f"service {self._declared.name}"
        parameters.check_mapping(self._declared.name, "the result of env", variables)
        parameters.check_mapping(self._declared.name, "the result of files", files)
        given = {**{f"word {number} of its command": word for number, word in enumerate(words)}, **variables}
        for what, value in given.items():
            if isinstance(value, Secret):
                raise DeployError(f"{service}: {what} is a secret, which others could see: use place.secret's path")
            if not isinstance(value, str):
                raise DeployError(f"{service}: {what} is {value!r}, which is not a string")
        for name in files:
            first = name.partition("/")[0]
            if name != posixpath.normpath(name) or first in ("", ".", "..", "run", "start.log"):
                raise DeployError(f"{service}: {name!r} is not a valid name of a file in its folder")

    def _ask(self, made: _Made) -> Callable[[Host], str]:
        """Return a function that returns "" if the program is ready, otherwise what it has seen instead."""
        ready, port = made.ready, self._declared.port
        if isinstance(ready, str) and ready:
            url = ready
            curl = ("curl", "-sS", "--noproxy", "*", "--max-time", "5", "-o", "/dev/null", "-w", "%{http_code}", url)
            request = Command(f"{ports.awaited(port)}\n{shlex.join(curl)}")

            def over_http(host: Host) -> str:
                result = host.run(request, timeout=10, check=False)
                said = result.stderr.decode("utf-8", "replace").strip()
                return "" if result.text == "200" else f"{url}: {result.text} {said}".rstrip()

            return over_http
        if ready:
            command = made.process.as_user(shlex.join(ready))
            check = root(f"{ports.awaited(port)}\ncd {made.process.folder} && {command}")

            def by_command(host: Host) -> str:
                result = host.run(check, timeout=10, check=False)
                if result.exit_status == 0:
                    return ""
                said = tail(result.stderr or result.stdout)
                return f"{shlex.join(ready)}: exit status {result.exit_status}{said and f', {said}'}"

            return by_command
        return listens(self._addresses()[1], port)


def listen_address(public: str) -> str:
    """Return the wildcard address for a program with this public address: IPv6's only if that is an IPv6 address.

    On ``::`` Node.js serves IPv4, too. A host without IPv6 does not have ``::``.
    """
    return "::" if ":" in public else "0.0.0.0"


def anchor_of(name: str, deployment: str) -> str:
    """Return the anchor of a program, below its host's."""
    return f"{deployment}-{name}" if deployment else name


def _log_of(log: str, deployment: str) -> str:
    """Return a program's declared log file, whose name also contains the deployment's; "" if none was declared."""
    stem, extension = posixpath.splitext(log)
    return f"{stem}-{deployment}{extension}" if log and deployment else log


def _set_aside(log: str, folder: str) -> str:
    """Shell, for root and `set -e`: set aside the file in the log's place, to be restored."""
    name = f"{posixpath.dirname(log)}/.{posixpath.basename(log)}.XXXXXXXXXX"
    return _SCRIPTS.text("set_log_aside", log=log, folder=folder, name=name, kept=_ASIDE)
