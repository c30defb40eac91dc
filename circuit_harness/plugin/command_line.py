"""The options of the plugin. Every run of pytest that has the plugin loads this, so it imports nothing slow."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import zip_longest
from types import MappingProxyType
from typing import Literal, get_args

import pytest

ADDR_VARIABLE = "CIRCUIT_ADDR"
HMAC_VARIABLE = "CIRCUIT_HMAC"
ADDR_KEY = "circuit_addr"
HMAC_KEY = "circuit_hmac"
PRIVATE = "--private-address"
PUBLIC = "--public-address"
RUN_TIMEOUT = "--run-timeout"
WORKSPACE = "--workspace"

FILES = {
    "--circuit-hmac": "FILE",
    "--artifacts": "DIR",
    "--report": "FILE.html",
    "--log-commands": "FILE",
}
"""The options whose value is a path, and what help calls it."""

VALUES = ("--circuit-listen", "--keep", "--deployment", "--lease-wait", RUN_TIMEOUT, WORKSPACE)
"""The other options that have one value."""

HOSTS = "--hosts"
"""Testinfra's option, which names the hosts of a deployment where there are services."""

REPEATED = ("--circuit-addr", PRIVATE, PUBLIC)
"""The options that may be given several times, each time with another value."""

FLAGS = (
    "--replace",
    "--install",
    "--attach",
    "--circuit-teardown",
    "--crashed-only",
    "--plan",
    "--disruptive",
    "--no-probe",
)
"""The options without a value."""

OPTIONS = (*FILES, *VALUES, *REPEATED, *FLAGS)
"""All options of this plugin."""

Keep = Literal["never", "on-failure", "always"]
"""The values of ``--keep``."""

LEASE_WAIT_S = 600.0
"""How long a run waits by default for another that holds the hosts."""


def add_options(parser: pytest.Parser) -> None:
    """Add the options, in a group of their own, and the keys of ini files."""
    parser.addini(ADDR_KEY, type="args", help=f"as --circuit-addr, where neither that nor ${ADDR_VARIABLE} is given")
    parser.addini(HMAC_KEY, help=f"the key's file of the circuit that {ADDR_KEY} names, from the ini file's folder on")
    group = parser.getgroup("circuit", "deployment through a circuit")
    group.addoption(
        "--circuit-addr",
        action="append",
        metavar="ADDR",
        help=f"address of a circuit server, as it prints it when it starts: circuit://HOST:PORT/PID/WORKERID. Several"
        f" are tried in turn. Default: ${ADDR_VARIABLE}, else hosts are made on this machine",
    )
    group.addoption(
        "--circuit-hmac",
        metavar=FILES["--circuit-hmac"],
        help=f"a file with the base64 key of a circuit that runs with one (default: ${HMAC_VARIABLE}); as with all"
        " options for files, write = in front of it",
    )
    group.addoption(
        "--circuit-listen",
        metavar="IP:PORT",
        help="where circuit servers can dial this machine back, as they all must; port 0 is any, and each worker of"
        " -n takes the next one (default: any port of every interface)",
    )
    group.addoption(
        PRIVATE,
        action="append",
        metavar="NAME=IP",
        help="the private address of the host with this anchor's name, which must be one of its own; may be given for"
        " each host (default: what its metadata service has, else the one of its route towards the other host)",
    )
    group.addoption(
        PUBLIC,
        action="append",
        metavar="NAME=IP",
        help="the address at which the host with this anchor's name is reached from outside; may be given for each host"
        " (default: what its metadata service has, else the private one)",
    )
    group.addoption(
        "--replace",
        action="store_true",
        help="take down first what is there already: a deployment that was kept, databases and users of the same"
        " names, programs at the same anchors; without it they are refused and left alone",
    )
    group.addoption(
        "--install",
        action="store_true",
        help="install what the hosts lack, by apt-get, and remove it when the deployment is taken down; without it,"
        " what is missing is reported, and nothing is done",
    )
    group.addoption(
        "--keep",
        metavar=f"{{{','.join(get_args(Keep))}}}",
        default="never",
        help="leave the deployment running at the end, to look at it or to check it again by --attach (default: never)",
    )
    group.addoption(
        "--attach",
        action="store_true",
        help="check the deployment that was kept, from any machine; nothing is deployed, changed or taken down",
    )
    group.addoption(
        "--circuit-teardown",
        action="store_true",
        help="take down what was kept or left by a run that was killed, report what was done, and end; with --replace"
        " also what others have put into it since. On the hosts that --hosts names, or else on all",
    )
    group.addoption(
        "--crashed-only",
        action="store_true",
        help="with --circuit-teardown: take down what killed runs have left, and leave alone what was kept",
    )
    group.addoption(
        WORKSPACE,
        metavar="{up,check,down,status,reset}",
        help="hosts on this machine that stay, for this user and this folder. up: make them, deploy every service onto"
        " them (or onto those of --circuit-addr) and keep it, without checks; check: check what is deployed there;"
        " down: remove them; status: print what is there; reset: make them new, with nothing deployed",
    )
    group.addoption(
        "--plan",
        action="store_true",
        help="look at the hosts, print what deploying for the selected checks would do, and end; nothing is changed"
        " there; where no circuit is named and no hosts are up, hosts are made for it, and removed",
    )
    group.addoption(
        "--deployment",
        metavar="NAME",
        help="the name of this deployment, of which several can stand on one host, each with its own ports; without it,"
        " --circuit-teardown takes down all",
    )
    group.addoption(
        "--lease-wait",
        metavar="SECONDS",
        help=f"how long to wait for another run that holds the hosts; 0: not at all (default: {LEASE_WAIT_S:g})",
    )
    group.addoption(
        RUN_TIMEOUT,
        metavar="SECONDS",
        help="the limit of the whole run, from its start: at its end the run stops as at SIGTERM, undoes everything,"
        " and reports what was under way; undoing is not cut short (default: none)",
    )
    group.addoption(
        "--artifacts",
        metavar=FILES["--artifacts"],
        help="write the results into this folder, which is made if its parent exists: run.json, the services' logs, and"
        " the evidence of each failure",
    )
    group.addoption(
        "--report",
        metavar=FILES["--report"],
        help="write the results as one page for people: hosts, timeline, checks, failures with their evidence",
    )
    group.addoption(
        "--log-commands",
        metavar=FILES["--log-commands"],
        help="write every remote command into this file, without secrets: a line of JSON with host, time, seconds,"
        " exit status and command",
    )
    group.addoption(
        "--disruptive",
        action="store_true",
        help="run also the checks that stop services for a while (marker disruptive); on hosts made on this machine"
        " they always run",
    )
    group.addoption(
        "--no-probe",
        action="store_true",
        help="do not probe services before their first check and after a failed one: each check of a service that is"
        " down runs and fails by itself, where otherwise one failure names the cause and the others are skipped",
    )


