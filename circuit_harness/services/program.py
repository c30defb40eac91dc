"""A program as a service: started in a sandbox as an element of the host, with its files, and waited for."""

from __future__ import annotations

import io
import posixpath
import re
import shlex
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, TypeAlias

from circuit import CircuitError, Cmd, Hidden
from circuit_harness.errors import Conflict, DeployError, NotReady, Unfit, tail
from circuit_harness.operations import disk, ports, sandbox
from circuit_harness.operations.needs import CURL, PS, SS, Need
from circuit_harness.operations.ports import Listening, parse_listening
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
"""A program's folder is below this one, where nobody but root can make another in its place."""

READY_LIMIT_S = 30.0

_PROBE_LIMIT_S = 15.0

_SECRET = "-password"
"""How the name of a file with a password ends, behind the name of the service that it is of."""

_ASIDE = ".log-aside"
"""Below the program's folder: names the folder beside the log that holds the log which was there."""

_SCRIPTS = Scripts.beside(__file__)


class Place:
    """Where a program is to run, as the parameters of a service that are functions get it.

    ``addresses`` are the host's, ``port`` is the program's own. ``folder`` is root's, with the program's files;
    ``work`` is the program's own to write to.
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
        """A service that this one uses: its address and port, and what else is known of it once it is ready."""
        return self._site[name]

    @property
    def address(self) -> str:
        """The host's private address."""
        return self.addresses.private

    @property
    def password(self) -> Secret:
        """A password of this service, made for this run."""
        return self._site.secret

    def secret(self, name: str) -> str:
        """The path of a file with the password of a service, this one or one that it uses, for the program alone."""
        return self._secrets.setdefault(name, f"{self.folder}/{name}{_SECRET}")

    @property
    def secrets(self) -> dict[str, str]:
        """The paths that were asked for, by the service's name."""
        return dict(self._secrets)

    def secret_values(self) -> dict[str, Secret]:
        """What these files are to hold, by path."""
        return {path: self._site.secret_of(name) for name, path in self._secrets.items()}


Words: TypeAlias = "Sequence[str] | Callable[[Place], Sequence[str]]"
Variables: TypeAlias = "Mapping[str, str] | Callable[[Place], Mapping[str, str]]"
Files: TypeAlias = "Mapping[str, str | Secret] | Callable[[Place], Mapping[str, str | Secret]]"


@dataclass(frozen=True)
class Facts:
    """What was found on a host: ``uid`` is one that nobody has there, ``program`` the path of the program, ``version``
    what it says of its version; ``there`` is the element at the anchor, if there is one.
    """

    uid: int
    program: str
    version: str
    listening: tuple[Listening, ...]
    there: AtAnchor | None


