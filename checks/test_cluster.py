"""The circuit: its hosts are live, and its anchors are what the documentation says."""

from __future__ import annotations

import re

import pytest

from circuit import Anchor, Client
from deploy.shell import run_shell

pytestmark = pytest.mark.cluster


def test_hosts_are_live(circuit_client: Client, hosts: list[Anchor]) -> None:
    live = circuit_client.view()
    for host in hosts:
        assert host.name in live


def test_hosts_are_named_after_their_servers(circuit_client: Client) -> None:
    for name in circuit_client.view():
        assert re.fullmatch(r"X[0-9a-f]{16}", name)


def test_host_anchor_has_a_server_element(hosts: list[Anchor]) -> None:
    for host in hosts:
        element = host.get()
        assert element is not None
        assert element.kind == "server"


def test_host_runs_shell_commands_and_tells_their_status(hosts: list[Anchor]) -> None:
    for host in hosts:
        result = run_shell(host, "cat; echo problem >&2; exit 3", stdin=b"some input", check=False)
        assert (result.stdout, result.stderr, result.exit_status) == (b"some input", b"problem\n", 3)
