"""A program that runs: what its users know of it, why it is down, and how to stop and start it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from circuit import Cmd
from circuit_harness.operations import disk, ports
from circuit_harness.operations.ports import Listening, parse_listening, unreachable
from circuit_harness.operations.sandbox import SandboxedProcess
from circuit_harness.remote import fact_lines
from circuit_harness.remote.command import root
from circuit_harness.remote.files import read_secret
from circuit_harness.remote.host import Host, as_process
from circuit_harness.remote.processes import looked_at
from circuit_harness.remote.script import Scripts
from circuit_harness.secret import Secret
from circuit_harness.services.program.place import SECRET
from circuit_harness.services.program.readiness import await_ready, listens, log_command
from circuit_harness.services.signalled import Signalled
from circuit_harness.steps import Steps

_PROBE_LIMIT_S = 15.0


_SCRIPTS = Scripts.beside(__file__)


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
            word.removeprefix(f"{process.folder}/").removesuffix(SECRET): word
            for word in process.command
            if word.startswith(f"{process.folder}/") and word.endswith(SECRET)
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
        log = f"$ tail -n 50 {shlex.quote(self.process.log)}"
        return "\n".join([*lines, f"? {disk.show_use(self.process.folder)}" if shortage else log])

    def _probe(self) -> str:
        """Shell, for root, behind ``say``: print facts about the program."""
        process = self.process
        look = _SCRIPTS.text("probe_program", uid=process.uid, pid_file=process.pid_file, log=process.log)
        # The look last: a program may log that it is asked.
        return "\n".join([disk.look(process.folder), self._ask_again(), look])

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
        await_ready(self.host, self.name, self.anchor, self.process, listens(self.listen, self.port), steps)

    def signal(self, name: str) -> str:
        """Shell, for root: send a signal, named without SIG, to all its processes; fail if it has none."""
        return self.process.signal(name)


def command_of(process: SandboxedProcess) -> Cmd:
    """Return the command of a program's element."""
    return Cmd("/bin/sh", ["-c", process.launch()], dir=process.folder, scrub=True)
