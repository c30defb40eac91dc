"""What must hold of Redis."""

from __future__ import annotations

import pytest
from testinfra.host import Host

from circuit_harness import RunningProgram

pytestmark = pytest.mark.redis


def test_bound_to_the_private_address_alone(host: Host, redis: RunningProgram) -> None:
    sockets = [socket for socket in host.socket.get_listening_sockets() if socket.endswith(f":{redis.port}")]
    assert sockets == [f"tcp://{redis.address}:{redis.port}"]


def test_refuses_without_the_password(host: Host, redis: RunningProgram) -> None:
    assert "NOAUTH" in host.check_output(f"redis-cli -h {redis.address} -p {redis.port} get greeting")


def test_sets_and_gets_with_the_password(host: Host, redis: RunningProgram) -> None:
    # The password is the program's, and root's: it stays on the host.
    cli = f"sh {redis.process.folder}/cli"
    with host.sudo():
        assert host.check_output(f"{cli} set greeting hello") == "OK"
        assert host.check_output(f"{cli} get greeting") == "hello"


def test_runs_as_a_user_of_its_own(host: Host, redis: RunningProgram) -> None:
    pids = host.check_output("pgrep -x redis-server").split()
    assert len(pids) == 1
    user = host.check_output(f"stat -c %u /proc/{pids[0]}")
    assert user != "0"
    assert host.run(f"getent passwd {user}").rc == 2, "no account has this number"
