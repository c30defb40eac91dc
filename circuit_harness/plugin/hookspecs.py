"""The hook by which a repository declares its services."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    # Slow to load, for who has no services.
    from circuit_harness.services.protocol import Service


@pytest.hookspec
def pytest_circuit_services(config: pytest.Config) -> Sequence[Service]:  # type: ignore[empty-body]
    """Return the services that checks can ask for, in the order in which hosts are named for them.

    Called in every process of a run, once the options are parsed. Every conftest.py that has the hook adds its own.
    """