@dataclass(frozen=True)
class RunningProgram(Signalled):
    """A program that was deployed, reached at ``address``; ``listen`` is where it listens, as far as that is known.

    Its ``process`` is the element of ``anchor``. ``secrets`` are the files with passwords on its host, by the names of
    the services that these are of. ``ready`` is the URL that must answer 200, or the words of the command that must
    succeed; "" where its port must be listened on.
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
        """Where it is reached over HTTP, without a slash at the end."""
        return f"http://{Listening(self.address, self.port)}"

    def secret(self, name: str) -> Secret:
        """The password of a service, this one or one that it uses, as the program got it.

        :raises LookupError: the program got none of that service.
        :raises DeployError, CircuitError: it cannot be read.
        """
        return read_secret(self.host, self.secrets[name])

    def describe(self) -> dict[str, Any]:
        """All but the host, as plain values; :meth:`at` takes them."""
        names = ("anchor", "address", "listen", "port", "version")
        plain = {name: getattr(self, name) for name in names}
        ready = self.ready if isinstance(self.ready, str) else list(self.ready)
        return {**plain, **asdict(self.process), "secrets": dict(self.secrets), "ready": ready}

    @classmethod
    def at(cls, host: Host, name: str, described: Mapping[str, Any]) -> RunningProgram:
        """The program on a host that :meth:`describe` told of, or an older version.

        That one told of secrets in the command alone.
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
        """What to call its log, and shell for root that prints its last lines."""
        return self.process.log, log_command(self.process)

    def down(self) -> str:
        """Return why the program does not work: it has ended, its disk is full, or it is not ready; "" where it works.

        One command on its host; another call for how it ended, where its element is still there.
        """
        command = root("\n".join([fact_lines.SAY, self._probe(), "exit 0"]))
        values = fact_lines.parse(self.host.run(command, timeout=_PROBE_LIMIT_S).text)
        runs, unready = "runs" in values, fact_lines.first(values, "unready")
        shortage = disk.shortage(fact_lines.first(values, "disk"), self.process.folder)
        wrong = unready if runs else f"its process at /{self.host.name}/{self.anchor} has ended"
        if not wrong and not shortage:
            return ""
        lines = ["; ".join(filter(None, (shortage, wrong)))]
        if not runs and (ended := "the kernel killed it: out of memory" if "oom" in values else self._exit()):
            lines.append(f"it ended: {ended}")
        if wrote := fact_lines.first(values, "wrote"):
            lines.append(f"wrote to its log last at {wrote}")
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
            complaint = f'say unready {shlex.quote(self.ready)}": $answer"'
            return f'{ask}\n[ "$(printf %s "$answer" | tail -n 1)" = 200 ] || {complaint}'
        if self.ready:
            words = shlex.join(self.ready)
            ask = f"answer=$(cd {self.process.folder} && {self.process.as_user(words)} 2>&1)"
            return f'{ask} || say unready {shlex.quote(words)}": $(printf %s "$answer" | tail -n 1)"'
        nothing = shlex.quote(f"nothing listens on port {self.port}")
        return f'[ -n "$({ports.still_open(self.port)})" ] || say unready {nothing}'

    def _exit(self) -> str:
        """Return how the element's process ended; "" where the element has gone with it."""
        with looked_at(self.host, self.anchor) as element:
            process = as_process(element)
            ended = None if process is None else process.peek().exit
            return "" if ended is None else str(ended)

    def stop(self) -> None:
        """End it: TERM, after 5 s KILL; its element goes with it.

        :raises CommandFailed: it does not end.
        """
        self.host.run(root(self.process.end()))

    def start(self, steps: Steps) -> None:
        """Start it again, with a new log, and return when its port is listened on; one that runs goes on.

        :raises NotReady: it died, or does not listen.
        """
        with looked_at(self.host, self.anchor) as running:
            if running is not None:
                return
        self.host.run(root(self.process.put_log_away()))
        self.host.start(self.anchor, command_of(self.process)).discard_streams()
        await_ready(self.host, self.name, self.anchor, self.process, _listens(self.port), steps)

    def signal(self, name: str) -> str:
        """Shell, for root: send a signal, named without SIG, to all its processes; fail where there is none."""
        return self.process.signal(name)


