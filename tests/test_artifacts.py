"""What a run writes into files: nothing secret, and in the place of nobody else's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.jobs import checks_of_its_own, run

QUOTE, BACKSLASH = chr(34), chr(92)

LEAK = """
import pytest

from deploy.secret import Secret

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
    document = json.loads((folder / "run.json").read_text())
    assert [text for text in strings(document) if password in text] == []
    assert [result["outcome"] for result in document["results"]] == ["failed", "skipped"]
    assert [result["reason"] for result in document["results"]] == ["OSError: refused: ***", "refused: ***"]
    assert "refused: ***" in (folder / "report.html").read_text()
