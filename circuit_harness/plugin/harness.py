"""What tests meet of a run, in its one process or in each of its workers: what they ask for, and what failures show."""

from __future__ import annotations

import sysconfig
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from testinfra.backend.base import CommandResult

from circuit import Client, ClientLost, HostLost
from circuit_harness.engine.evidence import Evidence, Piece, state
from circuit_harness.engine.spec import Services
from circuit_harness.errors import tail
from circuit_harness.plugin.backend import CircuitBackend
from circuit_harness.plugin.circuits import dial
from circuit_harness.plugin.options import Options
from circuit_harness.plugin.questions import CIRCUIT, LOST, Answer, Unavailable
from circuit_harness.plugin.rpc import RpcClient
from circuit_harness.plugin.terminal import harmless
from circuit_harness.report.outcome import EVIDENCE, NOTE
from circuit_harness.secret import mask
from circuit_harness.services.protocol import Running

if TYPE_CHECKING:
    # A worker has no use for all that deploying takes, which is slow to load.
    from circuit_harness.plugin.coordinator import Coordinator

MOST_LOOKS = 3
"""For how many failures a process looks at the hosts: what is broken shows in the first ones."""

MOST_SHOWN = 240
"""How many characters of either side of a comparison stand in a failure's first line."""

ROLE = "_circuit_role"
"""The fixture that the fixture ``host`` has its parameter by: the service whose host it is."""

WORKER_INPUT = "circuit-harness"
"""Where xdist hands a worker the directions to the desk."""

_ANSWER_LIMIT_S = 1800.0
"""How long a worker waits for what it asked for: a deployment that installs packages, with all its own limits."""


_ROOT = Path(__file__).parents[2]
_NOT_CHECKS = (
    *(_ROOT / folder for folder in ("circuit", "circuit_harness", "deploy", "fixtures", "localhosts")),
    Path(sysconfig.get_path("stdlib")),
)
"""Where reports show no variables of frames."""


class Harness:
    """The plugin of one run, or of one of its workers. Fixtures get it through ``config``."""

    def __init__(
        self, config: pytest.Config, options: Options, services: Services, coordinator: Coordinator | None
    ) -> None:
        """Remember whom to ask.

        :param services: those that checks can ask for.
        :param coordinator: this process's own; None in a worker, which asks the controller's.
        """
        self._options = options
        self._declared = services
        self._coordinator = coordinator
        self._parts: frozenset[str] = frozenset()
        self._missing: dict[str, str] = {}
        self._hosts: dict[str, str] = {}
        """Of each part that was asked for, the name of its host."""
        self._lost: set[str] = set()
        self._services: dict[str, Running] = {}
        self._looks = 0
        self._notes: list[str] = []
        self._client: Client | None = None
        if coordinator is not None:
            self._ask = coordinator.ask
        else:
            workerinput: dict[str, Any] = config.workerinput  # type: ignore[attr-defined]
            self._ask = RpcClient(workerinput[WORKER_INPUT], options.lease_wait + _ANSWER_LIMIT_S).ask
            self._worker = int(workerinput["workerid"].removeprefix("gw"))

    def ask(self, what: str) -> Answer:
        """Ask for something that is made when it is first asked for. Where it cannot be had, the test fails.

        Only the first such test does, in all processes; others are skipped, and say why.
        """
        try:
            answer = self._ask(what, self._parts)
        except Unavailable as error:
            failure = error
        else:
            if what in self._declared:
                self._hosts[what] = answer["host"]
            return answer
        self._missing[what] = reason = _first_line(failure)
        if failure.told:
            pytest.skip(f"not run: {reason}")
        pytest.fail(str(failure), pytrace=False)

    def client(self) -> Client:
        """A client of this run's circuit."""
        answer = self.ask(CIRCUIT)
        if self._coordinator is not None:
            return self._coordinator.client()
        if self._client is None:
            options = self._options.with_key(Path(answer["key_file"])) if answer["key_file"] else self._options
            self._client = dial(options, answer["addresses"], port_offset=1 + self._worker)
        return self._client

    def provided(self, part: str, service: Running) -> None:
        """A part is there, for tests to use."""
        self._services[part] = service

    def note(self, text: str) -> None:
        """Have the run tell something at its end, once, however many tests of however many workers say it."""
        self._notes.append(text)

    # hooks

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add to a failure what the hosts concerned show; it is never in place of the failure itself.

        Of failures that come of a lost host, only the first in all processes is one. Nothing that is secret leaves this
        process in a report.
        """
        report = yield
        notes, self._notes = self._notes, []
        report.sections += [(NOTE, note) for note in notes]
        if report.failed and call.excinfo is not None:
            told = self._look(item, report, call.excinfo)
            # What does not hold is a finding of its own.
            if told and not call.excinfo.errisinstance(AssertionError):
                _not_a_failure(report, f"cut off: {_lost_words(min(told))}")
        report.sections = _cleaned(report.sections)
        report.longrepr = _cleaned(report.longrepr)
        # What is secret may have been broken into lines that each hold less than is known by.
        if report.failed and mask(report.longreprtext) != report.longreprtext:
            report.longrepr = mask(report.longreprtext)
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_internalerror(self, excrepr: Any) -> Generator[None, object, object]:
        """Show of a crash nothing that is secret."""
        _cleaned(excrepr)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_assertrepr_compare(
        self, op: str, left: object, right: object
    ) -> Generator[None, list[Iterable[str] | None], list[Iterable[str] | None]]:
        """Have a failure's first line tell what was found: pytest leaves out what does not fit a terminal's width."""
        explanations = yield
        summary = f"{shown(left)} {op} {shown(right)}"
        return [explanation and _with_first_line(summary, explanation) for explanation in explanations]

    def _look(
        self, item: pytest.Item, report: pytest.TestReport, failure: pytest.ExceptionInfo[BaseException]
    ) -> set[str]:
        """Add to a report what the hosts show; return those that are lost, which has been told by another failure."""
        hosts = {host for part, host in self._hosts.items() if needs([item], part)}
        if known := self._lost & hosts:
            return known
        missed = set()
        concerned = [service for part, service in self._services.items() if needs([item], part)]
        if concerned and self._looks < MOST_LOOKS:
            self._looks += 1
            evidence = Evidence(state(concerned))
            pieces = [*evidence.pieces, *_commands(item)]
            report.sections += [(f"{EVIDENCE}{piece.title}", piece.text) for piece in pieces]
            missed = set(evidence.lost)
        suspects = hosts if failure.errisinstance((HostLost, ClientLost)) else set()
        news = self._ask_for_lost(missed | suspects)
        # A host that only this process misses is its own trouble, which this failure tells.
        news |= missed - self._lost
        self._lost |= missed
        return set() if news else self._lost & hosts

    def _ask_for_lost(self, missed: set[str]) -> set[str]:
        """Learn which hosts the run has lost, and tell which are missed here; return those that are news to the run."""
        try:
            answer = self._ask(LOST, frozenset(missed))
        except Unavailable:
            return set()
        self._lost.update(answer["hosts"])
        return set(answer["new"])

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Remember what the selected tests will ask for."""
        wanted = [name for name in self._declared if needs(session.items, name)]
        self._parts = frozenset(wanted)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip what needs something that could not be had or is lost, which has been told by a failure."""
        self._ask_for_lost(set())
        lost = {part: host for part, host in self._hosts.items() if host in self._lost}
        reasons = {**self._missing, **{part: _lost_words(host) for part, host in lost.items()}}
        for what, reason in reasons.items():
            if needs([item], what):
                pytest.skip(f"not run: {reason}")

    def pytest_unconfigure(self) -> None:
        """Leave the circuit."""
        if self._client is not None:
            self._client.close()


def _cleaned(value: Any) -> Any:
    """A report, or a part of it, made harmless, in place where it is pytest's.

    Of the frames of this program and its libraries no variables are left: what came from a host is not known for a
    secret before somebody says so.
    """
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map(_cleaned, value))
    if hasattr(value, "reprlocals") and not _is_of_checks(getattr(value.reprfileloc, "path", "")):
        value.reprlocals = None
    for name, part in list(getattr(value, "__dict__", {}).items()):
        if isinstance(part, (str, list, tuple)) or hasattr(part, "__dict__"):
            setattr(value, name, _cleaned(part))
    return value


def _is_of_checks(path: str) -> bool:
    """Whether a file, as reports name it, is one of the user's own: checks, not what they use."""
    file = _ROOT / path
    return "site-packages" not in file.parts and not any(file.is_relative_to(folder) for folder in _NOT_CHECKS)


