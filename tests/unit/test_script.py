"""Scripts as files: what is sent of them, and that each is complete and in use."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from circuit_harness.errors import DeployError
from circuit_harness.remote.command import Command
from circuit_harness.remote.script import Scripts
from circuit_harness.secret import Secret

ROOT = Path(__file__).parent.parent.parent
FOLDERS = sorted((ROOT / "circuit_harness").rglob("scripts"))
FILES = sorted(path for folder in FOLDERS for path in folder.iterdir())
NAMES = re.compile(r"\$\{(\w+):?\?\}").findall
SOURCES = [path.read_text() for package in ("circuit_harness",) for path in (ROOT / package).rglob("*.py")]


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    (tmp_path / "greet.sh").write_text(
        ': "${name:?}" "${sign?}"\n# A comment.\n: "${there?}"\n    # Another.\n'
        'if true; then\n    echo "$name$sign"\nfi\n'
    )
    (tmp_path / "plain.sh").write_text("# A comment.\nif true; then\n    echo plain\nelse\n    false\nfi\n")
    return Scripts(tmp_path)


def test_parameters_are_assigned_in_front_and_comments_left_out(scripts: Scripts) -> None:
    text = scripts.text("greet", name="it's $HOME", sign="")
    assert text.splitlines()[:3] == ["name='it'\"'\"'s $HOME'", "sign=''", ': "${there?}"']
    assert "comment" not in text
    assert not text.endswith("\n")
    done = subprocess.run(["/bin/sh", "-c", f"there=\n{text}"], capture_output=True, text=True, timeout=10)
    assert done.stdout == "it's $HOME\n"
    missing = subprocess.run(["/bin/sh", "-c", text], capture_output=True, text=True, timeout=10)
    assert missing.returncode != 0
    assert "there" in missing.stderr


@pytest.mark.parametrize("given", [{}, {"name": "x"}, {"name": "x", "sign": "", "more": 1}], ids=len)
def test_a_parameter_too_few_or_too_many_is_an_error(scripts: Scripts, given: dict[str, str]) -> None:
    with pytest.raises(TypeError, match=r"script greet takes \['name', 'sign'\], and was given"):
        scripts.text("greet", **given)


def test_a_script_as_one_line(scripts: Scripts) -> None:
    line = scripts.line("plain")
    assert line == "if true; then echo plain; else false; fi"


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".sh"], ids=lambda path: path.name)
def test_a_script_is_used_and_uses_its_parameters(path: Path) -> None:
    assert any(f'"{path.stem}"' in source or f"'{path.stem}'" in source for source in SOURCES)
    first, _, rest = path.read_text().partition("\n")
    # Or one that comes behind it does, and says so.
    others = [other.read_text().partition("\n")[2] for other in FILES if other != path]
    behind = {name for text in others for line in text.splitlines() if line.startswith(": ") for name in NAMES(line)}
    for name in NAMES(first) if first.startswith(": ") else ():
        assert re.search(rf"\b{name}\b", rest) or name in behind


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix != ".sh"], ids=lambda path: path.name)
def test_a_program_is_used(path: Path) -> None:
    assert any(path.name in source for source in SOURCES)


def test_words_of_a_command_are_quoted() -> None:
    command = replace(Command.of("cat", "--", "/tmp/it's here"), stdin=b"x").as_root()
    assert command.text == "cat -- '/tmp/it'\"'\"'s here'"
    assert command.stdin == b"x"
    assert command.line.endswith(" /bin/sh -c 'cat -- '\"'\"'/tmp/it'\"'\"'\"'\"'\"'\"'\"'\"'s here'\"'\"''")


def test_a_secret_is_not_formatted_into_a_command() -> None:
    secret = Secret("swordfish")
    for text in (f"echo {secret}", f"echo {secret.hidden()}"):
        with pytest.raises(DeployError, match="a secret was formatted into a command"):
            Command(text)
    assert Command("cat", secret.hidden()).stdin is secret.hidden()
    # What others have called a file is none.
    assert Command("cat '/etc/***.cnf'").text
