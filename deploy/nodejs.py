"""The Node.js API on a host: sent there, started as a process element, and ready when it answers over HTTP."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from circuit import Anchor, CircuitError, Cmd, Element, ElementExists, Proc
from deploy import ports
from deploy.changes import Changes, end
from deploy.errors import Conflict, DeployError, NotReady, Unfit, tail
from deploy.mysql import MySQL
from deploy.ports import Listening, parse_listening
from deploy.record import Change
from deploy.shell import as_root, run_shell
from deploy.steps import Steps
from deploy.waiting import wait_until

PART = "nodejs"
"""This part's name, in records and among the wishes for a deployment."""

ANCHOR = "nodejs"
"""The app is the element of ``/HOST/nodejs``."""

PORT = 8080
LOG = "/tmp/tutorial-nodejs.log"
OLDEST_NODE = 18

_READY_LIMIT_S = 30.0
_OLD_LOG = ".log-that-was-there"

_LOOK = f"""
for name in nodejs node; do
    command -v $name >/dev/null && {{ echo "node $(command -v $name)"; echo "version $($name --version)"; break; }}
done
command -v curl >/dev/null && echo curl yes
{ports.LIST}
exit 0
"""


@dataclass(frozen=True)
class Facts:
    """What :func:`look` found on a host; ``app`` is the element at its anchor, if there is one."""

    node: str
    version: str
    curl: bool
    listening: tuple[Listening, ...]
    app: Element | None


@dataclass(frozen=True)
class NodeJS:
    """A deployed API, reached at ``address``, listening on ``listen``, which is every address.

    ``command`` is how node was started, ``folder`` where it lives, ``log`` where it writes.
    """

    host: Anchor
    address: str
    listen: str
    port: int
    anchor: Anchor
    folder: str
    log: str
    command: tuple[str, ...]

    @property
    def url(self) -> str:
        """Where the API is reached, without a slash at the end."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}"

    def describe(self) -> dict[str, Any]:
        """All but the anchors, as plain values; :meth:`at` is the way back."""
        return {name: getattr(self, name) for name in ("address", "listen", "port", "folder", "log", "command")}

    @classmethod
    def at(cls, host: Anchor, described: Mapping[str, Any]) -> NodeJS:
        """The API on a host that :meth:`describe` told of."""
        anchor = host.walk(ANCHOR)
        return cls(host=host, anchor=anchor, **{**described, "command": tuple(described["command"])})


def look(host: Anchor) -> Facts:
    """Read the facts of a host. Changes nothing."""
    # Viewed first: to walk to an anchor makes it.
    app = host.view().get(ANCHOR)
    values: dict[str, list[str]] = {}
    for line in run_shell(host, _LOOK, timeout=30).text.splitlines():
        name, _, value = line.partition(" ")
        values.setdefault(name, []).append(value)
    return Facts(
        node=values.get("node", [""])[0],
        version=values.get("version", [""])[0],
        curl="curl" in values,
        listening=tuple(parse_listening(entry) for entry in values.get("listening", [])),
        app=None if app is None else app.get(),
    )


def check_fit(facts: Facts, host: str) -> None:
    """Refuse a host that cannot take the app.

    :raises Unfit: a program is missing or too old.
    """
    if not facts.curl:
        raise Unfit(f"host {host} has no curl: install it (apt-get install curl)")
    if not facts.node:
        raise Unfit(f"host {host} has no Node.js: install it (apt-get install nodejs)")
    if not _new_enough(facts.version):
        raise Unfit(f"host {host} has Node.js {facts.version}, and {OLDEST_NODE} or newer is needed")


def check_free(facts: Facts, host: str, *, replace: bool) -> None:
    """Refuse a host that runs an app.

    :raises Conflict: the anchor or the port is in use, and what is there is not to be replaced.
    """
    if facts.app is not None and not (replace and isinstance(facts.app, Proc)):
        raise Conflict(
            f"nodejs app already running: {facts.app.anchor.path} has a {facts.app.kind} element;"
            " --replace ends it and takes its place"
        )
    taken = [str(socket) for socket in facts.listening if socket.port == PORT]
    if taken and facts.app is None:
        raise Conflict(f"host {host}: port {PORT} is in use ({', '.join(taken)}), and not by an app of ours: free it")


def _new_enough(version: str) -> bool:
    major = version.removeprefix("v").partition(".")[0]
    return major.isdigit() and int(major) >= OLDEST_NODE


def listen_address(public: str) -> str:
    """What an API listens on whose public address this is: every address, those of IPv6 only where it is one of them.

    On ``::`` Node.js serves IPv4, too. A host without IPv6 has no such address.
    """
    return "::" if ":" in public else "0.0.0.0"


def folder_of(run: str) -> str:
    """Where a run puts the app. Its name tells the run's process from any other."""
    return f"/tmp/tutorial-nodejs-{run}"


