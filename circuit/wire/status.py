"""How a process ended. The wire carries only Go's words for it: ``exit status 3``, ``signal: killed``."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

# Go's own words on Linux; the C library's differ.
_SIGNAL_WORDS = {
    "hangup": signal.SIGHUP,
    "interrupt": signal.SIGINT,
    "quit": signal.SIGQUIT,
    "illegal instruction": signal.SIGILL,
    "trace/breakpoint trap": signal.SIGTRAP,
    "aborted": signal.SIGABRT,
    "bus error": signal.SIGBUS,
    "floating point exception": signal.SIGFPE,
    "killed": signal.SIGKILL,
    "user defined signal 1": signal.SIGUSR1,
    "segmentation fault": signal.SIGSEGV,
    "user defined signal 2": signal.SIGUSR2,
    "broken pipe": signal.SIGPIPE,
    "alarm clock": signal.SIGALRM,
    "terminated": signal.SIGTERM,
    "urgent I/O condition": signal.SIGURG,
    "CPU time limit exceeded": signal.SIGXCPU,
    "file size limit exceeded": signal.SIGXFSZ,
    "virtual timer expired": signal.SIGVTALRM,
    "profiling timer expired": signal.SIGPROF,
    "I/O possible": signal.SIGIO,
    "bad system call": signal.SIGSYS,
}
_WORDS_OF = {int(number): words for words, number in _SIGNAL_WORDS.items()}

_STATUS = re.compile(r"exit status ([0-9]{1,10})")
_SIGNAL = re.compile(r"signal: (.*?)( \(core dumped\))?")
_EXEC_ERROR = "exec error: "


@dataclass(frozen=True)
class Exit:
    """How a process ended; exactly one of the three is set.

    ``status`` is its exit status, 0 to 255; ``signal`` the number of the signal that ended it; ``error`` is the
    reason why it was never started, or an answer of an unknown form.
    """

    status: int | None = None
    signal: int | None = None
    error: str | None = None

    @property
    def returncode(self) -> int:
        """The status as a shell shows it: 128 + n for a death by signal n, 127 for a command that did not start."""
        if self.status is not None:
            return self.status
        return 128 + self.signal if self.signal is not None else 127

    def __str__(self) -> str:
        if self.status is not None:
            return f"exit status {self.status}"
        if self.signal is not None:
            return f"signal: {_WORDS_OF.get(self.signal, f'signal {self.signal}')}"
        return f"{_EXEC_ERROR}{self.error}"


def parse_exit(text: str) -> Exit:
    """Parse the text of a Stat's Exit error."""
    if match := _STATUS.fullmatch(text):
        return Exit(status=int(match[1]))
    if match := _SIGNAL.fullmatch(text):
        if match[1] in _SIGNAL_WORDS:
            return Exit(signal=int(_SIGNAL_WORDS[match[1]]))
        if number := re.fullmatch(r"signal ([0-9]{1,3})", match[1]):
            return Exit(signal=int(number[1]))
    return Exit(error=text.removeprefix(_EXEC_ERROR))
