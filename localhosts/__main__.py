"""``python3 -m localhosts``: hosts on this machine, by hand."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from . import image, images, sweep
from .cluster import Cluster, make_image
from .errors import LocalHostsError
from .network import MOST_HOSTS
from .privilege import as_root, require_root

CLEAN_LIMIT = 120.0
"""Seconds that a sweep may take; an image is some 20,000 files."""

_ABOUT = """\
Hosts on this machine, each with its own root, network and processes, and a circuit server on each. They need Debian or
a system like it, and root or password-less sudo. The image they are made from is built once and kept in
~/.cache/circuit-harness.
"""

_EXAMPLES = """\
examples:
  python3 -m localhosts up                 two hosts, until Enter or Ctrl-C
  python3 -m localhosts up --hosts 4       four hosts
  python3 -m localhosts image              make the image now, to start quickly later
  python3 -m localhosts clean              sweep what killed runs have left; clusters that run are not touched
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 1 after an error of ours, 2 after a wrong command line."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "up":
            return _up(options.hosts, options.circuit_bin)
        if options.command == "image":
            print(make_image(say=_say))
            return 0
        return _clean(options.images)
    except LocalHostsError as error:
        print(f"localhosts: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m localhosts",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="make hosts, print their addresses, hold them until Enter or Ctrl-C")
    up.add_argument("--hosts", type=_host_count, default=2, metavar="N", help="how many hosts (default: 2)")
    up.add_argument(
        "--circuit-bin",
        type=Path,
        metavar="FILE",
        help="a gocircuit program to run on the hosts (default: this project's own circuit server)",
    )
    commands.add_parser("image", help="make the image, if it is not there yet, and print its folder")
    clean = commands.add_parser("clean", help="remove what dead clusters left, and images of earlier versions")
    clean.add_argument("--images", action="store_true", help="remove every image that no cluster uses")
    return parser


def _host_count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 1 <= count <= MOST_HOSTS:
        raise argparse.ArgumentTypeError(f"a cluster has 1 to {MOST_HOSTS} hosts, not {count}")
    return count


def _up(hosts: int, circuit_bin: Path | None) -> int:
    cluster = Cluster(hosts, circuit_bin=circuit_bin, say=_say)
    with cluster:
        for host in cluster.hosts:
            print(f"{host.name}  private {host.private_address}  public {host.public_address}  {host.circuit_address}")
        print(f"cluster {cluster.name} is up; this machine is {cluster.gateway} to it. Enter ends it.", flush=True)
        try:
            sys.stdin.readline()
        except KeyboardInterrupt:
            print()
        _say("removing the hosts")
    return 0


def _clean(all_images: bool) -> int:
    require_root()
    if os.geteuid() != 0:
        return _clean_as_root(all_images)
    swept, left = sweep.sweep()
    removed, used = image.remove(image.cache_folder(), but=() if all_images else images.current_keys())
    for what, names in (("swept cluster", swept), ("removed image", removed), ("in use, left alone: image", used)):
        for name in names:
            print(f"{what} {name}")
    if left:
        raise LocalHostsError(f"could not remove {', '.join(left)}: is something in it still running?")
    return 0


def _clean_as_root(all_images: bool) -> int:
    command = [sys.executable, "-B", "-m", f"{__package__}", "clean", *(["--images"] if all_images else [])]
    # The user's cache, not root's.
    cache = f"XDG_CACHE_HOME={image.cache_folder().parent.parent}"
    try:
        return subprocess.run(
            as_root(["env", cache, *command]), cwd=Path(__file__).parent.parent, timeout=CLEAN_LIMIT, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        raise LocalHostsError(f"the sweep was not done after {CLEAN_LIMIT:g} s") from None


def _say(text: str) -> None:
    print(f"localhosts: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
