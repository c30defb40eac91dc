"""Where a run was interrupted, as pytest shows it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from circuit_harness.plugin.signals import Signals
from circuit_harness.plugin.terminal import Terminal, _is_interrupted_code


def test_the_handler_of_the_signal_is_not_shown() -> None:
    with pytest.raises(KeyboardInterrupt) as interrupted:
        Signals(print, str)._handle(2, None)
    assert interrupted.traceback[-1].path != Path(__file__)
    Terminal.pytest_keyboard_interrupt(Mock(), interrupted)
    assert interrupted.traceback[-1].path == Path(__file__)
    assert "test_interrupted.py" in str(interrupted.getrepr().reprcrash)


@pytest.mark.parametrize(
    ("line", "path", "shown"),
    [(3, "logging.py", True), (None, "logging.py", False), (3, "/home/you/signals.py", True)],
)
def test_a_place_without_a_line_is_not_shown(line: int | None, path: str, shown: bool) -> None:
    entry = SimpleNamespace(_rawentry=SimpleNamespace(tb_lineno=line), path=path)
    assert _is_interrupted_code(entry) is shown