def check_arguments(
    pluginmanager: pytest.PytestPluginManager,
    *,
    values: Collection[str],
    flags: Collection[str],
    repeated: Collection[str] = (),
    files: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Refuse options that pytest would take for something else, or that contradict each other.

    Call it by ``pytest_addoption``, before pytest parses them: its own message of a wrong option has four lines.
    Pytest chooses its ini file before it knows these options. So it takes a path behind a blank for one with tests, and
    the ini file of the folders above that path for the one of this run.

    :param values: options with a value.
    :param repeated: options with a value that may be given several times.
    :param flags: options without one.
    :param files: options whose value is a path, and what help calls it.
    :raises pytest.UsageError: there is one; the message is one line.
    """
    config = pluginmanager.get_plugin("pytestconfig")
    assert isinstance(config, pytest.Config)
    words = [*shlex.split(os.environ.get("PYTEST_ADDOPTS", "")), *_typed(config)]
    for name, equals, value, following in _options(words):
        if name in files and not equals:
            raise pytest.UsageError(
                f"{name}: write {name}={files[name]}; behind a blank, pytest takes a path for one with tests"
            )
        if name in flags and equals:
            raise pytest.UsageError(f"{name} has no value: write {name} without ={value}")
        if name in (*values, *repeated) and not equals:
            if not following or following.startswith("-"):
                raise pytest.UsageError(f"{name} needs a value: write {name}=VALUE")
            if os.path.lexists(following):
                raise pytest.UsageError(
                    f"{name}: write {name}={following}; behind a blank, pytest takes a path for one with tests"
                )
    refuse_contradictions(config, (*files, *values))


def refuse_contradictions(config: pytest.Config, names: Collection[str]) -> None:
    """Refuse options that are given twice with different values: the last one wins, which may not be the one meant.

    What PYTEST_ADDOPTS and the ini file have may be overruled.

    :raises pytest.UsageError: there is one; the message is one line.
    """
    given: dict[str, str] = {}
    for name, equals, value, following in _options(_typed(config)):
        if name in names:
            this = value if equals else following
            other = given.setdefault(name, this)
            if other != this:
                raise pytest.UsageError(f"{name} is given twice, with {other} and with {this}: choose one")


def selection(config: pytest.Config) -> str:
    """Return the first option on the command line that chooses checks, -k or -m; "" where there is none."""
    return next((word[:2] for word in _typed(config) if word[:2] in ("-k", "-m")), "")


def _typed(config: pytest.Config) -> list[str]:
    return [os.fspath(argument) for argument in config.invocation_params.args]


def _options(words: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the name of each option, the "=" behind it, the value behind that, and the next word."""
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        if word == "--":
            return
        if word.startswith("--"):
            yield (*word.partition("="), following)
