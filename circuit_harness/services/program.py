"""A program as a service: the run writes its files, starts it in a sandbox as an element, and waits for it."""

from __future__ import annotations

import io
import posixpath
import re
import shlex
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, TypeAlias
from urllib.parse import urlsplit

from circuit import CircuitError, Cmd, Hidden
from circuit_harness.errors import Conflict, DeployError, NotReady, Unfit, tail
from circuit_harness.operations import disk, ports, sandbox
from circuit_harness.operations.needs import CURL, PS, SS, Need
from circuit_harness.operations.ports import Listening, parse_listening, unreachable
from circuit_harness.operations.sandbox import SandboxedProcess
from circuit_harness.remedies import Remedy
from circuit_harness.remote import fact_lines
from circuit_harness.remote.address import Addresses
from circuit_harness.remote.command import Command, root
from circuit_harness.remote.files import read_secret
from circuit_harness.remote.host import Element as AtAnchor
from circuit_harness.remote.host import Host, as_process
from circuit_harness.remote.processes import looked_at
from circuit_harness.remote.script import Scripts
from circuit_harness.remote.waiting import wait_until
from circuit_harness.secret import Secret
from circuit_harness.services import parameters
from circuit_harness.services.protocol import (
    Action,
    Context,
    Element,
    End,
    Local,
    Peer,
    Probe,
    Results,
    Site,
    Stage,
    Undo,
)
from circuit_harness.services.signalled import Signalled
from circuit_harness.steps import Steps

FOLDERS = "/var/lib"
"""The parent of all programs' folders: only root can make a file in it, so nobody else can take such a folder's place.
"""

READY_LIMIT_S = 30.0

_PROBE_LIMIT_S = 15.0

_SECRET = "-password"
"""The end of the name of a file with a password; in front of it is the name of the password's service."""

_ASIDE = ".log-aside"
"""A file in the program's folder: it contains the path of the folder, beside the log, that holds the earlier log."""

_SCRIPTS = Scripts.beside(__file__)


class Place:
    """The place where a program will run: the argument of those parameters of a service that are functions.

    ``addresses`` are the host's, ``port`` is the program's own. ``folder`` belongs to root and contains the program's
    files; the program can write to ``work``.
    """

    def __init__(self, site: Site, name: str, port: int) -> None:
        self.addresses: Addresses = site.addresses
        self.port = port
        self.folder = folder_of(name, site.run)
        self.work = f"{self.folder}/run"
        self._site = site
        self._name = name
        self._secrets: dict[str, str] = {}

    def __getitem__(self, name: str) -> Peer:
        """Return a service that this one uses: its address and port, and when it is ready, all else."""
        return self._site[name]

    @property
    def address(self) -> str:
        """The host's private address."""
        return self.addresses.private

    @property
    def password(self) -> Secret:
        """The password of this service, generated for this run."""
        return self._site.secret

    def secret(self, name: str) -> str:
        """Return the path of a file for the program alone, with the password of this service or of one that it uses."""
        return self._secrets.setdefault(name, f"{self.folder}/{name}{_SECRET}")

    @property
    def secrets(self) -> dict[str, str]:
        """The paths that :meth:`secret` has returned, by the service's name."""
        return dict(self._secrets)

    def secret_values(self) -> dict[str, Secret]:
        """Return the passwords for these files, by path."""
        return {path: self._site.secret_of(name) for name, path in self._secrets.items()}


Words: TypeAlias = "Sequence[str] | Callable[[Place], Sequence[str]]"
Variables: TypeAlias = "Mapping[str, str] | Callable[[Place], Mapping[str, str]]"
Files: TypeAlias = "Mapping[str, str | Secret] | Callable[[Place], Mapping[str, str | Secret]]"


@dataclass(frozen=True)
class Facts:
    """The facts of a host: ``uid`` is a user id that nobody has there, ``program`` the path of the program, ``version``
    the version that it prints, and ``there`` the element at the anchor, if there is one.
    """

    uid: int
    program: str
    version: str
    listening: tuple[Listening, ...]
    there: AtAnchor | None


