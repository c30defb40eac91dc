"""Services: what is told of them, and the job on hosts that no service manager runs on, as in containers."""

from __future__ import annotations

import base64
import json
import re
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from circuit_harness.errors import Unfit
from circuit_harness.operations import edits
from circuit_harness.operations.guard import GUARD
from circuit_harness.remote import fact_lines
from circuit_harness.remote.circuit_host import CircuitHost
from circuit_harness.services.mysql import MySQL, fit, manager
from circuit_harness.services.mysql.facts import looking_again, starting
from circuit_harness.services.mysql.manager import State, Systemd, Unmanaged
from localhosts import Cluster, Host
from tests import test_mysql_password as asking
from tests.jobs import Watched, dial_cluster, named, not_passed, run, run_and, sh

MYSQL = MySQL("tutorial")
SERVER = "/usr/sbin/mariadbd"
OPTIONS = {"datadir": "/var/lib/mysql/", "socket": "/run/mysqld/mysqld.sock"}


def encoded(*words: str) -> str:
    return base64.b64encode("".join(f"{word}\0" for word in words).encode()).decode()


def test_a_service_without_a_manager() -> None:
    values = {
        "service": ["none mariadbd"],
        "program": [SERVER],
        "active": ["yes"],
        "command": [encoded("mysqld", "--port=3306", "")],
        "owner": ["101:103"],
        "variable": ["TZ=UTC"],
        "output": ["/var/log/mysqld.log"],
        "missing": ["/run/mysqld", "/run/mysqld"],
    }
    found = manager.parse(values, OPTIONS, "errors.log")
    assert found == Unmanaged(
        name="mariadbd",
        program=SERVER,
        datadir="/var/lib/mysql",
        socket="/run/mysqld/mysqld.sock",
        command=("mysqld", "--port=3306", ""),
        environment=("TZ=UTC",),
        owner="101:103",
        folders=("/run/mysqld",),
        output="/var/log/mysqld.log",
        logs=("/var/lib/mysql/errors.log",),
    )
    assert manager.parse_state(values) == State(active=True)
    assert manager.of(json.loads(json.dumps(found.describe()))) == found
    assert found.told_to("/ours").output == "/ours"


def test_a_service_that_does_not_run_is_started_by_its_program() -> None:
    found = manager.parse({"service": ["none mysqld"], "program": ["/usr/sbin/mysqld"]}, OPTIONS, "")
    assert found is not None
    assert (found.command, found.logs) == (("/usr/sbin/mysqld",), ())
    assert str(found) == "mysqld (no service manager)"


def test_a_service_of_a_manager() -> None:
    values = {"service": ["systemd mariadb"], "enabled": ["disabled"], "missing": ["/run/mysqld"]}
    found = manager.parse(values, OPTIONS, "")
    assert found is not None
    assert (found.kind, str(found), found.folders) == ("systemd", "mariadb", ())
    assert found.told_to("/ours") == found
    assert manager.parse_state(values) == State(enabled="disabled")
    assert manager.parse({}, OPTIONS, "") is None


@pytest.fixture(scope="module")
def containers() -> Iterator[Cluster]:
    """Two hosts without any service manager."""
    with Cluster(2, init="none") as made:
        yield made


@pytest.fixture
def bare(containers: Cluster) -> Watched:
    """These hosts, and what they were like before the test."""
    return Watched(containers)


@contextmanager
def started(host: Host, command: str) -> Iterator[None]:
    """A server that was started by hand, as root does."""
    done = sh(
        host,
        f"install -d -o mysql /run/mysqld; setsid -f {command} < /dev/null > /tmp/by-hand.log 2>&1; tries=0;"
        " until mariadb -e 'SELECT 1' || [ $tries -ge 100 ]; do sleep 0.1; tries=$((tries + 1)); done",
    )
    assert done, sh(host, "cat /tmp/by-hand.log")
    try:
        yield
    finally:
        sh(host, f"mariadb-admin shutdown; while {RUNS}; do sleep 0.1; done; rm -r /run/mysqld /tmp/by-hand.log")


