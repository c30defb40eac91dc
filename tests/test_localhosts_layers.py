"""Hosts with packages that their image has not: a layer of its own holds them, and nothing of them runs."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from localhosts import Cluster, LocalHostsError, image, images, protocol
from tests.jobs import sh


def test_a_layer_has_what_the_image_has_not_and_starts_none_of_it() -> None:
    with Cluster(1, packages=["curl", "redis-server"]) as cluster:
        (host,) = cluster.hosts
        assert sh(host, "which redis-server curl").split() == ["/usr/bin/redis-server", "/usr/bin/curl"]
        assert sh(host, "systemctl is-enabled redis-server; systemctl is-active redis-server").split() == [
            "disabled",
            "inactive",
        ]
        assert ":6379" not in sh(host, "ss -ltn")
        # What kept it from being started while it was installed is no part of the host.
        assert sh(host, "ls /usr/sbin/policy-rc.d 2>/dev/null") == ""


def test_a_package_that_there_is_not_is_named() -> None:
    cluster = Cluster(1, packages=["no-such-package"])
    with pytest.raises(
        LocalHostsError,
        match=r"could not add no-such-package to the image .* printed: E: Unable to locate package no-such-package$",
    ):
        cluster.start()
    assert not list(image.cache_folder().glob("*.building"))


def test_packages_are_a_layer_of_the_same_tree() -> None:
    plain = images.debian12()
    more = replace(plain, more=("redis-server",))
    assert plain.key == more.key
    assert protocol.Request.decode(protocol.Request(more, "/x").encode()).image == more


@pytest.mark.parametrize(("kept", "left"), [((), []), (("a-1",), ["a-1", "a-1+2"])])
def test_a_layer_goes_with_its_tree(tmp_path: Path, kept: tuple[str, ...], left: list[str]) -> None:
    for name in ("a-1", "a-1+2", "b-1+2", "b-1+2.building"):
        (tmp_path / name).mkdir()
    image.remove(tmp_path, but=kept)
    assert sorted(path.name for path in tmp_path.iterdir()) == left


def test_a_layer_that_a_cluster_uses_stays(tmp_path: Path) -> None:
    (tmp_path / "a-1+2").mkdir()
    with image.hold(tmp_path / "a-1+2"):
        assert image.remove(tmp_path) == ([], ["a-1+2"])


def test_the_command_names_packages() -> None:
    done = subprocess.run(
        ["python3", "-m", "localhosts", "image", "--help"], capture_output=True, text=True, timeout=30, check=True
    )
    assert "--with PACKAGE" in done.stdout
