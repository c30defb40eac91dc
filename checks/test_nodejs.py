"""The Node.js API on its host: a process element, its process, its log, and where it listens."""

from __future__ import annotations

import re

import pytest
import testinfra

from circuit_harness.journal.record import PATH as RECORD
from circuit_harness.operations.ports import Listening
from circuit_harness.operations.sandbox import LIMITS
from circuit_harness.remote.command import as_root
from circuit_harness.remote.host import Process, as_process
from circuit_harness.services.program import RunningProgram

pytestmark = pytest.mark.nodejs

KERNEL_NAMES = {"nproc": "processes", "nofile": "open files", "core": "core file size", "fsize": "file size"}
"""What the kernel calls a process's limits, by prlimit's names."""

AWAY, BACK = "MySQL cannot be reached: ", "MySQL answers again"
"""What the app logs of an outage of MySQL: the beginning of each line, and its end."""


def _process(nodejs: RunningProgram) -> Process:
    """Return the app's element, which must be a process."""
    process = as_process(nodejs.host.element(nodejs.anchor))
    assert process is not None, f"no process is the element of /{nodejs.host.name}/{nodejs.anchor}"
    return process


@pytest.fixture(scope="module")
def pid(nodejs_host: testinfra.host.Host, nodejs: RunningProgram) -> int:
    """The process that the app has written down as its own."""
    return int(nodejs_host.check_output(as_root(nodejs.process.read_pid())))


@pytest.fixture(scope="module")
def status(nodejs_host: testinfra.host.Host, pid: int) -> dict[str, list[str]]:
    """The kernel's facts of that process: words by name."""
    lines = nodejs_host.file(f"/proc/{pid}/status").content_string.splitlines()
    return {name: words.split() for name, _, words in (line.partition(":") for line in lines)}


def test_element_is_a_running_process(nodejs: RunningProgram) -> None:
    process = _process(nodejs)
    assert process.peek().phase == "running"


@pytest.mark.selfcheck
def test_element_is_at_the_documented_anchor(nodejs: RunningProgram) -> None:
    path = _process(nodejs).anchor.path
    assert re.fullmatch(rf"/{nodejs.host.name}/([a-z0-9-]+-)?nodejs", path), f"the app is at {path}"


@pytest.mark.selfcheck
def test_element_has_the_command_line(nodejs: RunningProgram) -> None:
    cmd = _process(nodejs).peek().cmd
    assert (cmd.path, list(cmd.args)) == ("/bin/sh", ["-c", nodejs.process.launch()])


def test_process_is_node_itself(nodejs_host: testinfra.host.Host, nodejs: RunningProgram, pid: int) -> None:
    """And no other is of its user."""
    of_its_user = nodejs_host.process.filter(euid=nodejs.process.uid)
    assert [(process.pid, process.args) for process in of_its_user] == [(pid, " ".join(nodejs.process.command))]


@pytest.mark.selfcheck
def test_process_is_the_circuit_server_s(nodejs_host: testinfra.host.Host, pid: int) -> None:
    """As the shell is that runs commands; in between there is sudo, where the circuit does not run as root."""
    # One command for all: each takes several round trips.
    server, *lines = nodejs_host.check_output("echo $PPID; ps -A -o pid= -o ppid= -o comm=").splitlines()
    parents = {int(own): (int(parent), name) for own, parent, name in (line.split(None, 2) for line in lines)}
    between = []
    while (pid := parents[pid][0]) not in (int(server), 0):
        between.append(parents[pid][1])
    assert pid == int(server), f"the app is not below the circuit server (process {server}), but below {between}"
    assert set(between) <= {"sudo"}, f"between the circuit server and the app are {between}"


def test_process_belongs_to_a_user_of_its_own(
    nodejs_host: testinfra.host.Host, nodejs: RunningProgram, status: dict[str, list[str]]
) -> None:
    user = str(nodejs.process.uid)
    ids = status["Uid"] + status["Gid"]
    assert set(ids) == {user}, f"the app runs as {', '.join(sorted(set(ids)))}, not as {user} alone"
    assert status["Groups"] == [], f"the app is in the groups {status['Groups']}"
    account = nodejs_host.run("getent passwd %s", user).stdout
    assert account == "", f"the app's user has an account: {account}"