RUNS = f"ls -l /proc/[0-9]*/exe 2>/dev/null | grep -q '{SERVER}$'"
COMMANDS = f"""
for process in /proc/[0-9]*; do
    if [ $process/exe -ef {SERVER} ] || grep -qs '[m]ariadbd-safe' $process/cmdline; then
        echo "$(stat -c %U $process) $(tr '\\0' ' ' < $process/cmdline)$(readlink $process/fd/2 | sed 's/[[].*//')"
        tr '\\0' '\\n' < $process/environ | grep -a ^TZ=
    fi
done
"""
"""The command lines of the server and its watchman, with their users, environment and standard error."""


def test_leaves_containers_as_they_were(bare: Watched) -> None:
    done = run(*named(bare.cluster), "--disruptive")
    assert done.returncode == 0, done.stdout
    assert not_passed(done.stdout, disruptive=True) == []
    bare.assert_unchanged()


@pytest.mark.parametrize(
    "command",
    [
        f"env TZ=Asia/Tokyo {SERVER} --user=mysql --max-connections=77",
        "mariadbd-safe --max-connections=77",
    ],
    ids=["server", "with a watchman"],
)
def test_puts_back_a_server_that_was_started_by_hand(bare: Watched, command: str) -> None:
    host = bare.named(bare.roles[0])
    file = "/etc/mysql/mariadb.conf.d/99-port.cnf"
    sh(host, f"printf '[mysqld]\\nport = 3309\\n' > {file}")
    with started(host, command):
        running, before = Watched(bare.cluster), sh(host, COMMANDS)
        assert "--max-connections=77" in before or "--max_connections=77" in before
        done = run(*named(bare.cluster), "-m", "mysql", "--disruptive")
        assert done.returncode == 0, done.stdout
        running.assert_unchanged()
        assert sh(host, COMMANDS) == before
        assert sh(host, "mariadb -N -e 'SELECT @@max_connections, @@port'") == "77\t3309\n"
    sh(host, f"rm {file}")
    bare.assert_unchanged()


def test_a_command_line_that_wins_is_found_before_the_service_is_touched(bare: Watched) -> None:
    host = bare.named(bare.roles[0])
    with started(host, f"{SERVER} --user=mysql --bind-address=127.0.0.2"):
        running, processes = Watched(bare.cluster), sh(host, "ls -l /proc/[0-9]*/exe | grep mariadbd")
        done = run(*named(bare.cluster), "-m", "mysql", "-x")
        assert done.returncode == pytest.ExitCode.TESTS_FAILED
        assert "the server would still start with bind-address 127.0.0.2 instead of 10." in done.stdout
        assert "as it was started with --user=mysql --bind-address=127.0.0.2: take that out" in done.stdout
        running.assert_unchanged()
        strip = re.compile(r"^\S+ \d+ .* /proc", re.MULTILINE)
        again = sh(host, "ls -l /proc/[0-9]*/exe | grep mariadbd")
        assert strip.sub("", again) == strip.sub("", processes)
    bare.assert_unchanged()


def test_a_server_that_others_watch_is_refused(bare: Watched) -> None:
    host = bare.named(bare.roles[0])
    with started(host, f"sh -c '{SERVER} --user=mysql; true'"):
        running = Watched(bare.cluster)
        done = run(*named(bare.cluster), "-m", "mysql", "-x")
        assert done.returncode == pytest.ExitCode.TESTS_FAILED
        assert re.search(r"its MySQL server was started by process \d+ \(sh\), which would treat its end", done.stdout)
        running.assert_unchanged()
    bare.assert_unchanged()


@pytest.mark.parametrize("first", [f"exec {SERVER} --user=mysql", f"{SERVER} --user=mysql; true"], ids=["exec", "sh"])
def test_a_server_that_is_its_host_s_purpose_is_told(bare: Watched, first: str) -> None:
    """In a namespace of processes that is a host's for what looks."""
    host = bare.named(bare.roles[0])
    look = f"{fact_lines.SAY}\nprogram={SERVER}; {manager.LOOK}"
    with started(host, f"unshare --fork --pid --mount-proc --kill-child sh -c {shlex.quote(first)}"):
        enter = 'nsenter --pid --mount --root -t "$(pgrep -P $(pgrep -x unshare))"'
        values = fact_lines.parse(sh(host, f"{enter} sh -c {shlex.quote(look)}"))
        state = manager.parse_state(values)
        assert state.active
        assert re.fullmatch(r"1 (mariadbd|sh)", state.keeper), values
    bare.assert_unchanged()


