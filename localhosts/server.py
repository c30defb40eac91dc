"""The circuit server of a host: its program, its command line, and the files it reads and writes."""

from __future__ import annotations

import base64
import re
import secrets
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

PORT = 11022
"""The port that every circuit server listens on."""

LOG = "var/log/circuit.log"
"""The server's standard output and error, below the host's root."""

JOIN_PIPE = "var/lib/circuit/join.pipe"
"""The pipe, below the host's root, from which the server's start reads one line, made by ``join_line``."""

ENDED = "var/lib/circuit/ended"
"""A file, below the host's root, that appears when the server has ended, with its exit status."""

JOIN = "var/lib/circuit/join"
"""A file, below the host's root, that keeps the line from the pipe."""

KEY = "var/lib/circuit/key"
"""The file, below the host's root, with the circuit's key in base64."""

PRIVATE = (LOG, JOIN, KEY)
"""Files, below the host's root, that only the server's user can read: their content gives access to the circuit."""

CODE = "opt/circuit"
"""The folder of the server's program, below the host's root."""

ENVIRONMENT = f"LANG=C.UTF-8 PYTHONPATH=/{CODE} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1"
"""The server's environment, in addition to that of every user's processes."""

_KEY_BYTES = 64


@dataclass(frozen=True)
class Server:
    """A circuit server: the Python package in the folder ``source``, or the Go program that ``source`` is."""

    source: str
    options: tuple[str, ...] = ()
    keyed: bool = True

    def install(self, layer: Path) -> None:
        """Copy the program into ``layer``, a folder that becomes a part of every host's root. Raises OSError."""
        source = Path(self.source)
        code = layer / CODE
        code.mkdir(parents=True)
        # Without the files' modes: the server's user must be able to read files that only their owner can read here.
        if source.is_dir():
            for file in source.rglob("*.py"):
                target = code / source.name / file.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        else:
            shutil.copyfile(source, code / "circuit")
            (code / "circuit").chmod(0o755)

    def command(self, address: str) -> str:
        """Return the server's command, as shell text: it listens on ``address`` and joins the circuit in ``JOIN``."""
        if Path(self.source).is_dir():
            package = Path(self.source).name
            program = ["/usr/bin/python3", "-m", f"{package}.node", "--join-file", f"/{JOIN}"]
        else:
            program = [f"/{CODE}/circuit", "start"]
        key = ["--hmac", f"/{KEY}"] if self.keyed else []
        command = shlex.join([*program, "--addr", f"{address}:{PORT}", *key, *self.options])
        # The Go program reads the circuit to join only from its command line.
        return command if Path(self.source).is_dir() else f"{command} $(sed 's/^./--join &/' /{JOIN})"


def new_key() -> str:
    """Return a key for a circuit in the format of its servers and clients: 64 random bytes in base64."""
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode() + "\n"


def join_line(circuit_address: str | None) -> str:
    """Return the line for the pipe: the circuit to join, or None for the first server, which joins none."""
    return f"{circuit_address or ''}\n"


def find_address(log: str, address: str) -> str | None:
    """Return the circuit address that the server on ``address`` has printed, alone on a line of its ``log``."""
    found = re.search(rf"^\s*(circuit://{re.escape(address)}:{PORT}/\S+)\s*$", log, re.MULTILINE)
    return found[1] if found else None
