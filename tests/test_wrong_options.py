"""Every option, variable and ini key with wrong input: one line, exit status 4, and nothing changed.

The options are the plugin's and this repository's own lists. One without a row fails here, and so does a row without an
entry for each way of being wrong.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from circuit_harness.plugin.command_line import FILES, HOSTS, OPTIONS, REPEATED, add_options
from tests.jobs import ROOT, environment

NOBODY = "circuit://127.0.0.1:9/1/Q0123456789abcdef"
"""A circuit that does not answer."""

# By its path: the name is also that of tests/conftest.py.
CONFTEST = runpy.run_path(str(ROOT / "conftest.py"))
PORTS: list[str] = list(CONFTEST["PORTS"])

WITHOUT_VALUE = (
    *("--replace", "--install", "--attach", "--circuit-teardown", "--crashed-only", "--plan", "--disruptive"),
    *("--no-probe", "--tutorial-compat", "--selfcheck"),
)

WAYS = ("empty", "garbage", "missing", "unreadable", "out of range", "twice")


@dataclass(frozen=True)
class Wrong:
    """Wrong input: arguments or variables, and how the line begins that refuses it."""

    arguments: tuple[str, ...]
    words: str
    variables: Mapping[str, str] = field(default_factory=dict)
    on_named_circuit: bool = True

    def command_line(self) -> list[str]:
        return [*([f"--circuit-addr={NOBODY}"] if self.on_named_circuit else []), *self.arguments]


def wrong(arguments: str, words: str) -> Wrong:
    return Wrong(tuple(arguments.split()), words)


def alone(arguments: str, words: str) -> Wrong:
    """The same without an option that names a circuit."""
    return Wrong(tuple(arguments.split()), words, on_named_circuit=False)


def variable(name: str, value: str, words: str, *arguments: str) -> Wrong:
    return Wrong(arguments, words, {name: value}, on_named_circuit=False)


NO_PATH = dict.fromkeys(("missing", "unreadable"), "it is no path")
NO_RANGE = {"out of range": "any value of its form is in range"}
ONCE = {"twice": "a variable and an ini key have one value"}

Row = Mapping[str, Wrong | str]


def flag(name: str) -> Row:
    """The row of an option without a value."""
    return {
        "empty": wrong(f"{name}=", f"{name} has no value: write {name} without ="),
        "garbage": wrong(f"{name}=yes", f"{name} has no value: write {name} without =yes"),
        **NO_PATH,
        "out of range": "it has no value",
        "twice": "given twice, it is the same",
    }


def port(name: str) -> Row:
    """The row of an option for a port."""
    range_words = "is not a valid TCP port; they are 1 to 65535"
    return {
        "empty": wrong(f"{name}=", f"{name}: '' {range_words}"),
        "garbage": wrong(f"{name}=3_307", f"{name}: '3_307' {range_words}"),
        **NO_PATH,
        "out of range": wrong(f"{name}=65536", f"{name}: '65536' {range_words}"),
        "twice": wrong(f"{name}=3307 {name}=3308", f"{name} is given twice, with 3307 and with 3308: choose one"),
    }


def addresses(name: str) -> Row:
    """The row of an option for addresses of hosts."""
    return {
        "empty": wrong(f"{name}=", f"{name}: '' is not NAME=IP, such as "),
        "garbage": wrong(f"{name}=X1=host", f"{name}: 'X1=host' is not NAME=IP, such as "),
        **NO_PATH,
        "out of range": wrong(f"{name}=X1=127.0.0.1", f"{name}: 127.0.0.1 is a loopback address"),
        "twice": wrong(f"{name}=X1=10.0.0.7 {name}=X1=10.0.0.8", f"{name}: host X1 is given twice, with 10.0.0.7 and"),
    }


ROWS: dict[str, Row] = {
    **{name: flag(name) for name in WITHOUT_VALUE},
    **{name: port(name) for name in PORTS},
    **{name: addresses(name) for name in ("--private-address", "--public-address")},
    "--circuit-addr": {
        "empty": alone("--circuit-addr=", "--circuit-addr: '' is not a circuit address: "),
        "garbage": alone("--circuit-addr=foo", "--circuit-addr: 'foo' is not a circuit address: "),
        **NO_PATH,
        "out of range": alone(
            "--circuit-addr=circuit://127.0.0.1:70000/1/Q0123456789abcdef",
            "--circuit-addr: 'circuit://127.0.0.1:70000/1/Q0123456789abcdef' is not a circuit address: ",
        ),
        "twice": "given again, each is tried in turn",
    },
    "--circuit-hmac": {
        "empty": wrong("--circuit-hmac=", "--circuit-hmac is empty: write --circuit-hmac=FILE"),
        "garbage": wrong("--circuit-hmac=text", "--circuit-hmac: text does not hold a key in base64"),
        "missing": wrong("--circuit-hmac=nosuch", "--circuit-hmac: cannot read nosuch: No such file or directory"),
        "unreadable": wrong("--circuit-hmac=closed", "--circuit-hmac: cannot read closed: Permission denied"),
        "out of range": wrong("--circuit-hmac=/dev/zero", "--circuit-hmac: /dev/zero does not hold a key in base64"),
        "twice": wrong("--circuit-hmac=key --circuit-hmac=text", "--circuit-hmac is given twice, with key and with te"),
    },
    "--circuit-listen": {
        "empty": wrong("--circuit-listen=", "--circuit-listen: '' is not IP:PORT, such as "),
        "garbage": wrong("--circuit-listen=host:7000", "--circuit-listen: 'host:7000' is not IP:PORT, such as "),
        **NO_PATH,
        "out of range": wrong("--circuit-listen=10.0.0.5:99999", "--circuit-listen: '10.0.0.5:99999' is not IP:PORT"),
        "twice": wrong("--circuit-listen=::1:1 --circuit-listen=::1:2", "--circuit-listen is given twice, with ::1:1"),
    },
    HOSTS: {
        "empty": alone("--hosts=", "--hosts: '' names no host"),
        "garbage": wrong("--hosts=mysql=", "--hosts: mysql= is not SERVICE=HOST, such as "),
        **NO_PATH,
        "out of range": wrong("--hosts=a,b,c", "--hosts: name at most 2 hosts, in this order: "),
        "twice": wrong("--hosts=a --hosts=b", "--hosts is given twice, with a and with b: choose one"),
    },
    "--keep": {
        "empty": wrong("--keep=", "--keep: '' is not valid; it is one of never, on-failure, always"),
        "garbage": wrong("--keep=yes", "--keep: 'yes' is not valid; it is one of never, on-failure, always"),
        **NO_PATH,
        **NO_RANGE,
        "twice": wrong("--keep=always --keep=never", "--keep is given twice, with always and with never: choose one"),
    },
    "--workspace": {
        "empty": alone("--workspace=", "--workspace: '' is not valid; it is one of up, check, down, status, reset"),
        "garbage": alone("--workspace=yes", "--workspace: 'yes' is not valid; it is one of up, check, down, status"),
        **NO_PATH,
        **NO_RANGE,
        "twice": alone("--workspace=up --workspace=down", "--workspace is given twice, with up and with down: choose"),
    },
    "--deployment": {
        "empty": wrong("--deployment=", "--deployment: '' is not a name of up to 24 "),
        "garbage": wrong("--deployment=../x", "--deployment: '../x' is not a name of up to 24 "),
        **NO_PATH,
        "out of range": wrong(f"--deployment={25 * 'x'}", f"--deployment: '{25 * 'x'}' is not a name of up to 24 "),
        "twice": wrong("--deployment=a --deployment=b", "--deployment is given twice, with a and with b: choose one"),
    },
    "--lease-wait": {
        "empty": wrong("--lease-wait=", "--lease-wait: '' is not a valid number of seconds; it is 0 or more"),
        "garbage": wrong("--lease-wait=long", "--lease-wait: 'long' is not a valid number of seconds; it is 0 or more"),
        **NO_PATH,
        "out of range": wrong("--lease-wait=inf", "--lease-wait: 'inf' is not a valid number of seconds; it is 0"),
        "twice": wrong("--lease-wait=0 --lease-wait=1", "--lease-wait is given twice, with 0 and with 1: choose one"),
    },
    "--run-timeout": {
        "empty": wrong("--run-timeout=", "--run-timeout: '' is not a valid number of seconds; it is more than 0"),
        "garbage": wrong("--run-timeout=1h", "--run-timeout: '1h' is not a valid number of seconds; it is more than 0"),
        **NO_PATH,
        "out of range": wrong("--run-timeout=0", "--run-timeout: '0' is not a valid number of seconds; it is more"),
        "twice": wrong("--run-timeout=1 --run-timeout=2", "--run-timeout is given twice, with 1 and with 2: choose"),
    },
    "--artifacts": {
        "empty": wrong("--artifacts=", "--artifacts is empty: write --artifacts=DIR"),
        "garbage": wrong("--artifacts=text", "--artifacts: {folder}/text is not a folder; name another"),
        "missing": wrong(
            "--artifacts=nosuch/folder",
            "--artifacts: there is no folder {folder}/nosuch; make it first: mkdir -p {folder}/nosuch",
        ),
        "unreadable": wrong("--artifacts=shut/new", "--artifacts: cannot write {folder}/shut: "),
        "out of range": wrong(f"--artifacts={300 * 'x'}", "--artifacts: cannot use {folder}/xxx"),
        "twice": wrong("--artifacts=a --artifacts=b", "--artifacts is given twice, with a and with b: choose one"),
    },
    "--report": {
        "empty": wrong("--report=", "--report is empty: write --report=FILE.html"),
        "garbage": wrong("--report=folder", "--report: {folder}/folder is a folder; name a file in it, such as"),
        "missing": wrong(
            "--report=nosuch/page.html",
            "--report: there is no folder {folder}/nosuch; make it first: mkdir -p {folder}/nosuch",
        ),
        "unreadable": wrong("--report=closed", "--report: cannot write {folder}/closed: "),
        "out of range": wrong(f"--report={300 * 'x'}", "--report: cannot use {folder}/xxx"),
        "twice": wrong("--report=a --report=b", "--report is given twice, with a and with b: choose one"),
    },
    "--log-commands": {
        "empty": wrong("--log-commands=", "--log-commands is empty: write --log-commands=FILE"),
        "garbage": wrong("--log-commands=folder", "--log-commands: {folder}/folder is a folder; name a file in it, "),
        "missing": wrong(
            "--log-commands=nosuch/log",
            "--log-commands: there is no folder {folder}/nosuch; make it first: mkdir -p {folder}/nosuch",
        ),
        "unreadable": wrong("--log-commands=shut/log", "--log-commands: cannot write {folder}/shut: "),
        "out of range": wrong(f"--log-commands={300 * 'x'}", "--log-commands: cannot use {folder}/xxx"),
        "twice": wrong("--log-commands=a --log-commands=b", "--log-commands is given twice, with a and with b: choose"),
    },
    "$CIRCUIT_ADDR": {
        "empty": "it is as if it were not set",
        "garbage": variable("CIRCUIT_ADDR", "foo", "$CIRCUIT_ADDR: 'foo' is not a circuit address: "),
        **NO_PATH,
        "out of range": variable("CIRCUIT_ADDR", "circuit://h:70000/1/Q0", "$CIRCUIT_ADDR: 'circuit://h:70000/1/Q0' "),
        **ONCE,
    },
    "$CIRCUIT_HMAC": {
        "empty": "it is as if it were not set",
        "garbage": variable(
            "CIRCUIT_HMAC", "text", "$CIRCUIT_HMAC: text does not hold a key in base64", f"--circuit-addr={NOBODY}"
        ),
        "missing": variable(
            "CIRCUIT_HMAC",
            "nosuch",
            "$CIRCUIT_HMAC: cannot read nosuch: No such file or directory; if its hosts were removed: unset"
            " CIRCUIT_ADDR CIRCUIT_HMAC",
            f"--circuit-addr={NOBODY}",
        ),
        "unreadable": variable(
            "CIRCUIT_HMAC", "closed", "$CIRCUIT_HMAC: cannot read closed: Permission", f"--circuit-addr={NOBODY}"
        ),
        "out of range": variable("CIRCUIT_HMAC", "key", "$CIRCUIT_HMAC: hosts made on this machine get a key of their"),
        **ONCE,
    },
    "circuit_addr": {
        "empty": "it is as if it were not set",
        "garbage": alone("-o circuit_addr=foo", "circuit_addr in {ini}: 'foo' is not a circuit address: "),
        **NO_PATH,
        "out of range": alone(
            "-o circuit_addr=circuit://h:70000/1/Q0", "circuit_addr in {ini}: 'circuit://h:70000/1/Q0"
        ),
        **ONCE,
    },
    "circuit_hmac": {
        "empty": "it is as if it were not set",
        "garbage": alone(
            f"-o circuit_addr={NOBODY} -o circuit_hmac={{folder}}/text", "circuit_hmac in {ini}: {folder}/text does not"
        ),
        "missing": alone(
            f"-o circuit_addr={NOBODY} -o circuit_hmac={{folder}}/nosuch", "circuit_hmac in {ini}: cannot read {folder}"
        ),
        "unreadable": alone(
            f"-o circuit_addr={NOBODY} -o circuit_hmac={{folder}}/closed", "circuit_hmac in {ini}: cannot read {folder}"
        ),
        "out of range": alone(
            "-o circuit_hmac={folder}/key", "circuit_hmac in {ini}: hosts made on this machine get a key of their own"
        ),
        **ONCE,
    },
}

BLANKS = {
    **{name: wrong(f"{name} text", f"{name}: write {name}={what}; behind a blank") for name, what in FILES.items()},
    **{
        f"{name} of an existing path": wrong(f"{name} text", f"{name}: write {name}=text; behind a blank, pytest takes")
        for name in ("--circuit-listen", "--keep", "--deployment", "--lease-wait", "--run-timeout", *REPEATED, *PORTS)
    },
    "no value": wrong("--keep", "--keep needs a value: write --keep=VALUE"),
    "an option for a value": wrong("--deployment --attach", "--deployment needs a value: write --deployment=VALUE"),
    "a file of an environment's options": Wrong(
        (), "--report: write --report=FILE.html; behind a blank", {"PYTEST_ADDOPTS": "--report text"}
    ),
}
"""Options with a blank in place of "=", by which pytest could choose another project's settings."""