def test_a_run_that_was_killed_is_cleared_away_by_the_next(bare: Watched) -> None:
    status, _ = run_and("MySQL: start", lambda process: process.kill(), *named(bare.cluster), "-m", "mysql")
    assert status == -signal.SIGKILL
    after = run(*named(bare.cluster), "-m", "mysql")
    assert after.returncode == 0, after.stdout
    assert "did not end by itself; it is taken down first" in after.stdout
    bare.assert_unchanged()


def test_a_server_that_does_not_start_tells_why(bare: Watched) -> None:
    host = bare.named(bare.roles[0])
    file = "/etc/mysql/mariadb.conf.d/99-broken.cnf"
    sh(host, f"printf '[mysqld]\\ninnodb-data-home-dir = /nowhere\\n' > {file}")
    try:
        broken = Watched(bare.cluster)
        done = run(*named(bare.cluster), "-m", "mysql", "-x")
        assert done.returncode == pytest.ExitCode.TESTS_FAILED
        assert re.search(r"mariadbd ended with exit status \d+ while it started", done.stdout), done.stdout
        assert "/nowhere" in done.stdout
        broken.assert_unchanged()
    finally:
        sh(host, f"rm {file}")
    bare.assert_unchanged()


def test_option_files_that_the_server_cannot_read_are_told(bare: Watched) -> None:
    host = bare.named(bare.roles[0])
    file = "/etc/mysql/mariadb.conf.d/99-broken.cnf"
    sh(host, f"printf '[mysqld]\\nno-such-option\\n' > {file}")
    try:
        broken = Watched(bare.cluster)
        done = run(*named(bare.cluster), "-m", "mysql", "-x")
        assert done.returncode == pytest.ExitCode.TESTS_FAILED
        assert re.search(
            r"cannot start with its option files, .*unknown option '--no-such-option'; correct", done.stdout
        )
        assert "MySQL: bind" not in done.stdout
        broken.assert_unchanged()
    finally:
        sh(host, f"rm {file}")
    bare.assert_unchanged()


EVIL = "/tmp/evil"

# User mysql's own server, with a plugin that is a pipe: whoever opens it is seen, and as whom.
TRAP = f"""
set -e
setpriv --reuid=mysql --regid=mysql --clear-groups sh -c 'mkdir {EVIL}; mkfifo {EVIL}/evil.so'
setsid -f setpriv --reuid=mysql --regid=mysql --clear-groups sh -c '
    exec 3>{EVIL}/evil.so
    rm {EVIL}/evil.so
    : > {EVIL}/evil.so
    for process in /proc/[0-9]*; do
        tr "\\0" " " < $process/cmdline 2>/dev/null | grep -q "^{SERVER} .*--verbose --help" || continue
        echo "opened by $(stat -c %U $process)" >> {EVIL}/seen
    done
' </dev/null >/dev/null 2>&1
"""
TRAP_GONE = f"""
[ ! -p {EVIL}/evil.so ] || timeout 1 cat {EVIL}/evil.so || true
cat {EVIL}/seen 2>/dev/null
rm -r {EVIL}
"""


def test_user_mysql_does_not_become_root(bare: Watched) -> None:
    """By what its server was started with: a plugin of its own, and a file of root's as the one that it writes into."""
    host = bare.named(bare.roles[0])
    sh(host, "echo root > /etc/roots-own")
    # A plugin that is not there yet keeps no server from starting.
    words = f"--plugin-dir={EVIL} --plugin-load-add=evil.so"
    command = f"setpriv --reuid=mysql --regid=mysql --init-groups sh -c 'exec {SERVER} {words} 2< /etc/roots-own'"
    host.run("/bin/sh", "-c", "mkdir -p /run/mysqld && chown mysql: /run/mysqld")
    sh(host, f"setsid -f {command} < /dev/null > /dev/null 2>&1; {UNTIL_UP}")
    try:
        assert SERVER in sh(host, COMMANDS)
        sh(host, TRAP)
        done = run(*named(bare.cluster), "-m", "mysql")
        assert "opened by root" not in sh(host, TRAP_GONE)
        assert sh(host, "cat /etc/roots-own") == "root\n"
        assert done.returncode == 0, done.stdout
        assert words in sh(host, COMMANDS)
    finally:
        sh(host, f"mariadb-admin shutdown; while {RUNS}; do sleep 0.1; done; rm -rf /run/mysqld {EVIL} /etc/roots-own")
    bare.assert_unchanged()