def needs(items: Iterable[pytest.Item], fixture: str) -> bool:
    """Whether any of the selected tests uses ``fixture``, and is not to be skipped."""
    concerned = (item for item in items if item.get_closest_marker("skip") is None)
    return any(fixture in getattr(item, "fixturenames", ()) or fixture in roles(item) for item in concerned)


def roles(item: pytest.Item) -> list[str]:
    """The services whose hosts a test's fixture ``host`` is."""
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return [parameters[ROLE]] if ROLE in parameters else []


def _commands(item: pytest.Item) -> Iterator[Piece]:
    """The last commands that a test ran through testinfra, with all that came back."""
    for value in getattr(item, "funcargs", {}).values():
        backend = getattr(value, "backend", None)
        if isinstance(backend, CircuitBackend) and backend.history:
            yield Piece(f"last commands on host {backend.hostname}", "\n".join(map(_told, backend.history)))


def _told(result: CommandResult) -> str:
    lines = [f"$ {result.command.decode()}", f"exit status {result.rc}"]
    for name in ("stdout", "stderr"):
        text = tail(getattr(result, f"{name}_bytes"))
        if text:
            lines.append(f"{name}: {text}")
    return "\n".join(lines)


def _lost_words(host: str) -> str:
    return f"host {host} is lost"


def _not_a_failure(report: pytest.TestReport, reason: str) -> None:
    """Have a report tell why a test did not come to its end; of its tear-down, nothing."""
    if report.when == "teardown":
        report.outcome, report.longrepr = "passed", None
    else:
        file, line, _ = report.location
        report.outcome, report.longrepr = "skipped", (file, line or 0, f"Skipped: {reason}")


def _with_first_line(line: str, lines: Iterable[str]) -> Iterator[str]:
    """Lines with another one for the first; none, where there are none."""
    for number, each in enumerate(lines):
        yield each if number else line


def shown(value: object) -> str:
    """A value as Python writes it, without the middle of one that is long."""
    text = repr(value)
    half = MOST_SHOWN // 2
    return text if len(text) <= MOST_SHOWN else f"{text[:half]} ... {text[-half:]}"


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
