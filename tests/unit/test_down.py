"""What a probe of a service makes of what its host says."""

from __future__ import annotations

import pymysql
import pytest

from circuit_harness.errors import CommandFailed
from circuit_harness.operations import disk
from circuit_harness.operations.sandbox import SandboxedProcess
from circuit_harness.services.mysql import RunningMySQL, accounts, manager
from circuit_harness.services.mysql.manager import Systemd, Unmanaged
from circuit_harness.services.program import RunningProgram
from tests.unit.fakes import FakeHost

ROOM = "disk 1000000 2000000 4096 500 1000"
LISTENING = "listening 0100000A:0CEA"
UNIT = Systemd(name="mariadb", datadir="/var/lib/mysql", socket="/run/mysqld/mysqld.sock")
PROCESS = SandboxedProcess(("/usr/bin/redis-server",), 60578, "/var/lib/tutorial-redis-1", "/var/log/redis.log")


def mysql(said: str, service: manager.Manager = UNIT) -> RunningMySQL:
    """A server whose host answers a probe like this."""
    host = FakeHost("X1", "10.0.0.1", answers={"ask_root": f"{ROOM}\n{said}"})
    return RunningMySQL(
        *(host, "10.0.0.1", 3306, "/etc/my.cnf", "10.11", service, ("10.0.0.2",), False, "", "", ""),
        database="shop",
        user="shop",
    )


def redis(said: str, ready: str | tuple[str, ...] = "") -> RunningProgram:
    """A program whose host answers a probe like this."""
    host = FakeHost("X1", "10.0.0.1", answers={"Killed process": said})
    return RunningProgram(host, "redis", "redis", "10.0.0.1", "10.0.0.1", 6379, PROCESS, "", {}, ready)


SERVER = {
    "up": (f"active yes\n{LISTENING}", ""),
    "stopped": (
        (
            "ActiveState inactive\nResult success\nExecMainCode 0\nExecMainStatus 0\nStateChangeTimestamp \n"
            "unit-time 2030-01-02 03:04:05 UTC\nunit-message Stopped mariadb.service."
        ),
        "mariadb is inactive\ndown since 2030-01-02 03:04:05 UTC\nit ended: Stopped mariadb.service.",
    ),
    "out of memory": (
        (
            "ActiveState failed\nResult oom-kill\nExecMainCode 2\nExecMainStatus 9\n"
            "StateChangeTimestamp Wed 2030-01-02 03:04:05 UTC"
        ),
        "mariadb is failed\ndown since 2030-01-02 03:04:05 UTC\nit ended: the kernel killed it: out of memory",
    ),
    "crashed": (
        "ActiveState failed\nResult core-dump\nExecMainCode 3\nExecMainStatus 11",
        "mariadb is failed\nit ended: signal SEGV, with a core dump",
    ),
    "refuses its start": (
        "ActiveState failed\nResult exit-code\nExecMainCode 1\nExecMainStatus 7",
        "mariadb is failed\nit ended: exit status 7",
    ),
    "hangs": (
        f"active yes\nrefusal no answer within 5 s\n{LISTENING}",
        "mariadb runs, and does not answer: no answer within 5 s",
    ),
    "elsewhere": (
        "active yes\nlistening 0100007F:0CEA",
        "mariadb runs, and does not listen on 10.0.0.1:3306",
    ),
    "everywhere": ("active yes\nlistening 00000000:0CEA", ""),
}


@pytest.mark.parametrize(("said", "told"), SERVER.values(), ids=SERVER)
def test_server(said: str, told: str) -> None:
    found = mysql(said).down()
    start = "" if said.startswith("active") else "\n! systemctl start mariadb.service"
    start = "\n! systemctl restart mariadb.service" if "no answer" in said else start
    assert found == (f"{told}\n$ journalctl --no-pager -n 50 -u mariadb{start}" if told else "")