FILES_THAT_CLASH = {
    "the key as the log": wrong("--circuit-hmac=key --log-commands=./key", "--circuit-hmac and --log-commands name"),
    "the key as the report": wrong("--circuit-hmac=key --report=key", "--circuit-hmac and --report name one file, "),
    "one file for both": wrong("--report=new --log-commands=new", "--report and --log-commands name one file, "),
    "a folder as the report": wrong("--artifacts=new --report=new", "--artifacts and --report name one file, "),
    "JUnit's as the report": wrong("--junitxml=new --report=new", "--junitxml and --report name one file, "),
    "a wrong option after the log's": wrong(
        "--log-commands=log --artifacts=new --hosts=,", "--hosts: ',' names no host"
    ),
}
"""Options that would overwrite each other's files, or change one for a run that is refused."""


@dataclass(frozen=True)
class Result:
    """What came of a command line."""

    status: int
    output: str
    errors: str
    changed: bool


class Results:
    """Runs command lines in a process that forks for each; see :mod:`tests.command_lines`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Root without the right to read and write what modes forbid.
        limited = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
        self._process = subprocess.Popen(
            [*limited, sys.executable, "-m", "tests.command_lines"],
            cwd=folder,
            env={**environment(), "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(folder.parent / "state")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def of(self, arguments: list[str], variables: Mapping[str, str]) -> Result:
        words = [argument.replace("{folder}", str(self.folder)) for argument in arguments]
        return Result(**self._ask({"arguments": words, "variables": dict(variables)}))

    def of_pairs(self, always: list[str], singles: Mapping[str, list[str]]) -> dict[str, str]:
        answer: dict[str, str] = self._ask({"pairs": [always, dict(singles)]})
        return answer

    def _ask(self, job: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        # Each job has a time limit, so that this ends.
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait(10)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "key").write_text("QUJD\n")
    (folder / "text").write_text("no key!\n")
    (folder / "log").write_text("of an older run\n")
    (folder / "closed").touch(mode=0)
    (folder / "folder").mkdir()
    (folder / "shut").mkdir(mode=0o500)
    made = Results(folder)
    yield made
    made.close()


CASES = {
    **{f"{name} {way}": case for name, row in ROWS.items() for way, case in row.items() if isinstance(case, Wrong)},
    **{f"blank: {name}": case for name, case in BLANKS.items()},
    **FILES_THAT_CLASH,
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_wrong_input_is_one_line_and_changes_nothing(results: Results, case: Wrong) -> None:
    result = results.of(case.command_line(), case.variables)
    words = case.words.replace("{folder}", str(results.folder)).replace("{ini}", str(ROOT / "pytest.ini"))
    assert result.status == pytest.ExitCode.USAGE_ERROR, result
    (line,) = (line for line in result.errors.splitlines() if line)
    assert line.startswith(f"ERROR: {words}")
    assert result.output == ""
    assert not result.changed


def test_every_option_variable_and_key_has_a_row_with_all_ways() -> None:
    parser = Recorder()
    add_options(parser)  # type: ignore[arg-type]
    assert sorted(parser.options) == sorted(OPTIONS)
    CONFTEST["add_options"](parser)
    variables = ("$CIRCUIT_ADDR", "$CIRCUIT_HMAC")
    assert set(ROWS) == {*parser.options, *parser.keys, *variables, HOSTS}
    assert {name: set(row) for name, row in ROWS.items()} == {name: set(WAYS) for name in ROWS}


class Recorder:
    """Stands for pytest's parser and its groups, and notes what is added."""

    def __init__(self) -> None:
        self.options: list[str] = []
        self.keys: list[str] = []

    def getgroup(self, *_: str) -> Recorder:
        return self

    def addoption(self, name: str, **_: object) -> None:
        self.options.append(name)

    def addini(self, name: str, **_: object) -> None:
        self.keys.append(name)


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["--keep=always", "--keep=always", "--disruptive", "--disruptive"], {}),
        (["--keep=always"], {"PYTEST_ADDOPTS": "--keep=never"}),
        (["--circuit-addr", NOBODY, "--keep", "always", "--mysql-port", "3307"], {}),
        ([f"--circuit-addr={NOBODY}"], {"CIRCUIT_ADDR": "", "CIRCUIT_HMAC": ""}),
        (["--artifacts=new", "--report=new/report.html", "--log-commands=log"], {}),
    ],
    ids=["the same twice", "the environment's overruled", "blanks", "empty variables", "a file in the new folder"],
)
def test_what_is_not_wrong_is_taken(results: Results, arguments: list[str], variables: Mapping[str, str]) -> None:
    """The circuit that does not answer is what is refused: all options were read."""
    result = results.of([f"--circuit-addr={NOBODY}", *arguments], variables)
    assert result.errors.startswith(f"ERROR: --circuit-addr: dial {NOBODY}: cannot connect to 127.0.0.1:9: "), result


