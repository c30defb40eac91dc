"""The documents' examples, as code that runs; and that what they name is there."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from circuit_harness import MySQL, NodeApp, Place, Program
from tests.circuits import Pair
from tests.jobs import ROOT, Watched, checks_of_its_own, environment, named, run

README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
SERVICES = ROOT / "docs" / "services.md"
DOCUMENTS = [README, CONTRIBUTING, *sorted((ROOT / "docs").glob("*.md"))]


def examples(document: Path, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)


def test_the_client_s_example_runs(circuit_pair: Pair) -> None:
    (example,) = examples(README)
    code, addresses = re.subn(r"circuit://10\.[\w.:/]+", circuit_pair.first.address, example)
    assert addresses == 1
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^X[0-9a-f]{16} Linux ", done.stdout, re.MULTILINE)) == 2, done.stdout


def test_the_example_of_a_check_passes(watched: Watched, tmp_path: Path) -> None:
    (example,) = examples(CONTRIBUTING)
    tests = len(re.findall(r"^def test_", example, re.MULTILINE))
    assert tests == 1
    done = run(
        *named(watched.cluster),
        *("-m", "mysql"),
        *checks_of_its_own(tmp_path, example),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{tests} passed" in done.stdout
    watched.assert_unchanged()


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
    others = [document for document in DOCUMENTS if document != SERVICES]
    assert [len(examples(document)) for document in others] == [1, 1, *[0] * (len(others) - 2)]


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