def prepare(host: Anchor, facts: Facts, bundle: bytes, changes: Changes, *, steps: Steps) -> None:
    """Send the app to the host; MySQL need not be there for that.

    :param facts: of this host, fresh, and passed by both checks; an app that they show is ended first.
    :param bundle: see :func:`deploy.bundle.build_bundle`.
    """
    folder = folder_of(changes.record.run)
    if isinstance(facts.app, Proc):
        with steps.step("Node.js: end the app that was there", host.name):
            end(facts.app)
    with steps.step(f"Node.js: send the app, {len(bundle) / 1e6:.1f} MB", host.name):
        changes.add(_files(folder, facts))
        # mkdir refuses a folder that somebody else put in its place; an older log is set aside, to come back.
        keep_log = f"if [ -e {LOG} ]; then mv -f {LOG} {folder}/{_OLD_LOG}; fi"
        run_shell(host, f"set -e; mkdir {folder}; {as_root(keep_log)}; tar -xzf - -C {folder}", stdin=bundle)


def start(host: Anchor, address: str, mysql: MySQL, facts: Facts, changes: Changes, *, steps: Steps) -> NodeJS:
    """Start the app that was sent, and wait until it answers.

    :param address: the host's public address, for the service's URL; the app listens on every address.
    :raises NotReady: the app died, or did not answer in time; the message has the end of its log.
    """
    folder = folder_of(changes.record.run)
    listen = listen_address(address)
    command = (
        *(facts.node, f"{folder}/index.js", "--mysql_host", mysql.address, "--mysql_port", str(mysql.port)),
        *("--api_host", listen, "--api_port", str(PORT)),
    )
    with steps.step(f"Node.js: start it at /{host.name}/{ANCHOR}", host.name):
        changes.add(Change("Node.js: end the app", PART, anchor=ANCHOR, mark=folder, proof=ports.still_open(PORT)))
        anchor = host.walk(ANCHOR)
        # With exec the element is the Node.js process itself, so that signals reach it.
        # Appended: who cuts the log while the app runs leaves no hole in it.
        shell = f"exec {shlex.join(command)} >> {LOG} 2>&1"
        try:
            proc = anchor.make_proc(Cmd("/bin/sh", ["-c", shell], dir=folder, scrub=True))
        except ElementExists as error:
            raise Conflict(f"nodejs app already running: another run was quicker ({error})") from None
        proc.discard_streams()
    with steps.step("Node.js: wait for an answer over HTTP", host.name):
        _await_answer(host, proc, steps)
        service = NodeJS(host, address, listen, PORT, anchor, folder, LOG, command)
        changes.tell(PART, service.describe())
    return service


def _files(folder: str, facts: Facts) -> Change:
    """The change that the app's files are, and its log. What runs of it without an element is ended with them."""
    old = f"{folder}/{_OLD_LOG}"
    # A circuit server that was restarted has forgotten its processes, which run on.
    ours = shlex.quote(f"^{facts.node} {folder}/index.js ")
    stray = (
        "for file in /proc/[0-9]*/cmdline; do"
        f" if tr '\\0' ' ' 2>/dev/null < $file | grep -q {ours}; then"
        " pid=${file#/proc/}; kill -KILL ${pid%/*}; fi; done"
    )
    put_back = f"[ -d {folder} ] || exit 0; rm -f {LOG}; if [ -e {old} ]; then mv {old} {LOG}; fi; rm -rf {folder}"
    return Change(
        "Node.js: remove the app and its log",
        PART,
        f"{stray}; {put_back}",
        proof=f"[ ! -e {folder} ] || echo {folder} is still there",
    )


def _await_answer(host: Anchor, proc: Proc, steps: Steps) -> None:
    ask = f"curl -sS --noproxy '*' --max-time 5 -o /dev/null -w '%{{http_code}}' http://127.0.0.1:{PORT}/get/ready"

    def probe() -> str:
        stat = proc.peek()
        if stat.exit is not None:
            raise NotReady(f"the Node.js app on host {host.name} died: {stat.exit}")
        result = run_shell(host, ask, timeout=10, check=False)
        # The name is not there, and to say so the app has asked MySQL.
        return "" if result.text in ("200", "404") else result.text + result.stderr.decode("utf-8", "replace").strip()

    try:
        wait_until(probe, f"the API on host {host.name} to answer", _READY_LIMIT_S, steps)
    except NotReady as error:
        raise NotReady(f"{error}\n  {LOG}: {_log(host)}") from None


def log_command(path: str) -> str:
    """Shell: print the last lines of the app's log."""
    return f"tail -n 20 {path} 2>&1"


def _log(host: Anchor) -> str:
    try:
        return tail(run_shell(host, log_command(LOG), timeout=10).stdout) or "(empty)"
    except (DeployError, CircuitError) as error:
        return f"(cannot be read: {error})"