@pytest.mark.parametrize("selection", [["-k", "schema"], ["-kschema"], ["-m", "mysql"]], ids=" ".join)
@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("--workspace=up", "deploys, keeps and checks nothing"),
        ("--workspace=down", "removes the hosts"),
        ("--workspace=status", "prints what is up"),
        ("--workspace=reset", "makes the hosts new"),
        (f"--circuit-addr={NOBODY} --circuit-teardown", "takes down what is there, and checks nothing"),
    ],
)
def test_what_runs_no_checks_takes_no_choice_of_them(
    results: Results, mode: str, why: str, selection: list[str]
) -> None:
    result = results.of([*mode.split(), *selection], {})
    error = f"ERROR: {mode.split()[-1]} {why}, so {selection[0][:2]} makes no sense with it\n"
    assert (result.status, result.errors.strip("\n") + "\n") == (pytest.ExitCode.USAGE_ERROR, error)


@pytest.mark.parametrize("verb", ["up", "down", "status", "reset"])
def test_a_verb_that_runs_no_checks_takes_no_argument(results: Results, verb: str) -> None:
    result = results.of([f"--workspace={verb}", "foo"], {})
    error = f"ERROR: --workspace={verb} runs no checks, so foo makes no sense with it\n"
    assert (result.status, result.errors.strip("\n") + "\n") == (pytest.ExitCode.USAGE_ERROR, error)


