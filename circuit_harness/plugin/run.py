"""Plugin of the process that outlives all others of a run: it deploys, keeps or takes down, and writes the results."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from circuit import CircuitError
from circuit_harness.engine.evidence import Evidence, Piece, logs
from circuit_harness.engine.pick import check_ports
from circuit_harness.engine.spec import Services
from circuit_harness.errors import Unfit
from circuit_harness.journal.undo import Leftover
from circuit_harness.plugin.coordinator import Coordinator
from circuit_harness.plugin.harness import WORKER_INPUT, needs
from circuit_harness.plugin.options import Options
from circuit_harness.plugin.progress import harmless
from circuit_harness.plugin.run_limit import RunLimit
from circuit_harness.plugin.signals import Signals
from circuit_harness.plugin.spelling import clean_command
from circuit_harness.plugin.terminal import Terminal
from circuit_harness.report import workflow_commands
from circuit_harness.report.outcome import Results, clear_artifacts, compose, write_artifacts
from circuit_harness.secret import mask_tree
from circuit_harness.steps import Steps
from localhosts import LocalHostsError

if TYPE_CHECKING:
    from circuit_harness.plugin.rpc import RpcServer

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
        self._limit: RunLimit | None = None
        if options.run_timeout is not None:
            self._limit = RunLimit(options.run_timeout, self._steps, self._signals.interrupt)
            config.pluginmanager.register(self._limit, "circuit-run-limit")
        self.coordinator = Coordinator(options, services, self._steps, self.terminal.line)
        self._results = Results((*services, CLUSTER), config.rootpath)
        self._results.begin(self._started)
        self._rpc: RpcServer | None = None
        self._logs: list[Piece] = []
        self._left: list[Leftover] = []
        self._failure = ""
        self._annotations: list[str] = []
        self._written: list[str] = []
        """Lines that name the files that were written."""
        self._ended = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Check that the circuit can be used, or made, before the first test, and before any worker starts."""
        self._signals.install()
        if self._limit is not None:
            self._limit.start()
        if self._config.option.collectonly:
            return
        if self._options.artifacts is not None:
            self._clear(self._options.artifacts)
        if self._options.addresses:
            self.coordinator.client()
            if self._is_controller() and not self._selects():
                # It sees no test: its workers collect them.
                self._check_ports(self.coordinator.declared)
        elif self._is_controller():
            self._check_local()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give a worker the endpoint of the RPC server."""
        if self._rpc is None:
            # Imported here because it is slow to load, and runs without workers do not need it.
            from circuit_harness.plugin.rpc import RpcServer

            self._rpc = RpcServer(self.coordinator.ask)
        node.workerinput[WORKER_INPUT] = self._rpc.endpoint

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Check that hosts can be made here where that is to be done, and that they have a port for each service."""
        if self._config.option.collectonly or self._is_controller():
            return
        if self._options.addresses:
            declared = self.coordinator.declared
            self._check_ports(declared.needed(name for name in declared if needs(session.items, name)))
        elif needs(session.items, "circuit_client"):
            self._check_local()

    def _check_local(self) -> None:
        # Imported here because it is slow to load, and runs on a named circuit do not need it.
        from circuit_harness.plugin.local_circuit import check_local

        check_local()

    def _selects(self) -> bool:
        """Return whether the options select some of the tests."""
        option = self._config.option
        chosen = self._config.args_source is pytest.Config.ArgsSource.ARGS
        return bool(option.keyword or option.markexpr or chosen or getattr(option, "lf", False))

    def _check_ports(self, services: Services) -> None:
        """Check that services on one host have ports of their own, as far as it is known which host each gets.

        :raises pytest.UsageError: two have not; the message is one line.
        """
        ports = [service.port for service in services.values() if service.port]
        # Whatever their hosts, and without asking the circuit for those.
        if self._options.mode == "attach" or len(set(ports)) == len(ports):
            return
        named = self._options.hosts.for_services(services, self.coordinator.declared).role
        live = list(self.coordinator.client().view())
        placed: dict[str, str] = {}
        for names in services.places():
            host = next((named[name] for name in names if name in named), live[0] if len(live) == 1 else "")
            placed |= dict.fromkeys(names, host) if host else {}
        try:
            check_ports(services, placed)
        except Unfit as error:
            raise pytest.UsageError(str(error)) from None

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Take everything down, uninterruptible, once all fixtures and workers have ended, or were interrupted."""
        result: object = None
        try:
            result = yield
        except KeyboardInterrupt:
            session.exitstatus = pytest.ExitCode.INTERRUPTED
        self._end(failed=bool(session.testsfailed))
        self._fail_if_incomplete(session)
        self._write(int(session.exitstatus))
        self._fail_if_incomplete(session)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the outcome of a check."""
        self._results.add(report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the services' logs if a check failed.

        A check that passed, and whose clean-up failed, counts once, as an error, as in the report.
        """
        stats = terminalreporter.stats
        errors = {report.nodeid for report in stats.get("error", ())}
        stats["passed"] = [report for report in stats.get("passed", ()) if report.nodeid not in errors]
        # The message on a service that is down has the end of its log.
        shown = self.coordinator.down or any(result.evidence for result in self._results.all())
        for piece in [] if shown else self._logs:
            terminalreporter.write_sep("-", harmless(piece.title))
            terminalreporter.write_line(harmless(piece.text))
        for annotation in self._annotations:
            terminalreporter.write_line(annotation)

    def pytest_unconfigure(self) -> None:
        """End a run that was cut off before its session's end."""
        if not self._ended:
            self._end(failed=False)
            if self._signals.reason:
                self._write(int(pytest.ExitCode.INTERRUPTED))
            self._tell_end()
        self._signals.restore()

    def _notice(self) -> str:
        """Return what to print at a signal that is held off."""
        options = self.coordinator.options
        finish = options.teardown(self.coordinator.changed_hosts) if options.addresses else clean_command()
        notice = "  taking down what was deployed; each step of that has a time limit"
        return f"{notice}, and if this run must be killed, finish the job by: {finish}" if finish else notice

    def _next(self) -> list[tuple[str, str]]:
        """Return command lines for what is still there, each with what it is for."""
        coordinator, options = self.coordinator, self.coordinator.options
        stands = coordinator.kept or (options.mode == "attach" and bool(coordinator.changed_hosts))
        if not options.addresses or not (stands or self._left):
            return []
        hosts = sorted({left.host for left in self._left}) or coordinator.changed_hosts
        check = ("check it again", options.command("check", hosts=hosts, reached=coordinator.reached))
        words = "take it down" if stands else "finish taking it down"
        end = (words, options.teardown(hosts, reached=coordinator.reached))
        return [command for command in ([check, end] if stands else [end]) if command[1]]

    def _fail_if_incomplete(self, session: pytest.Session) -> None:
        """Fail a run that left something behind, or could not write its results."""
        if (self._left or self._failure) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _end(self, *, failed: bool) -> None:
        """Keep the deployment or take it down, once."""
        self._ended = True
        with self._signals.held():
            if self._limit is not None:
                self._limit.cancel()
            if self._signals.reason:
                self._results.notes.append(self._signals.reason)
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
        """Write the files that the user wants, and what a runner of GitHub Actions reads."""
        options = self._options
        actions = workflow_commands.are_obeyed() and options.mode != "plan"
        wanted = options.artifacts is not None or options.report is not None or actions
        if self._config.option.collectonly or not wanted:
            return
        document = mask_tree(self.document(exit_status))
        try:
            if actions:
                from circuit_harness.report.summary import append_summary

                self._annotations += workflow_commands.annotations_of(document, self._config.rootpath)
                append_summary(document)
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
        if actions and self._failure:
            self._annotations.append(workflow_commands.error(harmless(self._failure), title="The run failed"))

    def _is_controller(self) -> bool:
        return self._config.pluginmanager.has_plugin("dsession")
