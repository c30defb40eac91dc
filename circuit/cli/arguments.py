"""Options and arguments of the command line, and their help."""

from __future__ import annotations

import argparse
import math
import os
import signal
from typing import NoReturn

from circuit import parse_endpoint
from circuit.cli.output import FAILED, NOT_STARTED, STATUS_UNKNOWN, USAGE, exit_with_usage_error, print_line

ADDR_VARIABLE = "CIRCUIT_ADDR"
HMAC_VARIABLE = "CIRCUIT_HMAC"

CONCURRENT = 16
"""How many hosts run the command of ``run --all`` at a time."""

GRACE_S = 3.0
"""How long a command may take to end when it is to, before it is killed; and then until it is given up."""

_PROGRAM = os.environ.get("CIRCUIT_PROGRAM", "python3 -m circuit")
"""How the user types this program; one that runs it for its user sets the variable."""

_EXAMPLES = {
    "ls": "the hosts",
    "ls -l /...": "anchors and elements",
    "run /X5f2a6d0c11e49b83 -- df -h /": "a command on a host",
    "run --all -- df -h /": "... on every host",
    "shell /X5f2a6d0c11e49b83": "a terminal on a host",
    "peek /X5f2a6d0c11e49b83/nodejs": "an element, as JSON",
    "signal TERM /X5f2a6d0c11e49b83/nodejs": "",
    "wait /X5f2a6d0c11e49b83/nodejs": "",
    "scrub /X5f2a6d0c11e49b83/nodejs": "",
}

_ABOUT = """\
Look at a gocircuit cluster, and run, signal and remove what is on it. Each
host is an anchor below /, named X and 16 hex digits; anchors form a tree, and
each can hold one element, such as a process.

  export CIRCUIT_ADDR=circuit://10.0.0.7:11022/4276/Q54d9ba8870177645
""" + "\n".join(f"  {_PROGRAM.replace('%', '%%')} {words:<34} {what}".rstrip() for words, what in _EXAMPLES.items())

_ENDING = f"""\
Exit status: 0; {FAILED} after a failure, which one line on standard error
reports; {USAGE} for wrong usage. The status of run, shell and wait is the
command's own: 128 + n if signal n ended it, {NOT_STARTED} if the command does
not exist, and {STATUS_UNKNOWN} if the circuit failed.
Every server of the circuit must be able to dial this machine back: --listen
sets where, if not on any port.
"""

_RUN_EXAMPLE = "run /X5f2a6d0c11e49b83 -- uname -a"

_RUN = f"""\
Run a command on a host, as if it were a local one: its standard streams and
exit status are those of this command, and signals that this command gets are
passed on. PATH is searched on the host.

  ... run /X5f2a6d0c11e49b83 -- hostname
  ... run /X5f2a6d0c11e49b83 -- sh -c 'gzip -d > /tmp/app.tar' < app.tar.gz
  ... run /X5f2a6d0c11e49b83/backup -- mysqldump --all-databases > all.sql

At a host's own anchor, the command gets a new anchor below it; at another
anchor, the process can be found there while it runs. Both are removed when it
ends. Outputs arrive in blocks of 32,000 bytes, or at the end, since circuit
servers buffer: nothing interactive works, for which there is shell. A command
that got TERM or HUP this way, or TERM because its outputs are no longer read,
is killed {GRACE_S:g} s later if it still runs. Signals reach the command
itself, not the processes that it starts. In the background of a terminal,
redirect its input: < /dev/null.

  ... run --all -- uptime
  ... run --all --limit 60 -- sh -c 'apt-get -q update 2>&1'

With --all, the command runs on every live host, on {CONCURRENT} at a time,
without input. Each line of its outputs is printed behind the name of its host.
At the end, one line on standard error reports each host on which the command
failed, was not started, or had no end within --limit, or which was lost or did
not answer within --timeout. The exit status is the highest of all, where such
a failure of a host is {STATUS_UNKNOWN}.
"""

_SHELL = f"""\
Open a terminal on a host, with the login shell of the user that the circuit
server runs as. vim and top work, and a changed window size is passed on. The
exit status is that of the shell; a signal to this command ends the shell, and
then the status is 128 + its number. Standard input must be a terminal.

  ... shell /X5f2a6d0c11e49b83

Circuit servers pass on blocks of 32,000 bytes, which are filled up. So each
key costs 64 KB of traffic: a block there, and a block back with what it
prints. Ctrl-Space, which sends a NUL, has no effect. The host needs script,
stdbuf and other programs, which Debian and Ubuntu have in the packages
bsdutils and coreutils.

When the shell or this command has ended, whatever the reason, or the host has
lost this machine, all processes of the terminal end, those in its background,
too. Only what has a session of its own (setsid, a service) keeps running. If
the host does not answer within --timeout, this command ends with status
{STATUS_UNKNOWN}.
"""

_WAIT = """\
Wait until a process has ended; print how, and exit with its status. A circuit
server answers only once the process's input is closed, too: if another client
holds it open, this waits on after the end, which peek shows immediately.
"""


