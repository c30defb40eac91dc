"""The Node.js API on a host: sent there, started as a process element, and ready when it answers over HTTP.

It runs confined (:mod:`deploy.confined`): as a user of its own, who may read its files and write its log, and no more.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from circuit import CircuitError, Cmd, ElementExists, Hidden
from circuit_harness.errors import Conflict, DeployError, NotReady, Unfit, tail
from circuit_harness.remote import fact_lines
from circuit_harness.remote.command import Command, root
from circuit_harness.remote.host import Element, Host, Process, as_process
from circuit_harness.remote.script import Scripts
from circuit_harness.remote.waiting import wait_until
from circuit_harness.steps import Steps
from deploy import confined, ports
from deploy.changes import Changes, end
from deploy.confined import Confined
from deploy.mysql import MySQL
from deploy.ports import Listening, Ports, parse_listening
from deploy.record import Change

PART = "nodejs"
"""This part's name, in records and among the wishes for a deployment."""

ANCHOR = "nodejs"
"""The app is the element of ``/HOST/nodejs``."""

PORT = Ports.api
FOLDERS = "/var/lib"
"""The app's folder is below this one, where nobody but root can make another in its place."""

LOG = "/tmp/tutorial-nodejs.log"
"""Where the tutorial has it, in a folder that everybody can write to."""

OLDEST_NODE = 18
PROGRAMS = ("nodejs", "node")
"""Node.js, by either of its names, of which the first that a host has is used."""

PASSWORD_FILE = "mysql-password"
"""Below the app's folder: the password of its account, for its user alone."""

HEAP_MIB = 256
"""The most memory for what the app holds, in MiB."""

_READY_LIMIT_S = 30.0
_ASIDE = ".log-aside"
"""Below the app's folder: names the folder beside the log that holds the log which was there."""

_CA_FILE = "mysql-ca.pem"

_SCRIPTS = Scripts.beside(__file__)
_LOOK = "\n".join(
    [confined.FIND_NOBODY, _SCRIPTS.text("look_for_node", nodes=" ".join(PROGRAMS)), ports.LIST, "exit 0"]
)


@dataclass(frozen=True)
class Facts:
    """What :func:`look` found on a host.

    ``uid`` is one that nobody has there; ``app`` is the element at its anchor, if there is one.
    """

    uid: int
    node: str
    version: str
    listening: tuple[Listening, ...]
    app: Element | None


