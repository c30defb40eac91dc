"""The option files of a MySQL server: which lines make it listen where it is to, and how they are put back."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from circuit_harness.errors import Unfit
from circuit_harness.operations import edits, ports
from circuit_harness.operations.edits import END, NEW, Edit
from circuit_harness.remote.command import root
from circuit_harness.remote.host import Host
from circuit_harness.services.mysql import manager, option_files
from circuit_harness.services.mysql.facts import SKIP_NAMES, Facts, parse_facts
from circuit_harness.services.mysql.manager import Manager
from circuit_harness.services.mysql.option_files import Options, is_on
from circuit_harness.services.protocol import Undo

PORT = 3306

RESTARTED = "restarted"
"""Below the run's backups: a file that says that a server which ran before has been restarted."""

_DROP_IN = "zz-tutorial.cnf"
_NO_REPLICATION = ("skip-replica-start", "skip-slave-start")


def plan(facts: Facts, address: str, port: int) -> list[Edit]:
    """Which option files to change so that the server listens on ``address`` and ``port`` alone.

    The line that wins is rewritten, wherever it is: a file of ours could not be sure to be read after it. Where no
    line sets an option it is set behind the one that sets bind-address; and where that has no line either, in a file of
    ours that sorts last in the directory that is read last. The first edit is the one that has bind-address.

    MySQL's X protocol, which nobody here speaks, must not be reached from elsewhere. MariaDB has none.

    The server does not look up the names of its clients, unless an account is for a name: each client waits for that,
    in vain where no resolver answers. A running server does not begin to do so before its accounts have been seen.
    """
    options = facts.options
    bind = options.winning("bind-address")
    edits, added = [], []
    for name, text in _wanted(facts, address, port).items():
        if line := options.winning(name):
            edits.append(Edit(line.path, line.line, text))
        else:
            added.append(text)
    if bind is not None:
        edits[0] = replace(edits[0], text="\n".join([edits[0].text, *added]))
    else:
        edits.insert(0, _file_of_ours(options, "\n".join(["[mysqld]", *added])))
    return edits


def _wanted(facts: Facts, address: str, port: int) -> dict[str, str]:
    """The lines that there have to be, by option; bind-address is the first."""
    values = facts.options.values
    line = facts.options.winning("port")
    wanted = {"bind-address": f"bind-address = {address}"}
    if (line.value if line else values.get("port", str(PORT))) != str(port):
        wanted["port"] = f"port = {port}"
    wanted |= {name: name for name in _start_alone(facts)}
    if is_on(values.get("skip-networking", "FALSE")):
        wanted["skip-networking"] = "skip-networking = 0"
    if facts.flavor == "mysql" and _x_is_open(values, address):
        # What does not know the option is not to stumble over it.
        wanted["mysqlx-bind-address"] = "loose-mysqlx-bind-address = 127.0.0.1"
    needs_none = facts.named == () or (facts.named is None and not facts.state.active)
    # A server that does not tell of the option does not know it.
    if needs_none and not is_on(values.get(SKIP_NAMES, "TRUE")):
        wanted[SKIP_NAMES] = f"{SKIP_NAMES} = 1"
    return wanted


def plan_with_names(facts: Facts, now: Facts, address: str, port: int) -> list[Edit]:
    """The plan, had the accounts been seen that can be seen now."""
    return plan(replace(facts, named=now.named), address, port)


def _start_alone(facts: Facts) -> list[str]:
    """The options that keep a server from replicating once it is started for a look: the newest name that it knows."""
    known = [name for name in _NO_REPLICATION if name in facts.options.values]
    return [] if facts.state.active else known[:1]


def _x_is_open(values: Mapping[str, str], address: str) -> bool:
    """Whether the X protocol can be reached at another address than this one and the host's own."""
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
        return Edit(path, END if path in options.files else NEW, text)
    roots = [root for root in options.roots if root in options.files]
    return Edit(roots[-1], END, text) if roots else Edit(options.roots[0], NEW, text)


def see_it_wins(host: Host, facts: Facts, address: str, port: int, planned: Sequence[Edit], backups: str) -> None:
    """See, before the service is touched, that the server itself reads out of its files what they are to say.

    :raises Unfit: it does not; the files are put back.
    """
    assert facts.service is not None
    asked = host.run(
        root(option_files.ask(facts.service.program, facts.options.arguments, facts.service.user)), timeout=30
    )
    told = parse_facts(asked.text).options
    wanted = {"bind-address": address, "port": str(port), "skip-networking": "FALSE"}
    wanted |= dict.fromkeys(_start_alone(facts), "TRUE")
    wrong = [
        f"{name} {told.values.get(name, 'nothing')} instead of {value}"
        for name, value in wanted.items()
        if told.values.get(name) != value
    ]
    if facts.flavor == "mysql" and _x_is_open(told.values, address):
        value = told.values.get("mysqlx-bind-address")
        # Of all these it is the one that MySQL allows to be kept past its option files.
        wrong.append(f"mysqlx-bind-address {value} (RESET PERSIST mysqlx_bind_address, if SET PERSIST has kept that)")
    if not (wrong or told.error):
        return
    host.run(root(edits.restore(planned, backups)))
    lines = " and ".join(f"{' / '.join(edit.text.splitlines())!r} at {edit.where}" for edit in planned)
    why = told.error or f"the server would still start with {', '.join(wrong)}"
    if facts.options.arguments and not told.error:
        why += f", as it was started with {shlex.join(facts.options.arguments)}: take that out"
    raise Unfit(
        f"host {host.name}: with {lines}, {facts.service.program} --verbose --help tells: {why}. The files are put"
        " back, and the service was not touched"
    )


def undo(facts: Facts, server: Manager, planned: Sequence[Edit], backups: str, port: int) -> Undo:
    """How option files and the service's state are put back."""
    assert facts.service is not None
    restore = edits.restore(planned, backups)
    if facts.state.active:
        what = "MySQL: put the configuration back, restart"
        # Not where it has not been restarted: it serves others.
        control = f"[ ! -e {backups}/{RESTARTED} ] || {facts.service.restart()}"
        command = f"{restore}; {control}; s=$?"
    else:
        what = "MySQL: stop, put the configuration back"
        # Done again, after packages could not all be removed, it may find the server gone.
        stop = f"s=0; {server.is_gone()} || {{ {server.settle()}; {server.stop()}; s=$?; }}"
        command = f"{stop}; {server.clear()}; {restore}"
    done = '[ $s = 0 ] && [ -z "$kept" ]'
    proofs = [edits.proof(planned, backups), server.proof(active=facts.state.active, enabled=facts.state.enabled)]
    if not facts.state.active:
        proofs.append(ports.still_open(port))
    return Undo(what, f"{command}; {done} && rm -rf {backups}", proof="; ".join(proofs), limit=manager.LIMIT_S)
