"""The app as it is sent to hosts: what is in it, and that a damaged one is not."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from circuit_harness.services.nodejs import bundle as bundles
from circuit_harness.steps import Steps
from tests.jobs import ROOT

APP = ROOT / "deploy/app"


def members(bundle: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(bundle), mode="r:gz") as tar:
        return tar.getnames()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


def build() -> bytes:
    return bundles.build(APP, Steps()).data


def test_it_has_what_the_app_loads_and_no_types(cache: Path, tmp_path: Path) -> None:
    bundle = build()
    names = members(bundle)
    assert "index.js" in names
    assert [name for name in names if name.startswith(("node_modules/@types", "node_modules/undici-types"))] == []
    subprocess.run(["tar", "-xzf", "-", "-C", str(tmp_path)], input=bundle, timeout=60, check=True)
    loads = "require('express'); require('mysql2/promise'); process.stdout.write('loaded')"
    done = subprocess.run(["node", "-e", loads], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout == "loaded", done.stderr


@pytest.mark.parametrize("damage", ["cut short", "altered"])
def test_one_that_was_damaged_in_the_cache_is_made_again(cache: Path, damage: str) -> None:
    whole = build()
    (cached,) = (cache / "circuit-harness").iterdir()
    assert cached.read_bytes() == whole
    middle = len(whole) // 2
    half = whole[:middle]
    cached.write_bytes({"cut short": half, "altered": half + bytes(8) + whole[middle + 8 :]}[damage])
    assert sorted(members_or_none(build())) == sorted(members(whole))
    assert members(cached.read_bytes()) == members(whole)
    assert list(cached.parent.iterdir()) == [cached]


def test_npm_leaves_nothing_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    build()
    assert [path.name for path in tmp_path.iterdir()] == [".cache"]
    assert [path.suffix for path in (tmp_path / ".cache/circuit-harness").iterdir()] == [".gz"]


def members_or_none(bundle: bytes) -> list[str]:
    """Of one that is not whole, what can be read of it."""
    try:
        return members(bundle)
    except (tarfile.TarError, EOFError, OSError):
        return ["damaged"]