def test_a_server_whose_disk_is_full_says_so_first() -> None:
    running = mysql(f"active yes\n{LISTENING}")
    running.host.answers["ask_root"] = f"disk 3 262144 4096 500 1000\nactive yes\n{LISTENING}"  # type: ignore[attr-defined]
    first, *_, show = running.down().splitlines()[:2]
    assert first == "the disk of /var/lib/mysql is full (12 KiB of 1024 MiB are free)"
    top = '"$(df --output=target /var/lib/mysql | tail -n 1)"'
    assert show == f"? find {top} -xdev -type f -size +1M -exec ls -lhS {{}} + 2>/dev/null | head -n 20"
    running.host.answers["ask_root"] = "disk 3 262144 4096 500 1000\nActiveState failed"  # type: ignore[attr-defined]
    assert running.down().splitlines()[0].endswith(" are free); mariadb is failed")


def test_a_server_without_a_manager_has_its_files_to_look_into() -> None:
    service = Unmanaged(name="mariadbd", datadir="/data", output="/var/log/mysql.log")
    assert mysql("", service).down() == "mariadbd is not running\n$ tail -n 50 /var/log/mysql.log"


def test_a_server_that_refuses_the_checks_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*server: object) -> None:
        raise pymysql.OperationalError(1045, "Access denied for user 'shop_check'@'10.0.0.9'")

    monkeypatch.setattr(accounts, "connect", refuse)
    monkeypatch.setattr(accounts, "own_address", lambda address, port: "10.0.0.9")
    running = mysql(f"active yes\n{LISTENING}")
    object.__setattr__(running, "check_from", "10.0.0.9")
    object.__setattr__(running, "check_file", "/root/password")
    for _ in range(2):
        first = running.down().splitlines()[0]
        assert first == "mariadb refuses user shop_check: Access denied for user 'shop_check'@'10.0.0.9'"
    # The password is read once, and the server asked by one command each time.
    assert len(running.host.commands) == 3  # type: ignore[attr-defined]


def test_a_probe_that_could_not_run_is_no_verdict() -> None:
    running = mysql("")

    def cut(entry: str, moment: str) -> None:
        raise CommandFailed("X1", "the probe", 1, b"", b"sudo: a password is required")

    running.host.cut = cut  # type: ignore[attr-defined]
    with pytest.raises(CommandFailed):
        running.down()


PROGRAM = {
    "up": ("runs yes\nlistening 0100000A:18EB\nwrote 2030-01-02 03:04:05 UTC", ""),
    "ended": (
        "wrote 2030-01-02 03:04:05 UTC",
        "its process at /X1/redis has ended\nwrote to its log last at 2030-01-02 03:04:05 UTC",
    ),
    "out of memory": (
        "oom yes",
        "its process at /X1/redis has ended\nit ended: the kernel killed it: out of memory",
    ),
    "not ready": ("runs yes", "nothing listens on 10.0.0.1:6379"),
    "elsewhere": ("runs yes\nlistening 0100007F:18EB", "nothing listens on 10.0.0.1:6379, only on 127.0.0.1"),
}


@pytest.mark.parametrize(("said", "told"), PROGRAM.values(), ids=PROGRAM)
def test_program(said: str, told: str) -> None:
    running = redis(f"{ROOM}\n{said}")
    assert running.down() == (f"{told}\n$ tail -n 50 /var/log/redis.log" if told else "")
    assert len(running.host.commands) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("ready", ["", "http://10.0.0.1:6379/ready", ("redis-cli", "ping")], ids=["", "url", "words"])
def test_how_a_program_is_asked_is_kept_in_the_record(ready: str | tuple[str, ...]) -> None:
    running = redis("", ready)
    again = RunningProgram.at(running.host, "redis", running.describe())
    assert again == running
    older = {name: value for name, value in running.describe().items() if name != "ready"}
    assert RunningProgram.at(running.host, "redis", older).ready == ""


@pytest.mark.parametrize(
    ("fact", "told"),
    [
        ("256 1000 4096 10 10", ""),
        ("255 262144 4096 10 10", "the disk of /srv is full (1020 KiB of 1024 MiB are free)"),
        ("256 1000 4096 0 10", "the disk of /srv has no inodes left, so no file can be made"),
        ("256 1000 4096 0 0", ""),
        ("", ""),
    ],
)
def test_room_on_a_disk(fact: str, told: str) -> None:
    assert disk.shortage(fact, "/srv") == told
