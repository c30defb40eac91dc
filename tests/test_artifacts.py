"""What a run writes into files: nothing secret, and in the place of nobody else's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.jobs import ROOT, checks_of_its_own, run
from tests.run_json import read

QUOTE, BACKSLASH = chr(34), chr(92)

LEAK = """
import pytest

from circuit_harness.secret import Secret

PASSWORD = Secret({characters}.replace("Q", chr(34)).replace("B", chr(92)))


def test_leak():
    raise OSError("refused: " + PASSWORD.reveal())


def test_leak_of_one_that_is_skipped():
    pytest.skip("refused: " + PASSWORD.reveal())
"""


def strings(value: Any) -> Iterator[str]:
    """Every string of a document, keys, too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in (*value, *value.values()):
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


@pytest.mark.parametrize("characters", ["swordQfishBn", "Q, Q", "swordfishB"], ids=repr)
def test_a_password_with_the_signs_of_json_is_masked(tmp_path: Path, characters: str) -> None:
    password = characters.replace("Q", QUOTE).replace("B", BACKSLASH)
    folder = tmp_path / "out"
    checks = checks_of_its_own(tmp_path, LEAK.format(characters=repr(characters)))
    done = run(f"--artifacts={folder}", f"--report={folder / 'report.html'}", *checks)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert (folder / "run.json").exists(), f"nothing was written: {done.stdout[-1000:]}{done.stderr[-1000:]}"
    document = read(folder)
    assert [text for text in strings(document) if password in text] == []
    assert [result["outcome"] for result in document["results"]] == ["failed", "skipped"]
    assert [result["reason"] for result in document["results"]] == ["OSError: refused: ***", "refused: ***"]
    assert "refused: ***" in (folder / "report.html").read_text()


PLACES = """
import json

import pytest


@pytest.fixture
def without_value():
    raise OSError


def within():
    json.loads("{")


def test_within():
    within()


def test_elsewhere():
    json.loads("{")


def test_not_set_up(without_value):
    pass


def test_passes():
    pass


@pytest.mark.skip
def test_skipped():
    pass
"""
LINES = {"within": 13, "elsewhere": 21, "not_set_up": 9, "passes": 28, "skipped": 32}


@pytest.mark.parametrize("options", [["--tb=short"], ["-n", "1"], ["--tb=native"]], ids=" ".join)
def test_a_result_has_the_line_of_its_file(tmp_path: Path, options: list[str]) -> None:
    done = run(f"--artifacts={tmp_path / 'out'}", *checks_of_its_own(tmp_path, PLACES), *options)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    results = read(tmp_path / "out")["results"]
    assert {(ROOT / result["file"]).resolve() for result in results} == {tmp_path / "test_of_its_own.py"}
    lines = {result["check"].partition("::test_")[2]: result["line"] for result in results}
    # Python's own traceback is a text, so that the check's line is all that is known.
    native = {"within": 16, "elsewhere": 20, "not_set_up": 24}
    assert lines == (LINES | native if "--tb=native" in options else LINES)


FAILING = """
def test_one():
    assert 1 == 2


def test_two():
    assert 3 == 4
"""
PASSING = "def test_one(): pass\n"


def test_files_of_others_survive_the_next_run(tmp_path: Path) -> None:
    survives_the_next_run(tmp_path, listed=True)


def test_files_of_others_survive_the_next_run_where_an_older_version_made_no_list(tmp_path: Path) -> None:
    survives_the_next_run(tmp_path, listed=False)


def survives_the_next_run(tmp_path: Path, *, listed: bool) -> None:
    folder = tmp_path / "out"
    precious = [folder / "logs" / "app.log", folder / "failures" / "2019" / "01-failure.txt", folder / "mine.txt"]
    taken = folder / "failures" / "01-test-one" / "01-failure.txt"
    for file in (*precious, taken):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("precious")
    done = run(f"--artifacts={folder}", *checks_of_its_own(tmp_path, FAILING))
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    written = sorted(file for file in folder.rglob("*.txt") if file.is_file() and "assert " in file.read_text())
    assert len(written) == 2
    precious += [written[0].parent / "notes.txt"]
    precious[-1].write_text("precious")
    document = read(folder)
    files = document.pop("files", None)
    if listed:
        assert files is not None, "run.json has no list of files"
        assert sorted(folder / file for file in files) == sorted(written)
    else:
        # What a version without a list wrote went over what it found.
        written[0].rename(taken)
        (folder / "run.json").write_text(json.dumps(document))

    done = run(f"--artifacts={folder}", *checks_of_its_own(tmp_path, PASSING))
    assert done.returncode == 0, done.stdout + done.stderr
    kept = [*precious, taken] if listed else precious
    assert sorted(file for file in folder.rglob("*") if file.is_file()) == sorted([*kept, folder / "run.json"])
    assert {file.read_text() for file in kept} == {"precious"}
    assert read(folder)["outcome"] == "passed"


@pytest.mark.parametrize(
    "files",
    [["{victim}"], ["../victim.txt"], ["failures/../../victim.txt"], ["logs/../victim.txt"], ["victim.txt"], "x", [1]],
    ids=str,
)
def test_a_list_that_no_run_of_ours_made_is_refused(tmp_path: Path, files: Any) -> None:
    victims = [tmp_path / "victim.txt", tmp_path / "out" / "victim.txt"]
    victims[1].parent.mkdir()
    for victim in victims:
        victim.write_text("precious")
    document = tmp_path / "out" / "run.json"
    text = json.dumps({"format": 1, "run": "0123abcd", "outcome": "failed", "results": [], "logs": [], "files": files})
    document.write_text(text.replace("{victim}", str(victims[0])))
    done = run(f"--artifacts={tmp_path / 'out'}", *checks_of_its_own(tmp_path, PASSING))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    words = f"--artifacts: cannot remove {document}: it is not of a run of ours; name another folder"
    assert words in done.stderr
    assert [victim.read_text() for victim in victims] == ["precious", "precious"]


def test_no_link_leads_out_of_the_folder(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    done = run(f"--artifacts={folder}", *checks_of_its_own(tmp_path, FAILING))
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    (folder / "failures").rename(elsewhere)
    (folder / "failures").symlink_to(elsewhere)
    precious = list(elsewhere.rglob("*.txt"))
    assert len(precious) == 2
    for file in precious:
        file.write_text("precious")
    done = run(f"--artifacts={folder}", *checks_of_its_own(tmp_path, FAILING))
    assert {file: file.read_text() for file in elsewhere.rglob("*.txt")} == dict.fromkeys(precious, "precious")
    assert f"cannot write {folder}/failures/01-test-one/01-failure" in done.stdout
