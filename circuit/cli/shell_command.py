"""``shell``: an interactive terminal on a host.

Circuit servers pass streams on in blocks of 32,000 bytes. So each block is filled up with NULs, here and by
``scripts/shell.sh`` on the host, and the other end removes them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import re
import signal
import termios
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

from circuit import CircuitError, Client, Cmd, Proc
from circuit.cli.attached import AttachedCommand, Event, InputEnded, catch_signals, read_standard_input, write_all
from circuit.cli.lookup import dial, names_of_new, new_name
from circuit.cli.output import exit_with_usage_error, report_error

_BLOCK = 32_000
_MOST_MESSAGES = 20
"""How many lines of errors are kept: a host must not fill our memory."""
_SCRIPTS = Path(__file__).parent / "scripts"


def shell(options: argparse.Namespace) -> int:
    """Run a shell in a terminal on a host; return its exit status.

    :raises CircuitError: the circuit failed.
    :raises OutputLost: the terminal takes no more.
    """
    if not os.isatty(0):
        exit_with_usage_error(
            f"shell: standard input is not a terminal; run needs none: run {options.anchor} -- COMMAND"
        )
    names = names_of_new(options.anchor, "shell")
    with dial(options) as client:
        anchor = client.walk(*names)
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        catch_signals(events.put)
        scripts = [(_SCRIPTS / name).read_text() for name in ("shell.sh", "terminal.sh")]
        proc = anchor.make_proc(Cmd("/bin/sh", ["-c", scripts[0], "shell", scripts[1]], scrub=True))
        command = _Shell(client, proc, events)
        try:
            with _raw_terminal():
                return command.run()
        finally:
            for message in command.messages():
                report_error(f"{anchor.path}: {message}")


class _Shell(AttachedCommand):
    """A shell in a terminal on a host. The end of its input ends it, with all that runs in the terminal."""

    grace_s = 15.0

    def __init__(self, client: Client, proc: Proc, events: queue.SimpleQueue[Event]) -> None:
        # Nothing that is typed can end a shell whose host is silent.
        super().__init__(proc, events, must_answer=True)
        self._client = client
        self._size = _terminal_size()
        self._resized: queue.SimpleQueue[None] = queue.SimpleQueue()
        signal.signal(signal.SIGWINCH, lambda number, frame: self._resized.put(None))
        self._terminal = ""
        self._greeted = False
        self._ended_by = 0
        self._reports = b""
        """What the scripts on the host reported, and was not read yet."""
        self._messages: list[str] = []

    def run(self) -> int:
        """Wait until the shell has ended; return its exit status, or that of a signal to this process."""
        status = super().run()
        return 128 + self._ended_by if self._ended_by else status

    def messages(self) -> list[str]:
        """Return what went wrong on the host."""
        return [*self._messages, *self._reports.decode("utf-8", "replace").splitlines()]

    def interrupt(self, number: int) -> None:
        """End the shell. What is typed to interrupt a command in the terminal is no signal here, but input."""
        if number == signal.SIGKILL:
            super().interrupt(number)
        else:
            self._ended_by = number
            self.close_input()
            self.limit_time_left()

    def read_input(self) -> bytes:
        """Return what is typed, as a block; first of all, the terminal's size and kind."""
        if self._greeted:
            typed = read_standard_input(_BLOCK)
        else:
            self._greeted = True
            kind = os.environ.get("TERM", "")
            columns, rows = self._size
            typed = f"{rows} {columns} {kind if re.fullmatch(r'[A-Za-z0-9.+_-]+', kind) else 'xterm'}\n".encode()
        return typed and typed.ljust(_BLOCK, b"\0")

    def write_output(self, to: int, data: bytes) -> None:
        """Print what the terminal on the host printed, and read what the scripts report."""
        data = data.replace(b"\0", b"")
        if to == 1:
            write_all(1, data)
            return
        *reports, self._reports = (self._reports + data).split(b"\n")
        for report in reports:
            what, _, value = report.decode("utf-8", "replace").partition(" ")
            if what == "terminal" and not self._terminal:
                self._terminal = value
                threading.Thread(target=self._follow_size, daemon=True).start()
            elif what == "ended":
                self.proc.stdin.close()
                self.events.put(InputEnded())
            elif len(self._messages) < _MOST_MESSAGES:
                self._messages.append(f"{what} {value}")
        self._reports = self._reports[:_BLOCK]

    def _follow_size(self) -> None:
        """Give the terminal on the host the size of ours, whenever that changes. On a thread of its own."""
        while True:
            try:
                size = _terminal_size()
            except OSError:
                # The terminal is gone, which ends the shell.
                return
            if size != self._size:
                self._size = size
                # The host is lost, which ends the shell; or the terminal there has just gone.
                with contextlib.suppress(CircuitError):
                    self._resize()
            self._resized.get()

    def _resize(self) -> None:
        anchor = self._client.walk(self.proc.anchor.host, new_name("resize"))
        columns, rows = self._size
        script = 'stty rows "$1" columns "$2" <"$3"'
        proc = anchor.make_proc(
            Cmd("/bin/sh", ["-c", script, "sh", str(rows), str(columns), self._terminal], scrub=True)
        )
        try:
            proc.communicate()
        finally:
            proc.release()
            anchor.release()


def _terminal_size() -> os.terminal_size:
    """Return the size of the terminal; one that does not know its size has the usual one."""
    columns, rows = os.get_terminal_size(0)
    return os.terminal_size((columns or 80, rows or 24))


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    """Let the terminal pass on every key as it is, and restore it."""
    # Not after its output is written: that may never be.
    modes = termios.tcgetattr(0)
    try:
        tty.setraw(0, termios.TCSANOW)
        yield
    finally:
        # A terminal that is gone needs no modes.
        with contextlib.suppress(termios.error):
            termios.tcsetattr(0, termios.TCSANOW, modes)