# What a server that was taken over may answer to root's client: rows that nobody asked for.
# The program, in the server's folder, as anybody can run it; what is stopped does not end when it is told to.
SOMEBODY_S = f"""
cd /var/lib/mysql
setsid -f sh -c 'echo $$ > /tmp/somebody; exec {SERVER} --no-defaults --datadir=/tmp' </dev/null >/dev/null 2>&1
until kill -s STOP "$(cat /tmp/somebody)" && [ /proc/$(cat /tmp/somebody)/exe -ef {SERVER} ]; do
    kill -s CONT $(cat /tmp/somebody)
done
"""


def test_a_server_is_asked_while_it_is_started(bare: Watched) -> None:
    host = bare.named(bare.roles[0])
    with dial_cluster(bare.cluster) as client:
        seen = MYSQL.look(CircuitHost(client.walk(bare.roles[0])))
    assert seen.service is not None
    server = seen.service.told_to("/root/server.log")
    looking = looking_again(server, seen, "tutorial", ["tutorial"])
    try:
        done = host.run("/bin/sh", "-c", starting(server, looking), timeout=60)
        first, *rest = done.stdout.decode().splitlines()
        assert first == "127.0.0.1\t3306"
        assert {line.partition(" ")[0] for line in rest} == {"version", "named", "tls"}
    finally:
        sh(host, f"{server.stop()}\n{server.clear()}\nrm /root/server.log")
    bare.assert_unchanged()


def test_a_start_that_fails_is_told_without_an_answer(bare: Watched) -> None:
    host = bare.named(bare.roles[0])
    broken = Unmanaged("mariadbd", "/bin/false", "/var/lib/mysql", "/run/none.sock", ("/bin/false",), owner="0:0")
    done = host.run("/bin/sh", "-c", starting(broken, "look_again() { false; }"), timeout=20)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"mariadbd ended with exit status 1 while it started\n"
    bare.assert_unchanged()


def test_somebody_s_server_in_the_same_folder_is_not_taken_for_the_service(bare: Watched) -> None:
    """Who ran one there kept deployments from being taken down."""
    host = bare.named(bare.roles[0])
    with started(host, f"{SERVER} --user=mysql"), dial_cluster(bare.cluster) as client:
        found = MYSQL.look(CircuitHost(client.walk(bare.roles[0]))).service
        assert found is not None
        host.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/bin/sh", "-c", SOMEBODY_S)
        try:
            assert sh(host, "readlink /proc/$(cat /tmp/somebody)/cwd") == "/var/lib/mysql\n"
            stopped = host.run("/bin/sh", "-c", found.stop(), timeout=20)
            assert (stopped.returncode, stopped.stderr) == (0, b"")
            assert sh(host, f"{found.is_active()} || echo none") == "none\n"
        finally:
            sh(host, "kill -KILL $(cat /tmp/somebody); rm -rf /tmp/somebody")
        sh(host, f"{found.start()} >/dev/null 2>&1")
    bare.assert_unchanged()


FORGED = """#!/bin/sh
printf '%s\\n' 'version 10' 'missing /etc/forged' 'output /etc/forged.log' 'variable FORGED=1' 'option port 22' \\
    'roots /etc/passwd' 'file /etc/passwd' 'line 1 [mysqld]' 'line 1 bind-address = ::1' 'empty /etc/forged.cnf' \\
    'own nonsense' 'listening nonsense' 'service none forged' 'database tutorial' 'user tutorial@forged' 'named a.b'
"""