@dataclass(frozen=True)
class Program:
    """A program that a Debian package brings, or that the host has.

    ``command`` are its words, the first of which is found in the host's PATH. Where a function returns them, the first
    is a program of the first of ``programs``, and stands for the first of these that the host has. ``files`` are
    written into its folder, by names relative to that; such that hold a secret can be read by the program alone.
    ``env`` are its variables. All of these, and ``ready``, can be functions of the :class:`Place` where it is to run.

    ``ready`` is a path that must answer 200 over HTTP, or the words of a command that must succeed, run as the
    program's user; without it, the port must be listened on. ``log`` is a file, by default one in its own folder.
    ``public`` is whether it is reached at the host's public address, or the private one. ``limits`` are prlimit's.

    ``waits`` is whether it is started once what it uses is ready. Otherwise all are started at the same time, and it is
    expected to be ready after those: then only their addresses, ports and passwords are known to its parameters.

    :raises DeployError: a parameter that cannot be.
    """

    name: str
    command: Words
    port: int
    programs: Sequence[Need] = ()
    ready: str | Words = ""
    files: Files = field(default_factory=dict)
    env: Variables = field(default_factory=dict)
    uses: Sequence[str] = ()
    place: str = ""
    title: str = ""
    public: bool = False
    log: str = ""
    limits: Mapping[str, int] = field(default_factory=lambda: dict(sandbox.LIMITS))
    waits: bool = True

    noun: ClassVar[str] = "program"
    """What steps call it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", self.title or self.name)
        object.__setattr__(self, "uses", (self.uses,) if isinstance(self.uses, str) else tuple(self.uses))
        parameters.check(self.name, self.port)
        if not self.command:
            raise DeployError(f"service {self.name}: its command is empty")

    @property
    def needs(self) -> tuple[Need, ...]:
        """The programs that its host must have."""
        over_http = isinstance(self.ready, str) and self.ready
        return (*self.programs, *([CURL] if over_http else []), SS, PS)

    @property
    def speaks(self) -> str:
        """What its clients speak."""
        return "HTTP" if self.ready and isinstance(self.ready, str) else "TCP"

    @property
    def announced(self) -> str:
        """What the run prints in front of its address."""
        return f"{self.title} on {'public' if self.public else 'private'} address"

    @property
    def here(self) -> tuple[Local, ...]:
        """What is made on this machine first."""
        return ()

    def look(self, host: Host, deployment: str = "") -> Facts:
        """Read the facts of a host. Changes nothing.

        :raises Unfit: the host says nothing that it could.
        """
        look = "\n".join([fact_lines.SAY, sandbox.FIND_NOBODY, self._look_for_program(), ports.LIST, "exit 0"])
        values = fact_lines.parse(host.run(Command(look), timeout=30, limit=fact_lines.MOST_BYTES).text)
        uid = fact_lines.first(values, "uid")
        if not re.fullmatch(r"[0-9]{1,9}", uid):
            raise Unfit(f"host {host.name}: no user can be found for the app that nobody else is: {ascii(uid)[:40]}")
        return Facts(
            uid=int(uid),
            program=fact_lines.first(values, "program"),
            version=fact_lines.first(values, "version"),
            listening=tuple(parse_listening(entry) for entry in values.get("listening", [])),
            there=host.element(anchor_of(self.name, deployment)),
        )

    def remarks(self, facts: Facts, host: str) -> tuple[str, ...]:
        """Lines for the user on what was seen."""
        return ()

    def refuse(self, facts: Facts, site: Site) -> Iterator[DeployError]:
        """Say what stands against deploying there."""
        if not facts.program and not any(set(need.programs) & set(self._program) for need in self.programs):
            yield Unfit(
                f"host {site.host} has no program {' or '.join(self._program)}: install it, or name the package that"
                f" brings it in programs of service {self.name}"
            )
        taken = [str(socket) for socket in facts.listening if socket.port == self.port]
        if site.recorded is None and facts.there is not None:
            if not (site.replace and as_process(facts.there)):
                yield Conflict(
                    f"{self.name} app already running: {facts.there.anchor.path} has a {facts.there.kind} element;"
                    f" {Remedy.REPLACE} ends it and takes its place"
                )
            return
        # The one that stands, and goes first, may have another: this one is somebody else's.
        own = site.recorded is not None and site.recorded.get("port", self.port) == self.port
        if taken and not own:
            yield Conflict(
                f"host {site.host}: port {self.port} is in use ({', '.join(taken)}), and not by an app of ours: free it"
            )

    def shares(self, described: Mapping[str, Any]) -> str:
        """Nothing but its port, which the engine compares."""
        return ""

    def address(self, site: Site) -> str:
        """The address at which it is reached."""
        return site.addresses.public if self.public else site.addresses.private

    def plan(self, facts: Facts, site: Site) -> list[Stage]:
        """Make its folder, start it, and wait until it is ready, each once what it uses allows that."""
        run = _Plan(self, facts, site)
        ready = Probe("ready", f"{self.title}: wait until {self._wanted}", run.await_ready)
        return [
            Stage(run.send),
            Stage(run.start, after=self.uses if self.waits else ()),
            Stage(probes=[ready], after=self.uses),
        ]

    def result(self, host: Host, facts: Facts, site: Site, results: Results) -> RunningProgram:
        """The program that runs."""
        return _Plan(self, facts, site).running(host)

    def find(self, host: Host, described: Mapping[str, Any]) -> RunningProgram:
        """What :meth:`RunningProgram.describe` told of."""
        return RunningProgram.at(host, self.name, described)

    # what a program of another kind has otherwise

    def archive(self, results: Results) -> bytes:
        """The files that are sent ahead, as a gzipped tar; nothing where there are none."""
        return b""

    def sending(self, results: Results) -> str:
        """What to call that."""
        return "make its folder"

    def words(self, facts: Facts, place: Place) -> list[str]:
        """The words of its command, the program's path first."""
        first, *rest = self.command(place) if callable(self.command) else self.command
        # One of no need's, such as sh, is found in the sandbox's own PATH.
        return [facts.program if first in self._program else first, *rest]

    def _look_for_program(self) -> str:
        looks = (
            f'[ -z "$(command -v {name})" ] || say program "$(command -v {name})"'
            for name in map(shlex.quote, self._program)
        )
        return "\n".join(['find_nobody; say uid "$nobody"', *looks])

    @property
    def _program(self) -> Sequence[str]:
        """The words by which the program is found, of which the first that a host has is used."""
        if callable(self.command):
            return [program for need in self.programs[:1] for program in need.programs]
        return self.command[:1]

    @property
    def _wanted(self) -> str:
        if isinstance(self.ready, str):
            return f"{self.ready} answers over HTTP" if self.ready else f"port {self.port} is listened on"
        return "its command says that it is ready"


