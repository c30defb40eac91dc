"""A terminal for tests: a pseudo-terminal, and the screen that a user would see behind it."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import threading
import time
from contextlib import suppress

import pyte


class Screen:
    """A pseudo-terminal with a screen. ``slave`` is the file descriptor that programs write to."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self._screen = pyte.HistoryScreen(columns, rows, history=5000, ratio=0.5)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self._master, self.slave = os.openpty()
        self.written = b""
        """All bytes that were written to it."""
        self._over = threading.Event()
        self._resize(columns, rows)
        self._reader = threading.Thread(target=self._read, name="screen", daemon=True)
        self._reader.start()

    def resize(self, columns: int, rows: int) -> None:
        """Change the size, as a user changes that of a window."""
        self.settle()
        with self._lock:
            self._screen.resize(rows, columns)
            self._resize(columns, rows)

    def lines(self) -> list[str]:
        """Return what has scrolled away and what the screen shows, without blanks at the ends of lines."""
        self.settle()
        with self._lock:
            columns = range(self._screen.columns)
            gone = ["".join(row[column].data for column in columns) for row in self._screen.history.top]
            return [line.rstrip() for line in (*gone, *self._screen.display)]

    def text(self) -> str:
        """Return the same without empty lines at the end."""
        return "\n".join(self.lines()).rstrip("\n")

    def settle(self) -> None:
        """Wait until nothing more is on its way to the screen."""
        deadline = time.monotonic() + 5.0
        while time.monotonic() < deadline and select.select([self._master], [], [], 0.1)[0]:
            pass

    def go_away(self) -> None:
        """End the terminal: whatever is written to it from now on fails."""
        self._over.set()
        self._reader.join(5.0)
        for descriptor in (self._master, self.slave):
            with suppress(OSError):
                os.close(descriptor)

    def _resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self) -> None:
        while not self._over.is_set():
            if select.select([self._master], [], [], 0.05)[0]:
                with suppress(OSError):
                    data = os.read(self._master, 1 << 16)
                    with self._lock:
                        self.written += data
                        self._stream.feed(data)
