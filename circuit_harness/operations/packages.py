"""Packages that are installed on a host for as long as a deployment stands, by apt-get, and purged with it.

The host itself writes down, root's alone and before the first is unpacked, which packages will come, and what was there
before: so all goes again, whenever the installing was cut short, and nothing that others have installed meanwhile.
What packages leave behind when they are purged is removed only where one of them names it; whatever else appeared in
that time is somebody's, stays, and is reported. apt-get fetches into a folder of its own: the host's lists and its
cache of packages stay as they are.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from circuit_harness.errors import CommandFailed, Unfit
from circuit_harness.journal.journal import Journal
from circuit_harness.journal.record import FOLDER, Change, NotWritten
from circuit_harness.journal.undo import REMARK
from circuit_harness.operations.edits import PUT
from circuit_harness.operations.needs import Missing, Need, check_offer
from circuit_harness.remote.command import Command, root
from circuit_harness.remote.host import Host
from circuit_harness.remote.script import Scripts
from circuit_harness.steps import Steps

PART = "packages"
"""The name of these changes in records."""

_LOCK_LIMIT_S = 120
_FETCH_LIMIT_S = 300.0
_INSTALL_LIMIT_S = 480.0
# The undoing waits for an installing that goes on although its runner was killed, and for dpkg's lock.
_UNDO_WAIT_S = 240
_UNDO_LIMIT_S = 480.0
# By Debian's policy.
_FIRST_PERSON = 1000
_MOST_REMARKS = 12

_SCRIPTS = Scripts.beside(__file__)


def install(host: Host, lacks: Sequence[Missing], journal: Journal, *, steps: Steps) -> None:
    """Install what brings the things that a host lacks, with what that depends on, until the deployment is taken down.

    Services that packages bring are not started. dpkg's lock is waited for, for 120 s.

    :raises Unfit: apt-get refuses, or would have to upgrade or remove what is there, which could not be undone; what
        was done is undone with the deployment.
    :raises CommandTimedOut: that is not done after 5 minutes for fetching, or 8 for installing.
    """
    needs = {lack.package: lack.need for lack in lacks if lack.need is not None}
    named = ", ".join(needs)
    begin = _begin(journal.record.run)

    def command(script: str, *first: str) -> Command:
        lines = ["set -eu", shlex.join(["set", "--", *needs]), begin, *first, _SCRIPTS.text("apt"), script]
        return root("\n".join(lines))

    try:
        with steps.step(f"fetch {named}", host.name):
            change = _packages(named, needs.values(), begin, journal.record.run)
            # Not again: what was undone meanwhile is to stay so.
            places = _SCRIPTS.text("make_places", folder=FOLDER)
            offers = journal.change(change, command(_SCRIPTS.text("fetch_packages"), places), _FETCH_LIMIT_S)
            for line in offers.text.splitlines():
                package, version = line.split()
                check_offer(host.name, needs[package], version)
        with steps.step(f"install {named}", host.name):
            host.run(command(_SCRIPTS.text("install_packages")), timeout=_INSTALL_LIMIT_S)
    except NotWritten:
        raise
    except CommandFailed as error:
        raise Unfit(f"host {host.name}: {named} cannot be installed: {error.said}") from None


def _packages(named: str, needs: Iterable[Need], begin: str, run: str) -> Change:
    """The change that packages come."""
    folders = [need.data for need in needs if need.data is not None]
    removing = _SCRIPTS.text(
        "remove_packages",
        undo_wait_s=_UNDO_WAIT_S,
        data="\n".join(shlex.join([data.folder, data.others, *data.own]) for data in folders),
        first_person=_FIRST_PERSON,
        most_remarks=_MOST_REMARKS,
    )
    return Change(
        f"remove {named}, and what came with it",
        PART,
        f"{begin}\n{removing}",
        proof=f"[ ! -d {_state(run)} ] || echo '{named} cannot be shown to be removed: {_state(run)} is there'",
        limit=_UNDO_LIMIT_S,
    )


def _begin(run: str) -> str:
    cache = f"/var/cache/tutorial-deploy-{run}"
    begin = _SCRIPTS.text("packages", state=_state(run), cache=cache, remark=REMARK, lock_limit_s=_LOCK_LIMIT_S)
    return f"{PUT}\n{begin}"


def _state(run: str) -> str:
    # Not the folder of the run's other backups, which goes when these are put back.
    return f"{FOLDER}/{run}-packages"