ASKING = """
import socket
listening = socket.socket(socket.AF_UNIX)
listening.bind("/run/mysqld/mysqld.sock")
listening.listen()
while True:
    client = listening.accept()[0]
    client.sendall(bytes.fromhex("{greeting}"))
    client.recv(4096)
    client.sendall(bytes.fromhex("{ask}"))
    open("/run/mysqld/told", "ab").write(client.recv(4096))
    client.close()
"""


@pytest.mark.parametrize("method", ["mysql_clear_password", "dialog"])
def test_a_server_that_asks_for_root_s_password_gets_none(bare: Watched, method: str) -> None:
    """From root's option file; and the host is refused, with the reason."""
    host = bare.named(bare.roles[0])
    script = ASKING.format(
        greeting=asking.greeting("mysql_native_password").hex(), ask=asking.packet(2, asking.ask_for(method)).hex()
    )
    with started(host, f"{SERVER} --user=mysql"), dial_cluster(bare.cluster) as client:
        sh(
            host,
            "(umask 077; printf '[client]\\npassword = only-root-knows\\n' > /root/.my.cnf); cd /run/mysqld;"
            " mv mysqld.sock aside; setsid -f setpriv --reuid=mysql --clear-groups python3 -c"
            f" {shlex.quote(script)} </dev/null >/dev/null 2>&1; until [ -S mysqld.sock ]; do sleep 0.1; done",
        )
        try:
            facts = MYSQL.look(CircuitHost(client.walk(bare.roles[0])))
            told = sh(host, "cat /run/mysqld/told")
        finally:
            sh(host, "pkill -f '[r]un/mysqld/told'; cd /run/mysqld; mv -f aside mysqld.sock; rm /root/.my.cnf")
    assert told == "\0\0\0\3", "an empty answer"
    with pytest.raises(Unfit, match=rf"does not let root in \(ERROR .*{method}"):
        fit.check_fit(facts, "one")
    bare.assert_unchanged()


def test_a_server_answers_what_it_is_asked_and_no_more(bare: Watched) -> None:
    """Its rows stand among what root has seen: by them root made folders for it, and edited any file."""
    host = bare.named(bare.roles[0])
    client = "/usr/local/bin/mariadb"
    with started(host, f"{SERVER} --user=mysql"), dial_cluster(bare.cluster) as client_of_circuit:
        anchor = client_of_circuit.walk(bare.roles[0])
        before = MYSQL.look(CircuitHost(anchor))
        sh(host, f"printf %s {shlex.quote(FORGED)} > {client}; chmod 755 {client}")
        try:
            now = MYSQL.look(CircuitHost(anchor))
        finally:
            sh(host, f"rm {client}")
    assert (now.databases, now.users, now.named) == (("tutorial",), ("tutorial@forged",), ("a.b",))
    assert now.service == before.service
    assert now.options == before.options
    assert (now.listening, now.own) == (before.listening, before.own)
    bare.assert_unchanged()


UNTIL_UP = "tries=0; until mariadb -e 'SELECT 1' || [ $tries -ge 100 ]; do sleep 0.1; tries=$((tries + 1)); done"


def test_option_files_of_others_are_not_changed(bare: Watched) -> None:
    """User mysql names one, and could put a link there."""
    host = bare.named(bare.roles[0])
    sh(
        host,
        "setpriv --reuid=mysql --regid=mysql --clear-groups sh -c"
        " 'printf \"[mysqld]\\nbind-address = 127.0.0.1\\n\" > /tmp/own.cnf'",
    )
    with started(
        host,
        f"setpriv --reuid=mysql --regid=mysql --init-groups {SERVER} --defaults-file=/tmp/own.cnf"
        " --socket=/run/mysqld/mysqld.sock",
    ):
        running = Watched(bare.cluster)
        done = run(*named(bare.cluster), "-m", "mysql", "-x")
        assert "its MySQL server reads /tmp/own.cnf, which is not root's alone to write" in done.stdout
        assert done.returncode == pytest.ExitCode.TESTS_FAILED
        running.assert_unchanged()
    sh(host, "rm /tmp/own.cnf")
    bare.assert_unchanged()


