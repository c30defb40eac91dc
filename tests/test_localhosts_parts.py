"""localhosts, as far as it decides without touching the machine."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from http import HTTPStatus
from pathlib import Path
from unittest.mock import Mock

import pytest

from localhosts import Cluster, LocalHostsError, idmap, image, images, machine, preflight, protocol
from localhosts.__main__ import main
from localhosts.image import Image
from localhosts.inits import Kind
from localhosts.machine import Machine
from localhosts.metadata import LONGEST_TOKEN, Tokens, answer_token, answer_value
from localhosts.network import Range, free_ranges
from localhosts.server import Server, find_address

VALUES = {"local-ipv4": "10.213.3.11", "public-ipv4": "10.213.3.111"}


def test_number_ties_name_and_addresses() -> None:
    third = Range(3)
    assert (third.name, third.gateway, third.private(1), third.public(1)) == (
        "lh3",
        "10.213.3.1",
        "10.213.3.11",
        "10.213.3.111",
    )
    assert (third.gateway6, third.private6(1), third.public6(99), third.second(1)) == (
        "fd00:213:3::1",
        "fd00:213:3::11",
        "fd00:213:3::209",
        "10.214.3.11",
    )


@pytest.mark.parametrize(
    ("routes", "first"),
    [
        ([], 1),
        (["default", "192.168.1.0/24", "172.17.0.1"], 1),
        (["10.213.1.0/24"], 2),
        (["10.213.1.77"], 2),
        (["10.213.0.0/22"], 4),
        (["fd00::/64", "fe80::1"], 1),
        (["fd00:213:1::7"], 2),
    ],
)
def test_ranges_that_a_route_overlaps_are_skipped(routes: list[str], first: int) -> None:
    assert next(free_ranges(routes)).number == first


def test_no_range_is_free_where_a_route_covers_all() -> None:
    assert list(free_ranges(["10.0.0.0/8"])) == []


def test_server_address_is_the_line_that_is_its_own_address() -> None:
    log = "joining circuit://10.213.3.11:11022/7/Qab\n circuit://10.213.3.12:11022/8/Qcd\ncircuit://10.213.3.13:11022/9/Q\n"
    assert find_address(log, "10.213.3.12") == "circuit://10.213.3.12:11022/8/Qcd"
    assert find_address(log, "10.213.3.11") is None


@pytest.mark.parametrize("seconds", [None, "", "0", "-1", "soon", str(LONGEST_TOKEN + 1)])
def test_token_is_refused_without_a_sensible_time(seconds: str | None) -> None:
    assert answer_token(Tokens(), seconds) == (HTTPStatus.BAD_REQUEST, "")


def test_tokens_are_bounded() -> None:
    tokens = Tokens()
    first = tokens.issue(LONGEST_TOKEN)
    assert tokens.is_valid(first)
    others = [tokens.issue(LONGEST_TOKEN) for _ in range(5000)]
    assert not tokens.is_valid(first)
    assert tokens.is_valid(others[-1])


def test_token_holds_for_its_time_and_no_longer() -> None:
    now = 100.0
    tokens = Tokens(lambda: now)
    status, token = answer_token(tokens, "60")
    assert status is HTTPStatus.OK
    now = 159.0
    assert answer_value(VALUES, tokens, True, "/latest/meta-data/local-ipv4", token) == (HTTPStatus.OK, "10.213.3.11")
    now = 160.0
    assert answer_value(VALUES, tokens, True, "/latest/meta-data/local-ipv4", token)[0] is HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize(
    ("required", "path", "token", "expected"),
    [
        (False, "/latest/meta-data/public-ipv4", None, (HTTPStatus.OK, "10.213.3.111")),
        (True, "/latest/meta-data/public-ipv4", None, (HTTPStatus.UNAUTHORIZED, "")),
        (False, "/latest/meta-data/public-ipv4", "made up", (HTTPStatus.UNAUTHORIZED, "")),
        (False, "/latest/meta-data/", None, (HTTPStatus.OK, "local-ipv4\npublic-ipv4")),
        (False, "/latest/meta-data/ami-id", None, (HTTPStatus.NOT_FOUND, "")),
        (False, "/local-ipv4", None, (HTTPStatus.NOT_FOUND, "")),
    ],
)
def test_metadata_answers(required: bool, path: str, token: str | None, expected: tuple[HTTPStatus, str]) -> None:
    assert answer_value(VALUES, Tokens(), required, path, token) == expected


@pytest.mark.parametrize(
    "change",
    [{"suite": "trixie"}, {"packages": ("curl",)}, {"before": "true"}, {"after": "true"}, {"apt_options": ("a 1",)}],
)
def test_image_has_a_key_of_its_own_for_whatever_it_is_made_of(change: dict[str, object]) -> None:
    made = Image("bookworm", ("dbus",), "", "")
    assert dataclasses.replace(made, **change).key != made.key  # type: ignore[arg-type]
    assert dataclasses.replace(made).key == made.key


def test_each_kind_of_image_has_a_key_of_its_own() -> None:
    assert len(images.current_keys()) == 16


def test_a_build_that_is_killed_leaves_no_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, temporary, cache = folders = [tmp_path / name for name in ("programs", "temporary", "cache")]
    for folder in folders:
        folder.mkdir()
    for name, script in {
        "nsenter": 'shift 2; exec "$@"',
        "mmdebstrap": "mktemp -d mmdebstrap.gpghome.XXXXXX --tmpdir && mktemp && kill -KILL $$",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("TMPDIR", str(temporary))
    made = Image("bookworm", ("dbus",), "", "")
    with pytest.raises(LocalHostsError, match="ended with status -9"):
        asyncio.run(image.ensure(made, cache, Path("/network"), lambda *_: None))
    assert [*temporary.iterdir(), *cache.iterdir()] == []


def test_request_and_events_survive_the_wire() -> None:
    request = protocol.Request(
        image=images.unstable(bare=True),
        images="/cache",
        hosts=3,
        server=Server("/program", ("--fast",)),
        kind=Kind("none", "root", "missing"),
        metadata="required",
        ipv6=True,
        second_network=True,
        owner=(1000, 100),
        timeout=7.5,
    )
    assert protocol.Request.decode(request.encode()) == request
    host = protocol.HostMade("lh3-1", "10.213.3.11", "10.213.3.111", "circuit://10.213.3.11:11022/7/Qab", "group")
    events: list[protocol.Event] = [
        protocol.Started(7),
        protocol.Step("booting", 60.0),
        protocol.Failed("no"),
        protocol.Ready("lh3", "0123", "/run/key", "10.213.3.1", "fd00:213:3::1", (host,)),
        protocol.Gone(("/left",)),
    ]
    assert [protocol.decode(protocol.encode(event)) for event in events] == events


def test_missing_tool_is_named_with_its_package() -> None:
    with pytest.raises(LocalHostsError, match=r"need no-such-tool, .*: apt-get install its-package"):
        preflight.require_tools({"sh": "dash", "no-such-tool": "its-package"})


@pytest.mark.parametrize("hosts", [0, -1, 100])
def test_cluster_of_an_impossible_size_is_refused(hosts: int) -> None:
    with pytest.raises(LocalHostsError, match=f"1 to 99 hosts, not {hosts}"):
        Cluster(hosts)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["up", "--hosts", "0"], "1 to 99 hosts, not 0"),
        (["up", "--hosts", "two"], "'two' is not a number"),
        ([], "the following arguments are required: COMMAND"),
        (["clean", "--image"], "unrecognized arguments: --image"),
        (["up", "--host", "1"], "unrecognized arguments: --host 1"),
    ],
)
def test_wrong_command_line_ends_with_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["up"], ["image"], ["env"], ["clean"]], ids=" ".join)
def test_help_fits_a_terminal(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--help"])
    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 79] == []


def test_circuit_program_that_cannot_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalHostsError, match=r"circuit is not a program that can be run"):
        Cluster(1, circuit_bin=tmp_path / "circuit")


@pytest.mark.parametrize("there", ["link", "pipe", "folder's link", "nothing"])
def test_what_a_host_puts_in_the_place_of_its_log_is_not_read(tmp_path: Path, there: str) -> None:
    log = tmp_path / "log" / "circuit.log"
    if there == "folder's link":
        log.parent.symlink_to("/etc")
        log = log.parent / "hostname"
    else:
        log.parent.mkdir()
    if there == "link":
        log.symlink_to("/etc/hostname")
    if there == "pipe":
        os.mkfifo(log)
    assert machine._text(log) == ""


def test_of_a_host_s_log_the_beginning_is_read(tmp_path: Path) -> None:
    log = tmp_path / "circuit.log"
    log.write_text("said\n" + "x" * (2 << 20))
    assert machine._text(log).startswith("said\n")
    assert len(machine._text(log)) < 2 << 20


def test_where_the_kernel_maps_no_mounts_the_owners_are_changed_at_the_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(first: int, number: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(idmap, "namespace", refuse)
    made = Mock(users=1 << 16, folder=tmp_path)
    assert asyncio.run(Machine._mount_mapped(made)) is False
    made._mount_root.assert_not_called()
    for mapped, ownership in ((False, "chown"), (True, "off")):
        options = Machine._isolation(Mock(users=1 << 16, _is_mapped=mapped))
        assert f"--private-users-ownership={ownership}" in options