@dataclass(frozen=True)
class NodeJS:
    """A deployed API, reached at ``address``, listening on ``listen``, which is every address.

    Its ``process`` is the element of :data:`ANCHOR`; ``version`` is that of Node.js.
    """

    host: Host
    address: str
    listen: str
    port: int
    process: Confined
    version: str

    @property
    def url(self) -> str:
        """Where the API is reached, without a slash at the end."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}"

    @property
    def password_file(self) -> str | None:
        """The file with the password of its account, for its user alone; None where the account has none."""
        path = f"{self.process.folder}/{PASSWORD_FILE}"
        return path if path in self.process.command else None

    def describe(self) -> dict[str, Any]:
        """All but the host, as plain values; :meth:`at` is the way back."""
        plain = {name: getattr(self, name) for name in ("address", "listen", "port", "version")}
        return {**plain, **asdict(self.process)}

    @classmethod
    def at(cls, host: Host, described: Mapping[str, Any]) -> NodeJS:
        """The API on a host that :meth:`describe` told of."""
        values = {name: described[name] for name in (field.name for field in fields(Confined))}
        process = Confined(**{**values, "command": tuple(values["command"])})
        address, listen, port, version = (described[name] for name in ("address", "listen", "port", "version"))
        return cls(host, address, listen, port, process, version)


def look(host: Host) -> Facts:
    """Read the facts of a host. Changes nothing.

    :raises Unfit: the host says nothing that it could.
    """
    values = fact_lines.parse(host.run(Command(_LOOK), timeout=30, limit=fact_lines.MOST_BYTES).text)
    uid = fact_lines.first(values, "uid")
    if not re.fullmatch(r"[0-9]{1,9}", uid):
        raise Unfit(f"host {host.name}: no user can be found for the app that nobody else is: {ascii(uid)[:40]}")
    return Facts(
        uid=int(uid),
        node=fact_lines.first(values, "node"),
        version=fact_lines.first(values, "version"),
        listening=tuple(parse_listening(entry) for entry in values.get("listening", [])),
        app=host.element(ANCHOR),
    )


def check_free(facts: Facts, host: str, port: int, *, replace: bool) -> None:
    """Refuse a host that runs an app.

    :raises Conflict: the anchor or the port is in use, and what is there is not to be replaced.
    """
    if facts.app is not None and not (replace and as_process(facts.app)):
        raise Conflict(
            f"nodejs app already running: {facts.app.anchor.path} has a {facts.app.kind} element;"
            " --replace ends it and takes its place"
        )
    if facts.app is None:
        check_port(facts, host, port)


def check_port(facts: Facts, host: str, port: int) -> None:
    """Refuse a host where the port is in use.

    :raises Conflict: it is.
    """
    taken = [str(socket) for socket in facts.listening if socket.port == port]
    if taken:
        raise Conflict(f"host {host}: port {port} is in use ({', '.join(taken)}), and not by an app of ours: free it")


def new_enough(version: str) -> bool:
    """Whether Node.js of this version, as it tells it, can run the app."""
    major = version.removeprefix("v").partition(".")[0]
    return major.isdigit() and int(major) >= OLDEST_NODE


def listen_address(public: str) -> str:
    """What an API listens on whose public address this is: every address, those of IPv6 only where it is one of them.

    On ``::`` Node.js serves IPv4, too. A host without IPv6 has no such address.
    """
    return "::" if ":" in public else "0.0.0.0"


def folder_of(run: str) -> str:
    """Where a run puts the app: below a folder of root's own. Its name tells the run's process from any other."""
    return f"{FOLDERS}/tutorial-nodejs-{run}"


def prepare(host: Host, facts: Facts, bundle: bytes, changes: Changes, *, steps: Steps) -> None:
    """Send the app to the host; MySQL need not be there for that.

    :param facts: of this host, fresh, and passed by both checks; an app that they show goes on.
    :param bundle: see :func:`deploy.bundle.build_bundle`.
    """
    folder = folder_of(changes.record.run)
    with steps.step(f"Node.js: send the app, {len(bundle) / 1e6:.1f} MB", host.name):
        changes.add(_files(folder, LOG, facts.uid))
        unpack = f"set -e; umask 022; mkdir {folder}; {_set_aside(LOG, folder)}; tar -xzf - --no-same-owner -C {folder}"
        host.run(root(unpack, bundle))


def start(host: Host, address: str, port: int, mysql: MySQL, facts: Facts, changes: Changes, *, steps: Steps) -> NodeJS:
    """Start the app that was sent, and wait until it answers.

    :param address: the host's public address, for the service's URL; the app listens on every address, on ``port``.
    :param mysql: with the password of the app's account, which goes to a file that only the app's user can read.
    :raises NotReady: the app died, or did not answer in time; the message has the end of its log.
    """
    listen = listen_address(address)
    process = _process(folder_of(changes.record.run), Listening(listen, port), mysql, facts)
    # Not before MySQL is there: what is replaced does not come back.
    if (there := as_process(facts.app)) is not None:
        with steps.step("Node.js: end the app that was there", host.name):
            end(host, ANCHOR, there)
    with steps.step(f"Node.js: start it at /{host.name}/{ANCHOR}", host.name):
        changes.add(
            Change(
                "Node.js: end the app",
                PART,
                process.end(),
                proof=ports.still_open(port),
                anchor=ANCHOR,
                mark=process.folder,
            )
        )
        host.run(root(f"set -e; {process.prepare()}; {_store(process, mysql)}", _secrets(mysql)))
        try:
            proc = host.start(ANCHOR, Cmd("/bin/sh", ["-c", process.launch()], dir=process.folder, scrub=True))
        except ElementExists as error:
            raise Conflict(f"nodejs app already running: another run was quicker ({error})") from None
        proc.discard_streams()
    with steps.step("Node.js: wait for an answer over HTTP", host.name):
        _await_answer(host, port, proc, process, steps)
        service = NodeJS(host, address, listen, port, process, facts.version)
        changes.tell(PART, service.describe())
    return service


def _process(folder: str, listening: Listening, mysql: MySQL, facts: Facts) -> Confined:
    program = f"{folder}/index.js"
    command = [facts.node, f"--max-old-space-size={HEAP_MIB}", program]
    command += ["--mysql_host", mysql.address, "--mysql_port", str(mysql.port)]
    if mysql.password is not None:
        command += ["--mysql_password_file", f"{folder}/{PASSWORD_FILE}"]
    if mysql.tls:
        command += ["--mysql_tls"]
    if mysql.ca:
        command += ["--mysql_ca_file", f"{folder}/{_CA_FILE}"]
    command += ["--api_host", listening.ip, "--api_port", str(listening.port)]
    return Confined(tuple(command), program, facts.uid, folder, LOG)


def _store(process: Confined, mysql: MySQL) -> str:
    """Shell, for root: store what the app needs to log in.

    The password comes by standard input, as :func:`_secrets` has it, and stands in no command line, not even here.
    """
    password, ca = f"{process.folder}/{PASSWORD_FILE}", f"{process.folder}/{_CA_FILE}"
    store = [f"umask 077; cat > {password}; chown {process.owner} {password}; chmod 400 {password}"]
    if mysql.password is None:
        store = []
    if mysql.ca:
        store.append(f"umask 022; printf '%s\\n' {shlex.quote(mysql.ca)} > {ca}")
    return "; ".join([*store, "true"])


def _secrets(mysql: MySQL) -> Hidden:
    return Hidden(b"") if mysql.password is None else mysql.password.hidden()


def _set_aside(log: str, folder: str) -> str:
    """Shell, for root and `set -e`: set aside what stands in the log's place, to come back."""
    name = f"{posixpath.dirname(log)}/.{posixpath.basename(log)}.XXXXXXXXXX"
    return _SCRIPTS.text("set_log_aside", log=log, folder=folder, name=name, kept=_ASIDE)