def test_help_is_shown_whatever_else_is_wrong(results: Results) -> None:
    result = results.of(["--help", "--keep=yes"], {"CIRCUIT_ADDR": "foo"})
    assert (result.status, result.errors) == (0, "")
    assert "\ndeployment through a circuit:\n" in result.output


VALID: dict[str, list[str]] = {
    **{name: [name] for name in WITHOUT_VALUE},
    "--circuit-addr": [f"--circuit-addr={NOBODY}"],
    "--circuit-hmac": ["--circuit-hmac=key"],
    "--circuit-listen": ["--circuit-listen=127.0.0.1:0"],
    "--private-address": ["--private-address=X1=10.0.0.7"],
    "--public-address": ["--public-address=X1=10.0.0.7"],
    "--hosts": ["--hosts=X1"],
    "--keep": ["--keep=always"],
    "--workspace": ["--workspace=up"],
    "--deployment": ["--deployment=a"],
    "--lease-wait": ["--lease-wait=1"],
    "--run-timeout": ["--run-timeout=60"],
    "--artifacts": ["--artifacts=new"],
    "--report": ["--report=page.html"],
    "--log-commands": ["--log-commands=log"],
    "--mysql-port": ["--mysql-port=3307"],
    "--api-port": ["--api-port=8081"],
}
"""A valid use of each option, on a circuit that is named."""