class _Parser(argparse.ArgumentParser):
    """Reports wrong usage in one line."""

    def error(self, message: str) -> NoReturn:
        """Report the mistake, and exit."""
        exit_with_usage_error(f"{message}; {self.prog} --help explains")

    def print_help(self, file: object = None) -> None:
        """Print the help."""
        print_line(self.format_help().rstrip())


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the words of a command line.

    :raises SystemExit: they are wrong, which is reported, or they request help.

    :return: ``verb``, the arguments of that verb by their names, and ``addr``, ``hmac``, ``listen`` and ``timeout``.
    """
    # Split here: argparse would remove a second -- from the command.
    words, command = arguments, None
    if "--" in arguments:
        at = arguments.index("--")
        words, command = arguments[:at], arguments[at + 1 :]
    parser = _parser()
    options, unknown = parser.parse_known_args(words)
    # Without the --, words of the command are unknown, too.
    problem = f"unrecognized arguments: {' '.join(unknown)}" if unknown else ""
    if options.verb == "run":
        if not command:
            problem += f"{'; ' if problem else ''}run takes a command behind --, as in: {_RUN_EXAMPLE}"
        elif options.all and options.anchor is not None:
            problem = problem or "run takes an ANCHOR or --all, not both"
        elif not options.all and options.anchor is None:
            problem = problem or "the following arguments are required: ANCHOR, or --all"
        elif not options.all and options.limit < math.inf:
            problem = problem or "--limit goes with --all"
        options.argv = command
    elif command is not None:
        problem = problem or "only run takes a command behind --"
    if problem:
        parser.error(problem)
    return options


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_PROGRAM,
        description=_ABOUT,
        epilog=_ENDING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(addr=None, hmac=None, listen=None, timeout=10.0)
    _add_common(parser)
    verbs = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def add(name: str, about: str, description: str) -> _Parser:
        verb: _Parser = verbs.add_parser(
            name,
            help=about,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        verb.set_defaults(verb=name)
        # Accepted after the verb as well as before it.
        _add_common(verb)
        return verb

    ls = add("ls", "list anchors", "List the anchors below PATH, or all that are below it with /... at its end.")
    ls.add_argument("-l", "--long", action="store_true", help="show the kind of each element, - for none")
    ls.add_argument("path", nargs="?", default="/", metavar="PATH", help="such as /, /X5f..., /... (default: /)")
    peek = add("peek", "show an element", "Show the state of an element, as JSON.")
    run = add("run", "run a command on a host", _RUN)
    run.usage = "%(prog)s [options] ANCHOR -- COMMAND [ARGUMENT ...]\n       %(prog)s [options] --all -- COMMAND ..."
    run.add_argument("--all", action="store_true", help="run it on every live host")
    run.add_argument(
        "--limit",
        type=_seconds,
        default=math.inf,
        metavar="SECONDS",
        help="with --all: how long it may run on a host before it is ended (default: no limit)",
    )
    run.add_argument("anchor", nargs="?", metavar="ANCHOR", help="a host, or a place below it")
    shell = add("shell", "open a terminal on a host", _SHELL)
    wait = add("wait", "wait for a process to end", _WAIT)
    send = add("signal", "signal a process", "Send a signal to a process; not to what it started itself.")
    send.add_argument("name", type=_signal_name, metavar="NAME", help="such as TERM, KILL, HUP, or a number")
    scrub = add(
        "scrub", "remove an element", "Remove an element. A running process keeps running, and can no longer be found."
    )
    for verb in (peek, shell, wait, send, scrub):
        verb.add_argument("anchor", metavar="ANCHOR", help="a path, such as /X5f2a6d0c11e49b83/nodejs")
    add(
        "keygen",
        "print a new key",
        "Print a new key for --hmac:\n\n  (umask 077; python3 -m circuit keygen > circuit.key)",
    )
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the circuit")
    group.add_argument(
        "--addr",
        default=argparse.SUPPRESS,
        metavar="ADDR",
        help="a server of it, circuit://HOST:PORT/PID/WORKERID as it prints it when it starts; of several, separated"
        f" by blanks, the first that answers is taken (default: ${ADDR_VARIABLE})",
    )
    group.add_argument(
        "--hmac",
        default=argparse.SUPPRESS,
        metavar="FILE",
        help=f"its base64 key, if it has one (default: ${HMAC_VARIABLE})",
    )
    group.add_argument(
        "--listen",
        type=_endpoint,
        default=argparse.SUPPRESS,
        metavar="IP:PORT",
        help="where its servers can dial this machine back (default: any port of every interface)",
    )
    group.add_argument(
        "--timeout",
        type=_seconds,
        default=argparse.SUPPRESS,
        metavar="SECONDS",
        help="how long it may take to answer (default: 10)",
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise ValueError
    return seconds


def _endpoint(text: str) -> tuple[str, int]:
    return parse_endpoint(text)


def _signal_name(text: str) -> str:
    if (number := text.removeprefix("-")).isdecimal():
        return signal.Signals(int(number)).name.removeprefix("SIG")
    return text.upper().removeprefix("SIG")


# argparse names the type of what is wrong.
_seconds.__name__ = "number of seconds"
_endpoint.__name__ = "IP:PORT"
_signal_name.__name__ = "signal"
