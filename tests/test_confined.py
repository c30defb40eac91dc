"""A confined program that was taken over: it stays what it is, and ends when it is told to."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from deploy.confined import LIMITS, Confined
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
BEATS = f"[ -e {FOLDER}/run/beat ] || exit 1; rm -f {FOLDER}/run/beat; sleep 1; [ -e {FOLDER}/run/beat ]"


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Cluster(1) as cluster:
        yield cluster.hosts[0]


def confined() -> Confined:
    return Confined(("/usr/bin/perl", f"{FOLDER}/it"), f"{FOLDER}/it", 61_100, FOLDER, "/tmp/taken-over.log")


def test_a_program_that_forks_and_ends_all_the_time_does_not_outlive_its_end(host: Host) -> None:
    it = confined()
    sh(host, f"mkdir {FOLDER}; printf %s {shlex.quote(HOPPING)} > {FOLDER}/it; {it.prepare()}")
    sh(host, f"setsid -f sh -c {shlex.quote(it.launch())} >/dev/null 2>&1 </dev/null")
    sh(host, f"tries=0; until [ -e {FOLDER}/run/beat ] || [ $tries = 100 ]; do sleep 0.1; tries=$((tries + 1)); done")
    assert host.run("sh", "-c", BEATS).returncode == 0
    host.run("sh", "-c", it.end())
    assert host.run("sh", "-c", BEATS).returncode == 1


def test_what_is_run_as_the_program_s_user_has_nothing_that_the_program_has_not(host: Host) -> None:
    """The program can read the environment of its user's processes, and make them do what it likes."""
    it = confined()
    show = shlex.quote("cat /proc/self/status /proc/self/limits; tr '\\0' '\\n' < /proc/self/environ")
    told = sh(host, f"SECRET=root-s; export SECRET; {it.as_user(f'sh -c {show}')}")
    assert "NoNewPrivs:\t1\n" in told
    assert "SECRET=root-s" not in told
    assert f"Max processes {LIMITS['nproc']} " in " ".join(told.split())
