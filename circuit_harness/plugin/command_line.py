"""The options of the plugin. Every run of pytest that has the plugin loads this, so it imports nothing."""

from __future__ import annotations

import pytest

ADDR_VARIABLE = "CIRCUIT_ADDR"
HMAC_VARIABLE = "CIRCUIT_HMAC"
ADDR_KEY = "circuit_addr"
HMAC_KEY = "circuit_hmac"
PRIVATE = "--private-address"
PUBLIC = "--public-address"
RUN_TIMEOUT = "--run-timeout"
WORKSPACE = "--workspace"

OPTIONS = (
    *("--circuit-addr", "--circuit-hmac", "--circuit-listen", PRIVATE, PUBLIC, "--replace", "--install", "--keep"),
    *(
        "--attach",
        "--circuit-teardown",
        "--crashed-only",
        "--plan",
        "--deployment",
        "--lease-wait",
        RUN_TIMEOUT,
        "--artifacts",
        "--report",
    ),
    *("--log-commands", "--disruptive", WORKSPACE),
)
"""All options of this plugin."""

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
        metavar="FILE",
        help=f"with = in front: a file with the base64 key of a circuit that runs with one (default: ${HMAC_VARIABLE})",
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
        " each host (default: what its metadata service tells, else the one of its route towards the other host)",
    )
    group.addoption(
        PUBLIC,
        action="append",
        metavar="NAME=IP",
        help="the address at which the host with this anchor's name is reached from outside; may be given for each host"
        " (default: what its metadata service tells, else the private one)",
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
        choices=("never", "on-failure", "always"),
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
        choices=("up", "check", "down", "status", "reset"),
        help="hosts on this machine that stay, for this user and this folder. up: make them, deploy every service onto"
        " them (or onto those of --circuit-addr) and keep it, without checks; check: check what is deployed there;"
        " down: remove them; status: print what is there; reset: make them new, with nothing deployed",
    )
    group.addoption(
        "--plan",
        action="store_true",
        help="look at the hosts, print what deploying for the selected checks would do, and end; nothing is changed",
    )
    group.addoption(
        "--deployment",
        metavar="NAME",
        help="the name of this deployment, of which several can stand on one host, each with its own ports; without it,"
        " --circuit-teardown takes down all",
    )
    group.addoption(
        "--lease-wait",
        type=float,
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
        metavar="DIR",
        help="write the results into this folder: run.json, the services' logs, and the evidence of each failure",
    )
    group.addoption(
        "--report",
        metavar="FILE.html",
        help="write the results as one page for people: hosts, timeline, checks, failures with their evidence",
    )
    group.addoption(
        "--log-commands",
        metavar="FILE",
        help="with = in front: write every remote command into this file, without secrets: a line of JSON with host,"
        " time, seconds, exit status and command",
    )
    group.addoption(
        "--disruptive",
        action="store_true",
        help="run also the checks that stop services for a while (marker disruptive); on hosts made on this machine"
        " they always run",
    )