INSTEAD = ("--attach", "--circuit-teardown", "--plan", "--workspace")
"""Options that say what to do in place of deploying and checking."""

OF_CHECKS = ("--disruptive", "--no-probe", "--artifacts", "--report")
"""Options about the checks."""

CONTRADICTIONS = {
    *combinations(INSTEAD, 2),
    # What --circuit-teardown is to leave alone.
    *(("--crashed-only", other) for other in VALID if other not in ("--crashed-only", "--circuit-teardown")),
    *(("--attach", other) for other in ("--replace", "--install", "--keep", "--lease-wait")),
    *(("--attach", other) for other in ("--private-address", "--public-address", "--tutorial-compat")),
    *(("--attach", other) for other in PORTS),
    *(("--circuit-teardown", other) for other in ("--install", "--keep", *OF_CHECKS)),
    *(("--circuit-teardown", other) for other in ("--private-address", "--public-address", "--tutorial-compat")),
    *(("--circuit-teardown", other) for other in PORTS),
    *(("--plan", other) for other in ("--keep", "--lease-wait", *OF_CHECKS)),
    *(("--workspace", other) for other in ("--keep", *OF_CHECKS)),
    *((other, "--run-timeout") for other in ("--circuit-teardown", "--workspace")),
}
"""The pairs of options that contradict each other. All others go together."""


