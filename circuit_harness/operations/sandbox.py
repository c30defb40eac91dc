"""A program on a host, confined: a user of its own without any privilege, limits, and a PID file to end it by.

The user is a number that nobody on the host has, so that nothing is added to its accounts, and nothing has to be
removed: as systemd does it with its dynamic users, and in a range that neither it nor Debian gives numbers from.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from circuit_harness.remote.command import as_root
from circuit_harness.remote.script import Scripts
from circuit_harness.remote.shell import clean

UIDS = range(60_578, 61_184)
"""Where users are looked for: https://systemd.io/UIDS-GIDS calls these unused. They exist in containers, too."""

LIMITS = {"nproc": 64, "nofile": 1024, "core": 0, "fsize": 1 << 30}
"""Threads of the user, open files, bytes of a core dump and of a file (its log), by prlimit's names."""

_TRIES = 50

_SCRIPTS = Scripts.beside(__file__)

FIND_NOBODY = _SCRIPTS.text("find_nobody", first_uid=UIDS.start, uids=len(UIDS))
"""Shell: a function, ``find_nobody``, that sets ``nobody`` to a number that no account, group or process has."""


@dataclass(frozen=True)
class SandboxedProcess:
    """A program that runs, or is to.

    ``command`` are its words, ``environment`` its variables, as NAME=VALUE. ``folder`` is root's; below it ``run`` is
    the user's. ``log`` is where the program writes, which the user makes. ``limits`` are prlimit's, by its names.
    """

    command: tuple[str, ...]
    uid: int
    folder: str
    log: str
    environment: tuple[str, ...] = ()
    limits: Mapping[str, int] = field(default_factory=lambda: dict(LIMITS))

    @property
    def pid_file(self) -> str:
        """The file with its process id, for as long as its folder is there."""
        return f"{self.folder}/run/pid"

    def read_pid(self) -> str:
        """Shell, for root: print what the file with its process id holds, which is the user's to write.

        It may have become a link to a device, or a pipe that nobody feeds.
        """
        return f"dd if={self.pid_file} bs=16 count=1 iflag=nofollow,nonblock status=none"

    @property
    def start_log(self) -> str:
        """What was said before the program could say anything itself."""
        return f"{self.folder}/start.log"

    @property
    def owner(self) -> str:
        """As chown takes it."""
        return f"{self.uid}:{self.uid}"

    def as_user(self, command: str) -> str:
        """Shell, for root: run ``command`` as the program's user, for 3 s at most.

        Root would follow whatever link the user has put in the place of its log. The program can read the environment
        of its user's processes, and make them run what it likes: they have no more than it has itself.
        """
        return f"timeout 3 prlimit {self._limits()} {self._become()} {command}"

    def _become(self) -> str:
        """Shell, for root: run the command that follows as the user, without a privilege or root's environment."""
        return (
            f"setpriv --reuid={self.uid} --regid={self.uid} --clear-groups --no-new-privs --inh-caps=-all"
            f" env -i PATH=/usr/bin:/bin HOME={self.folder} LANG=C.UTF-8"
        )

    def prepare(self) -> str:
        """Shell, for root: make what the program needs in its folder."""
        return f"install -d -m 700 -o {self.uid} -g {self.uid} {self.folder}/run"

    def launch(self) -> str:
        """Shell, for the circuit's user: become the program.

        Where that is root, the process that runs this is the program in the end; otherwise it is sudo, and the program
        its child.
        """
        # By its own user, who owns the log: in a folder that all may write to, kernels keep even root from another's
        # file. Appended: who cuts the log while it is written leaves no hole in it.
        # The log is made anew, and not if anything, such as somebody's link, stands in its place; shells take a device
        # for a new file all the same.
        words = ["env", *self.environment, *self.command] if self.environment else self.command
        run = f"exec {shlex.join(words)} >> {self.log} 2>&1"
        made = f"set -C && : > {self.log} && [ -O {self.log} ]"
        program = f"echo $$ > {self.pid_file} && {made} && {run}"
        become = f"exec prlimit {self._limits()} {self._become()} /bin/sh -c {shlex.quote(program)}"
        return f"{clean()}; exec {as_root(f'cd {self.folder} && exec 2>> {self.start_log} && {become}')}"

    def put_log_away(self) -> str:
        """Shell, for root: make room for a new log. What was in the old one stays in the program's own folder."""
        return self.as_user(
            f"/bin/sh -c {shlex.quote(f'cat {self.log} >> {self.folder}/run/log.before; rm -f {self.log}')}"
        )

    def signal(self, name: str) -> str:
        """Shell, for root: send a signal, named without SIG, to all processes of the program's user.

        Ends with a status other than 0 where there is none.
        """
        return _SCRIPTS.text("signal_user", uid=self.uid, signal=name)

    def end(self) -> str:
        """Shell, for root: end the program: TERM, 5 s later KILL. Harmless where it does not run.

        A PID can be another's by now, and the program itself could have written it: it counts only where that process
        is this user's, who is nobody else. What is left of this user after that is killed, with the memory that it
        shares, and what root had begun and had not yet become this user.
        """
        ending = _SCRIPTS.text(
            "end_confined",
            uid=self.uid,
            folder=self.folder,
            starting=f"echo $$ > {self.pid_file} ",
            become=self._become(),
            perl=_SCRIPTS.program("kill_all.pl"),
            python=_SCRIPTS.program("kill_all.py"),
            tries_to_end=_TRIES,
        )
        return f"{FIND_NOBODY}\n{ending}"

    def _limits(self) -> str:
        return " ".join(f"--{name}={value}" for name, value in self.limits.items())
