"""A full disk: a few of the steps that ``./run test-full-disk`` tries, all of which it does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from localhosts import Cluster
from tests.full_disk import made, try_out


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One host that lacks little, so that it comes and goes in seconds."""
    with made(lacks="curl") as made_cluster:
        yield made_cluster


@pytest.mark.parametrize(
    ("folder", "step"),
    [
        ("/var", "install curl"),
        ("/var", "remove curl, and what came with it"),
        ("/etc", "remove curl, and what came with it"),
    ],
)
def test_nothing_of_others_is_lost(cluster: Cluster, folder: str, step: str) -> None:
    outcome = try_out(cluster, ["mysql"], install=True, folder=folder, at=step)
    assert outcome.wrong == [], outcome.told
