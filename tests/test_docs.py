"""The documents' examples, as code that runs; and that what they name is there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from contextlib import AbstractContextManager
from dataclasses import fields
from pathlib import Path

import pytest

from circuit_harness import MySQL, NodeApp, Place, Program
from tests import options_page
from tests.circuits import REFERENCE, SIDES, Pair, Server, free_port, introduce, running
from tests.jobs import ROOT, RUN_LIMIT_S, Watched, checks_of_its_own, environment, key_file, named, run

README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
SERVICES = ROOT / "docs" / "services.md"
COMMAND_LINE = ROOT / "docs" / "command-line.md"
TUTORIAL = ROOT / "docs" / "tutorial.md"
DOCUMENTS = [README, CONTRIBUTING, *sorted((ROOT / "docs").glob("*.md"))]


def examples(document: Path, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)


def test_the_client_s_example_runs(circuit_pair: Pair) -> None:
    (example,) = examples(COMMAND_LINE)
    code, addresses = re.subn(r"circuit://10\.[\w.:/]+", circuit_pair.first.address, example)
    assert addresses == 1
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^X[0-9a-f]{16} Linux ", done.stdout, re.MULTILINE)) == 2, done.stdout


@pytest.mark.parametrize("document", [CONTRIBUTING, README], ids=lambda document: document.name)
def test_the_example_of_a_check_passes(watched: Watched, tmp_path: Path, document: Path) -> None:
    example, *_ = examples(document)
    tests = len(re.findall(r"^def test_", example, re.MULTILINE))
    assert tests == 1
    done = run(
        *named(watched.cluster),
        *(["-m", "mysql"] if document == CONTRIBUTING else []),
        *checks_of_its_own(tmp_path, example),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{tests} passed" in done.stdout
    watched.assert_unchanged()


def test_readme_can_be_read_in_minutes() -> None:
    assert len(README.read_text().split()) <= 600


def test_the_page_of_options_is_made_of_them() -> None:
    assert options_page.PAGE.read_text() == options_page.page(), "python3 -m tests.options_page writes it"


def test_every_command_of_the_tutorial_runs(watched: Watched, tmp_path: Path) -> None:
    """In its order, with the addresses of two hosts in place of those of the examples."""
    (script,) = examples(TUTORIAL)
    (tmp_path / "program.py").write_text(script)
    mysql, api = watched.roles
    commands = "".join(examples(TUTORIAL, "sh"))
    # Its hosts are the first two, in the order of their names.
    replaced = {
        "circuit://10.0.0.7:11022/4276/Q54d9ba8870177645": watched.cluster.hosts[0].circuit_address,
        "X1111111111111111": mysql,
        "X2222222222222222": api,
        "203.0.113.8": watched.named(api).public_address,
    }
    for example, real in replaced.items():
        assert example in commands
        commands = commands.replace(example, real)
    lines = commands.splitlines()
    down = next(line for line in lines if line.startswith("./run down"))
    variables = {**environment(), "PYTEST_ADDOPTS": "-p no:cacheprovider"}
    if key := key_file(watched.cluster):
        variables["CIRCUIT_HMAC"] = str(key)
    assert "in the project's folder, and run `.venv/bin/python program.py` there" in TUTORIAL.read_text()
    # As a file in the current folder, which the project's is.
    program = f"{sys.executable} - <{shlex.quote(str(tmp_path / 'program.py'))}"
    try:
        done = _shell("\n".join(["set -ex", *lines, program]), variables)
    finally:
        _shell(f"{lines[0]}\n{down}", variables)
    assert done.returncode == 0, done.stdout + done.stderr
    for shown in (
        *("Started MySQL on private address: ", "Started Node.js service on public address: ", '"value":"hello"'),
        *("on /X", "MySQL: mariadb", "has proc running", "ended by"),
    ):
        assert shown in done.stdout, done.stdout + done.stderr
    watched.assert_unchanged()


PROGRAMS = {"node": "python3 -m circuit.node ", "reference": "circuit start "}


@pytest.mark.parametrize("side", SIDES)
def test_the_tutorial_s_commands_start_a_circuit(side: str) -> None:
    first, second = re.findall(rf"^    ({re.escape(PROGRAMS[side])}.*)$", TUTORIAL.read_text(), re.MULTILINE)
    # Go's servers join whoever shares their multicast port, so this circuit has one of its own.
    program = f"{sys.executable} -m circuit.node" if side == "node" else f"{REFERENCE} start"
    apart = "" if side == "node" else f" --discover 228.8.8.8:{free_port()}"

    def started(line: str, join: str) -> AbstractContextManager[Server]:
        here = re.sub(r"--addr \S+", f"--addr 127.0.0.1:{free_port()}", line.replace(PROGRAMS[side].strip(), program))
        return running(shlex.split(re.sub(r"--join \S+", f"--join {join}", here) + apart))

    with started(first, "") as one, started(second, one.address) as other:
        introduce(one.address, other.address)


def _shell(script: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", script], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=2 * RUN_LIMIT_S
    )


def test_the_examples_of_services_are_files() -> None:
    """Those that tests/test_wheel.py runs."""
    text = SERVICES.read_text()
    shown = dict(re.findall(r"^`(examples/\S+)`:\n\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    assert len(shown) == text.count("\n```\n") >= 4
    assert {name: (ROOT / name).read_text() for name in shown} == shown


def test_what_a_service_takes_is_documented() -> None:
    text = SERVICES.read_text()
    parameters = {field.name for kind in (Program, NodeApp, MySQL) for field in fields(kind) if field.init}
    place = {name for name in (*dir(Place), "addresses", "port", "folder", "work") if not name.startswith("_")}
    internal = {"secrets", "secret_values"}
    assert {name for name in parameters | place - internal if not re.search(rf"\b{name}\b", text)} == set()


def test_only_these_examples_are_code() -> None:
    """Another one gets a test here."""
    with_code = {document.name: count for document in DOCUMENTS if (count := len(examples(document)))}
    assert with_code == {README.name: 3, CONTRIBUTING.name: 1, COMMAND_LINE.name: 1, TUTORIAL.name: 1, SERVICES.name: 3}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_files_that_a_document_names_are_there(document: Path) -> None:
    text = document.read_text()
    folders = "circuit|circuit_harness|deploy|examples|fixtures|checks|tests|fuzz|bench|localhosts|docs"
    named = set(re.findall(rf"`((?:{folders})/[\w./-]*\w)`", text))
    links = set(re.findall(r"\]\((?!https?:)([^)#]+)\)", text))
    missing = [name for name in named if not (ROOT / name).exists()]
    missing += [link for link in links if not (document.parent / link).exists()]
    assert missing == []


def test_what_real_servers_do_is_explained_where_it_is_said_to_be() -> None:
    text = " ".join(CONTRIBUTING.read_text().split())
    told = {
        r"lost exit statuses in (.*?), lost hellos": r"\b(status|exit)\b",
        r"lost hellos in (.*?), lifelines": r"\bhello\b",
        r"lifelines in (.*?)\. ": r"\blifeline",
    }
    for sentence, word in told.items():
        found = re.search(sentence, text)
        assert found is not None, sentence
        modules = re.findall(r"`([\w/]+\.py)`", found[1])
        assert modules
        assert [module for module in modules if not re.search(word, (ROOT / module).read_text())] == []
