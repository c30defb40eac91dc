"""A sandboxed program on a host: it has its own user without any privilege, limits, and a PID file.

The user is a number that no account on the host has, so that no account has to be added and removed again. systemd does
the same for its dynamic users. The numbers are from a range that neither systemd nor Debian uses.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from circuit_harness.remote.command import as_root
from circuit_harness.remote.script import Scripts
from circuit_harness.remote.shell import clean

UIDS = range(60_578, 61_184)
"""The user numbers to choose from: https://systemd.io/UIDS-GIDS calls these unused. They exist in containers, too."""

LIMITS = {"nproc": 64, "nofile": 1024, "core": 0, "fsize": 1 << 30}
"""The most threads of the user, open files, bytes of a core dump and of a file (its log), by prlimit's names."""

_TRIES = 250
"""Times 0.02 s: how long a program may take to end."""

_SCRIPTS = Scripts.beside(__file__)

FIND_NOBODY = _SCRIPTS.text("find_nobody", first_uid=UIDS.start, uids=len(UIDS))
"""Shell: a function, ``find_nobody``, that sets ``nobody`` to a number that no account, group or process has."""


@dataclass(frozen=True)
class SandboxedProcess:
    """A program that runs, or will run.

    ``command`` are its words, ``environment`` its variables, as NAME=VALUE. ``folder`` belongs to root; ``run`` below
    it belongs to the program's user. ``log`` is the file of the program's output, which its user makes. ``limits`` are
    prlimit's, by its names.
    """

    command: tuple[str, ...]
    uid: int
    folder: str
    log: str
    environment: tuple[str, ...] = ()
    limits: Mapping[str, int] = field(default_factory=lambda: dict(LIMITS))

    @property
    def pid_file(self) -> str:
        """The file with its process id, which exists as long as its folder."""
        return f"{self.folder}/run/pid"

    def read_pid(self) -> str:
        """Shell, for root: print the content of the file with its process id, which the user can write.

        The user may have replaced it by a link to a device, or by a pipe that nobody writes to.
        """
        return f"dd if={self.pid_file} bs=16 count=1 iflag=nofollow,nonblock status=none"

    @property
    def start_log(self) -> str:
        """The file with the errors from before the program's own start."""
        return f"{self.folder}/start.log"

    @property
    def owner(self) -> str:
        """User and group, as chown takes them."""
        return f"{self.uid}:{self.uid}"

    def as_user(self, command: str) -> str:
        """Shell, for root: run ``command`` as the program's user, for at most 3 s.

        Root itself would follow any link that the user has put in place of the log. The program can read the
        environment of this command and control it, as it has the same user, so the command gets nothing that the
        program does not have.
        """
        return f"timeout 3 prlimit {self._limits()} {self._become()} {command}"

    def _become(self, more: str = "") -> str:
        """Shell, for root: run the command that follows as the user, without privileges and root's environment.

        :param more: further options of setpriv.
        """
        return (
            f"setpriv --reuid={self.uid} --regid={self.uid} --clear-groups --no-new-privs --inh-caps=-all {more}"
            f" env -i PATH=/usr/bin:/bin HOME={self.folder} LANG=C.UTF-8"
        )

    def prepare(self) -> str:
        """Shell, for root: make the folder that the program's user can write to."""
        return f"install -d -m 700 -o {self.uid} -g {self.uid} {self.folder}/run"

    def launch(self) -> str:
        """Shell, for the circuit's user: execute the program.

        Where the circuit's user is root, this process becomes the program; otherwise it becomes sudo, with the program
        as its child, which ends with it: to kill the element is to kill the program.
        """
        # The program's user makes the log: in a folder that all may write to, kernels keep even root from opening
        # another user's file. The log is opened to append, so that truncating it leaves no hole in it. It must be a new
        # file, so that nothing in its place, such as somebody's link, is used. Shells accept an existing device as a
        # new file, hence the check for its owner.
        words = ["env", *self.environment, *self.command] if self.environment else self.command
        run = f"exec {shlex.join(words)} >> {self.log} 2>&1"
        made = f"set -C && : > {self.log} && [ -O {self.log} ]"
        program = f"echo $$ > {self.pid_file} && {made} && {run}"
        # Not the circuit server's child: the signal would come where that thread of the server ends which started it.
        tie = '{ tied=; read -r parent < /proc/$PPID/comm; [ "$parent" != sudo ] || tied=--pdeathsig=KILL; }'
        become = f"exec prlimit {self._limits()} {self._become('$tied')} /bin/sh -c {shlex.quote(program)}"
        return f"{clean()}; exec {as_root(f'cd {self.folder} && exec 2>> {self.start_log} && {tie} && {become}')}"

    def put_log_away(self) -> str:
        """Shell, for root: move the content of the log into the program's own folder, and remove the log."""
        return self.as_user(
            f"/bin/sh -c {shlex.quote(f'cat {self.log} >> {self.folder}/run/log.before; rm -f {self.log}')}"
        )

    def signal(self, name: str) -> str:
        """Shell, for root: send a signal, named without SIG, to all processes of the program's user.

        Ends with a status other than 0 where the user has no process.
        """
        return _SCRIPTS.text("signal_user", uid=self.uid, signal=name)

    def end(self) -> str:
        """Shell, for root: end the program: TERM, 5 s later KILL. Harmless where it does not run.

        The PID may belong to another process by now, and the program itself could have written it: it counts only where
        that process is this user's, and no other program has this user. Then this kills all remaining processes of the
        user, removes the memory that they shared, and kills those that root had started for the program and that had
        not changed to this user yet.
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
