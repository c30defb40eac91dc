"""Install packages on a host with apt-get for the time of a deployment, and purge them with it.

Before the first package is unpacked, the host itself lists the packages to install and its state before that, in files
of root's. So all of them can be removed again, wherever the installation was interrupted, and nothing that others have
installed meanwhile. A file that packages leave behind when they are purged is removed only where one of them names it;
everything else that appeared in that time may be somebody's: it stays, and is reported. apt-get fetches into a separate
folder: the host's lists and its cache of packages stay as they are.
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
# To undo, the host waits for an installation that continues although its runner was killed, and for dpkg's lock.
_UNDO_WAIT_S = 240
_UNDO_LIMIT_S = 480.0
# The first user number of people, according to Debian's policy.
_FIRST_PERSON = 1000
_MOST_REMARKS = 12

_SCRIPTS = Scripts.beside(__file__)


def install(host: Host, lacks: Sequence[Missing], journal: Journal, *, steps: Steps) -> None:
    """Install the packages that a host lacks, and their dependencies, until the deployment is taken down.

    Services of the packages are not started. apt-get waits up to 120 s for dpkg's lock.

    :raises Unfit: apt-get fails, or would have to upgrade or remove existing packages, which could not be undone; what
        was done until then is undone with the deployment.
    :raises CommandTimedOut: fetching took more than 5 minutes, or installing more than 8.
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
            # Only for this command: if another run undoes the change meanwhile, the next one must not make them again.
            places = _SCRIPTS.text("make_places", folder=FOLDER)
            offers = journal.change([change], command(_SCRIPTS.text("fetch_packages"), places), _FETCH_LIMIT_S)
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
    """Return the change that installs packages."""
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
    # A separate folder, because that of the run's other backups is removed when these are restored.
    return f"{FOLDER}/{run}-packages"
