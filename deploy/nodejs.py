"""The Node.js API on a host: sent there, started as a process element, and ready when it answers over HTTP."""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import dataclass

from circuit import Anchor, CallFailed, CircuitError, Cmd, Element, ElementExists, Proc
from deploy import ports
from deploy.errors import Conflict, DeployError, NotReady, Unfit, tail
from deploy.mysql import MySQL
from deploy.ports import Listening, parse_listening
from deploy.shell import as_root, run_shell
from deploy.steps import Steps
from deploy.undo import Undo
from deploy.waiting import wait_until

ANCHOR = "nodejs"
"""The app is the element of ``/HOST/nodejs``."""

PORT = 8080
API_HOST = "0.0.0.0"
LOG = "/tmp/tutorial-nodejs.log"
OLDEST_NODE = 18

_READY_LIMIT_S = 30.0
_TERM_LIMIT_S = 5.0
_KILL_LIMIT_S = 5.0

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
    """A deployed API. ``command`` is how node was started, ``folder`` where it lives, ``log`` where it writes."""

    host: Anchor
    address: str
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


def look(host: Anchor) -> Facts:
    """Read the facts of a host. Changes nothing."""
    values: dict[str, list[str]] = {}
    for line in run_shell(host, _LOOK, timeout=30).text.splitlines():
        name, _, value = line.partition(" ")
        values.setdefault(name, []).append(value)
    return Facts(
        node=values.get("node", [""])[0],
        version=values.get("version", [""])[0],
        curl="curl" in values,
        listening=tuple(parse_listening(entry) for entry in values.get("listening", [])),
        app=host.walk(ANCHOR).get(),
    )


def check(facts: Facts, host: str, *, replace: bool) -> None:
    """Refuse a host that cannot take the app, or that runs one.

    :raises Unfit: a program is missing or too old.
    :raises Conflict: the anchor or the port is in use, and what is there is not to be replaced.
    """
    if not facts.curl:
        raise Unfit(f"host {host} has no curl: install it (apt-get install curl)")
    if not facts.node:
        raise Unfit(f"host {host} has no Node.js: install it (apt-get install nodejs)")
    if not _new_enough(facts.version):
        raise Unfit(f"host {host} has Node.js {facts.version}, and {OLDEST_NODE} or newer is needed")
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


def deploy(
    host: Anchor,
    address: str,
    mysql: MySQL,
    facts: Facts,
    bundle: bytes,
    run_id: str,
    *,
    steps: Steps,
    undo: Undo,
) -> NodeJS:
    """Send the app to the host, start it, and wait until it answers.

    :param address: the host's public address, for the service's URL; the app listens on every address.
    :param facts: of this host, fresh, and passed by :func:`check`; an app that they show is ended first.
    :param bundle: see :func:`deploy.bundle.build_bundle`.
    :param run_id: names this run's folder on the host.
    :raises NotReady: the app died, or did not answer in time; the message has the end of its log.
    """
    folder = f"/tmp/tutorial-nodejs-{run_id}"
    if isinstance(facts.app, Proc):
        with steps.step("Node.js: end the app that was there", host.name):
            end_app(facts.app)
    undo.add("Node.js: remove the app and its log", host.name, lambda: _remove(host, folder))
    with steps.step(f"Node.js: send the app, {len(bundle) / 1e6:.1f} MB", host.name):
        # mkdir refuses a folder that somebody else put in its place; an older log is set aside, to come back.
        keep_log = f"if [ -e {LOG} ]; then mv -f {LOG} {folder}/{_OLD_LOG}; fi"
        run_shell(host, f"set -e; mkdir {folder}; {as_root(keep_log)}; tar -xzf - -C {folder}", stdin=bundle)
    command = (
        *(facts.node, f"{folder}/index.js", "--mysql_host", mysql.address, "--mysql_port", str(mysql.port)),
        *("--api_host", API_HOST, "--api_port", str(PORT)),
    )
    anchor = host.walk(ANCHOR)
    with steps.step(f"Node.js: start it at {anchor.path}", host.name):
        undo.add("Node.js: end the app", host.name, lambda: _end_ours(anchor, folder))
        # With exec the element is the Node.js process itself, so that signals reach it.
        shell = f"exec {shlex.join(command)} > {LOG} 2>&1"
        try:
            proc = anchor.make_proc(Cmd("/bin/sh", ["-c", shell], dir=folder, scrub=True))
        except ElementExists as error:
            raise Conflict(f"nodejs app already running: another run was quicker ({error})") from None
        proc.discard_streams()
    with steps.step("Node.js: wait for an answer over HTTP", host.name):
        _await_answer(host, proc)
    return NodeJS(host, address, PORT, anchor, folder, LOG, command)


_OLD_LOG = ".log-that-was-there"


def end_app(proc: Proc) -> None:
    """End the app: TERM, after 5 s KILL, then scrub its anchor.

    :raises CircuitError: it did not end, or its host is lost.
    """
    # What ended meanwhile cannot be signalled, which is just as well.
    for signal, limit in (("TERM", _TERM_LIMIT_S), ("KILL", _KILL_LIMIT_S)):
        with contextlib.suppress(CallFailed):
            proc.signal(signal)
        try:
            proc.wait(limit)
            break
        except CallFailed:
            break
        except TimeoutError:
            if signal == "KILL":
                raise
    proc.scrub()


def _end_ours(anchor: Anchor, folder: str) -> None:
    """End the app of this run, which its command tells from any other."""
    app = anchor.get()
    if isinstance(app, Proc) and any(folder in argument for argument in app.peek().cmd.args):
        end_app(app)


def _remove(host: Anchor, folder: str) -> None:
    old = f"{folder}/{_OLD_LOG}"
    put_back = f"[ -d {folder} ] || exit 0; rm -f {LOG}; if [ -e {old} ]; then mv {old} {LOG}; fi; rm -rf {folder}"
    run_shell(host, as_root(put_back))


def _await_answer(host: Anchor, proc: Proc) -> None:
    ask = f"curl -sS --noproxy '*' --max-time 5 -o /dev/null -w '%{{http_code}}' http://127.0.0.1:{PORT}/get/ready"

    def probe() -> str:
        stat = proc.peek()
        if stat.exit is not None:
            raise NotReady(f"the Node.js app on host {host.name} died: {stat.exit}")
        result = run_shell(host, ask, timeout=10, check=False)
        # The name is not there, and to say so the app has asked MySQL.
        return "" if result.text in ("200", "404") else result.text + result.stderr.decode("utf-8", "replace").strip()

    try:
        wait_until(probe, f"the API on host {host.name} to answer", _READY_LIMIT_S)
    except NotReady as error:
        raise NotReady(f"{error}\n  {LOG}: {_log(host)}") from None


def _log(host: Anchor) -> str:
    try:
        return tail(run_shell(host, f"tail -n 20 {LOG}", timeout=10).stdout) or "(empty)"
    except (DeployError, CircuitError) as error:
        return f"(cannot be read: {error})"
