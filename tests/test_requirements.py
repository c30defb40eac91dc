"""Packages that this project installs: pinned, and only the files that it was made with."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.jobs import ROOT, environment

PACKAGES = ("circuit", "circuit_harness", "localhosts")
FILES = ("requirements.txt", "requirements-dev.txt")
PINNED = re.compile(
    r"(?P<name>[A-Za-z0-9_.-]+)(\[\w+\])?==(?P<version>[\w.]+)(; python_version (<|>=) \"3\.\d+\")?"
    r"( --hash=sha256:[0-9a-f]{64})+"
)


def requirements(name: str) -> list[str]:
    """The lines of a file, put together where they are continued; without comments."""
    lines = (ROOT / name).read_text().replace(" \\\n   ", "").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", FILES)
def test_every_package_is_pinned_to_its_files(name: str) -> None:
    lines = [line for line in requirements(name) if line != "-r requirements.txt"]
    assert len(lines) > 10
    assert [line for line in lines if not PINNED.fullmatch(line)] == []


def test_the_packages_installed_are_those_and_no_others() -> None:
    """What else is there came along with another package, unpinned."""
    listed = {
        (normal(found["name"]), found["version"])
        for name in FILES
        for line in requirements(name)
        if (found := re.match(r"(?P<name>[A-Za-z0-9_.-]+)(\[\w+\])?==(?P<version>[\w.]+)", line))
    }
    command = [sys.executable, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"]
    pairs = [line.split("==") for line in subprocess.check_output(command, text=True, timeout=60).split()]
    installed = {normal(name): version for name, version in pairs}
    others = installed.keys() - {"pip", "setuptools"}
    assert {name: installed[name] for name in others if (name, installed[name]) not in listed} == {}


def pins() -> dict[str, Version]:
    """What this project is made with: the version of each package of requirements.txt."""
    found = (PINNED.fullmatch(line) for line in requirements("requirements.txt"))
    return {normal(match["name"]): Version(match["version"]) for match in found if match}


def dependencies() -> list[Requirement]:
    """What the distribution requires."""
    found = re.search(r"^dependencies = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return [Requirement(text) for text in re.findall(r'"(.*)"', found[1])]


def test_the_pins_are_within_the_ranges_of_the_distribution() -> None:
    ranges = dependencies()
    assert {normal(one.name): one for one in ranges if pins()[normal(one.name)] not in one.specifier} == {}
    for one in ranges:
        # A next release with another first number may be anything.
        bounds = {specifier.operator: Version(specifier.version) for specifier in one.specifier}
        assert set(bounds) == {">=", "<"}, one
        assert bounds["<"].major == pins()[normal(one.name)].major + 1


def test_the_distribution_requires_what_it_imports() -> None:
    """And nothing else, but xdist, which its option -n is documented with."""
    required = {normal(one.name) for one in dependencies()}
    distributions = packages_distributions()
    imported = set[str]()
    for path in (file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add((node.module or "").partition(".")[0])
    # Debian's name of pycryptodome, for hosts; where it is missing, the node has a cipher of its own.
    others = imported - sys.stdlib_module_names - set(PACKAGES) - {"Cryptodome"}
    assert {normal(distributions[name][0]) for name in others} | {"pytest-xdist"} == required


def forge(folder: Path, name: str, version: str) -> None:
    """Make a package of this name and version, as pip takes them, that is not the one that is meant."""
    folder.mkdir()
    info = f"{name}-{version}.dist-info"
    content = {
        f"{name}/__init__.py": "FORGED = True\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in content.items():
            wheel.writestr(path, text)
        wheel.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in (*content, f"{info}/RECORD")))


def test_another_file_of_the_same_name_is_not_installed(tmp_path: Path) -> None:
    (line,) = (line for line in requirements("requirements.txt") if line.startswith("iniconfig=="))
    forge(tmp_path / "index", "iniconfig", line.partition("==")[2].split()[0])
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy2(ROOT / "run", copy)
    (copy / "requirements.txt").write_text(f"{line}\n")
    (copy / "requirements-dev.txt").write_text("-r requirements.txt\n")
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "index"), "PIP_CONFIG_FILE": os.devnull}
    # The lint that would come next has nothing to be run by: this fails either way.
    done = subprocess.run(
        [copy / "run", "lint"], env={**environment(), **index}, capture_output=True, text=True, timeout=120
    )
    look = [str(copy / ".venv/bin/python"), "-c", "import iniconfig; print(iniconfig.FORGED)"]
    found = subprocess.run(look, capture_output=True, text=True, timeout=60)
    assert found.stdout == "", "the forged package was installed"
    assert "No module named 'iniconfig'" in found.stderr
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr, done.stderr
    assert "run: pip could not install requirements-dev.txt" in done.stderr
