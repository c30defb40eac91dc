"""The circuit: its hosts are live, its anchors are what the documentation says, and the hosts are this run's."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from circuit import Anchor, Client
from circuit_harness.journal import lease
from circuit_harness.journal.record import FOLDER
from circuit_harness.operations.addresses import reread_private_address
from circuit_harness.remote.address import Addresses
from circuit_harness.remote.circuit_host import CircuitHost
from circuit_harness.remote.command import root
from circuit_harness.remote.shell import run_shell

pytestmark = pytest.mark.cluster


def test_hosts_are_live(circuit_client: Client, hosts: list[Anchor]) -> None:
    gone = {host.name for host in hosts} - set(circuit_client.view())
    assert not gone, f"the circuit does not list {', '.join(sorted(gone))}"


@pytest.mark.selfcheck
def test_hosts_have_the_documented_anchors(hosts: list[Anchor]) -> None:
    for host in hosts:
        assert re.fullmatch(r"/X[0-9a-f]{16}", host.path), f"{host.path} is not the name of a host's anchor"
        element = host.get()
        assert element is not None, f"{host.path} has no element"
        assert element.kind == "server"


@pytest.mark.selfcheck
def test_host_runs_shell_commands_and_tells_their_status(hosts: list[Anchor]) -> None:
    for host in hosts:
        result = run_shell(host, "cat; echo problem >&2; exit 3", stdin=b"some input", check=False)
        assert (result.stdout, result.stderr, result.exit_status) == (b"some input", b"problem\n", 3)


def test_host_has_its_private_address(hosts: list[Anchor], addresses: dict[str, Addresses]) -> None:
    """The host has the address that its source at deployment, such as the metadata service, returns now."""

    def compare(host: Anchor) -> None:
        own = re.findall(r" inet6? ([^/ ]+)", run_shell(host, "PATH=$PATH:/usr/sbin:/sbin ip -o address").text)
        private = reread_private_address(CircuitHost(host), addresses[host.name])
        assert private in own, f"host {host.name} has {', '.join(own)}, and not its private address {private}"

    with ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(compare, hosts))


@pytest.mark.selfcheck
def test_lease_is_held_by_this_run_alone(hosts: list[Anchor], lease_owner: str | None) -> None:
    for host in hosts:
        holder = lease.holder(CircuitHost(host))
        assert holder == lease_owner, (
            f"the lease on host {host.name} is held by {holder or 'nobody'}, not by {lease_owner or 'nobody'}"
        )


@pytest.mark.selfcheck
@pytest.mark.usefixtures("mysql", "nodejs")
def test_record_is_there_and_root_s_alone(hosts: list[Anchor]) -> None:
    for host in hosts:
        record = CircuitHost(host).run(root(f"stat -c '%a %U' {FOLDER}/record.json 2>&1"), check=False)
        assert record.text == "600 root", f"host {host.name}, mode and owner of the record: {record.text}"