@dataclass(frozen=True)
class RunningProgram(Signalled):
    """A deployed program. Clients reach it at ``address``; ``listen`` is where it listens, as far as that is known.

    ``process`` is the element of ``anchor``. ``secrets`` are the files with passwords on its host, by the names of the
    passwords' services. ``ready`` is the URL that must answer 200, or the words of the command that must succeed; ""
    where something must listen for clients on its port.
    """

    host: Host
    name: str
    anchor: str
    address: str
    listen: str
    port: int
    process: SandboxedProcess
    version: str
    secrets: Mapping[str, str]
    ready: str | tuple[str, ...] = ""

    @property
    def url(self) -> str:
        """Its URL over HTTP, without a slash at the end."""
        return f"http://{Listening(self.address, self.port)}"

    @property
    def folder(self) -> str:
        """Its folder on the host, which belongs to root and contains its files."""
        return self.process.folder

    @property
    def work(self) -> str:
        """The folder on the host that it can write to."""
        return f"{self.process.folder}/run"

    @property
    def attempt(self) -> str:
        """A command that asks over HTTP whether it is ready; "" where it does not speak HTTP."""
        return f"curl -i {self.url}{urlsplit(self.ready).path}" if self.ready and isinstance(self.ready, str) else ""

    def secret(self, name: str) -> Secret:
        """Read the program's file with the password of this service or of one that it uses.

        :raises LookupError: the program has no such file.
        :raises DeployError, CircuitError: the file cannot be read.
        """
        return read_secret(self.host, self.secrets[name])

    def describe(self) -> dict[str, Any]:
        """Return all but the host, as plain values that :meth:`at` takes."""
        names = ("anchor", "address", "listen", "port", "version", "ready")
        plain = {name: getattr(self, name) for name in names}
        ready = self.ready if isinstance(self.ready, str) else list(self.ready)
        return {**plain, **asdict(self.process), "secrets": dict(self.secrets), "ready": ready}

    @classmethod
    def at(cls, host: Host, name: str, described: Mapping[str, Any]) -> RunningProgram:
        """Return the program on a host that :meth:`describe`, of this version or of an older one, described.

        Older versions recorded the files of secrets only as words of the command.
        """
        known = (of_process.name for of_process in fields(SandboxedProcess))
        values: dict[str, Any] = {each: described[each] for each in known if each in described}
        values["command"] = tuple(values["command"])
        values["environment"] = tuple(values.get("environment", ()))
        process = SandboxedProcess(**values)
        address, listen, port, version = (described[word] for word in ("address", "listen", "port", "version"))
        of_command = {
            word.removeprefix(f"{process.folder}/").removesuffix(_SECRET): word
            for word in process.command
            if word.startswith(f"{process.folder}/") and word.endswith(_SECRET)
        }
        secrets = dict(described.get("secrets", of_command))
        anchor = described.get("anchor", name)
        ready = described.get("ready", "")
        asked = ready if isinstance(ready, str) else tuple(ready)
        return cls(host, name, anchor, address, listen, port, process, version, secrets, asked)

    def logs(self) -> tuple[str, str]:
        """Return the name of its log, and shell for root that prints the log's last lines."""
        return self.process.log, log_command(self.process)

    def down(self) -> str:
        """Return why the program does not work: it has ended, its disk is full, or it is not ready; "" where it works.

        One command on its host; another call for how it ended, where its element is still there.
        """
        command = root("\n".join([fact_lines.SAY, self._probe(), "exit 0"]))
        values = fact_lines.parse(self.host.run(command, timeout=_PROBE_LIMIT_S).text)
        runs, unready = "runs" in values, fact_lines.first(values, "unready")
        if not self.ready:
            unready = unreachable(map(parse_listening, values.get("listening", ())), self.listen, self.port)
        shortage = disk.shortage(fact_lines.first(values, "disk"), self.process.folder)
        wrong = unready if runs else f"its process at /{self.host.name}/{self.anchor} has ended"
        if not wrong and not shortage:
            return ""
        lines = ["; ".join(filter(None, (shortage, wrong)))]
        if not runs and (ended := "the kernel killed it: out of memory" if "oom" in values else self._exit()):
            lines.append(f"it ended: {ended}")
        if wrote := fact_lines.first(values, "wrote"):
            lines.append(f"wrote to its log last at {wrote}")
        lines += [f"? {disk.show_use(self.process.folder)}"] if shortage else []
        return "\n".join([*lines, f"$ tail -n 50 {shlex.quote(self.process.log)}"])

    def _probe(self) -> str:
        """Shell, for root, behind ``say``: print facts about the program."""
        process = self.process
        look = _SCRIPTS.text("probe_program", uid=process.uid, pid_file=process.pid_file, log=process.log)
        return "\n".join([disk.look(process.folder), look, self._ask_again()])

    def _ask_again(self) -> str:
        """Shell, for root, behind ``say``: print why the program is not ready, as it was asked when it started."""
        if isinstance(self.ready, str) and self.ready:
            curl = ["curl", "-sS", "--noproxy", "*", "--max-time", "5", "-w", r"\n%{http_code}", self.ready]
            # The status is behind the body, whose end is enough.
            ask = f"answer=$({shlex.join(curl)} 2>&1 | tail -c 400)"
            complaint = f'say unready {shlex.quote(self.ready)}", asked on its host: $answer"'
            return f'{ask}\n[ "$(printf %s "$answer" | tail -n 1)" = 200 ] || {complaint}'
        if self.ready:
            words = shlex.join(self.ready)
            ask = f"answer=$(cd {self.process.folder} && {self.process.as_user(words)} 2>&1)"
            return f'{ask} || say unready {shlex.quote(words)}": $(printf %s "$answer" | tail -n 1)"'
        return ports.LIST

    def _exit(self) -> str:
        """Return how the element's process ended; "" where the element has gone with it."""
        with looked_at(self.host, self.anchor) as element:
            process = as_process(element)
            ended = None if process is None else process.peek().exit
            return "" if ended is None else str(ended)

    def stop(self) -> None:
        """End it by TERM, and by KILL after 5 s. Its element disappears with it.

        :raises CommandFailed: it does not end.
        """
        self.host.run(root(self.process.end()))

    def start(self, steps: Steps) -> None:
        """Start it again, with a new log, and return when it listens on its port. Do nothing if it runs.

        :raises NotReady: it died, or does not listen.
        """
        with looked_at(self.host, self.anchor) as running:
            if running is not None:
                return
        self.host.run(root(self.process.put_log_away()))
        self.host.start(self.anchor, command_of(self.process)).discard_streams()
        await_ready(self.host, self.name, self.anchor, self.process, _listens(self.listen, self.port), steps)

    def signal(self, name: str) -> str:
        """Shell, for root: send a signal, named without SIG, to all its processes; fail if it has none."""
        return self.process.signal(name)


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
        look = "\n".join([fact_lines.SAY, sandbox.FIND_NOBODY, self._look_for_program(), ports.LIST, "exit 0"])
        values = fact_lines.parse(host.run(Command(look), timeout=30, limit=fact_lines.MOST_BYTES).text)
        uid = fact_lines.first(values, "uid")
        if not re.fullmatch(r"[0-9]{1,9}", uid):
            raise Unfit(f"host {host.name}: the answer contains no free user id for the app: {ascii(uid)[:40]}")
        return Facts(
            uid=int(uid),
            program=fact_lines.first(values, "program"),
            version=fact_lines.first(values, "version"),
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
        return [
            Stage(run.send),
            Stage(run.start, after=self.uses if self.waits or run.replaces else ()),
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

    def _look_for_program(self) -> str:
        looks = (
            f'[ -z "$(command -v {name})" ] || say program "$(command -v {name})"'
            for name in map(shlex.quote, self._program)
        )
        return "\n".join(['find_nobody; say uid "$nobody"', *looks])

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

    def send(self, results: Results) -> list[Action]:
        """Make the program's folder, with the files that do not depend on the services that it uses."""
        archive = self._declared.archive(results)
        aside = "" if self._log.startswith(self._folder) else f"{_set_aside(self._log, self._folder)}; "
        unpack = f"tar -xzf - --no-same-owner -C {self._folder}" if archive else "true"
        text = f"set -e; umask 022; mkdir {self._folder}; {aside}{unpack}"
        remove = _SCRIPTS.text("remove_app", log=self._log, folder=self._folder, kept=_ASIDE, uid=self._facts.uid)
        return [
            Action(
                f"{self._declared.title}: {self._declared.sending(results)}",
                root(text, archive),
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
        archive = _archive(made.files, made.place.secret_values(), process.uid, process.folder)
        store = f"tar -xpf - --numeric-owner -C {process.folder}" if archive else "true"
        prepare = root(f"set -e; {process.prepare()}; {store}", archive or b"")
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

    def write_late(self, results: Results) -> list[Action]:
        """Write the files that depend on the services that it uses."""
        made = self._made(late=True)
        archive = _archive(made.files, {}, made.process.uid, made.process.folder)
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
            raise NotReady(f"{error}\n  {elsewhere}" if elsewhere else str(error)) from None

    def _elsewhere(self, host: Host) -> str:
        """Return that the program listens where clients do not reach it; "" where that is not known."""
        with suppress(DeployError, CircuitError):
            port = self._declared.port
            listening = _listening(host, port)
            if any(socket.port == port for socket in listening):
                return unreachable(listening, self._addresses()[1], port)
        return ""

    def running(self, host: Host) -> RunningProgram:
        """Return the running program."""
        made = self._made()
        address, listen = self._addresses()
        port, version, secrets = self._declared.port, self._facts.version, made.place.secrets
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
        return _listens(self._addresses()[1], port)


def command_of(process: SandboxedProcess) -> Cmd:
    """Return the command of a program's element."""
    return Cmd("/bin/sh", ["-c", process.launch()], dir=process.folder, scrub=True)


def await_ready(
    host: Host, title: str, anchor: str, process: SandboxedProcess, ask: Callable[[Host], str], steps: Steps
) -> None:
    """Wait until a started program is ready.

    :param ask: returns "" if it is ready, otherwise what it has seen instead.
    :raises NotReady: it died, or was not ready in time; the message contains the end of its log.
    """
    with looked_at(host, anchor) as element:
        running = as_process(element)
        if running is None:
            raise NotReady(f"{title} on host {host.name} ended at once\n  {process.log}: {_log(host, process)}")

        def probe() -> str:
            stat = running.peek()
            if stat.exit is not None:
                raise NotReady(f"{title} on host {host.name} died: {stat.exit}")
            return ask(host)

        try:
            wait_until(probe, f"{title} on host {host.name} to be ready", READY_LIMIT_S, steps)
        except NotReady as error:
            raise NotReady(f"{error}\n  {process.log}: {_log(host, process)}") from None


def _listens(listen: str, port: int) -> Callable[[Host], str]:
    return lambda host: unreachable(_listening(host, port), listen, port)


def _listening(host: Host, port: int) -> list[Listening]:
    """Return the host's listening sockets, once one has the port, or after a second."""
    command = Command(f"{ports.awaited(port)}\n{ports.LIST}")
    values = fact_lines.parse(host.run(command, timeout=10, limit=fact_lines.MOST_BYTES).text)
    return [parse_listening(socket) for socket in values.get("listening", ())]


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


def folder_of(name: str, run: str) -> str:
    """Return the folder of a run's program. It is also the mark of the program's element."""
    return f"{FOLDERS}/tutorial-{name}-{run}"


def log_command(process: SandboxedProcess) -> str:
    """Shell, for root: print the last lines of a program's log, and the errors of its start."""
    return f"tail -q -n 20 {process.start_log} 2>&1; {process.as_user(f'tail -q -n 20 {process.log}')} 2>&1"


def _log(host: Host, process: SandboxedProcess) -> str:
    try:
        return tail(host.run(root(log_command(process)), timeout=10).stdout) or "(empty)"
    except (DeployError, CircuitError) as error:
        return f"(cannot be read: {error})"


def _set_aside(log: str, folder: str) -> str:
    """Shell, for root and `set -e`: set aside the file in the log's place, to be restored."""
    name = f"{posixpath.dirname(log)}/.{posixpath.basename(log)}.XXXXXXXXXX"
    return _SCRIPTS.text("set_log_aside", log=log, folder=folder, name=name, kept=_ASIDE)


def _archive(files: Mapping[str, str | Secret], secrets: Mapping[str, Secret], uid: int, folder: str) -> bytes | Hidden:
    """Return the files of a program as a tar. Only root can write them; everybody can read plain files, but only the
    program's user those with secrets.
    """
    contents: dict[str, str | Secret] = {name: text for name, text in files.items() if text != ""}
    contents |= {posixpath.relpath(path, folder): secret for path, secret in secrets.items()}
    if not contents:
        return b""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, Secret):
                entry.mode, entry.uid, entry.gid = 0o400, uid, uid
                data = content.hidden().reveal()
            else:
                entry.mode, data = 0o644, content.encode()
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return (
        Hidden(buffer.getvalue())
        if secrets or any(isinstance(one, Secret) for one in contents.values())
        else buffer.getvalue()
    )
