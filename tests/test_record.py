"""Records: what is written can be read again, and nothing else passes for a record."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.addresses import Addresses
from deploy.record import Change, Record, decode

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
    ],
    ids=str,
)
def test_what_is_no_record_of_this_program_is_refused(changed: dict[str, object]) -> None:
    document = {**json.loads(RECORD.encode()), **changed}
    text = json.dumps({name: value for name, value in document.items() if value is not ...})
    with pytest.raises(ValueError, match=r"\w"):
        decode(text.encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'"record"'])
def test_damage_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        decode(data)
