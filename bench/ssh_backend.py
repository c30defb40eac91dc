"""Testinfra's commands over a circuit beside those over its ssh backend, which keeps a connection open, in turns.

Both run on this machine. sshd has a key, a port and a configuration of its own, in a folder that goes with the run.
What the user's ``.bashrc`` does counts: a shell reads it for each command.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from getpass import getuser
from pathlib import Path

import testinfra

import circuit
from bench._late_proxy import late, late_port
from bench._pairs import compare, head
from circuit_harness.plugin.backend import get_host
from tests.circuits import REFERENCE, start

ROUNDS = 20
COMMANDS = 5
DELAYS_S = (0.0, 0.005)
READY_LIMIT_S = 10.0
END_LIMIT_S = 10.0
_PRIVILEGES = Path("/run/sshd")
"""The folder without which root's sshd does not start."""


def main() -> None:
    """Measure and print."""
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        print("ssh: there is no sshd to compare with: apt-get install openssh-server")
        return
    print(head("one command of testinfra, in ms", "ssh", ROUNDS))
    with (
        start("reference" if REFERENCE else "node") as server,
        tempfile.TemporaryDirectory() as folder,
        _sshd(program, Path(folder)) as port,
    ):
        for delay_s in DELAYS_S:
            with (
                late(server.address, delay_s) as address,
                late_port("127.0.0.1", port, delay_s) as slow_port,
                circuit.dial(address) as client,
                _over_ssh(Path(folder), slow_port) as theirs,
            ):
                ours = get_host(client, next(iter(client.view())))
                compare(f"{delay_s * 1000:g} ms each way", partial(ask, theirs), partial(ask, ours), ROUNDS)


def ask(host: testinfra.host.Host) -> float:
    """Return the median of the seconds that a command takes."""
    times = []
    for _ in range(COMMANDS):
        started = time.perf_counter()
        assert host.check_output("echo hello") == "hello"
        times.append(time.perf_counter() - started)
    return statistics.median(times)


@contextmanager
def _sshd(program: str, folder: Path) -> Iterator[int]:
    """Yield the port of an sshd of this user."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = int(free.getsockname()[1])
    settings = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "user.pub",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
    }
    (folder / "sshd").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    made = os.geteuid() == 0 and not _PRIVILEGES.exists()
    if made:
        _PRIVILEGES.mkdir(mode=0o755)
    process = subprocess.Popen([program, "-D", "-f", folder / "sshd"], stderr=subprocess.DEVNULL)
    try:
        _await(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(END_LIMIT_S)
        if made:
            _PRIVILEGES.rmdir()


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise SystemExit("ssh: sshd does not start")


@contextmanager
def _over_ssh(folder: Path, port: int) -> Iterator[testinfra.host.Host]:
    """Yield testinfra's host behind a port, reached over one connection that is kept."""
    control = folder / f"control-{port}"
    settings = {
        "IdentityFile": folder / "user",
        "UserKnownHostsFile": folder / "known",
        "StrictHostKeyChecking": "no",
        "LogLevel": "ERROR",
    }
    (folder / "ssh").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    try:
        yield testinfra.get_host(
            f"ssh://{getuser()}@127.0.0.1:{port}", ssh_config=str(folder / "ssh"), controlpath=str(control)
        )
    finally:
        subprocess.run(
            ["ssh", "-q", "-o", f"ControlPath={control}", "-O", "exit", "127.0.0.1"],
            stderr=subprocess.DEVNULL,
            timeout=END_LIMIT_S,
            check=False,
        )


if __name__ == "__main__":
    main()