@dataclass(frozen=True)
class _Made:
    """What the parameters of a program come to at its ``place``, which knows the secrets that they asked for.

    ``ready`` is a whole URL where the program is asked over HTTP.
    """

    place: Place
    process: SandboxedProcess
    files: Mapping[str, str | Secret]
    ready: str | Sequence[str]


class _Plan:
    """The stages of one program on one host, from what was seen there."""

    def __init__(self, declared: Program, facts: Facts, site: Site) -> None:
        self._declared, self._facts, self._site = declared, facts, site
        self._folder = folder_of(declared.name, site.run)
        self._anchor = anchor_of(declared.name, site.deployment)
        self._log = _log_of(declared.log, site.deployment) or f"{self._folder}/run/log"

    def send(self, results: Results) -> list[Action]:
        """Make the program's folder, with the files that are known before what it uses is."""
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

    def start(self, results: Results) -> list[Action]:
        """End what was there, write what the program needs, and start it."""
        title, anchor = self._declared.title, self._anchor
        made = self._made()
        process = made.process
        there = as_process(self._facts.there)
        actions = []
        # Not before what it uses is there: what is replaced does not come back.
        if there is not None and self._site.recorded is None:
            actions.append(Action(f"{title}: end the {self._declared.noun} that was there", End(anchor, there)))
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

    def await_ready(self, context: Context) -> None:
        """Wait until the program is ready.

        :raises NotReady: it died, or was not ready in time; the message has the end of its log.
        """
        made, title = self._made(), self._declared.title
        await_ready(context.host, title, self._anchor, made.process, self._ask(made), context.steps)

    def running(self, host: Host) -> RunningProgram:
        """The program that runs."""
        made = self._made()
        address, listen = self._addresses()
        port, version, secrets = self._declared.port, self._facts.version, made.place.secrets
        ready = made.ready if isinstance(made.ready, str) else tuple(made.ready)
        return RunningProgram(
            host, self._declared.name, self._anchor, address, listen, port, made.process, version, secrets, ready
        )

    def _addresses(self) -> tuple[str, str]:
        """Where it is reached, and where it listens."""
        address = self._declared.address(self._site)
        return address, listen_address(address) if self._declared.public else address

    def _made(self) -> _Made:
        """What its parameters come to there. All of them are called, as each may ask for a secret's file."""
        declared = self._declared
        place = Place(self._site, declared.name, declared.port)
        words = declared.words(self._facts, place)
        variables = declared.env(place) if callable(declared.env) else declared.env
        environment = tuple(f"{name}={value}" for name, value in variables.items())
        process = SandboxedProcess(
            tuple(words), self._facts.uid, self._folder, self._log, environment, dict(declared.limits)
        )
        files = declared.files(place) if callable(declared.files) else declared.files
        ready = declared.ready(place) if callable(declared.ready) else declared.ready
        if isinstance(ready, str) and ready:
            ready = f"http://{Listening(self._site.addresses.private, declared.port)}{ready}"
        self._check(words, variables, files)
        return _Made(place, process, files, ready)

    def _check(self, words: Sequence[object], variables: Mapping[str, object], files: Mapping[str, object]) -> None:
        """Refuse what functions may return and a program cannot have.

        :raises DeployError: such a thing.
        """
        service = f"service {self._declared.name}"
        given = {**{f"word {number} of its command": word for number, word in enumerate(words)}, **variables}
        for what, value in given.items():
            if isinstance(value, Secret):
                raise DeployError(f"{service}: {what} is a secret, which others could see: name a file by place.secret")
            if not isinstance(value, str):
                raise DeployError(f"{service}: {what} is {value!r}, and not a text")
        for name in files:
            first = name.partition("/")[0]
            if name != posixpath.normpath(name) or first in ("", ".", "..", "run", "start.log"):
                raise DeployError(f"{service}: {name!r} cannot be the name of a file in its folder")

    def _ask(self, made: _Made) -> Callable[[Host], str]:
        """What returns "" where the program is ready, otherwise what was seen instead."""
        ready, port = made.ready, self._declared.port
        if isinstance(ready, str) and ready:
            url = ready
            curl = Command.of(
                *("curl", "-sS", "--noproxy", "*", "--max-time", "5", "-o", "/dev/null", "-w", "%{http_code}", url)
            )

            def over_http(host: Host) -> str:
                result = host.run(curl, timeout=10, check=False)
                said = result.stderr.decode("utf-8", "replace").strip()
                return "" if result.text == "200" else f"{url}: {result.text} {said}".rstrip()

            return over_http
        if ready:
            check = root(f"cd {made.process.folder} && {made.process.as_user(shlex.join(ready))}")

            def by_command(host: Host) -> str:
                result = host.run(check, timeout=10, check=False)
                if result.exit_status == 0:
                    return ""
                return f"{shlex.join(ready)}: {tail(result.stderr or result.stdout) or result.exit_status}"

            return by_command
        return _listens(port)


