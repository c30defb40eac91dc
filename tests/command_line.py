"""The command line as a process, for tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from circuit import Client
from tests.circuits import PROJECT

LIMIT_S = 30.0
GARBAGE_S = 200.0
"""How long a Go server may take until it collects its garbage."""


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    status: int
    stdout: bytes
    stderr: str

    @property
    def lines(self) -> list[str]:
        return self.stdout.decode().splitlines()

    def complaint(self) -> str:
        """What it complained about, in one line and with nothing printed."""
        assert self.stdout == b""
        assert re.fullmatch(r"circuit: .+\n", self.stderr), self.stderr
        return self.stderr


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "circuit", *arguments]


def environment(address: str, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("CIRCUIT_ADDR", "CIRCUIT_HMAC")}
    return {**kept, **({"CIRCUIT_ADDR": address} if address else {}), **more}


def run(address: str, *arguments: str, stdin: bytes = b"", **more: str) -> Ended:
    done = subprocess.run(
        command(*arguments),
        cwd=PROJECT,
        env=environment(address, **more),
        input=stdin,
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr.decode("utf-8", "surrogateescape"))


def elements_below(client: Client) -> list[str]:
    """The paths of all elements that commands left below the hosts."""
    found = []
    for host in client.view().values():
        for anchor in host.view().values():
            element = anchor.get()
            if element is not None:
                found.append(anchor.path)
                element.release()
            anchor.release()
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
