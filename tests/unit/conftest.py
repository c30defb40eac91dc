"""What tests on fake hosts share."""

from __future__ import annotations

import pytest

import circuit_harness.secret
import circuit_harness.services.mysql.accounts
import circuit_harness.services.nodejs.app
from circuit_harness.services.nodejs.bundle import Bundle
from tests.unit.fakes import FakeHost, a_pair


@pytest.fixture(autouse=True)
def nothing_real(monkeypatch: pytest.MonkeyPatch) -> None:
    """No app is put together, no server connected to, and no secret of another test looked for in texts."""
    monkeypatch.setattr(circuit_harness.secret, "_known", {})
    monkeypatch.setattr(circuit_harness.services.nodejs.app, "build", lambda folder, steps: Bundle(b"the app"))
    monkeypatch.setattr(circuit_harness.services.mysql.accounts, "seen_from", lambda *server: "10.0.0.9")


@pytest.fixture
def hosts() -> tuple[FakeHost, FakeHost]:
    """Two prepared hosts."""
    first, second = a_pair()
    return first, second
