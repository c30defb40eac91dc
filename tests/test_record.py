"""Records: what is written can be read again, and nothing else passes for a record."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from circuit_harness.engine.found import read_records
from circuit_harness.errors import CommandTimedOut, OutputTooLong
from circuit_harness.journal.record import MOST_BYTES, Change, Record, decode
from circuit_harness.remote.address import Addresses
from circuit_harness.remote.command import Command
from circuit_harness.remote.concurrently import Run
from circuit_harness.remote.shell import ShellResult

RECORD = Record(
    run="0a1b2c3d",
    owner="ci@runner",
    started="2026-01-02T03:04:05+00:00",
    addresses=Addresses("10.0.0.7", "route", "fd00::7", "option", "10.0.0.8"),
    state="kept",
    services={"mysql": {"address": "10.0.0.7", "port": 3306}},
    changes=(
        Change("stop the server", "mysql", command="systemctl stop mysql", proof="true", limit=90.0),
        Change("end the app", "nodejs", anchor="nodejs", mark="/tmp/app-0a1b2c3d"),
    ),
)


def test_a_record_survives_its_file() -> None:
    assert decode(RECORD.encode()) == RECORD


def test_an_anchor_survives_its_file_and_is_absent_from_older_ones() -> None:
    assert decode(replace(RECORD, anchor="X1").encode()).anchor == "X1"
    for older in (Path(__file__).parent / "golden/deployed").glob("k*.json"):
        assert decode(older.read_bytes()).anchor == ""


def test_a_record_names_who_deployed_and_when() -> None:
    assert str(RECORD) == "run 0a1b2c3d of ci@runner, started 2026-01-02T03:04:05+00:00"


@pytest.mark.parametrize(
    "changed",
    [
        {"format": 1},
        {"state": "gone"},
        {"run": "../../etc"},
        {"changes": [{"what": "x", "unknown": 1}]},
        {"owner": ...},
        {"addresses": ...},
        {"addresses": {"private": "10.0.0.7"}},
        {"run": 12},
        {"owner": ["ci"]},
        {"anchor": 1},
        {"addresses": {**asdict(RECORD.addresses), "private": 7}},
        {"services": []},
        {"services": {"mysql": "10.0.0.7"}},
        *({"changes": [{"what": "x", "limit": limit}]} for limit in ("30", None, True, -1, 0, 1e9)),
        {"changes": [{"what": "x", "command": 1}]},
        {"changes": [{"what": "x", "limit": 1800}] * 3},
        {"changes": [{"what": "x", "limit": 1}] * 101},
    ],
    ids=str,
)
def test_what_is_no_record_of_this_program_is_refused(changed: dict[str, object]) -> None:
    document = {**json.loads(RECORD.encode()), **changed}
    text = json.dumps({name: value for name, value in document.items() if value is not ...})
    with pytest.raises(ValueError, match=r"\w"):
        decode(text.encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'"record"', b"[" * 100_000])
def test_damage_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        decode(data)


def hangs(command: Command, timeout: float, **_: Any) -> ShellResult:
    raise CommandTimedOut("X0", command.text, timeout, b"", b"")


def talks(command: Command, limit: int, **_: Any) -> ShellResult:
    assert limit == MOST_BYTES
    raise OutputTooLong("X0", command.text, limit, "stdout", b"", b"")


def nests(command: Command, **_: Any) -> ShellResult:
    return ShellResult(b"\n" + b"[" * 100_000, b"", 0)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (hangs, "no end within 20 s"),
        (talks, "is longer than"),
        (nests, "nested too deep"),
    ],
    ids=["a pipe that nobody feeds", "too much", "too deep"],
)
def test_a_record_that_cannot_be_read_hides_no_other_host_s(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[..., ShellResult], words: str
) -> None:
    monkeypatch.setattr(
        "circuit_harness.engine.found.identifying", lambda host: Run(host, Command("true"), limit=MOST_BYTES)
    )
    hosts: list[Any] = [Mock(run=answer), Mock()]
    for number, host in enumerate(hosts):
        host.name = f"X{number}"
    hosts[1].run.return_value = ShellResult(b"\n" + RECORD.encode(), b"", 0)
    found = read_records(hosts)
    assert found.records == {"X1": RECORD}
    assert list(found.unreadable) == ["X0"]
    assert words in found.unreadable["X0"]


@pytest.mark.parametrize(
    "error",
    [
        CommandTimedOut("X0", "cat", 20, b"record-a.json/record-b.json/\n", b""),
        OutputTooLong("X0", "cat", MOST_BYTES, "stdout", b"record-b.json/record-a.json/\nxxx", b""),
    ],
    ids=["a pipe that nobody feeds", "too much"],
)
def test_a_record_that_cannot_be_read_hides_no_other_deployment_s(error: Exception) -> None:
    named = replace(RECORD, deployment="b")

    def answer(command: Command, **_: Any) -> ShellResult:
        if "record-*.json" in command.text:
            raise error
        return ShellResult(named.encode(), b"", 0) if "record-b.json" in command.text else ShellResult(b"", b"", 66)

    host: Any = Mock(run=answer)
    host.name = "X0"
    found = read_records([host], "b", apart=True)
    assert found.records == {"X0": named}
    assert list(found.unreadable) == ["X0"]
