"""The circuit server as a systemd unit of every host: which files it is made of, and how it is started."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PORT = 11022
"""The port that every circuit server listens on."""

UNIT = "circuit.service"
"""The server's unit on every host."""

LOG = "var/log/circuit.log"
"""The server's standard output and error, below the host's root."""

JOIN_PIPE = "var/lib/circuit/join.pipe"
"""The pipe, below the host's root, that the server's start waits at for one line made by ``join_line``."""

ENDED = "var/lib/circuit/ended"
"""A file, below the host's root, that appears when the server has ended; it says how."""

_CODE = "opt/circuit"
_JOIN = "var/lib/circuit/join"
_UNITS = "etc/systemd/system"

_UNIT_TEXT = """\
[Unit]
Description=Circuit server

[Service]
User=ubuntu
WorkingDirectory=/home/ubuntu
Environment=LANG=C.UTF-8 PYTHONPATH=/{code} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
EnvironmentFile=-/{join}
# The answer is kept: a server that is started again joins the same circuit.
ExecStartPre=+/bin/sh -c 'test -s /{join} || head -n 1 /{pipe} > /{join}'
ExecStart={command} $JOIN
ExecStopPost=+/bin/sh -c 'echo "$SERVICE_RESULT ($EXIT_CODE, status $EXIT_STATUS)" > /{ended}'
TimeoutStartSec={limit:g}
StandardOutput=append:/{log}
StandardError=append:/{log}
# What was started through the circuit outlives its server, as it does where the server is started by hand.
KillMode=process
"""


@dataclass(frozen=True)
class Server:
    """A circuit server: the Python package in the folder ``source``, or the Go program that ``source`` is."""

    source: str
    options: tuple[str, ...] = ()

    def install(self, layer: Path) -> None:
        """Copy the program into ``layer``, a folder that becomes a part of every host's root. Raises OSError."""
        source = Path(self.source)
        code = layer / _CODE
        code.mkdir(parents=True)
        # Contents only: on the host, user ubuntu reads what may be private to its owner here.
        if source.is_dir():
            for file in source.rglob("*.py"):
                target = code / source.name / file.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        else:
            shutil.copyfile(source, code / "circuit")
            (code / "circuit").chmod(0o755)

    def install_unit(self, root: Path, address: str, limit: float) -> None:
        """Write the unit into a host's ``root``: at boot, the server listens on ``address``.

        ``limit`` is the seconds that its start may wait at the pipe.
        """
        units = root / _UNITS
        wanted = units / "multi-user.target.wants"
        wanted.mkdir(parents=True, exist_ok=True)
        text = _UNIT_TEXT.format(
            code=_CODE,
            join=_JOIN,
            pipe=JOIN_PIPE,
            ended=ENDED,
            log=LOG,
            limit=limit,
            command=shlex.join(self._command(address)),
        )
        (units / UNIT).write_text(text)
        (wanted / UNIT).symlink_to(f"../{UNIT}")

    def _command(self, address: str) -> Sequence[str]:
        if Path(self.source).is_dir():
            package = Path(self.source).name
            return ("/usr/bin/python3", "-m", f"{package}.node", "--addr", f"{address}:{PORT}", *self.options)
        return (f"/{_CODE}/circuit", "start", "--addr", f"{address}:{PORT}", *self.options)


def join_line(circuit_address: str | None) -> str:
    """What the pipe gets: the circuit to join, or None for the first server, which joins nobody."""
    return "JOIN=\n" if circuit_address is None else f"JOIN=--join {circuit_address}\n"


def find_address(log: str, address: str) -> str | None:
    """The circuit address that the server on ``address`` has printed, alone on a line of its ``log``."""
    found = re.search(rf"^\s*(circuit://{re.escape(address)}:{PORT}/\S+)\s*$", log, re.MULTILINE)
    return found[1] if found else None