def command_of(process: SandboxedProcess) -> Cmd:
    """The command of the element that a program is."""
    return Cmd("/bin/sh", ["-c", process.launch()], dir=process.folder, scrub=True)


def await_ready(
    host: Host, title: str, anchor: str, process: SandboxedProcess, ask: Callable[[Host], str], steps: Steps
) -> None:
    """Wait until a program that was started is ready.

    :param ask: returns "" where it is, otherwise what was seen instead.
    :raises NotReady: it died, or was not ready in time; the message has the end of its log.
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


def _listens(port: int) -> Callable[[Host], str]:
    listening = Command(ports.still_open(port))
    return lambda host: "" if host.run(listening, timeout=10, check=False).text else f"nothing listens on port {port}"


def listen_address(public: str) -> str:
    """Every address, as a program listens on it whose public address this is; those of IPv6 only where it is one.

    On ``::`` Node.js serves IPv4, too. A host without IPv6 has no such address.
    """
    return "::" if ":" in public else "0.0.0.0"


def anchor_of(name: str, deployment: str) -> str:
    """The anchor below a host's at which a program stands."""
    return f"{deployment}-{name}" if deployment else name


def _log_of(log: str, deployment: str) -> str:
    """The file that a program writes into: one that was named carries the deployment's name, too."""
    stem, extension = posixpath.splitext(log)
    return f"{stem}-{deployment}{extension}" if log and deployment else log


def folder_of(name: str, run: str) -> str:
    """Where a run puts a program: below a folder of root's own. It tells the run's process from any other."""
    return f"{FOLDERS}/tutorial-{name}-{run}"


def log_command(process: SandboxedProcess) -> str:
    """Shell, for root: print the last lines that a program wrote, and what kept it from being started."""
    return f"tail -q -n 20 {process.start_log} 2>&1; {process.as_user(f'tail -q -n 20 {process.log}')} 2>&1"


def _log(host: Host, process: SandboxedProcess) -> str:
    try:
        return tail(host.run(root(log_command(process)), timeout=10).stdout) or "(empty)"
    except (DeployError, CircuitError) as error:
        return f"(cannot be read: {error})"


def _set_aside(log: str, folder: str) -> str:
    """Shell, for root and `set -e`: set aside what stands in the log's place, to come back."""
    name = f"{posixpath.dirname(log)}/.{posixpath.basename(log)}.XXXXXXXXXX"
    return _SCRIPTS.text("set_log_aside", log=log, folder=folder, name=name, kept=_ASIDE)


def _archive(files: Mapping[str, str | Secret], secrets: Mapping[str, Secret], uid: int, folder: str) -> bytes | Hidden:
    """The files of a program as a tar: plain ones are root's to write and everybody's to read, secrets are the user's
    alone, and he cannot write them.
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
