"""The command line: look at a circuit, and run, signal and remove what is on it."""

from __future__ import annotations

import argparse
import base64
import json
import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, NoReturn

import circuit
from circuit import Anchor, CircuitError, Client, Cmd, Proc

ADDR_VARIABLE = "CIRCUIT_ADDR"
HMAC_VARIABLE = "CIRCUIT_HMAC"
KEY_BYTES = 64

FAILED = 1
USAGE = 2
RUN_FAILED = 125
"""Exit status of ``run`` where the fault is not the command's, as of env(1) and timeout(1)."""

_FOREVER = float("inf")
_CHUNK = 1 << 16

_ABOUT = """\
Look at a gocircuit cluster, and run, signal and remove what is on it.

  export CIRCUIT_ADDR=circuit://10.0.0.7:11022/4276/Q54d9ba8870177645
  python3 -m circuit ls -l /...                    every anchor, with the kind of its element
  python3 -m circuit peek /X5f2a6d0c11e49b83/nodejs
  python3 -m circuit run /X5f2a6d0c11e49b83 -- df -h /
  python3 -m circuit signal TERM /X5f2a6d0c11e49b83/nodejs
  python3 -m circuit wait /X5f2a6d0c11e49b83/nodejs
  python3 -m circuit scrub /X5f2a6d0c11e49b83/nodejs
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    failed = RUN_FAILED if command is _run else FAILED
    try:
        return command(options)
    except CircuitError as error:
        print(f"circuit: {' '.join(str(error).split())}", file=sys.stderr)
        return failed
    except BrokenPipeError:
        # Whoever read our output has had enough. Nothing more is to be flushed there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m circuit", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--addr",
        metavar="ADDR",
        help=f"a server of the circuit, circuit://HOST:PORT/PID/WORKERID as it prints it (default: ${ADDR_VARIABLE})",
    )
    parser.add_argument(
        "--hmac", metavar="FILE", help=f"the base64 key of a circuit that runs with one (default: ${HMAC_VARIABLE})"
    )
    parser.add_argument(
        "--timeout", type=float, default=10.0, metavar="SECONDS", help="limit of each call (default: %(default)g)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    ls = commands.add_parser(
        "ls", help="list anchors", description="List the anchors below PATH; all with /... at its end."
    )
    ls.add_argument("-l", "--long", action="store_true", help="show the kind of each element")
    ls.add_argument("path", nargs="?", default="/", metavar="PATH", help="such as /, /X5f..., /... (default: /)")
    ls.set_defaults(command=_ls)

    peek = commands.add_parser("peek", help="show an element", description="Show the state of an element, as JSON.")
    _add_anchor(peek)
    peek.set_defaults(command=_peek)

    run = commands.add_parser(
        "run",
        help="run a command on a host",
        description="Run a command at an anchor, or below a host's at one that is drawn. Its input, outputs and exit"
        " status are those of the local command; Ctrl-C and SIGTERM are passed on. Outputs come in blocks of 32,000"
        f" bytes or at the end, as circuit servers buffer. The exit status is {RUN_FAILED} where the circuit failed.",
    )
    _add_anchor(run)
    run.add_argument("argv", nargs="+", metavar="-- COMMAND", help="the command and its arguments")
    run.set_defaults(command=_run)

    wait = commands.add_parser(
        "wait",
        help="wait for a process to end",
        description="Wait until the process at an anchor has ended; print how, and exit with its status.",
    )
    _add_anchor(wait)
    wait.set_defaults(command=_wait)

    send = commands.add_parser("signal", help="signal a process", description="Send a signal to the process at ANCHOR.")
    send.add_argument("name", metavar="NAME", help="such as TERM, KILL, HUP")
    _add_anchor(send)
    send.set_defaults(command=_signal)

    scrub = commands.add_parser(
        "scrub",
        help="remove an element",
        description="Remove the element at ANCHOR. A process that runs goes on running.",
    )
    _add_anchor(scrub)
    scrub.set_defaults(command=_scrub)

    keygen = commands.add_parser("keygen", help="print a new key", description="Print a new key for --hmac.")
    keygen.set_defaults(command=_keygen)
    return parser


def _add_anchor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("anchor", metavar="ANCHOR", help="a path, such as /X5f2a6d0c11e49b83/nodejs")


# -- commands ---------------------------------------------------------------------------------------------------------


def _ls(options: argparse.Namespace) -> int:
    names = _names(options.path)
    recurse = bool(names) and names[-1] == "..."
    with _dial(options) as client:
        _list(_existing(client, names[:-1] if recurse else names), recurse, options.long)
    return 0


def _list(place: Client | Anchor, recurse: bool, long: bool) -> None:
    for _, anchor in sorted(place.view().items()):
        if long:
            element = anchor.get()
            print(f"{element.kind if element is not None else '-':12} {anchor.path}")
        else:
            print(anchor.path)
        if recurse:
            _list(anchor, recurse, long)


def _peek(options: argparse.Namespace) -> int:
    with _dial(options) as client:
        print(json.dumps(_element(client, options.anchor).describe(), indent=2))
    return 0


def _wait(options: argparse.Namespace) -> int:
    with _dial(options) as client:
        end = _proc(client, options.anchor).wait(_FOREVER).exit
    assert end is not None
    print(end)
    return end.returncode


def _signal(options: argparse.Namespace) -> int:
    with _dial(options) as client:
        _proc(client, options.anchor).signal(options.name.upper().removeprefix("SIG"))
    return 0


def _scrub(options: argparse.Namespace) -> int:
    with _dial(options) as client:
        _element(client, options.anchor).scrub()
    return 0


def _keygen(options: argparse.Namespace) -> int:
    print(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode())
    return 0


def _run(options: argparse.Namespace) -> int:
    names = _names(options.anchor)
    if len(names) < 2:
        names = [*names, f"run-{secrets.token_hex(8)}"]
    with _dial(options) as client:
        # A shell only to search PATH; it becomes the command.
        cmd = Cmd("/bin/sh", ["-c", 'exec "$@"', "sh", *options.argv], scrub=True)
        proc = client.walk(*names).make_proc(cmd)
        _pass_signals_on(proc)
        feeder = threading.Thread(target=_feed, args=(proc,), daemon=True)
        outputs = [
            threading.Thread(target=_drain, args=(proc.stdout, sys.stdout.buffer), daemon=True),
            threading.Thread(target=_drain, args=(proc.stderr, sys.stderr.buffer), daemon=True),
        ]
        for thread in (feeder, *outputs):
            thread.start()
        for thread in outputs:
            thread.join()
        # The command may have ended without reading all of its input, which our standard input may never end.
        proc.stdin.close()
        end = proc.wait(_FOREVER).exit
    assert end is not None
    return end.returncode


def _feed(proc: Proc) -> None:
    try:
        while data := os.read(sys.stdin.fileno(), _CHUNK):
            proc.stdin.write(data, _FOREVER)
        proc.stdin.close()
    except CircuitError:
        # The command has ended, or the circuit is lost, which the outputs tell.
        return


def _drain(stream: circuit.ReadStream, to: BinaryIO) -> None:
    while data := stream.read(_FOREVER):
        to.write(data)
        to.flush()


def _pass_signals_on(proc: Proc) -> None:
    def send(number: int, frame: object) -> None:
        # Not from here: the main thread may be in a call.
        threading.Thread(target=proc.signal, args=(signal.Signals(number).name.removeprefix("SIG"),)).start()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, send)


# -- what commands share ----------------------------------------------------------------------------------------------


def _dial(options: argparse.Namespace) -> Client:
    address = options.addr or os.environ.get(ADDR_VARIABLE)
    if not address:
        _refuse(f"no circuit to dial: give --addr or set ${ADDR_VARIABLE}")
    path = options.hmac or os.environ.get(HMAC_VARIABLE)
    return circuit.dial(address.split(), _read_key(path) if path else None, options.timeout)


def _read_key(path: str) -> bytes:
    try:
        return circuit.decode_key(Path(path).read_bytes())
    except OSError as error:
        _refuse(f"--hmac: cannot read {path}: {error.strerror}")
    except ValueError as error:
        _refuse(f"--hmac: {path} {error}")


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name]


def _existing(client: Client, names: Sequence[str]) -> Client | Anchor:
    """The anchor of a path, which must be there: walking would make it."""
    place: Client | Anchor = client
    for name in names:
        below = place.view()
        if name not in below:
            where = place.path if isinstance(place, Anchor) else "/"
            raise CircuitError(f"there is no {name} below {where}; there are: {', '.join(sorted(below)) or 'none'}")
        place = below[name]
    return place


def _element(client: Client, path: str) -> circuit.Element:
    anchor = _existing(client, _names(path))
    element = anchor.get() if isinstance(anchor, Anchor) else None
    if element is None:
        raise CircuitError(f"{path} has no element")
    return element


def _proc(client: Client, path: str) -> Proc:
    element = _element(client, path)
    if not isinstance(element, Proc):
        raise CircuitError(f"{path} is no process but a {element.kind}")
    return element


def _refuse(problem: str) -> NoReturn:
    print(f"circuit: {problem}", file=sys.stderr)
    raise SystemExit(USAGE)


if __name__ == "__main__":
    raise SystemExit(main())
