"""``shell``: a terminal on a host, driven through a terminal of this machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import circuit
from circuit import Client
from tests.circuits import PROJECT, SIDES, Server, start
from tests.command_line import GARBAGE_S, command, elements_below, environment, is_alive, run
from tests.conftest import Eventually

LIMIT_S = 60.0
"""How long anything may take, on a busy machine."""

SILENCE_S = 40
"""What the command takes as silence of a host."""


class Terminal:
    """A terminal of this machine, in which the command runs."""

    def __init__(self, server: Server, path: str, *options: str, **variables: str) -> None:
        self.leader, self.follower = pty.openpty()
        self.resize(33, 101)
        self.modes = self._modes()
        self.process = subprocess.Popen(
            # The terminal controls its session, so that a new size is a signal.
            ["setsid", "--ctty", *command("shell", "--timeout", str(SILENCE_S), *options, path)],
            cwd=PROJECT,
            env=environment(server.address, TERM="xterm", **variables),
            stdin=self.follower,
            stdout=self.follower,
            stderr=subprocess.PIPE,
        )
        self._unread = b""

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal another size."""
        fcntl.ioctl(self.leader, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        """Type: \\r for Enter."""
        left = keys.encode()
        while left:
            assert select.select([], [self.leader], [], LIMIT_S)[1]
            left = left[os.write(self.leader, left[:1000]) :]

    def expect(self, pattern: str) -> re.Match[bytes]:
        """Read what is printed up to what the pattern matches."""
        deadline = time.monotonic() + LIMIT_S
        while (found := re.search(pattern.encode(), self._unread, re.DOTALL)) is None:
            readable = self.read(max(deadline - time.monotonic(), 0))
            assert readable, f"no {pattern!r} within {LIMIT_S:g} s in {self._unread[-2000:]!r}"
        self._unread = self._unread[found.end() :]
        return found

    def read(self, limit: float) -> bool:
        """Read what is printed next; return whether that was within so many seconds."""
        readable, _, _ = select.select([self.leader], [], [], limit)
        if readable:
            self._unread += os.read(self.leader, 65536)
        return bool(readable)

    def end(self) -> tuple[int, str]:
        """Wait for the end of the command; return its status and its errors. It has restored the terminal."""
        # Unread, its last output would hold it up.
        deadline = time.monotonic() + LIMIT_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"no end within {LIMIT_S:g} s; last printed: {self._unread[-2000:]!r}"
            self.read(0.02)
        assert self.is_restored()
        assert self.process.stderr is not None
        return self.process.returncode, self.process.stderr.read().decode()

    def is_restored(self) -> bool:
        return self._modes() == self.modes

    def close(self) -> None:
        """End whatever still runs."""
        self.process.kill()
        self.process.communicate()
        for fd in (self.leader, self.follower):
            with contextlib.suppress(OSError):
                os.close(fd)

    def _modes(self) -> list[Any]:
        return termios.tcgetattr(self.follower)


@pytest.fixture(scope="module", params=SIDES)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with start(request.param) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with circuit.dial(server.address) as dialed:
        yield dialed


Open = Callable[..., Terminal]


@pytest.fixture
def open_terminal() -> Iterator[Open]:
    """Opens terminals on the one host of a server."""
    with contextlib.ExitStack() as stack:

        def opened(server: Server, *options: str, **variables: str) -> Terminal:
            terminal = Terminal(server, host_of(server), *options, **variables)
            stack.callback(terminal.close)
            return terminal

        yield opened


@pytest.fixture
def terminal(server: Server, open_terminal: Open) -> Terminal:
    return open_terminal(server)


def host_of(server: Server) -> str:
    with circuit.dial(server.address) as client:
        (name,) = client.view()
        return f"/{name}"


def anchors(client: Client) -> set[str]:
    """What there is below the one host."""
    (host,) = client.view().values()
    return set(host.view())


def descendants(pid: int) -> set[int]:
    """What a process has started, and what that has, and so on."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found: set[int] = set()
    new = {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        found |= new
    return found


def assert_nothing_is_left(client: Client, pids: set[int], eventually: Eventually) -> None:
    eventually(lambda: not [pid for pid in pids if is_alive(pid)], LIMIT_S)
    eventually(lambda: not elements_below(client), LIMIT_S)
    # A Go server lets go of an anchor when it next collects its garbage, in 2 minutes if nothing happens there.
    eventually(lambda: anchors(client) == set(), GARBAGE_S)


LEFTOVERS = """
sleep 1001 &
(trap '' HUP; exec sleep 1002) &
echo pids "$!"-$$; exec sh -c 'trap "" HUP; echo rea""dy; while :; do sleep 0.2; done'
"""
"""In the background, in the foreground, and deaf to what a terminal sends when it is gone."""


def start_leftovers(terminal: Terminal, server: Server) -> set[int]:
    """Start processes in the terminal; return these, and all that keep up the terminal itself."""
    terminal.type(LEFTOVERS.replace("\n", "\r"))
    terminal.expect(r"ready\r\n")
    pids = descendants(server.process.pid)
    # The two that sleep, the loop, script, dd, tr, and the shells between them.
    assert len(pids) >= 10
    return pids


# -- a terminal -------------------------------------------------------------------------------------------------------


def test_it_has_the_size_and_the_kind_of_ours_and_then_the_new_size(terminal: Terminal) -> None:
    terminal.type("stty size; echo $TERM; tty\r")
    terminal.expect(r"33 101\r\nxterm\r\n/dev/pts/\d+\r\n")
    terminal.resize(40, 120)
    terminal.type('until [ "$(stty size)" = "40 120" ]; do sleep 0.05; done; echo re""sized\r')
    terminal.expect(r"resized\r\n")
    terminal.type("exit\r")
    assert terminal.end() == (0, "")


def test_a_size_that_changes_before_the_shell_is_there_is_the_one(server: Server, open_terminal: Open) -> None:
    terminal = open_terminal(server)
    terminal.resize(21, 77)
    terminal.type('until [ "$(stty size)" = "21 77" ]; do sleep 0.05; done; exit 4\r')
    assert terminal.end() == (4, "")


def test_an_interrupt_ends_a_command_and_not_the_shell(terminal: Terminal) -> None:
    terminal.type("PS1='at ho''st> '\r")
    terminal.expect("at host> ")
    terminal.type("sh -c 'echo rea\"\"dy; exec sleep 1000'\r")
    terminal.expect(r"ready\r\n")
    terminal.type("\x03")
    # A shell discards what is typed before it prompts again.
    terminal.expect("at host> ")
    terminal.type("echo status $?\r")
    terminal.expect(r"status 130\r\n")
    terminal.type("exit\r")
    # That of the last command.
    assert terminal.end() == (0, "")


def test_an_interrupt_before_the_shell_is_there_does_not_end_it(terminal: Terminal, eventually: Eventually) -> None:
    eventually(lambda: not terminal.is_restored(), LIMIT_S)
    terminal.type("\x03")
    # What is typed may be discarded until the shell prompts.
    while terminal.process.poll() is None:
        terminal.type("exit 6\r")
        terminal.read(0.5)
    assert terminal.end() == (6, "")


@pytest.mark.parametrize("side", SIDES)
def test_an_interrupt_works_where_the_server_ignores_it(
    side: str, open_terminal: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that a script started in its background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with start(side) as deaf:
            signal.signal(signal.SIGINT, before)
            terminal = open_terminal(deaf)
            test_an_interrupt_ends_a_command_and_not_the_shell(terminal)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_megabyte_arrives_whole(terminal: Terminal) -> None:
    terminal.type('echo beg""in; seq 160000; echo en""d\r')
    found = terminal.expect(r"begin\r\n(.*)end\r\n")
    assert found[1].decode().split("\r\n") == [*map(str, range(1, 160_001)), ""]
    assert len(found[1]) > 1_000_000
    terminal.type("exit\r")
    assert terminal.end() == (0, "")


def test_the_last_output_arrives_whole(terminal: Terminal) -> None:
    terminal.type("exec sh -c 'seq 30000; exit 9'\r")
    terminal.expect(r"\r\n29999\r\n30000\r\n")
    assert terminal.end() == (9, "")


def test_much_is_typed_at_once(terminal: Terminal, tmp_path: Path) -> None:
    lines = [f"{number:06} {'x' * 60}" for number in range(2000)]
    terminal.type(f'stty -echo; cat > {tmp_path}/typed; echo wr""itten\r')
    terminal.type("".join(f"{line}\r" for line in lines))
    terminal.type("\x04")
    terminal.expect(r"written\r\n")
    assert (tmp_path / "typed").read_text().splitlines() == lines


def test_a_program_of_the_whole_screen_works(terminal: Terminal) -> None:
    terminal.type('top; echo st""ill there\r')
    terminal.expect(r"load average")
    terminal.expect(r"PID.*COMMAND")
    terminal.type("q")
    terminal.expect(r"still there\r\n")


@pytest.mark.parametrize(("words", "status"), [("exit 7", 7), ("kill -KILL $$", 137)])
def test_the_exit_status_is_the_shells(terminal: Terminal, words: str, status: int) -> None:
    terminal.type(f"{words}\r")
    assert terminal.end() == (status, "")


@pytest.mark.parametrize("side", SIDES)
def test_a_server_without_an_environment_has_shells_with_one(
    side: str, open_terminal: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "USER", "LOGNAME", "TERM", "LANG", "LC_ALL", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SHELL", "/usr/sbin/nologin")
    with start(side) as bare:
        terminal = open_terminal(bare)
        terminal.type('echo "<$HOME $USER $LOGNAME $SHELL $TERM $(locale charmap) $PWD>"\r')
        home = str(Path("~root").expanduser()) if os.geteuid() == 0 else str(Path("~").expanduser())
        name, shell = subprocess.run(
            ["sh", "-c", 'id -un; getent passwd "$(id -u)" | cut -d: -f7'], capture_output=True, text=True, check=True
        ).stdout.split()
        terminal.expect(rf"<{home} {name} {name} {shell} xterm UTF-8 {home}>\r\n")
        terminal.type("exit\r")
        assert terminal.end() == (0, "")


def test_two_shells_do_not_know_each_other(server: Server, client: Client, open_terminal: Open) -> None:
    first, second = open_terminal(server), open_terminal(server)
    for terminal in (first, second):
        terminal.type('echo he""llo\r')
        terminal.expect(r"hello\r\n")
    assert len(anchors(client)) == 2
    first.type("exit 1\r")
    assert first.end() == (1, "")
    second.type('echo still he""re; exit 2\r')
    second.expect(r"still here\r\n")
    assert second.end() == (2, "")


# -- ends -------------------------------------------------------------------------------------------------------------


def test_nothing_is_left_of_a_shell_that_has_ended(
    server: Server, client: Client, terminal: Terminal, eventually: Eventually
) -> None:
    terminal.type("sleep 1001 &\r(trap '' HUP; exec sleep 1002) &\recho rea\"\"dy\r")
    terminal.expect(r"ready\r\n")
    pids = descendants(server.process.pid)
    assert len(pids) >= 10
    terminal.resize(50, 90)
    terminal.type("exit 3\r")
    # A shell may tell once that jobs run.
    terminal.type("exit 3\r")
    assert terminal.end() == (3, "")
    assert_nothing_is_left(client, pids, eventually)


def test_nothing_is_left_where_this_side_was_killed(
    server: Server, client: Client, terminal: Terminal, eventually: Eventually
) -> None:
    pids = start_leftovers(terminal, server)
    terminal.process.kill()
    assert_nothing_is_left(client, pids, eventually)


def test_nothing_is_left_of_output_that_nobody_reads(
    server: Server, client: Client, terminal: Terminal, eventually: Eventually
) -> None:
    terminal.type('echo rea""dy; yes\r')
    terminal.expect(r"ready\r\n(y\r\n){1000}")
    pids = descendants(server.process.pid)
    terminal.process.kill()
    assert_nothing_is_left(client, pids, eventually)


@pytest.mark.parametrize("name", ["TERM", "HUP", "INT", "QUIT"])
def test_a_signal_ends_it_and_the_terminal_is_restored(
    server: Server, client: Client, terminal: Terminal, eventually: Eventually, name: str
) -> None:
    pids = start_leftovers(terminal, server)
    assert not terminal.is_restored()
    number = signal.Signals[f"SIG{name}"]
    terminal.process.send_signal(number)
    assert terminal.end() == (128 + number, "")
    assert_nothing_is_left(client, pids, eventually)


def test_a_terminal_that_is_gone_ends_it(
    server: Server, client: Client, terminal: Terminal, eventually: Eventually
) -> None:
    pids = start_leftovers(terminal, server)
    os.close(terminal.leader)
    terminal.process.wait(LIMIT_S)
    assert_nothing_is_left(client, pids, eventually)


@pytest.mark.parametrize("side", SIDES)
def test_a_lost_host_ends_it_with_one_line(side: str, open_terminal: Open, eventually: Eventually) -> None:
    with start(side) as lost:
        terminal = open_terminal(lost)
        pids = start_leftovers(terminal, lost)
        lost.kill()
        status, errors = terminal.end()
        assert status == 125
        assert re.fullmatch(r"circuit: .* is lost.*\n", errors)
        eventually(lambda: not [pid for pid in pids if is_alive(pid)], LIMIT_S)


@pytest.mark.parametrize("side", SIDES)
def test_a_silent_host_ends_it_with_one_line(side: str, open_terminal: Open, eventually: Eventually) -> None:
    with start(side) as silent:
        terminal = open_terminal(silent, "--timeout", "5")
        terminal.type('echo rea""dy\r')
        terminal.expect(r"ready\r\n")
        pids = descendants(silent.process.pid)
        silent.suspend()
        status, errors = terminal.end()
        assert status == 125
        assert re.fullmatch(r"circuit: .*no answer within 5 s\n", errors)
        silent.resume()
        with circuit.dial(silent.address) as client:
            assert_nothing_is_left(client, pids, eventually)


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_standard_input_must_be_a_terminal() -> None:
    ended = run("", "shell", "/X5f2a6d0c11e49b83")
    assert "standard input is not a terminal" in ended.complaint()
    assert ended.status == 2


@pytest.mark.parametrize("side", SIDES)
def test_what_the_host_lacks_is_one_line(
    side: str, open_terminal: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("dd", "head", "stty", "timeout", "tty"):
        program = shutil.which(name)
        assert program is not None
        (tmp_path / name).symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path))
    with start(side) as bare:
        monkeypatch.undo()
        terminal = open_terminal(bare)
        status, errors = terminal.end()
    assert status == 127
    assert re.fullmatch(
        r"circuit: /X\w+/shell-\w+: the host lacks what a shell needs: script, stdbuf, tr; .*\n", errors
    )