def test_process_has_no_privilege_and_gets_none(status: dict[str, list[str]]) -> None:
    privileges = {name: status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}
    held = {name: words for name, words in privileges.items() if any(int(word, 16) for word in words)}
    assert not held, f"the app has privileges: {held}"
    assert status["NoNewPrivs"] == ["1"], "the app can gain privileges"


def test_process_is_under_limits(nodejs_host: testinfra.host.Host, pid: int) -> None:
    lines = nodejs_host.check_output(as_root(f"cat /proc/{pid}/limits")).splitlines()
    limits = {name: (soft, hard) for name, soft, hard, *_ in (re.split(r"  +", line) for line in lines)}
    for name, most in LIMITS.items():
        found = limits[f"Max {KERNEL_NAMES[name]}"]
        assert found == (str(most), str(most)), f"the app's limits of {KERNEL_NAMES[name]} are {found}, not {most}"


def test_files_are_not_the_app_s_to_change(nodejs_host: testinfra.host.Host, nodejs: RunningProgram) -> None:
    """But for those in its folder run, and its password, which it may read."""
    folder = nodejs.process.folder
    theirs = f"-path {folder}/run -prune -o -path {nodejs.secrets.get('mysql')} -o ! -type l"
    found = nodejs_host.check_output(as_root(f"find {folder} {theirs} '(' ! -user root -o -perm /022 ')' -print"))
    assert found == "", f"the app, or others, can change {found}"


def test_password_is_in_a_file_of_the_app_s_user_alone(
    nodejs_host: testinfra.host.Host, nodejs: RunningProgram
) -> None:
    if nodejs.secrets.get("mysql") is None:
        pytest.skip("the app has no password (--tutorial-compat)")
    found = nodejs_host.check_output(as_root(f"stat -c '%a %u %g' {nodejs.secrets.get('mysql')}"))
    assert found == f"400 {nodejs.process.uid} {nodejs.process.uid}", f"mode, user and group of the file: {found}"


def test_password_stands_nowhere_else(nodejs_host: testinfra.host.Host, nodejs: RunningProgram) -> None:
    """In no process's command line or environment, in no log, and not in the record of the deployment."""
    file = nodejs.secrets.get("mysql")
    if file is None:
        pytest.skip("the app has no password (--tutorial-compat)")
    places = f"/proc/[0-9]*/cmdline /proc/[0-9]*/environ {nodejs.process.log} {nodejs.process.start_log} {RECORD}"
    # One command for both: each takes several round trips.
    look = f"wc -c < {file} && {{ grep -D skip -laFsf {file} {places} || true; }}"
    length, *found = nodejs_host.check_output(as_root(look)).splitlines()
    assert int(length) > 20, f"the password has {length} characters, too few to look for"
    assert not found, f"the password is in {', '.join(found)}"


def test_listens_on_every_address(nodejs_host: testinfra.host.Host, nodejs: RunningProgram) -> None:
    listening = nodejs_host.socket(f"tcp://{nodejs.listen}:{nodejs.port}").is_listening
    assert listening, f"nothing listens on {nodejs.listen}:{nodejs.port} on host {nodejs.host.name}"


def test_log_says_where_it_listens_and_no_more(nodejs_host: testinfra.host.Host, nodejs: RunningProgram) -> None:
    # As the app's user could, who may have put a link in its place.
    log = nodejs_host.check_output(as_root(f"dd if={nodejs.process.log} iflag=nofollow,nonblock status=none"))
    first, *lines = log.splitlines() or [""]
    assert first == f"Listening on {Listening(nodejs.listen, nodejs.port)}"
    # An outage of MySQL that is over is no error of the app.
    assert [line for line in lines if not line.startswith(AWAY) and line != BACK] == []
    assert not lines or lines[-1] == BACK, f"the app could not reach MySQL, and it has not answered since: {lines[-1]}"
