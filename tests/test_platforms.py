"""The main job on hosts of other kinds: those that ``./run test-matrix`` tries, some of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from localhosts import Cluster
from tests.jobs import selected, sh
from tests.matrix import page
from tests.platforms import CELLS, IN_CI, Cell, Outcome, state, try_out, unexplained

TLS_CHECKS = {"test_tls_is_used", "test_tls_is_required"}

# One thing of each kind that a run could leave behind, and what undoes it.
_PLANTED = {
    "content /etc/hostname": ("echo more >> /etc/hostname", "sed -i '$d' /etc/hostname"),
    "file /etc/planted": ("touch /etc/planted", "rm /etc/planted"),
    "file /usr/local/planted": ("mkdir /usr/local/planted", "rmdir /usr/local/planted"),
    "file /home/ubuntu": ("chmod 711 /home/ubuntu", "chmod 700 /home/ubuntu"),
    "user planted:": ("useradd planted", "userdel planted"),
    "unit mariadb.service enabled": ("systemctl -q enable mariadb", "systemctl -q disable mariadb"),
    "active planted.service": ("systemd-run -q --unit=planted sleep 100", "systemctl stop planted"),
    "process 1000 sleep 200": ("setsid -f setpriv --reuid=1000 sleep 200 >/dev/null 2>&1", "true"),
}


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.name in IN_CI], ids=lambda cell: cell.name)
def test_the_main_job_passes_and_leaves_hosts_as_they_were(tmp_path: Path, cell: Cell) -> None:
    outcome = try_out(cell, tmp_path)
    assert outcome.status == 0, outcome.output
    assert outcome.passed + len(outcome.skipped) == len(selected())
    # Each of these has nothing to test there.
    assert set(outcome.skipped) == (TLS_CHECKS if cell.name == "Debian unstable, without TLS" else set())
    assert outcome.failures == []
    assert unexplained(outcome.changed) == []
    # Which the run could be told of, so that nothing was left out.
    assert outcome.server
    assert outcome.node
    assert f"| {cell.name} | {outcome.system} | {outcome.server}, {outcome.node} |" in page([outcome], {})


def test_whatever_is_left_is_seen() -> None:
    with Cluster(1) as cluster:
        (host,) = cluster.hosts
        for line, (plant, undo) in _PLANTED.items():
            before = state(host)
            sh(host, plant)
            found = [f"+ {new}" for new in state(host) - before]
            assert any(new.startswith(f"+ {line}") for new in unexplained(found)), (line, found)
            sh(host, undo)


def test_the_page_tells_failures_and_what_could_not_be_tried() -> None:
    cell = CELLS[0]
    told = page(
        [
            Outcome(
                cell,
                passed=80,
                status=1,
                failures=["test_a: it broke"],
                skipped={"test_b": "no TLS"},
                changed=["+ file /etc/left f 0 0 644", "+ content /etc/ld.so.cache abc"],
            )
        ],
        {"Ubuntu": "its archive cannot be reached"},
    )
    for words in (
        "80 passed, **1 failed**",
        "**1 lines differ**",
        "- `test_b`: no TLS",
        "- `/etc/ld.so.cache`: ldconfig",
        "- Ubuntu: its archive cannot be reached",
    ):
        assert words in told
