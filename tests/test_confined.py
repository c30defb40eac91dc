"""A confined program that was taken over: it stays what it is, and ends when it is told to."""

from __future__ import annotations

import base64
import platform
import shlex
import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest

from circuit_harness.operations import sandbox
from circuit_harness.operations.sandbox import LIMITS, SandboxedProcess
from localhosts import Cluster, Host
from tests.jobs import sh

FOLDER = "/var/lib/taken-over"

# Each of the processes forks and ends at once, so that a list of them is never true; they are reaped at once, too.
HOPPING = f"""
$SIG{{TERM}} = "IGNORE";
syscall(157, 36, 1);
for (1 .. 3) {{
    my $child = fork;
    next if $child or not defined $child;
    while (1) {{
        my $next = fork;
        exit 0 if $next;
        open my $beat, ">", "{FOLDER}/run/beat";
        select undef, undef, undef, 0.001 if not defined $next;
    }}
}}
while (1) {{ select undef, undef, undef, 0.001 if wait == -1 }}
"""
# kill(-1, SIGKILL); close(open("run/beat", O_CREAT | O_WRONLY, 0644)); if (fork() <= 0) again; exit(0). Machine code,
# since no script is quick enough to kill a shell of its user before that has begun.
KILLING = bytes.fromhex(
    "b83e00000048c7c7ffffffffbe090000000f05b802000000488d3d2b000000be41000000baa40100000f0589c7b8030000000f05b839000000"
    "0f0585c074c178bfb83c00000031ff0f0572756e2f6265617400"
)
LOADED_AT = 0x400000


def program(code: bytes) -> bytes:
    """The code as a program for Linux on x86-64: one segment, with both headers in it."""
    size = 64 + 56 + len(code)
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, LOADED_AT + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return head + struct.pack("<IIQQQQQQ", 1, 5, 0, LOADED_AT, LOADED_AT, size, size, 4096) + code


# As servers do: it goes by another name, shares memory, and puts things in order when it is asked to end.
ORDERLY = f"""
$0 = "renamed: waiting";
defined shmget 0, 4096, 0600 | 01000 or die;
defined semget 0, 1, 0600 | 01000 or die;
open my $shared, ">", "/dev/shm/taken-over" or die;
$SIG{{TERM}} = sub {{ open my $done, ">", "{FOLDER}/run/in-order"; exit 0 }};
open my $beat, ">", "{FOLDER}/run/beat";
sleep 1 while 1;
"""
SHARED = "ls /dev/shm; awk '$0 ~ /(^| )61100 / {{ print FILENAME }}' /proc/sysvipc/shm /proc/sysvipc/sem"

OTHERS = """
for whose in 0 61102; do setpriv --reuid=$whose --clear-groups setsid -f sleep 60 </dev/null >/dev/null 2>&1; done
sleep 0.5; pgrep -x sleep
"""
BEATS = f"[ -e {FOLDER}/run/beat ] || exit 1; rm -f {FOLDER}/run/beat; sleep 1; [ -e {FOLDER}/run/beat ]"


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Cluster(1) as cluster:
        yield cluster.hosts[0]


def confined() -> SandboxedProcess:
    return SandboxedProcess(("/usr/bin/perl", f"{FOLDER}/it"), 61_100, FOLDER, "/tmp/taken-over.log")


@pytest.mark.parametrize("missing", ["", "perl", "perl python3"])
def test_a_program_that_forks_and_ends_all_the_time_does_not_outlive_its_end(host: Host, missing: str) -> None:
    it = confined()
    sh(host, f"rm -rf {FOLDER} {it.log}; mkdir {FOLDER}; printf %s {shlex.quote(HOPPING)} > {FOLDER}/it")
    sh(host, it.prepare())
    sh(host, f"setsid -f sh -c {shlex.quote(it.launch())} >/dev/null 2>&1 </dev/null")
    sh(host, f"tries=0; until [ -e {FOLDER}/run/beat ] || [ $tries = 100 ]; do sleep 0.1; tries=$((tries + 1)); done")
    assert host.run("sh", "-c", BEATS).returncode == 0
    sh(host, f"for name in {missing}; do mv /usr/bin/$name /usr/bin/$name.away; done")
    try:
        host.run("sh", "-c", it.end())
    finally:
        sh(host, f"for name in {missing}; do mv /usr/bin/$name.away /usr/bin/$name; done")
    assert host.run("sh", "-c", BEATS).returncode == 1