def test_every_contradictory_pair_is_refused_and_no_other(results: Results) -> None:
    assert set(VALID) == {name for name in ROWS if name.startswith("--")}
    found = results.of_pairs([f"--circuit-addr={NOBODY}"], VALID)
    assert len(found) == len(VALID) * (len(VALID) - 1) // 2
    refused = {pair: line for pair, line in found.items() if line}
    assert {frozenset(pair.split()) for pair in refused} == {frozenset(pair) for pair in CONTRADICTIONS}
    for pair, line in refused.items():
        assert "\n" not in line
        assert any(name in line for name in pair.split()), line


def test_a_workspace_is_changed_by_itself(results: Results) -> None:
    """What is about hosts that are made here, with options about others."""
    about_checks = (
        "--keep=always",
        "--disruptive",
        "--artifacts=new",
        "--report=page.html",
        "--replace",
        "--install",
        "--no-probe",
    )
    singles = {option: [option] for option in (*about_checks, "--lease-wait=1", "--plan")}
    for verb in ("down", "status", "reset"):
        found = results.of_pairs([f"--workspace={verb}"], {**singles, "--deployment=a": ["--deployment=a"]})
        for other in singles:
            assert found[f"{other} --deployment=a"].startswith(("--workspace", "--plan and --workspace")), other
    line = "--workspace=reset is about the hosts made on this machine, and $CIRCUIT_ADDR names others: "
    assert line in results.of(["--workspace=reset"], {"CIRCUIT_ADDR": NOBODY}).errors
