"""Packages that are installed on a host for as long as a deployment stands, by apt-get, and purged with it.

The host itself writes down, root's alone and before the first is unpacked, which packages will come, and what was there
before: so all goes again, whenever the installing was cut short, and nothing that others have installed meanwhile.
What packages leave behind when they are purged is removed only where one of them names it; whatever else appeared in
that time is somebody's, stays, and is reported. apt-get fetches into a folder of its own: the host's lists and its
cache of packages stay as they are.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from circuit_harness.errors import CommandFailed, Unfit
from circuit_harness.remote.command import root
from circuit_harness.remote.host import Host
from circuit_harness.remote.script import Scripts
from circuit_harness.steps import Steps
from deploy.changes import REMARK, Changes
from deploy.edits import PUT
from deploy.prerequisites import DATA, check_offer
from deploy.record import FOLDER, Change

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


def install(host: Host, packages: Sequence[str], changes: Changes, *, steps: Steps) -> None:
    """Install packages of the host's archives, with what they depend on, until the deployment is taken down.

    Services that they bring are not started. dpkg's lock is waited for, for 120 s.

    :raises Unfit: apt-get refuses, or would have to upgrade or remove what is there, which could not be undone; what
        was done is undone with the deployment.
    :raises CommandTimedOut: that is not done after 5 minutes for fetching, or 8 for installing.
    """
    named = ", ".join(packages)
    begin = _begin(changes.record.run)

    def run(script: str, limit: float, *first: str) -> str:
        lines = ["set -eu", shlex.join(["set", "--", *packages]), begin, *first, _SCRIPTS.text("apt"), script]
        try:
            return host.run(root("\n".join(lines)), timeout=limit).text
        except CommandFailed as error:
            raise Unfit(f"host {host.name}: {named} cannot be installed: {error.said}") from None

    with steps.step(f"fetch {named}", host.name):
        changes.add(_packages(named, begin, changes.record.run))
        # Not again: what was undone meanwhile is to stay so.
        places = _SCRIPTS.text("make_places", folder=FOLDER)
        for line in run(_SCRIPTS.text("fetch_packages"), _FETCH_LIMIT_S, places).splitlines():
            check_offer(host.name, *line.split())
    with steps.step(f"install {named}", host.name):
        run(_SCRIPTS.text("install_packages"), _INSTALL_LIMIT_S)


def _packages(named: str, begin: str, run: str) -> Change:
    """The change that packages come."""
    removing = _SCRIPTS.text(
        "remove_packages",
        undo_wait_s=_UNDO_WAIT_S,
        data=DATA,
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
