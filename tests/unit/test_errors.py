"""What errors of commands show, and what is not searched for on hosts."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from circuit_harness.errors import CommandFailed
from circuit_harness.plugin.harness import Harness
from circuit_harness.secret import Secret


def test_a_long_command_is_cut_and_no_half_of_a_secret_remains() -> None:
    short = str(CommandFailed("X1", "x" * 500, 1, b"", b"no"))
    assert f"  command: {'x' * 500}\n" in short
    secret = Secret("Tr0ub4dor-and-3").reveal()
    long = str(CommandFailed("X1", f"{'x' * 495}{secret} {'y' * 500}", 1, b"", b"no"))
    assert "... (cut)\n" in long
    assert "Tr0" not in long
    assert "y" * 20 not in long


def test_no_host_is_looked_at_for_a_fixture_that_there_is_not() -> None:
    harness = Mock(_found_down=(), **{"_ask_for_down.return_value": {}})
    item = Mock(**{"get_closest_marker.return_value": None})
    for error, looks in ((pytest.FixtureLookupError("mysq", Mock()), 0), (AssertionError(), 1)):
        with pytest.raises(type(error)) as failure:
            raise error
        Harness._explain(harness, item, Mock(when="setup"), failure)
        assert harness._ask_for_down.call_count == looks
