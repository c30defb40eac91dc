"""The workspace: hosts on this machine that stay, from ``./run up`` to ``./run down``; all that is printed is run."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest

from circuit_harness.plugin import workspace as workspaces
from localhosts import Cluster, LocalHostsError
from localhosts.workspace import Workspace, standing
from tests.conftest import Eventually
from tests.jobs import ROOT, RUN_LIMIT_S, Watched, environment, harness, named

pytestmark = pytest.mark.rights

STARTED = [
    r"Started MySQL on private address: [\d.]+ 3306",
    r"Started Node.js service on public address: [\d.]+ 8080",
]

Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for workspaces of a test's own, which has nothing in it in the end."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield tmp_path
    with suppress(LocalHostsError), Workspace(ROOT).locked():
        Workspace(ROOT).end()
    assert list((tmp_path / "state").iterdir()) == []


@pytest.fixture
def sh(state: Path) -> Shell:
    """Run a command line as its user does, from another folder."""

    def run(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            line,
            shell=True,
            cwd=state,
            env={**environment(), **variables},
            capture_output=True,
            text=True,
            timeout=RUN_LIMIT_S,
        )

    return run


RUN = shlex.quote(str(ROOT / "run"))


ALREADY_UP = "already up, so nothing was done; with --replace, it is taken down first"


def printed(what: str, output: str) -> str:
    """The command that a run prints for something."""
    found = re.search(rf"^ *to {what}: (.+)$", output, re.MULTILINE)
    assert found is not None, output
    return found[1]


def test_where_nothing_is_up_it_is_told_for_which_folders_hosts_are(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Mock(folder=Path("/home/you"))
    monkeypatch.setattr(workspaces, "standing", list)
    assert workspaces._nothing(here) == "nothing is up for /home/you"
    monkeypatch.setattr(workspaces, "standing", lambda: [Mock(folder="/home/you/words")])
    there = "but for /home/you/words, where the same command is about those"
    assert workspaces._nothing(here) == f"nothing is up for /home/you, {there}"


def test_from_up_to_down_by_what_is_printed(sh: Shell, state: Path) -> None:
    assert "nothing is up for" in (nothing := sh(f"{RUN} status")).stdout
    assert nothing.returncode == 0
    up = sh(f"{RUN} up -p no:cacheprovider")
    assert up.returncode == 0, up.stdout + up.stderr
    for line, pattern in zip(up.stdout.splitlines()[-2:], STARTED, strict=True):
        assert re.fullmatch(pattern, line)
    assert "passed" not in up.stdout
    (kept,) = standing()
    assert (kept.folder, len(kept.hosts), kept.is_current()) == (str(ROOT), 2, True)

    status = sh(f"{RUN} status")
    assert status.returncode == 0, status.stderr
    assert "2 hosts for " in status.stdout
    again = sh(f"{RUN} up")
    assert (again.returncode, again.stdout) == (0, f"{ALREADY_UP}\n{status.stdout}")
    (still,) = standing()
    assert still == kept

    tried = sh(printed("try it", status.stdout))
    assert tried.stdout.startswith("HTTP/1.1 200 "), tried.stderr
    circuit = printed("use its circuit", status.stdout)
    listed = sh(f"{circuit}; cd {shlex.quote(str(ROOT))}; {shlex.quote(sys.executable)} -m circuit ls /")
    assert len(re.findall("X[0-9a-f]{16}", listed.stdout)) == 2, listed.stderr
    checked = sh(f"{printed('check it', status.stdout)} -p no:cacheprovider -k 'schema or answers or restart'")
    assert checked.returncode == 0, checked.stdout
    assert re.search(r"\d+ passed, \d+ skipped", checked.stdout), "what stops services is skipped"
    planned = sh(f"{RUN} deploy --plan -m mysql -p no:cacheprovider")
    assert f"on the hosts that are up for {ROOT}; a run that deploys makes its own\n" in planned.stdout
    assert re.search(
        r"^not now: .* --replace takes it down first, \S+ down takes it down", planned.stdout, re.MULTILINE
    )
    assert " on this machine" not in planned.stdout

    cleaned = sh(f"{RUN} clean")
    assert f"spared the workspace of {ROOT}, whose 2 hosts are up" in cleaned.stdout
    down = sh(printed("take it down", status.stdout))
    assert (down.returncode, down.stdout) == (0, "removed 2 hosts\n")
    assert standing() == []
    assert list((state / "state").iterdir()) == []
    assert sh(f"{RUN} down").stdout == nothing.stdout.partition(":")[0] + "\n"


def test_hosts_are_made_new_and_are_told_from_older_code(sh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = sh(f"{RUN} check")
    assert refused.returncode == pytest.ExitCode.USAGE_ERROR
    assert refused.stderr.strip() == f"ERROR: no hosts are up for {ROOT}: {RUN} up makes them, and deploys"
    assert sh(f"{RUN} up").returncode == 0
    (kept,) = standing()
    reset = sh(f"{RUN} reset")
    assert reset.returncode == 0, reset.stderr
    (new,) = standing()
    assert (new.ready.identity != kept.ready.identity, len(new.hosts)) == (True, 2)
    status = sh(f"{RUN} status").stdout
    made = f": make one with {RUN} up\n"
    assert re.search(rf"^  no deployment was kept on X\w+, X\w+{re.escape(made)}", status, re.MULTILINE), status
    assert "older code" not in status
    monkeypatch.setattr("localhosts.workspace.PYTHON_NODE", ROOT / "localhosts")
    assert not new.is_current()
    refused = sh(f"{RUN} check")
    assert "no deployment was kept on " in refused.stdout
    assert made in refused.stdout
    assert refused.returncode == pytest.ExitCode.TESTS_FAILED


def test_what_does_not_work_there_is_told_with_what_mends_it(sh: Shell, eventually: Eventually) -> None:
    assert sh(f"{RUN} up").returncode == 0
    (kept,) = standing()

    def host(title: str) -> str:
        found = re.search(rf"^  {title} on host (X\w+): ", sh(f"{RUN} status").stdout, re.MULTILINE)
        assert found is not None
        return found[1]

    mysql, api = host("MySQL"), host(r"Node\.js")
    sh(f"{RUN} circuit run /{mysql} -- sudo systemctl stop mariadb")
    stopped = sh(f"{RUN} status")
    assert (stopped.returncode, "  DOWN: MySQL: mariadb is inactive\n" in stopped.stdout) == (1, True), stopped.stdout
    assert printed("deploy all again, with new data", stopped.stdout) == f"{RUN} up --replace"
    assert "mariadbd" in sh(printed("look further", stopped.stdout)).stdout
    assert sh(printed("start it again", stopped.stdout)).returncode == 0
    eventually(lambda: sh(f"{RUN} status").returncode == 0, RUN_LIMIT_S)

    sh(f"{RUN} circuit run /{mysql} -- sudo pkill -STOP mariadbd")
    hung = sh(f"{RUN} status")
    assert "  DOWN: MySQL: mariadb runs, and does not answer: no answer within 5 s\n" in hung.stdout
    refused = sh(f"{RUN} up --replace")
    assert re.fullmatch(
        r"ERROR: host X\w+: its MySQL server runs, and does not answer within 8 s: restart it there .*\n",
        refused.stderr,
    )
    assert sh(printed("start it again", hung.stdout)).returncode == 0
    eventually(lambda: sh(f"{RUN} status").returncode == 0, RUN_LIMIT_S)

    sh(f"{RUN} circuit signal KILL /{api}/nodejs")
    ended = f"  DOWN: Node.js: its process at /{api}/nodejs has ended\n"
    eventually(lambda: ended in sh(f"{RUN} status").stdout, RUN_LIMIT_S)

    first, second = kept.hosts
    first.run("pkill", "-KILL", "-f", "[c]ircuit.node")
    lost = f"the circuit has lost host {first.private_address}: {RUN} reset makes the hosts new, and empty"
    eventually(lambda: f"  LOST: {lost}\n" in sh(f"{RUN} status").stdout, RUN_LIMIT_S)
    status = sh(f"{RUN} status")
    assert status.returncode == pytest.ExitCode.TESTS_FAILED
    missing = ("  Node.js: no live host has it\n", "  the host of MySQL is lost: no live one has that part of run ")
    assert any(line in status.stdout for line in missing), status.stdout
    # The one that is lost is the first of those that are dialed.
    exported = printed("use its circuit", status.stdout)
    assert sh(f"{exported}; {RUN} circuit ls /").stdout.count("/X") == 1
    refused = sh(f"{RUN} up --replace")
    assert (refused.returncode, refused.stderr) == (pytest.ExitCode.TESTS_FAILED, f"ERROR: {lost}\n")
    checked = sh(f"{RUN} check -p no:cacheprovider -k 'answers or schema'").stdout
    assert re.search(rf"^E? *{re.escape(lost)}$", checked, re.MULTILINE), checked
    assert re.search(r"^=+ \d+ skipped, \d+ deselected, 1 error in ", checked, re.MULTILINE), checked

    second.run("pkill", "-KILL", "-f", "[c]ircuit.node")
    for verb in ("check", "status"):
        refused = sh(f"{RUN} {verb}")
        assert refused.returncode != 0
        assert f"{RUN} reset makes " in refused.stderr, refused.stderr


@pytest.mark.parametrize("keep", ["always", "on-failure"])
def test_what_is_kept_without_a_circuit_is_in_the_workspace(sh: Shell, keep: str) -> None:
    pytest_line = shlex.join([*harness(), f"--keep={keep}", "-m", "mysql", "-k", "schema_columns"])
    done = sh(f"cd {shlex.quote(str(ROOT))}; {pytest_line}")
    assert done.returncode == 0, done.stdout
    if keep == "on-failure":
        assert standing() == []
        return
    (kept,) = standing()
    assert len(kept.hosts) == 1
    again = sh(f"{printed('check it again', done.stdout)} -p no:cacheprovider -m mysql")
    assert again.returncode == 0, again.stdout
    # With the variables that a status prints, the verbs are about the same hosts.
    exported = f'eval "export $({sys.executable} -m localhosts env)"'
    status = sh(f"cd {shlex.quote(str(ROOT))}; {exported}; {shlex.join(harness())} --workspace=status")
    assert (status.returncode, f"1 host for {ROOT}, made " in status.stdout) == (0, True), status
    end = sh(f"cd {shlex.quote(str(ROOT))}; {exported}; {printed('take it down', done.stdout)}")
    assert end.stdout == "removed 1 host\n"
    assert standing() == []


def test_up_is_undone_where_it_is_stopped(state: Path, eventually: Eventually) -> None:
    up = subprocess.Popen(
        [ROOT / "run", "up"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert up.stdout is not None
    with up:
        for line in up.stdout:
            if "MySQL: bind" in line:
                os.killpg(up.pid, signal.SIGINT)
                break
        rest = up.stdout.read()
        assert up.wait(RUN_LIMIT_S) == pytest.ExitCode.INTERRUPTED, rest
    assert "remove the 2 hosts" in rest
    assert rest.endswith("Everything that this run deployed was taken down, and its hosts were removed.\ninterrupted\n")
    assert standing() == []


def test_hosts_outlive_the_terminal_and_not_their_keeper(state: Path, eventually: Eventually) -> None:
    workspace = Workspace(ROOT)
    with workspace.locked():
        with pytest.raises(LocalHostsError, match="another command is changing the workspace"), workspace.locked():
            pass
        cluster = Cluster(1)
        kept = workspace.keep(cluster.start())
    # What the command itself would do at its end.
    cluster.close()
    assert workspace.find() == kept
    assert kept.hosts[0].run("true").returncode == 0
    (keeper,) = [
        process
        for process in psutil.process_iter(["cmdline", "environ"])
        if "localhosts.keeper" in (process.info["cmdline"] or [])
        and (process.info["environ"] or {}).get("XDG_STATE_HOME") == str(state / "state")
    ]
    assert os.getsid(keeper.pid) != os.getsid(0)
    assert keeper.terminal() is None
    os.kill(keeper.pid, signal.SIGINT)
    assert workspace.find() == kept
    os.kill(keeper.pid, signal.SIGKILL)
    eventually(lambda: workspace.find() is None)
    with workspace.locked():
        workspace.end()
    assert list((state / "state").iterdir()) == []


def test_a_lock_that_its_owner_has_removed_is_not_taken(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(ROOT)

    def ended_meanwhile(lock: int, how: int) -> None:
        monkeypatch.undo()
        monkeypatch.setenv("XDG_STATE_HOME", str(state / "state"))
        with workspace.locked():
            pass
        fcntl.flock(lock, how)

    monkeypatch.setattr("localhosts.workspace.fcntl.flock", ended_meanwhile)
    with pytest.raises(LocalHostsError, match="another command is changing the workspace"), workspace.locked():
        pass
    with workspace.locked():
        pass


def test_up_on_a_named_circuit_is_the_tutorial_s_program(watched: Watched, sh: Shell) -> None:
    where = shlex.join(named(watched.cluster))
    up = sh(f"{RUN} up --tutorial-compat {where}")
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        for line, pattern in zip(up.stdout.splitlines()[-2:], STARTED, strict=True):
            assert re.fullmatch(pattern, line)
        assert "passed" not in up.stdout
        refused = sh(f"{RUN} up {where}")
        assert refused.returncode == pytest.ExitCode.TESTS_FAILED
        assert "has a deployment that was kept" in refused.stderr
        status = sh(f"{RUN} status {where}")
        checked = sh(f"{printed('check it', status.stdout)} -p no:cacheprovider -k 'open_to_all or answers'")
        assert checked.returncode == 0, checked.stdout
    finally:
        down = sh(printed("take it down", up.stdout))
    assert down.returncode == 0, down.stdout + down.stderr
    assert standing() == []
    watched.assert_unchanged()
