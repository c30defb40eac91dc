"""Which services are down: one verdict for each, for all processes of a run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

from circuit import CircuitError, ClientLost, HostLost
from circuit_harness.engine.spec import Services
from circuit_harness.errors import CommandTimedOut, DeployError, tail
from circuit_harness.plugin.questions import Answer
from circuit_harness.remote.command import root
from circuit_harness.services.protocol import Probed, Running

FILLED = "to find what fills the disk"
"""What a command is for that a service with a full disk names: a new deployment would not mend it."""

_COMMANDS = {"$ ": "to look further", "! ": "to start it again", "? ": FILLED}
"""The beginnings of lines of :meth:`Probed.down` that are shell commands for the host's root, and what each is for."""

_LOG_LINES = 6
_LOG_LIMIT_S = 10.0

_UP: Answer = {}

Further = Callable[[str, str], str]
"""Returns the command line that runs a shell command on a host, by the host's name; "" where the host goes with the
run. Without a command: the one that lists the hosts."""


def down_lines(service: Running, further: Further) -> list[str]:
    """Return why a service is down, in a line, then commands to look further; [] where it works, or is not probed.

    :raises CircuitError: its host or the circuit is lost.
    """
    if not isinstance(service, Probed):
        return []
    try:
        lines = service.down().splitlines()
    except DeployError as error:
        lines = str(error).splitlines()
    return [*lines[:1], *_look_further(service.host.name, lines, further)] if lines else []


def _look_further(host: str, lines: Iterable[str], further: Further) -> Iterator[str]:
    """Yield the commands among lines of :meth:`Probed.down`, or the one that lists the hosts, and what each is for."""
    commands = [(_COMMANDS[line[:2]], line[2:]) for line in lines if line[:2] in _COMMANDS]
    for what, command in commands or [("to look further", "")]:
        if line := further(host, command):
            yield f"  {what}: {line}"


class Probes:
    """Probes services in the order of ``uses``, so that of several that are down the cause is found first.

    A service that was found down stays so for the run, and is not probed again. Safe to use from many threads: requests
    wait for a probe that is in progress, so no check begins meanwhile.
    """

    def __init__(
        self,
        services: Services,
        say: Callable[[str], None],
        further: Further,
        lose: Callable[[str], bool],
        *,
        on: bool,
    ) -> None:
        """Probe nothing yet.

        :param services: those that were declared.
        :param lose: notes that a host is lost, and returns whether that is new to the run.
        :param on: whether to probe at all.
        """
        self._declared = services
        self._say = say
        self._further = further
        self._lose = lose
        self._on = on
        self._lock = threading.Lock()
        self._probed: set[str] = set()
        self._down: dict[str, str] = {}
        """The message on each service that is down."""
        self._reported: set[str] = set()
        self._lost: dict[str, str] = {}
        """The message on each host that a probe found lost."""

    def ready(self, name: str) -> None:
        """Note that the run has just seen a service ready, so that it needs no probe before its first check."""
        with self._lock:
            self._probed.add(name)

    def before(self, name: str, running: Mapping[str, Running]) -> Answer:
        """Probe a service before its first check, and what it uses; each of them once in a run."""
        return self._find([name], running, again=False)

    def after(self, names: Iterable[str], running: Mapping[str, Running]) -> Answer:
        """Probe the services of a check that failed, and what they use.

        :return: of the first service that is down, ``text``, the message; ``new``, whether no other test reports it;
            ``lost``, whether its host is lost. Empty where all work.
        """
        return self._find(names, running, again=True)

    def reasons(self) -> dict[str, str]:
        """Return the first line on each service that is down, by the service's name."""
        with self._lock:
            return {name: text.partition("\n")[0] for name, text in self._down.items()}

    def _find(self, names: Iterable[str], running: Mapping[str, Running], *, again: bool) -> Answer:
        with self._lock:
            for name in self._with_used(names) if self._on else ():
                if name in running and name not in self._down and (again or name not in self._probed):
                    self._probe(name, running[name])
                if text := self._down.get(name):
                    new = text not in self._reported
                    self._reported.add(text)
                    return {"text": text, "new": new, "lost": text in self._lost.values()}
        return _UP

    def _with_used(self, names: Iterable[str]) -> list[str]:
        """Return services and all that they use, each behind what it uses."""
        order, wanted = self._declared.in_order(), set(names)
        for name in reversed(order):
            if name in wanted:
                wanted.update(self._declared[name].uses)
        return [name for name in order if name in wanted]

    def _probe(self, name: str, service: Running) -> None:
        self._probed.add(name)
        if not isinstance(service, Probed):
            return
        host, title = service.host.name, self._declared[name].title
        try:
            lines = service.down().splitlines()
        except (HostLost, ClientLost) as error:
            text = "\n".join([f"host {host} is lost: {error}", *_look_further(host, [], self._further)])
            self._down[name] = self._lost.setdefault(host, text)
            if not self._lose(host):
                self._reported.add(self._down[name])
        except CommandTimedOut as error:
            self._down[name] = f"{title} on host {host}: the host did not answer a probe within {error.limit:g} s"
        except Exception as error:  # noqa: BLE001 - a service may be any user's code
            # Not known to be down: its checks find out.
            self._say(f"  {title} on host {host} cannot be probed: {type(error).__name__}: {error}")
        else:
            if lines:
                self._down[name] = "\n".join(self._message(title, service, lines))

    def _message(self, title: str, service: Running, lines: list[str]) -> Iterator[str]:
        """Yield the lines on a service that is down: the cause first, then the log's end, then how to look further."""
        first, *rest = lines
        host = service.host.name
        yield f"{title} on host {host}: {first}"
        yield from (f"  {line}" for line in rest if line[:2] not in _COMMANDS)
        log, shell = service.logs()
        yield f"  {log}, its end:"
        try:
            text = tail(service.host.run(root(shell), timeout=_LOG_LIMIT_S, check=False).stdout)
            yield from (f"    {line}" for line in text.splitlines()[-_LOG_LINES:] or ["(empty)"])
        except (DeployError, CircuitError) as error:
            yield f"    (cannot be read: {str(error).partition(chr(10))[0]})"
        yield from _look_further(host, rest, self._further)
