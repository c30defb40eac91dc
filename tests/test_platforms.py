"""The main job on hosts of other kinds: two of those that ``./run test-matrix`` tries, all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.platforms import CELLS, IN_CI, Cell, try_out, unexplained


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.name in IN_CI], ids=lambda cell: cell.name)
def test_the_main_job_passes_and_leaves_hosts_as_they_were(tmp_path: Path, cell: Cell) -> None:
    outcome = try_out(cell, tmp_path)
    assert outcome.status == 0, outcome.output
    assert outcome.passed >= 80
    assert unexplained(outcome.changed) == []
