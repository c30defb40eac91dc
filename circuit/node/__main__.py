"""Run a circuit server: ``python3 -m circuit.node --addr IP:PORT [--join ADDR | --join-file FILE] [--hmac FILE]``.

Prints its address as one line. SIGTERM and SIGINT end it at once with status 0; processes that it started go on,
without their streams, as with the real server. SIGUSR1 prints counts of what it holds, as one line of JSON on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from circuit.display import Hidden, printable
from circuit.errors import CircuitError
from circuit.node.faults import NAMES, parse_faults
from circuit.node.server import Node
from circuit.wire.address import Address, parse_address, parse_endpoint
from circuit.wire.auth import decode_key


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a node until a signal ends it; return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        faults = parse_faults(options.fault)
    except ValueError as error:
        parser.error(str(error))
    _log_to_stderr()
    host, port = options.addr
    # If it is inherited as ignored, the kernel discards the status of every process.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        key = _read_key(options.hmac) if options.hmac is not None else None
        join = _read_address(options.join_file) if options.join_file is not None else options.join
        return asyncio.run(_serve(Node(host, port, key, faults), join))
    except (CircuitError, ValueError, OSError) as error:
        print(f"circuit.node: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


class _OneLine(logging.Formatter):
    """Makes what others sent printable: it cannot break lines or control the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    # asyncio warns of each write to a connection that has just ended.
    logging.getLogger("asyncio").setLevel(logging.ERROR)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m circuit.node", description="A circuit server.", allow_abbrev=False
    )
    parser.add_argument(
        "--addr",
        type=_endpoint,
        required=True,
        metavar="IP:PORT",
        help="where to listen, as clients and peers can reach it; port 0 takes any",
    )
    joined = parser.add_mutually_exclusive_group()
    joined.add_argument("--join", type=_address, metavar="ADDR", help="the address of a node whose circuit to join")
    joined.add_argument(
        "--join-file",
        type=Path,
        metavar="FILE",
        help="holds that address, which all users could read in a command line; an empty file joins no circuit",
    )
    parser.add_argument("--hmac", type=Path, metavar="FILE", help="holds the circuit's key, in base64")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME",
        help=f"have a fault of the real server, for tests; may be repeated; one of: {', '.join(NAMES)}",
    )
    return parser


def _endpoint(text: str) -> tuple[str, int]:
    try:
        ip, port = parse_endpoint(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not IP:PORT: {error}") from None
    if ipaddress.ip_address(ip).is_unspecified:
        raise argparse.ArgumentTypeError(f"others cannot dial {ip}: name an address of this host")
    return ip, port


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except CircuitError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _read_address(path: Path) -> Address | None:
    text = path.read_text().strip()
    try:
        return parse_address(text) if text else None
    except CircuitError as error:
        raise ValueError(f"{path}: {error}") from None


def _read_key(path: Path) -> Hidden:
    try:
        return decode_key(path.read_bytes())
    except ValueError:
        raise ValueError(f"{path} does not hold a key in base64") from None


async def _serve(node: Node, join: Address | None) -> int:
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    starting = loop.create_task(node.start(join))
    ending = loop.create_task(end.wait())
    try:
        await asyncio.wait((starting, ending), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            print(starting.result(), flush=True)
            loop.add_signal_handler(
                signal.SIGUSR1, lambda: print(json.dumps(node.counts()), file=sys.stderr, flush=True)
            )
            await ending
    finally:
        starting.cancel()
        ending.cancel()
        await node.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
