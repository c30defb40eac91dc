"""The progress of a run as lines: each step as it ends, and below the last line, on a terminal, the running ones.

The running steps are the live area. It is erased before anything else is written, and redrawn below that, so that a
step's line is completed in place. The cursor moves relative to its own row, which works where the screen scrolls, too.
Lines of the live area are cut, never wrapped.

Where output is no terminal, there is no live area: a step that runs for long is one more line, once.
"""

from __future__ import annotations

import os
import threading
import time
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress

from circuit import printable
from circuit_harness.report import workflow_commands
from circuit_harness.secret import mask
from circuit_harness.steps import Begun, Step, Watcher

LONG_S = 1.5
"""After how many seconds a wait is reported; with a tick more, nothing is silent for over 2 s."""

TICK_S = 0.5

_COLUMNS, _ROWS = 80, 24
"""The size of a terminal that does not know its own. Lines of the live area are cut to this width in wider ones, too:
terminals wrap lines again when they become narrower, and then more rows have to be erased than were drawn."""

_MOST_LINES = 8
_LONGEST_ROLE = 40
_MARGIN = 3
"""How many columns stay free behind a line of the live area, for the ``^C`` that a terminal echoes there."""


class Progress(Watcher):
    """Writes lines to a copy of a file descriptor, from any thread.

    Errors of writing are ignored: a run goes on to its end, and undoes everything, without its terminal.
    """

    def __init__(self, out: int) -> None:
        self._lock = threading.RLock()
        self._out = os.dup(out)
        self._live = os.isatty(self._out) and os.environ.get("TERM", "dumb") != "dumb"
        self._column = 0
        """How many columns of an unfinished line others have written, which the live area is drawn below."""
        self._running: dict[Begun, bool] = {}
        """What runs, and whether a line has said so."""
        self._seen: dict[Begun, str] = {}
        """What it sees in place of what it waits for."""
        self._roles: dict[str, str] = {}
        self._area: list[str] = []
        """The lines of the live area that are on the screen."""
        self._written = time.monotonic()
        self._closed = threading.Event()
        self._ticker: threading.Thread | None = None

    def line(self, text: str, **markup: bool) -> None:
        """Write one line now, in the given colours where the terminal has them, with secrets masked."""
        with self._lock:
            self._written = time.monotonic()
            erase = self._erased()
            self._put(f"{erase}{self._break()}{self._styled(harmless(text), **markup)}\n")

    def began(self, begun: Begun) -> None:
        """Show what has begun, until it ends."""
        with self._lock:
            self._running[begun] = False
            self._redraw()
            if self._ticker is None:
                self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
                self._ticker.start()

    def ended(self, begun: Begun, step: Step | None, *, stopped: bool = False) -> None:
        """Complete a step's line."""
        with self._lock:
            del self._running[begun]
            self._seen.pop(begun, None)
            if step is None:
                self._redraw()
            else:
                mark = "" if step.ok else "  stopped" if stopped else "  FAILED"
                self.line(f"{self._step_line(step)}{mark}", cyan=step.ok, red=not step.ok)

    def saw(self, begun: Begun, state: str) -> None:
        """Show it below what runs, once that takes long."""
        with self._lock:
            self._seen[begun] = state
            self._redraw()

    def placed(self, services: Mapping[str, Sequence[str]]) -> None:
        """Print the hosts' roles, which later lines have in place of names. Hosts of one role keep their names."""
        # Another program may have written the names, where they are those of a record.
        roles = {host: cut("+".join(names), _LONGEST_ROLE) for host, names in services.items() if names}
        of_one = {host: role for host, role in roles.items() if list(roles.values()).count(role) == 1}
        if of_one:
            with self._lock:
                self._roles |= of_one
                self.line("  " + "  ".join(f"{role}: {host}" for host, role in of_one.items()))

    def close(self) -> None:
        """Close the copy; later lines are dropped."""
        self._closed.set()
        with self._lock:
            self._write(self._erased())
            os.close(self._out)
            self._out = -1

    def _break(self) -> str:
        """Return what ends others' unfinished line, if there is one."""
        unfinished, self._column = self._column, 0
        return "\n" if unfinished else ""

    def _styled(self, text: str, **markup: bool) -> str:
        """Return a text with sequences for its colours."""
        return text

    def _idle_line(self, now: float) -> str:
        """Return a line for the live area where no step runs; "" for none."""
        return ""

    def _step_line(self, step: Step) -> str:
        return f"  {step.seconds:6.2f} s  {step.what}{self._where(step.host)}"

    def _running_line(self, what: str, host: str, seconds: float) -> str:
        return f"  {seconds:6.0f} s  {what}{self._where(host)} ..."

    def _where(self, host: str) -> str:
        return f" [{self._roles.get(host, host)}]" if host else ""

    def _tick(self) -> None:
        while not self._closed.wait(TICK_S):
            with self._lock:
                if self._live:
                    self._redraw()
                    continue
                now = time.monotonic()
                for begun, reported in list(self._running.items()):
                    if not reported and now - begun.since >= LONG_S:
                        self._running[begun] = True
                        state = self._seen.get(begun)
                        seen = f"\n            {cut(state, _COLUMNS)}" if state else ""
                        self.line(f"            {begun.what}{self._where(begun.host)} ...{seen}")

    def _redraw(self) -> None:
        if self._live and self._lines() != self._area:
            self._put()

    def _put(self, text: str = "") -> None:
        """Write a text in place of the live area, and that below it again."""
        erase, area = self._erased(), self._lines()
        below = "\n" if area and self._column else ""
        self._write(f"{erase}{text}{below}" + "\n".join(area))
        # Not earlier: where a signal cuts this off, a line too many is left rather than a finished one erased.
        self._area = area

    def _lines(self) -> list[str]:
        """Return what the live area is to show."""
        if not self._live:
            return []
        now = time.monotonic()
        lines = []
        for begun in self._running:
            seconds = now - begun.since
            lines.append(self._running_line(begun.what, begun.host, seconds))
            if seconds >= LONG_S and (state := self._seen.get(begun)):
                lines.append(f"            {state}")
        if not lines and (idle := self._idle_line(now)):
            lines.append(idle)
        columns, rows = self._size()
        most = max(1, min(rows - 2, _MOST_LINES))
        if len(lines) > most:
            rest = len(lines) - most + 1
            lines[most - 1 :] = [f"          ... and {rest} more"]
        width = max(min(columns, _COLUMNS) - _MARGIN, 1)
        return [self._styled(cut(harmless(line), width), light=True) for line in lines]

    def _erased(self) -> str:
        """Return what erases the live area and moves the cursor to where it was before, and forget the area."""
        area, self._area = self._area, []
        if not area:
            return ""
        up = f"\x1b[{len(area) - 1}A" if len(area) > 1 else ""
        columns, _ = self._size()
        # Behind a line that fills its row, the cursor goes on in the next row anyway.
        column = self._column % columns
        return f"\r{up}\x1b[J" + (f"\x1b[A\x1b[{column + 1}G" if column else "")

    def _size(self) -> tuple[int, int]:
        with suppress(OSError):
            columns, rows = os.get_terminal_size(self._out)
            return columns or _COLUMNS, rows or _ROWS
        return _COLUMNS, _ROWS

    def _write(self, text: str) -> None:
        with suppress(OSError):
            rest = text.encode(errors="replace")
            while rest:
                rest = rest[os.write(self._out, rest) :]


def harmless(text: str) -> str:
    """Return a text with secrets masked, control characters made visible, and workflow commands of GitHub Actions
    disarmed, so that a host's output can be printed.
    """
    shown = printable(mask(text), keep="\n\t")
    return workflow_commands.disarm(shown) if workflow_commands.are_obeyed() else shown


def cut(text: str, width: int) -> str:
    """Return a text as one line that is at most ``width`` columns wide, with "..." for what is missing."""
    line = text.replace("\n", " ").replace("\t", " ")
    if columns_of(line) <= width:
        return line
    dots = "..."[:width]
    while columns_of(line) > width - len(dots):
        line = line[:-1]
    return line + dots


def columns_of(text: str) -> int:
    """Return how many columns a terminal needs for a text."""
    return sum(0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF") for each in text)
