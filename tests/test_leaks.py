"""The circuit's key is in nothing that a run writes, wherever it fails, with all variables of all frames shown."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.circuits import Server, start, write_key
from tests.jobs import run_forced
from tests.pieces import found

# With bytes of all kinds: such as are written as they are, and such as are escaped.
KEY = b"AaBbCcDdEe'\"\\FfGg" + bytes(range(1, 17)) + bytes(range(0xE0, 0xF0)) + secrets.token_bytes(15)

THE_CLIENT = "circuit.net.runtime:Runtime.start"
LAYERS = {
    "what keeps the key": "circuit.client:SharedKey",
    "the session": "circuit.net.session:Session.dial",
}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    file = write_key(tmp_path_factory.mktemp("key") / "key", KEY)
    with start("node", key=file) as server:
        yield server, file


def written(folder: Path, address: str, key: Path, forced: str, where: str, *options: str) -> str:
    """All that a run writes."""
    folder.mkdir(exist_ok=True)
    outputs = (f"--junitxml={folder}/junit.xml", f"--report={folder}/report.html", f"--artifacts={folder}/artifacts")
    named = (f"--circuit-addr={address}", f"--circuit-hmac={key}", "-l", "-vv", *outputs)
    done = run_forced(forced, where, "checks/test_cluster.py", "-k", "hosts_are_live", *named, *options)
    assert done.returncode not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED), done.stdout
    files = (path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())
    return "\n".join((done.stdout, done.stderr, *files))


@pytest.mark.parametrize("forced", list(LAYERS.values()), ids=list(LAYERS))
def test_a_worker_that_fails_shows_nothing_of_the_key(keyed: tuple[Server, Path], tmp_path: Path, forced: str) -> None:
    server, key = keyed
    text = written(tmp_path, server.address, key, forced, "workers", "-n", "2")
    assert "circuit_client" in text
    assert found(KEY, text) == []


@pytest.mark.parametrize("options", [(), ("--full-trace",)], ids=["", "full trace"])
def test_a_run_that_fails_shows_nothing_of_the_key(
    keyed: tuple[Server, Path], tmp_path: Path, options: tuple[str, ...]
) -> None:
    server, key = keyed
    text = written(tmp_path, server.address, key, THE_CLIENT, "all", *options)
    assert "forced" in text
    assert found(KEY, text) == []


def test_a_key_that_is_refused_is_not_shown(keyed: tuple[Server, Path], tmp_path: Path) -> None:
    other = KEY[::-1]
    file = write_key(tmp_path / "key", other)
    folder = tmp_path / "outputs"
    text = written(folder, keyed[0].address, file, "circuit.net.runtime:Runtime.peers", "all")
    assert "HMAC" in text
    assert found(other, text) == []
