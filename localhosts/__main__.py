"""``python3 -m localhosts``: make and remove hosts on this machine from the command line."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from . import image, images, sweep, workspace
from .cluster import Cluster, Host, make_image
from .errors import LocalHostsError
from .inits import Init, Login, Sudo
from .metadata import MetadataMode
from .network import MOST_HOSTS
from .privilege import as_root, require_root
from .proxy import PackageProxy

CLEAN_LIMIT = 120.0
"""Seconds that a sweep may take; an image has some 20,000 files."""

_ABOUT = """\
Make hosts on this machine, each with its own root, network, processes and
circuit server. This needs Debian or a similar system, and root or
password-less sudo. Each image is built once and kept in
~/.cache/circuit-harness.
"""

_EXAMPLES = """\
examples:
  python3 -m localhosts up            two hosts, until Enter or Ctrl-C
  python3 -m localhosts up --hosts 4  four hosts
  python3 -m localhosts up --suite sid --init none --login root
                                      hosts like containers, with MySQL 9 and
                                      no sudo needed
  python3 -m localhosts up --bare --packages
                                      hosts without MariaDB and Node.js that
                                      can install them
  python3 -m localhosts image         make the image now, so that hosts start
                                      quickly later
  python3 -m localhosts clean         remove what killed runs left; running
                                      clusters are not touched
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 1 after a LocalHostsError, 2 after a wrong command line."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "up":
            return _up(options)
        if options.command == "env":
            return _print_variables()
        if options.command == "image":
            print(make_image(_image(options), say=_log))
            return 0
        status = _clean(options.images)
        # By the user's own process, as workspaces are the user's.
        for kept in workspace.standing():
            n = len(kept.hosts)
            print(f"spared the workspace of {kept.folder}, whose {f'{n} hosts are' if n > 1 else 'host is'} up")
        return status
    except LocalHostsError as error:
        print(f"localhosts: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


class _Parser(argparse.ArgumentParser):
    """Accepts no abbreviated options, nor do its commands: a mistyped option must not act as another."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python3 -m localhosts",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    from_image = _Parser(add_help=False)
    from_image.add_argument(
        "--suite",
        choices=images.SUITES,
        default="bookworm",
        help="Debian 12 (bookworm) and 13 (trixie) with MariaDB, or unstable (sid) with MySQL 9 (default: bookworm)",
    )
    from_image.add_argument("--bare", action="store_true", help="without a database server, Node.js and curl")
    from_image.add_argument(
        "--with",
        dest="more",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="add a Debian package, without starting its services at boot; may be repeated",
    )
    from_image.add_argument(
        "--init",
        choices=get_args(Init),
        default="systemd",
        help="the hosts' init program; none: a stub, as in a container (default: systemd)",
    )
    up = commands.add_parser(
        "up", parents=[from_image], help="make hosts, print their addresses, keep them until Enter or Ctrl-C"
    )
    up.add_argument("--hosts", type=_host_count, default=2, metavar="N", help="how many hosts (default: 2)")
    up.add_argument(
        "--circuit-bin",
        type=Path,
        metavar="FILE",
        help="a gocircuit program to run on the hosts (default: this project's own circuit server)",
    )
    up.add_argument(
        "--login",
        choices=get_args(Login),
        default="ubuntu",
        help="the user that the circuit servers run as (default: ubuntu)",
    )
    up.add_argument(
        "--sudo",
        choices=get_args(Sudo),
        default="passwordless",
        help="whether sudo needs a password of user ubuntu, or is not installed (default: passwordless)",
    )
    up.add_argument(
        "--metadata",
        choices=get_args(MetadataMode),
        default="optional",
        help="whether the metadata service requires a token; none: no service (default: optional)",
    )
    up.add_argument("--ipv6", action="store_true", help="add IPv6 addresses")
    up.add_argument(
        "--second-network", action="store_true", help="add a second interface, in a network that only the hosts are in"
    )
    up.add_argument(
        "--no-key",
        action="store_true",
        help="let every user of this machine use the circuit, as root of its hosts; gocircuit's own servers need this"
        " to join each other, because they lose messages with a key",
    )
    up.add_argument("--packages", action="store_true", help="let apt on the hosts fetch packages through this machine")
    commands.add_parser(
        "image", parents=[from_image], help="make the image, if it does not exist yet, and print its folder"
    )
    commands.add_parser(
        "env", help="print the variables that name the circuit of this folder's workspace; status 1 where none is up"
    )
    clean = commands.add_parser("clean", help="remove what dead clusters left, and images of earlier versions")
    clean.add_argument(
        "--images", action="store_true", help="remove all images that no cluster uses, with their layers"
    )
    return parser


def _host_count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 1 <= count <= MOST_HOSTS:
        raise argparse.ArgumentTypeError(f"a cluster has 1 to {MOST_HOSTS} hosts, not {count}")
    return count


def _image(options: argparse.Namespace) -> image.Image:
    made = images.SUITES[options.suite](bare=options.bare, init="sysv" if options.init == "sysv" else "systemd")
    return replace(made, more=tuple(sorted(set(options.more))))


def _up(options: argparse.Namespace) -> int:
    cluster = Cluster(
        options.hosts,
        circuit_bin=options.circuit_bin,
        image=_image(options),
        init=options.init,
        login=options.login,
        sudo=options.sudo,
        metadata=options.metadata,
        ipv6=options.ipv6,
        second_network=options.second_network,
        keyed=not options.no_key,
        say=_log,
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(cluster)
        if options.packages:
            _offer_packages(cluster.hosts, stack.enter_context(PackageProxy(cluster.gateway)))
        for host in cluster.hosts:
            private = " ".join(filter(None, (host.private_address, host.private_address6, host.second_address)))
            public = " ".join(filter(None, (host.public_address, host.public_address6)))
            print(f"{host.name}  private {private}  public {public}  {host.circuit_address}")
        key = f" CIRCUIT_HMAC={cluster.key_file}" if cluster.key_file else ""
        print(f"to use its circuit: export CIRCUIT_ADDR={cluster.hosts[0].circuit_address}{key}")
        print(
            f"cluster {cluster.name} is up; its hosts reach this machine at {cluster.gateway}. Press Enter to end it.",
            flush=True,
        )
        try:
            sys.stdin.readline()
        except KeyboardInterrupt:
            print()
        _log("removing the hosts")
    return 0


def _offer_packages(hosts: Sequence[Host], proxy: str) -> None:
    for host in hosts:
        written = host.run("tee", "/etc/apt/apt.conf.d/90proxy", input=f'Acquire::http::Proxy "{proxy}";\n'.encode())
        if written.returncode != 0:
            raise LocalHostsError(
                f"could not configure the proxy {proxy} for apt on {host.name}: {written.stderr.decode().strip()}"
            )


def _print_variables() -> int:
    kept = workspace.Workspace(Path.cwd()).find()
    if kept is None:
        return 1
    # All, as each server can be lost.
    addresses = shlex.quote(" ".join(kept.addresses))
    print(f"CIRCUIT_ADDR={addresses} CIRCUIT_HMAC={shlex.quote(str(kept.key_file))}")
    return 0


def _clean(all_images: bool) -> int:
    require_root()
    if os.geteuid() != 0:
        return _clean_as_root(all_images)
    swept, left = sweep.sweep()
    cache = image.cache_folder()
    removed, used = image.remove(cache, but=() if all_images else images.current_keys())
    if all_images:
        with contextlib.suppress(OSError):
            cache.rmdir()
            cache.parent.rmdir()
    for what, names in (("swept cluster", swept), ("removed image", removed), ("kept, as it is in use: image", used)):
        for name in names:
            print(f"{what} {name}")
    if not (swept or removed or used):
        print("killed runs have left nothing")
    if left:
        raise LocalHostsError(f"could not remove {', '.join(left)}: is a process in it still running?")
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
        raise LocalHostsError(f"`{shlex.join(command)}` was not done after {CLEAN_LIMIT:g} s") from None


def _log(text: str) -> None:
    print(f"localhosts: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
