"""Edit the option files of a MySQL server so that it listens at the deployment's address, and restore them."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from circuit_harness.errors import Unfit
from circuit_harness.operations import edits, ports
from circuit_harness.operations.edits import Append, Edit, NewFile, ReplaceLine
from circuit_harness.remote.command import root
from circuit_harness.remote.host import Host
from circuit_harness.services.mysql import manager, option_files
from circuit_harness.services.mysql.facts import SKIP_NAMES, Facts, parse_facts
from circuit_harness.services.mysql.manager import Manager
from circuit_harness.services.mysql.option_files import Options, is_on
from circuit_harness.services.protocol import Undo

PORT = 3306

RESTARTED = "restarted"
"""Below the run's backups: a file that shows that the run has restarted a server that ran before."""

_DROP_IN = "zz-tutorial.cnf"
_NO_REPLICATION = ("skip-replica-start", "skip-slave-start")


def plan(facts: Facts, address: str, port: int) -> list[Edit]:
    """Return the edits of option files that make the server listen only on ``address`` and ``port``.

    They replace the line that finally sets an option, in whatever file it is: an additional file might not be read
    after it. If no line sets an option, its line is written behind the one of bind-address; if that has no line either,
    both are written into an additional file that sorts last in the directory that is read last. The first edit is the
    one of bind-address.

    MySQL's X protocol, which the harness does not use, must not be reachable from other hosts. MariaDB does not have
    it.

    The server gets skip-name-resolve, unless an account is for a host name: otherwise each client waits for the look-up
    of its name, for long if no resolver answers. A running server gets the option only if its accounts could be read.
    """
    options = facts.options
    bind = options.winning("bind-address")
    edits: list[Edit] = []
    added = []
    for name, text in _wanted(facts, address, port).items():
        if line := options.winning(name):
            edits.append(ReplaceLine(line.path, text, line.line))
        else:
            added.append(text)
    if bind is not None:
        edits[0] = replace(edits[0], text="\n".join([edits[0].text, *added]))
    else:
        edits.insert(0, _file_of_ours(options, "\n".join(["[mysqld]", *added])))
    return edits


def _wanted(facts: Facts, address: str, port: int) -> dict[str, str]:
    """Return the necessary lines, by option; bind-address is the first."""
    values = facts.options.values
    line = facts.options.winning("port")
    wanted = {"bind-address": f"bind-address = {address}"}
    if (line.value if line else values.get("port", str(PORT))) != str(port):
        wanted["port"] = f"port = {port}"
    wanted |= {name: name for name in _start_alone(facts)}
    if is_on(values.get("skip-networking", "FALSE")):
        wanted["skip-networking"] = "skip-networking = 0"
    if facts.flavor == "mysql" and _x_is_open(values, address):
        # loose: a program that does not know the option ignores it.
        wanted["mysqlx-bind-address"] = "loose-mysqlx-bind-address = 127.0.0.1"
    needs_none = facts.named == () or (facts.named is None and not facts.state.active)
    # A server that prints no value for the option does not know it.
    if needs_none and not is_on(values.get(SKIP_NAMES, "TRUE")):
        wanted[SKIP_NAMES] = f"{SKIP_NAMES} = 1"
    return wanted


def plan_with_names(facts: Facts, now: Facts, address: str, port: int) -> list[Edit]:
    """Return the plan that results from the accounts that could be read by now."""
    return plan(replace(facts, named=now.named), address, port)


def _start_alone(facts: Facts) -> list[str]:
    """Return the options with which a server that is started for a look does not replicate: the newest known name."""
    known = [name for name in _NO_REPLICATION if name in facts.options.values]
    return [] if facts.state.active else known[:1]


def _x_is_open(values: Mapping[str, str], address: str) -> bool:
    """Return whether the X protocol can be reached at another address than this one and loopback ones."""
    if values.get("mysqlx", "OFF").upper() in ("OFF", "0"):
        return False
    return any(
        part.strip() != address and not _is_local(part) for part in values.get("mysqlx-bind-address", "*").split(",")
    )


def _is_local(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.strip()).is_loopback
    except ValueError:
        return address.strip() == "localhost"


def _file_of_ours(options: Options, text: str) -> Edit:
    directory = options.last_directory()
    if directory is not None:
        path = f"{directory}/{_DROP_IN}"
        return Append(path, text) if path in options.files else NewFile(path, text)
    roots = [root for root in options.roots if root in options.files]
    return Append(roots[-1], text) if roots else NewFile(options.roots[0], text)


def asking(facts: Facts) -> str:
    """Shell, for root: print the options with which the server would start now."""
    assert facts.service is not None
    return option_files.ask(facts.service.program, facts.options.arguments, facts.service.user)


def see_it_wins(
    host: Host, facts: Facts, address: str, port: int, planned: Sequence[Edit], backups: str, printed: str
) -> None:
    """Verify, before the service is restarted, that the server reads the wanted values from its option files.

    :param printed: the answer to :func:`asking`.
    :raises Unfit: it does not; this has restored the files.
    """
    assert facts.service is not None
    now = parse_facts(printed).options
    wanted = {"bind-address": address, "port": str(port), "skip-networking": "FALSE"}
    wanted |= dict.fromkeys(_start_alone(facts), "TRUE")
    wrong = [
        f"{name} {now.values.get(name, 'nothing')} instead of {value}"
        for name, value in wanted.items()
        if now.values.get(name) != value
    ]
    if facts.flavor == "mysql" and _x_is_open(now.values, address):
        value = now.values.get("mysqlx-bind-address")
        # Of all these options, only this one can be persisted outside of the option files.
        wrong.append(f"mysqlx-bind-address {value} (RESET PERSIST mysqlx_bind_address, if SET PERSIST has kept that)")
    if not (wrong or now.error):
        return
    host.run(root(edits.restore(planned, backups)))
    lines = " and ".join(f"{' / '.join(edit.text.splitlines())!r} at {edit}" for edit in planned)
    why = now.error or f"the server would still start with {', '.join(wrong)}"
    if facts.options.arguments and not now.error:
        why += f", as it was started with {shlex.join(facts.options.arguments)}: take that out"
    raise Unfit(
        f"host {host.name}: with {lines}, {facts.service.program} --verbose --help reports: {why}. The run has restored"
        " the files, and has not touched the service"
    )


def undo(facts: Facts, server: Manager, planned: Sequence[Edit], backups: str, port: int) -> Undo:
    """Return how to restore the option files and the service's state."""
    assert facts.service is not None
    restore = edits.restore(planned, backups)
    if facts.state.active:
        what = "MySQL: put the configuration back, restart"
        # Only if the run has restarted it, because the server serves other clients.
        control = f"[ ! -e {backups}/{RESTARTED} ] || {facts.service.restart()}"
        command = f"{restore}; {control}; s=$?"
    else:
        what = "MySQL: stop, put the configuration back"
        # When this runs again, because not all packages could be removed, the server may be gone.
        stop = f"s=0; {server.is_gone()} || {{ {server.settle()}; {server.stop()}; s=$?; }}"
        command = f"{stop}; {server.clear()}; {restore}"
    done = '[ $s = 0 ] && [ -z "$kept" ]'
    proofs = [edits.proof(planned, backups), server.proof(active=facts.state.active, enabled=facts.state.enabled)]
    if not facts.state.active:
        proofs.append(ports.still_open(port))
    return Undo(what, f"{command}; {done} && rm -rf {backups}", proof="; ".join(proofs), limit=manager.LIMIT_S)
