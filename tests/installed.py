"""The distribution as its users have it: installed from its wheel, beside repositories outside this one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.jobs import ROOT, RUN_LIMIT_S, environment

EXAMPLES = ROOT / "examples"
PIP_LIMIT_S = 300.0


def pip(*arguments: str, python: str = sys.executable) -> None:
    """Run pip on the packages of a Python."""
    command = [sys.executable, "-m", "pip", "--python", python, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr


def build(folder: Path) -> Path:
    """Build the wheel, and return its file."""
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("*.whl")
    return wheel


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel."""

    python: str

    @classmethod
    def beside_ours(cls, folder: Path, wheel: Path) -> Installed:
        """Make one whose other packages are those that these tests run with."""
        return cls._make(folder, ["--no-deps", "--no-index", str(wheel)], beside=sysconfig.get_path("purelib"))

    @classmethod
    def of(cls, folder: Path, *requirements: str) -> Installed:
        """Make one of nothing but what pip installs for these requirements."""
        return cls._make(folder, [*requirements])

    @classmethod
    def _make(cls, folder: Path, arguments: Sequence[str], beside: str = "") -> Installed:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], timeout=60, check=True)
        made = cls(str(folder / "bin/python"))
        pip("install", "--quiet", *arguments, python=made.python)
        if beside:
            (site,) = folder.glob("lib/python*/site-packages")
            (site / "beside.pth").write_text(f"{beside}\n")
        return made

    def command(self, *options: str) -> list[str]:
        """Return the command line of pytest there."""
        return [self.python, "-m", "pytest", "-v", *options]

    def pytest(self, where: Path, *options: str) -> subprocess.CompletedProcess[str]:
        """Run pytest in a folder, to its end."""
        return subprocess.run(
            self.command(*options), cwd=where, env=environment(), capture_output=True, text=True, timeout=RUN_LIMIT_S
        )


def copy(name: str, folder: Path) -> Path:
    """Copy an example into a folder, and return where it is then."""
    return Path(shutil.copytree(EXAMPLES / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*")))