def test_a_program_by_another_name_is_asked_to_end_and_what_it_shared_goes_with_it(host: Host) -> None:
    it = confined()
    sh(
        host,
        f"rm -rf {FOLDER} {it.log}; mkdir {FOLDER}; printf %s {shlex.quote(ORDERLY)} > {FOLDER}/it; {it.prepare()}",
    )
    before = sh(host, SHARED)
    sh(host, f"setsid -f sh -c {shlex.quote(it.launch())} >/dev/null 2>&1 </dev/null")
    sh(host, f"tries=0; until [ -e {FOLDER}/run/beat ] || [ $tries = 100 ]; do sleep 0.1; tries=$((tries + 1)); done")
    assert sh(host, SHARED).split() == ["taken-over", "/proc/sysvipc/shm", "/proc/sysvipc/sem"], sh(
        host, f"cat {it.log}"
    )
    assert host.run("sh", "-c", it.end()).returncode == 0
    assert sh(host, f"ls {FOLDER}/run/in-order").strip() == f"{FOLDER}/run/in-order"
    assert sh(host, SHARED) == before


@pytest.mark.skipif(platform.machine() != "x86_64", reason="machine code of x86-64")
def test_a_program_that_kills_what_runs_as_its_user_does_not_outlive_its_end(host: Host) -> None:
    """It was quicker than what was to kill it as its user, and was no longer what root had listed."""
    it = replace(confined(), command=(f"{FOLDER}/it", FOLDER))
    written = base64.b64encode(program(KILLING)).decode()
    sh(host, f"rm -rf {FOLDER}; mkdir {FOLDER}; echo {written} | base64 -d > {FOLDER}/it; chmod 755 {FOLDER}/it")
    others = sh(host, OTHERS)
    try:
        # It did not win each time.
        for _ in range(4):
            launch = f"setsid -f sh -c {shlex.quote(it.launch())} >/dev/null 2>&1 </dev/null"
            sh(host, f"rm -rf {it.log} {FOLDER}/run; {it.prepare()}; {launch}; sleep 0.5")
            assert host.run("sh", "-c", BEATS).returncode == 0
            assert host.run("sh", "-c", it.end()).returncode == 0
            assert host.run("sh", "-c", BEATS).returncode == 1
        assert sh(host, "pgrep -x sleep") == others
    finally:
        sh(host, "pkill -x sleep")


@pytest.mark.parametrize("language", ["perl -e", "python3 -I -c"])
def test_what_kills_a_user_s_processes_hits_no_others(host: Host, language: str) -> None:
    script = sandbox._SCRIPTS.program(f"kill_all.{'pl' if 'perl' in language else 'py'}")
    kill = f"{language} {shlex.quote(script)}"
    others = sh(host, OTHERS)
    try:
        sh(host, "setpriv --reuid=61100 --clear-groups setsid -f sleep 61 </dev/null >/dev/null 2>&1")
        # Root's own number is not used.
        assert sh(host, f"{kill} 0 61100; echo $?; {kill} 61101 0; echo $?").split() == ["1", "1"]
        assert len(sh(host, "pgrep -x sleep").split()) == 3
        assert sh(host, f"{kill} 61101 61100; echo $?; sleep 0.2").split() == ["0"]
        assert sh(host, "pgrep -x sleep") == others
    finally:
        sh(host, "pkill -x sleep")


def test_what_is_run_as_the_program_s_user_has_nothing_that_the_program_has_not(host: Host) -> None:
    """The program can read the environment of its user's processes, and make them do what it likes."""
    it = confined()
    show = shlex.quote("cat /proc/self/status /proc/self/limits; tr '\\0' '\\n' < /proc/self/environ")
    told = sh(host, f"SECRET=root-s; export SECRET; {it.as_user(f'sh -c {show}')}")
    assert "NoNewPrivs:\t1\n" in told
    assert "SECRET=root-s" not in told
    assert f"Max processes {LIMITS['nproc']} " in " ".join(told.split())
