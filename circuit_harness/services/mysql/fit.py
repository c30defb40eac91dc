"""Decide from the facts of a host whether a deployment can use its MySQL server."""

from __future__ import annotations

from collections.abc import Sequence

from circuit_harness.errors import Conflict, Unfit
from circuit_harness.remedies import Remedy
from circuit_harness.services.mysql import manager
from circuit_harness.services.mysql.client import shut_out
from circuit_harness.services.mysql.facts import HANGS_S, SKIP_NAMES, Facts
from circuit_harness.services.mysql.option_files import is_on

OLDEST = {"mariadb": 10, "mysql": 8}
"""The oldest supported major version, by flavor."""

_MOST_NAMES = 3


def check_fit(facts: Facts, host: str) -> None:
    """Refuse a host whose server cannot be controlled. Missing programs are reported elsewhere, as needs.

    :raises Unfit: the server is too old, cannot be stopped and started, runs and refuses root, cannot read its option
        files, or shares its data with other servers.
    """
    if facts.service is None:
        return
    major = facts.version.partition(".")[0]
    if major.isdigit() and int(major) < OLDEST[facts.flavor]:
        raise Unfit(
            f"host {host} has {facts.service.program} {facts.version}: MariaDB {OLDEST['mariadb']} or MySQL"
            f" {OLDEST['mysql']}, or newer, is needed"
        )
    manager.check_fit(facts.service, facts.state, host)
    if facts.refusal:
        raise Unfit(shut_out(host, facts.refusal))
    if facts.hangs:
        restart = facts.service.start_by_hand(running=True)
        raise Unfit(
            f"host {host}: its MySQL server runs, and does not answer within {HANGS_S} s: restart it there"
            + (f" ({restart})" if restart else "")
        )
    refuse_replication(facts, host)
    if facts.options.unsafe:
        raise Unfit(
            f"host {host}: its MySQL server reads {', '.join(facts.options.unsafe)}, which is not root's alone to write"
            " or whose name does not end in .cnf or .ini: the run would change it as root, so chown it to root and"
            " chmod it go-w, with its folders"
        )
    unreadable = [path for path in facts.options.unreadable if facts.options.has_own_group(path)]
    if unreadable:
        raise Unfit(
            f"host {host}: its MySQL server's own user cannot read {', '.join(unreadable)}, and the run reads the"
            " server's options as that user: let that user's group read the file (chgrp mysql, chmod 640)"
        )
    if facts.options.error or not facts.options.roots:
        raise Unfit(
            f"host {host}: its MySQL server cannot start with its option files, as {facts.service.program} --verbose"
            f" --help reports: {facts.options.error or 'nothing at all'}; correct them first"
        )


def refuse_replication(facts: Facts, host: str) -> None:
    """Refuse a server that replicates to or from other servers."""
    options = facts.options
    found = list(facts.replication)
    if not facts.state.active and is_on(options.values.get("wsrep-on", "OFF")):
        found.append("is a member of a Galera cluster (wsrep_on)")
    if not facts.state.active and options.winning("group-replication-group-name"):
        found.append("is a member of group replication (group_replication_group_name)")
    if found:
        raise Unfit(
            f"host {host} has a MySQL server that {' and '.join(dict.fromkeys(found))}: a deployment would reach"
            f" the other servers, too; name a host whose server is on its own ({Remedy.NAME_HOSTS})"
        )


def check_free(facts: Facts, host: str, port: int, *, replace: bool) -> None:
    """Refuse a host that has something which the deployment would destroy.

    :raises Conflict: a user or database of that name exists, without ``replace``; or another program uses the port.
    """
    taken = [str(socket) for socket in facts.listening if socket.port == port and socket not in facts.own]
    if taken:
        raise Conflict(
            f"host {host}: port {port} is in use ({', '.join(taken)}), and not by its MySQL service: free it"
        )
    if not replace:
        refuse_existing(facts, host)


def existing(facts: Facts) -> list[str]:
    """Return the databases and users that a deployment would make and that exist already."""
    return [*(f"database {name}" for name in facts.databases), *(f"user {name}" for name in facts.users)]


def refuse_existing(facts: Facts, host: str) -> None:
    """Refuse a server on which a database or user of these names exists.

    :raises Conflict: it exists.
    """
    if existing(facts):
        raise Conflict(
            f"host {host} has {' and '.join(existing(facts))} already: {Remedy.REPLACE} drops them, with all their data"
        )


def remarks(facts: Facts, host: str) -> list[str]:
    """Return lines for the user about a running server that a deployment uses."""
    values = facts.options.values
    return [needs_names(facts.named, host)] if facts.named and not is_on(values.get(SKIP_NAMES, "FALSE")) else []


def needs_names(named: Sequence[str], host: str) -> str:
    """Return a line for the user about a server that continues to look up names."""
    more = f" and {len(named) - _MOST_NAMES} more" if len(named) > _MOST_NAMES else ""
    shown = ", ".join(name if name.isprintable() else ascii(name)[1:-1] for name in named[:_MOST_NAMES])
    return (
        f"host {host}: its MySQL server has accounts for host names ({shown}{more}), so it looks up the name of each"
        f" client, without {SKIP_NAMES}: connecting takes long where no resolver answers"
    )