def _files(folder: str, log: str, uid: int) -> Change:
    """The change that the app's files are, and its log, which is known by its owner, ``uid``."""
    return Change(
        "Node.js: remove the app and its log",
        PART,
        _SCRIPTS.text("remove_app", log=log, folder=folder, kept=_ASIDE, uid=uid),
        proof=f"[ ! -e {folder} ] || echo {folder} is still there",
    )


def _await_answer(host: Host, port: int, proc: Process, process: Confined, steps: Steps) -> None:
    ask = f"curl -sS --noproxy '*' --max-time 5 -o /dev/null -w '%{{http_code}}' http://127.0.0.1:{port}/get/ready"

    def probe() -> str:
        stat = proc.peek()
        if stat.exit is not None:
            raise NotReady(f"the Node.js app on host {host.name} died: {stat.exit}")
        result = host.run(Command(ask), timeout=10, check=False)
        # The name is not there, and to say so the app has asked MySQL.
        return "" if result.text in ("200", "404") else result.text + result.stderr.decode("utf-8", "replace").strip()

    try:
        wait_until(probe, f"the API on host {host.name} to answer", _READY_LIMIT_S, steps)
    except NotReady as error:
        raise NotReady(f"{error}\n  {LOG}: {_log(host, process)}") from None


def log_command(process: Confined) -> str:
    """Shell, for root: print the last lines that the app wrote, and what kept it from being started."""
    return f"tail -q -n 20 {process.start_log} 2>&1; {process.as_user(f'tail -q -n 20 {process.log}')} 2>&1"


def _log(host: Host, process: Confined) -> str:
    try:
        return tail(host.run(root(log_command(process)), timeout=10).stdout) or "(empty)"
    except (DeployError, CircuitError) as error:
        return f"(cannot be read: {error})"
