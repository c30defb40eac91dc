"""The log of remote commands: what it has, of all processes of a run, and what it has not."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from circuit import dial
from circuit_harness.errors import CommandTimedOut
from circuit_harness.remote import command_log
from circuit_harness.remote.shell import run_shell
from circuit_harness.secret import Secret
from tests.circuits import Pair
from tests.jobs import Watched, named, run


def entries(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_every_command_of_a_run_is_one_line(watched: Watched, tmp_path: Path, workers: str) -> None:
    file = tmp_path / "commands.jsonl"
    if workers == "0":
        file.write_text("of an older run\n")
    done = run(*named(watched.cluster), "-n", workers, "-k", "password or schema", f"--log-commands={file}")
    assert done.returncode == 0, done.stdout
    found = entries(file)
    assert {entry["host"] for entry in found} == set(watched.roles)
    assert all(datetime.fromisoformat(entry["time"]).tzinfo for entry in found)
    assert all(0 <= entry["seconds"] < 60 for entry in found)
    commands = "\n".join(entry["command"] for entry in found)
    # Looks, changes and their undoing, by the run; and what checks ask, by its workers.
    for part in ("say login", "record.json.new", "systemctl start mariadb", "systemctl stop mariadb", "grep -D skip"):
        assert part in commands
    elements = {entry["anchor"].rpartition("/")[2] for entry in found if entry["anchor"]}
    assert elements == {"tutorial-lease", "nodejs"}
    ended = [entry["status"] for entry in found if not entry["anchor"]]
    assert ended.count(0) > 20
    assert None not in ended
    watched.assert_unchanged()


def test_a_command_that_is_ended_is_told_with_its_reason(
    circuit_pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_log, "_descriptor", None)
    file = tmp_path / "commands.jsonl"
    command_log.begin(file, fresh=True)
    secret = Secret("swordfish-and-chips")
    with dial(circuit_pair.first.address) as client:
        host = next(iter(client.view().values()))
        with pytest.raises(CommandTimedOut):
            run_shell(host, f"cat >/dev/null; sleep 60 # {secret.reveal()}", timeout=0.3)
    ended = entries(file)[0]
    assert (ended["host"], ended["status"]) == (host.name, None)
    assert ended["error"].startswith("CommunicateTimedOut: ")
    assert 0.3 <= ended["seconds"] < 10
    assert ended["command"] == "cat >/dev/null; sleep 60 # ***"
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_written(watched: Watched, tmp_path: Path) -> None:
    done = run(*named(watched.cluster), f"--log-commands={tmp_path}/none/commands.jsonl")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert done.stderr.splitlines()[0] == (
        f"ERROR: --log-commands: there is no folder {tmp_path}/none; make it first: mkdir -p {tmp_path}/none"
    )
