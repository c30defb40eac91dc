"""Plugin of every process that runs tests: requests what they need, attaches evidence to their failures."""

from __future__ import annotations

import re
from collections.abc import Container, Generator, Iterable, Iterator
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
from circuit_harness.plugin.disruption import MARKER as DISRUPTIVE
from circuit_harness.plugin.options import Options
from circuit_harness.plugin.progress import harmless
from circuit_harness.plugin.questions import CIRCUIT, DOWN, LOST, SEEN, Answer, Unavailable
from circuit_harness.report.outcome import ELSEWHERE, EVIDENCE, NOTE
from circuit_harness.secret import mask
from circuit_harness.services.protocol import Running

if TYPE_CHECKING:
    # Workers do not deploy, and all that deploying takes is slow to load.
    from circuit_harness.plugin.coordinator import Coordinator

MOST_SHOWN = 240
"""How many characters of either side of a comparison a failure's first line has."""

ROLE = "_circuit_role"
"""The fixture that holds the parameter of the fixture ``host``: the service whose host that is."""

WORKER_INPUT = "circuit-harness"
"""The key of xdist's ``workerinput`` for the endpoint of the controller's RPC server."""

_ANSWER_LIMIT_S = 1800.0
"""How long a worker waits for an answer: as long as a deployment that installs packages may take."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

_FAILED = pytest.StashKey[bool]()
"""Whether a test has failed in its set-up or its call."""


class Harness:
    """The plugin of one process. Fixtures get it by the fixture ``harness``."""

    def __init__(
        self, config: pytest.Config, options: Options, services: Services, coordinator: Coordinator | None
    ) -> None:
        """Connect to the coordinator.

        :param services: those that checks can request.
        :param coordinator: this process's own; None in a worker, which uses the controller's by RPC.
        """
        self._options = options
        self._declared = services
        self._coordinator = coordinator
        self._parts: frozenset[str] = frozenset()
        self._modules: frozenset[Path] = frozenset()
        """The files of the collected tests."""
        self._missing: dict[str, str] = {}
        self._hosts: dict[str, str] = {}
        """The host's name of each service that was requested."""
        self._lost: set[str] = set()
        self._down: dict[str, str] = {}
        """Why services are down, in a line each, as far as the run knows."""
        self._found_down: set[str] = set()
        """The messages with which tests of this process fail because a service is down before they begin."""
        self._down_after: Answer = {}
        """The service that was down when the last test's clean-up had ended."""
        self._services: dict[str, Running] = {}
        self._notes: list[str] = []
        self._client: Client | None = None
        if coordinator is not None:
            self._ask = coordinator.ask
        else:
            # Imported here because it is slow to load, and only workers need it.
            from circuit_harness.plugin.rpc import RpcClient

            workerinput: dict[str, Any] = config.workerinput  # type: ignore[attr-defined]
            self._ask = RpcClient(workerinput[WORKER_INPUT], options.lease_wait + _ANSWER_LIMIT_S).ask
            self._worker = int(workerinput["workerid"].removeprefix("gw"))

    def ask(self, what: str) -> Answer:
        """Request something, which is made at the first request. Fail the test where it is unavailable.

        Only the first such test of all processes fails; later ones are skipped with the reason.
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
        if failure.already_reported:
            pytest.skip(f"not run: {reason}")
        if failure.down:
            self._found_down.add(str(failure))
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
        """Note that tests use a service from now on."""
        self._services[part] = service

    def note(self, text: str) -> None:
        """Print a text at the end of the run, once, however many tests of however many workers note it."""
        self._notes.append(text)

    # hooks

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Make the cause the first line of a failure, where a service is down; otherwise add evidence from the hosts.

        Of all failures that a lost host or a service that is down causes in all processes, only the first stays a
        failure; so does a test whose clean-up fails, too. Reports leave this process without secrets.
        """
        report = yield
        report.longrepr = _cleaned(report.longrepr, self._modules)
        if report.failed and call.excinfo is not None:
            if item.stash.get(_FAILED, False):
                report.sections.append((f"{EVIDENCE}the clean-up failed, too", report.longreprtext))
                _not_a_failure(report, "")
            else:
                self._explain(item, report, call.excinfo)
            item.stash[_FAILED] = True
        notes, self._notes = self._notes, []
        report.sections += [(NOTE, note) for note in notes]
        report.sections = _cleaned(report.sections, self._modules)
        # A secret may be broken over lines, none of which has enough of it to be masked by itself.
        if report.failed and mask(report.longreprtext) != report.longreprtext:
            report.longrepr = mask(report.longreprtext)
        if report.when == "teardown":
            for backend in _backends(item):
                backend.history.clear()
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_internalerror(self, excrepr: Any) -> Generator[None, object, object]:
        """Mask secrets in the report of a crash."""
        _cleaned(excrepr, self._modules)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_assertrepr_compare(
        self, op: str, left: object, right: object
    ) -> Generator[None, list[Iterable[str] | None], list[Iterable[str] | None]]:
        """Put both sides of a comparison into the first line: pytest cuts them at a terminal's width."""
        explanations = yield
        summary = f"{shown(left)} {op} {shown(right)}"
        return [explanation and _with_first_line(summary, explanation) for explanation in explanations]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Probe after a clean-up that may have left a service down, while no disruptive test of another process runs.

        While a disruptive test runs, what it uses may be down on purpose: it is probed only after its clean-up.
        """
        self._down_after = {}
        try:
            result = yield
        except (Exception, pytest.fail.Exception):
            self._down_after = self._ask_for_down(item)
            raise
        if item.stash.get(_FAILED, False) and _is_disruptive(item):
            down = self._ask_for_down(item)
            # This test has failed already, and no other is to fail for this.
            if down and down["new"]:
                self.note(down["text"])
        return result

    def _explain(
        self, item: pytest.Item, report: pytest.TestReport, failure: pytest.ExceptionInfo[BaseException]
    ) -> None:
        """Find why a test failed, and put that into its report."""
        if failure.errisinstance(pytest.FixtureLookupError):
            # A fixture's name is wrong, whatever the hosts are like.
            return
        if (text := str(failure.value)) in self._found_down:
            # As a text, since pytest would put the exception's name in front of it.
            report.longrepr = text
            return
        if report.when == "teardown":
            down = self._down_after
        else:
            down = {} if _is_disruptive(item) else self._ask_for_down(item)
        if down:
            _attribute(report, failure, down)
            return
        lost = self._look(item, report, failure)
        # A failed assertion stays a failure even if the host is lost.
        if lost and not failure.errisinstance(AssertionError):
            _not_a_failure(report, f"cut off: {_lost_words(min(lost))}")

    def _ask_for_down(self, item: pytest.Item) -> Answer:
        """Return the first service that a failed test uses and that is down; nothing where all work."""
        used = frozenset(part for part in self._hosts if needs([item], part))
        try:
            return self._ask(DOWN, used) if used else {}
        except Unavailable:
            return {}

    def _look(
        self, item: pytest.Item, report: pytest.TestReport, failure: pytest.ExceptionInfo[BaseException]
    ) -> set[str]:
        """Add evidence to a report; return the lost hosts that another failure has reported."""
        used = frozenset(part for part in self._services if needs([item], part))
        hosts = {host for part, host in self._hosts.items() if needs([item], part)}
        if known := self._lost & hosts:
            return known
        cut_off = failure.errisinstance((HostLost, ClientLost))
        first, seen = self._ask_for_evidence(used, item.nodeid)
        # What cuts this process off may be its own connection alone.
        evidence = Evidence(state([self._services[part] for part in (sorted(used) if cut_off else first)]))
        pieces = [*evidence.pieces, *_commands(item)]
        report.sections += [(f"{EVIDENCE}{piece.title}", piece.text) for piece in pieces]
        for check in dict.fromkeys(seen.values()):
            parts = ", ".join(part for part, of in seen.items() if of == check)
            report.sections.append((f"{ELSEWHERE}{parts}, see the failure of", check))
        missed = set(evidence.lost)
        suspects = hosts if cut_off else set()
        news = self._ask_for_lost(missed | suspects)
        # A host that only this process has lost is reported by this failure.
        news |= missed - self._lost
        self._lost |= missed
        return set() if news else self._lost & hosts

    def _ask_for_evidence(self, used: frozenset[str], check: str) -> tuple[list[str], dict[str, str]]:
        """Return the services whose evidence a test is to collect, and the tests that have that of the others."""
        if not used:
            return [], {}
        try:
            answer = self._ask(SEEN, used | {check})
        except Unavailable:
            return sorted(used), {}
        return answer["first"], answer["seen"]

    def _ask_for_lost(self, missed: set[str]) -> set[str]:
        """Report the hosts that this process has lost; learn which the run has, and which services are down.

        Return the hosts that are new to the run.
        """
        try:
            answer = self._ask(LOST, frozenset(missed))
        except Unavailable:
            return set()
        self._lost.update(answer["hosts"])
        self._down = answer["down"]
        return set(answer["new"])

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note the services that the selected tests request."""
        wanted = [name for name in self._declared if needs(session.items, name)]
        self._parts = frozenset(wanted)
        self._modules = frozenset(item.path for item in session.items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip a test that needs something unavailable, lost or down, which a failure has reported."""
        self._ask_for_lost(set())
        lost = {part: host for part, host in self._hosts.items() if host in self._lost}
        reasons = {**self._missing, **{part: _lost_words(host) for part, host in lost.items()}, **self._down}
        for what, reason in reasons.items():
            if needs([item], what):
                pytest.skip(f"not run: {reason}")

    def pytest_unconfigure(self) -> None:
        """Close the client."""
        if self._client is not None:
            self._client.close()


def _cleaned(value: Any, modules: Container[Path]) -> Any:
    """Mask secrets and control characters in a report, or in a part of it; pytest's objects are changed in place.

    Only frames of test files keep their variables: a value from a host is masked only once it is known to be a secret.
    """
    if isinstance(value, str):
        # Where the terminal has colours, pytest has coloured the sides of a comparison by now.
        return harmless(_COLOUR.sub("", value))
    if isinstance(value, (list, tuple)):
        return type(value)(_cleaned(part, modules) for part in value)
    if hasattr(value, "reprlocals") and not is_of_tests(getattr(value.reprfileloc, "path", ""), modules):
        # reprfuncargs are arguments, which pytest shows by default.
        value.reprlocals = value.reprfuncargs = None
    for name, part in list(getattr(value, "__dict__", {}).items()):
        if isinstance(part, (str, list, tuple)) or hasattr(part, "__dict__"):
            setattr(value, name, _cleaned(part, modules))
    return value


def is_of_tests(path: str, modules: Container[Path]) -> bool:
    """Return whether a file, as reports name it, is a conftest.py or one of ``modules``, the files of tests."""
    # Reports name files relative to the current folder.
    file = Path.cwd() / path
    return file in modules or file.name == "conftest.py"


def needs(items: Iterable[pytest.Item], fixture: str) -> bool:
    """Return whether any of these tests uses ``fixture`` and is not marked to be skipped."""
    concerned = (item for item in items if item.get_closest_marker("skip") is None)
    return any(fixture in getattr(item, "fixturenames", ()) or fixture in roles(item) for item in concerned)


def roles(item: pytest.Item) -> list[str]:
    """Return the service whose host a test gets by the fixture ``host``; none where it does not use that."""
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return [parameters[ROLE]] if ROLE in parameters else []


def _commands(item: pytest.Item) -> Iterator[Piece]:
    """Yield the last commands that a test ran through testinfra, with their output."""
    for backend in _backends(item):
        if backend.history:
            yield Piece(f"last commands on host {backend.hostname}", "\n".join(map(_described, backend.history)))


def _backends(item: pytest.Item) -> list[CircuitBackend]:
    backends = (getattr(value, "backend", None) for value in getattr(item, "funcargs", {}).values())
    return [backend for backend in backends if isinstance(backend, CircuitBackend)]


def _described(result: CommandResult) -> str:
    lines = [f"$ {result.command.decode()}", f"exit status {result.rc}"]
    for name in ("stdout", "stderr"):
        text = tail(getattr(result, f"{name}_bytes"))
        if text:
            lines.append(f"{name}: {text}")
    return "\n".join(lines)


def _is_disruptive(item: pytest.Item) -> bool:
    return item.get_closest_marker(DISRUPTIVE) is not None


def _attribute(report: pytest.TestReport, failure: pytest.ExceptionInfo[BaseException], down: Answer) -> None:
    """Attribute a failure to the service that is down: the first one of a run shows the cause, the others are none."""
    if down["new"]:
        report.sections.append((f"{EVIDENCE}the check's own failure", report.longreprtext))
        report.longrepr = down["text"]
    elif not (down["lost"] and failure.errisinstance(AssertionError)):
        # A failed assertion stays a failure even if the host is lost.
        _not_a_failure(report, f"cut off: {_first_line(down['text'])}")


def _lost_words(host: str) -> str:
    return f"host {host} is lost"


def _not_a_failure(report: pytest.TestReport, reason: str) -> None:
    """Turn a failure into a skip with a reason, or a failed tear-down into a passed one."""
    if report.when == "teardown":
        report.outcome, report.longrepr = "passed", None
    else:
        file, line, _ = report.location
        report.outcome, report.longrepr = "skipped", (file, line or 0, f"Skipped: {reason}")


def _with_first_line(line: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield lines with the first one replaced."""
    for number, each in enumerate(lines):
        yield each if number else line


def shown(value: object) -> str:
    """Return the ``repr`` of a value, without the middle of a long one."""
    text = repr(value)
    half = MOST_SHOWN // 2
    return text if len(text) <= MOST_SHOWN else f"{text[:half]} ... {text[-half:]}"


def _first_line(error: object) -> str:
    return str(error).partition("\n")[0]