def test_option_files_are_not_made_in_folders_of_others(bare: Watched) -> None:
    """What root writes aside there could become a link to any file, meanwhile."""
    host = bare.named(bare.roles[0])
    folder, mine = "/etc/mysql/theirs", "/etc/mysql/conf.d/99-theirs.cnf"
    sh(host, f"install -d -o mysql {folder}; echo '!includedir {folder}/' > {mine}")
    sh(host, "cp -p /etc/mysql/mariadb.conf.d/50-server.cnf /root; sed -i /^bind-address/d /etc/mysql/mariadb.conf.d/*")
    try:
        with dial_cluster(bare.cluster) as client:
            facts = MYSQL.look(CircuitHost(client.walk(bare.roles[0])))
        edit = edits.NewFile(f"{folder}/zz-tutorial.cnf", "[mysqld]")
        assert facts.options.unsafe == (folder,)
        done = run(*named(bare.cluster), "-m", "mysql", "-x")
        assert f"its MySQL server reads {folder}, which is not root's alone to write" in done.stdout
        # User mysql can have a file named that is gone when it is looked at.
        refused = host.run("/bin/sh", "-c", f"set -e; {edits.guard([edit])}")
        assert (refused.returncode, refused.stderr) == (1, f"{folder} is not root's alone to write\n".encode())
        fine = edits.NewFile("/etc/mysql/conf.d/zz-tutorial.cnf", "[mysqld]")
        assert host.run("/bin/sh", "-c", f"set -e; {edits.guard([fine])}").returncode == 0
    finally:
        sh(host, f"rm -r {folder} {mine}; mv /root/50-server.cnf /etc/mysql/mariadb.conf.d/")
    bare.assert_unchanged()


def test_an_option_file_that_only_root_can_read_is_told(bare: Watched) -> None:
    host = bare.named(bare.roles[0])
    file = "/etc/mysql/mariadb.conf.d/50-server.cnf"
    sh(host, f"chmod 600 {file}")
    try:
        done = run(*named(bare.cluster), "-m", "mysql", "-x")
        assert f"own user cannot read {file}, and the run reads the server's options as that user" in done.stdout
        assert done.returncode == pytest.ExitCode.TESTS_FAILED
    finally:
        sh(host, f"chmod 644 {file}")
    bare.assert_unchanged()


def test_what_the_server_names_as_its_authority_is_read_with_its_own_rights(bare: Watched) -> None:
    """Of a pipe that root alone can read there would be no end."""
    host = bare.named(bare.roles[0])
    server = Systemd("mariadb", user=sh(host, "echo $(id -u mysql):$(id -g mysql)").strip())
    reading = f"{GUARD}\n{server.reading_as_it_does('/root/pipe', 'cat --')}"
    sh(host, "umask 077; mkfifo /root/pipe")
    try:
        done = host.run("/bin/sh", "-c", reading, timeout=20)
    finally:
        sh(host, "rm /root/pipe")
    assert done.stderr == b"cat: /root/pipe: Permission denied\n"
    bare.assert_unchanged()


def test_logs_are_read_with_the_rights_of_the_server(bare: Watched) -> None:
    """A link there would have shown, in the report, what only root can read."""
    host = bare.named(bare.roles[0])
    file = "/etc/mysql/mariadb.conf.d/99-broken.cnf"
    sh(
        host,
        f"printf '[mysqld]\\ninnodb-data-home-dir = /nowhere\\nlog-error = /tmp/logs/error.log\\n' > {file};"
        " install -d -o mysql /tmp/logs; (umask 077; echo what-only-root-knows > /root/secret);"
        " setpriv --reuid=mysql --regid=mysql --clear-groups ln -s /root/secret /tmp/logs/error.log",
    )
    try:
        done = run(*named(bare.cluster), "-m", "mysql", "-x")
        assert "what-only-root-knows" not in done.stdout
        assert done.returncode == pytest.ExitCode.TESTS_FAILED
        assert "while it started" in done.stdout
    finally:
        sh(host, f"rm -r {file} /tmp/logs /root/secret")
    bare.assert_unchanged()
