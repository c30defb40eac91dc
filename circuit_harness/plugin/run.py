"""Plugin of the process that outlives all others of a run: it deploys, keeps or takes down, and writes the results."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from circuit import CircuitError
from circuit_harness.engine.evidence import Evidence, Piece, logs
from circuit_harness.engine.spec import Services
from circuit_harness.journal.undo import Leftover
from circuit_harness.plugin.coordinator import Coordinator
from circuit_harness.plugin.harness import WORKER_INPUT, needs
from circuit_harness.plugin.local_circuit import check_local
from circuit_harness.plugin.options import Options
from circuit_harness.plugin.progress import harmless
from circuit_harness.plugin.rpc import RpcServer
from circuit_harness.plugin.signals import Signals
from circuit_harness.plugin.terminal import Terminal
from circuit_harness.report.outcome import Results, clear_artifacts, compose, write_artifacts
from circuit_harness.secret import mask_tree
from circuit_harness.steps import Steps
from localhosts import LocalHostsError

CLUSTER = "cluster"
"""The marker of checks that are about the circuit and its hosts."""


class Run:
    """The plugin of the only process of a run, or of xdist's controller."""

    def __init__(self, config: pytest.Config, options: Options, services: Services) -> None:
        self._config = config
        self._options = options
        self.terminal = Terminal(config, self._tell_end)
        config.pluginmanager.register(self.terminal, "circuit-terminal")
        self._signals = Signals(self.terminal.line, self._notice)
        self._started = time.time()
        self._steps = Steps(self.terminal)
        self.coordinator = Coordinator(options, services, self._steps, self.terminal.line)
        self._results = Results((*services, CLUSTER))
        self._results.begin(self._started)
        self._rpc: RpcServer | None = None
        self._logs: list[Piece] = []
        self._left: list[Leftover] = []
        self._failure = ""
        self._written: list[str] = []
        """Lines that name the files that were written."""
        self._ended = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Check that the circuit can be used, or made, before the first test, and before any worker starts."""
        self._signals.install()
        if self._config.option.collectonly:
            return
        if self._options.artifacts is not None:
            self._clear(self._options.artifacts)
        if self._options.addresses:
            self.coordinator.client()
        elif self._is_controller():
            check_local()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give a worker the endpoint of the RPC server."""
        if self._rpc is None:
            self._rpc = RpcServer(self.coordinator.ask)
        node.workerinput[WORKER_INPUT] = self._rpc.endpoint

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Check that hosts can be made here where that is to be done."""
        makes_hosts = not self._options.addresses and not self._config.option.collectonly
        if makes_hosts and needs(session.items, "circuit_client"):
            check_local()

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Take everything down, uninterruptible, once all fixtures and workers have ended."""
        self._end(failed=bool(session.testsfailed))
        self._fail_if_incomplete(session)
        self._write(int(session.exitstatus))
        self._fail_if_incomplete(session)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the outcome of a check."""
        self._results.add(report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the services' logs if a check failed."""
        shown = any(result.evidence for result in self._results.all())
        for piece in [] if shown else self._logs:
            terminalreporter.write_sep("-", harmless(piece.title))
            terminalreporter.write_line(harmless(piece.text))

    def pytest_unconfigure(self) -> None:
        """End a run that was cut off before its session's end."""
        if not self._ended:
            self._end(failed=False)
            self._tell_end()
        self._signals.restore()

    def _notice(self) -> str:
        """Return what to print at a signal that is held off."""
        local = "python3 -m localhosts clean"
        finish = self._options.teardown(self.coordinator.changed_hosts) if self._options.addresses else local
        notice = "  taking down what was deployed; each step of that has a time limit"
        return f"{notice}, and if this run must be killed, finish the job by: {finish}" if finish else notice

    def _next(self) -> list[tuple[str, str]]:
        """Return command lines for what is still there, each with what it is for."""
        coordinator = self.coordinator
        stands = coordinator.kept or (self._options.mode == "attach" and bool(coordinator.changed_hosts))
        if not self._options.addresses or not (stands or self._left):
            return []
        hosts = sorted({left.host for left in self._left}) or coordinator.changed_hosts
        reached = coordinator.reached
        check = ("check it again", self._options.command("--attach", hosts=hosts, reached=reached))
        end = ("take it down" if stands else "finish taking it down", self._options.teardown(hosts, reached=reached))
        return [command for command in ([check, end] if stands else [end]) if command[1]]

    def _fail_if_incomplete(self, session: pytest.Session) -> None:
        """Fail a run that left something behind, or could not write its results."""
        if (self._left or self._failure) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _end(self, *, failed: bool) -> None:
        """Keep the deployment or take it down, once."""
        self._ended = True
        with self._signals.held():
            if self._rpc is not None:
                self._rpc.close()
            keep = self._options.keep == "always" or (failed and self._options.keep == "on-failure")
            try:
                if failed:
                    with self._steps.waiting("collect the services' logs"):
                        self._logs = Evidence(logs(list(self.coordinator.services.values()))).pieces
                self._left = self.coordinator.close(keep=keep)
            except (CircuitError, LocalHostsError) as error:
                self._failure = str(error)

    def _tell_end(self) -> None:
        """Print what is left behind and how to finish the job, notes, what still runs, and where the results are."""
        for left in self._left:
            self.terminal.line(f"left behind {left}", red=True)
        if self._left:
            for _, command in self._next():
                self.terminal.line(f"to finish the job: {command}", red=True)
        if self._failure:
            self.terminal.line(self._failure, red=True)
        for note in self._results.notes:
            self.terminal.line(f"note: {note}", bold=True)
        for line in (*self.coordinator.epilogue, *self._written):
            self.terminal.line(line, bold=True)

    def _clear(self, folder: Path) -> None:
        try:
            clear_artifacts(folder)
        except OSError as error:
            raise pytest.UsageError(f"--artifacts: cannot remove {error.filename}: {error.strerror}") from None

    def document(self, exit_status: int) -> dict[str, Any]:
        """Return the results so far."""
        coordinator = self.coordinator
        return compose(
            identity=asdict(coordinator.identity),
            seconds=time.time() - self._started,
            mode=self._options.mode,
            kept=coordinator.kept,
            exit_status=exit_status,
            circuit=coordinator.addresses,
            hosts=coordinator.hosts(),
            declared=[
                {"name": name, "title": service.title, "uses": list(service.uses), "speaks": service.speaks}
                for name, service in coordinator.declared.items()
            ],
            services={
                part: {"host": service.host.name, **service.describe()}
                for part, service in coordinator.services.items()
            },
            steps=self._steps.done,
            results=self._results.all(),
            logs=self._logs,
            left=[str(left) for left in self._left],
            notes=self._results.notes,
            commands=self._next(),
        )

    def _write(self, exit_status: int) -> None:
        """Write the files that the user wants."""
        options = self._options
        if self._config.option.collectonly or (options.artifacts is None and options.report is None):
            return
        document = mask_tree(self.document(exit_status))
        try:
            if options.artifacts is not None:
                write_artifacts(options.artifacts, document)
                self._written.append(f"Results: {options.artifacts / 'run.json'}")
            if options.report is not None:
                # Imported here because it is slow to load, and most runs do not need it.
                from circuit_harness.report.page import render

                options.report.write_text(render(document), encoding="utf-8")
                self._written.append(f"Report: {options.report}")
        except OSError as error:
            self._failure = f"cannot write {error.filename}: {error.strerror}"

    def _is_controller(self) -> bool:
        return self._config.pluginmanager.has_plugin("dsession")
