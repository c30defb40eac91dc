"""The accounts of the deployed MySQL, and connections to it from this machine.

The app's account may connect only from the API's host; the checks' account only from this machine, to read. Both have
generated passwords, and require TLS where the server has it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import pymysql
from pymysql.constants import CR, ER

from circuit_harness.errors import DeployError
from circuit_harness.secret import Secret, generate, without_frames

ANYWHERE = "%"
"""An account's host that matches every host."""

CONNECT_LIMIT_S = 5.0
ANSWER_LIMIT_S = 10.0
WHOLE_LIMIT_S = 30.0
"""Seconds that a whole answer may take: an attacker on the host could send one byte at a time."""

MOST_ANSWERED = 8 << 20
"""The most bytes that one answer may have. Checks read few bytes; as rows they take up to twenty times as much memory.
"""


# With these methods the server verifies a password without receiving it, or receives it encrypted: by TLS, or with its
# own RSA key.
_METHODS = ("mysql_native_password", "caching_sha2_password", "sha256_password")
_PROBES = 5

_DENIED_WITHOUT_PASSWORD = 1698
"""MariaDB's answer to an unknown user for whom it simulates a method without a password."""

_REFUSED = (ER.ACCESS_DENIED_ERROR, _DENIED_WITHOUT_PASSWORD, ER.HOST_NOT_PRIVILEGED)

Connection: TypeAlias = "pymysql.connections.Connection[pymysql.cursors.Cursor]"


def check_user(user: str) -> str:
    """Return the name of the checks' account, which can read the data that the app stores with the account ``user``."""
    return f"{user}_check"


def load_user(user: str) -> str:
    """Return the name of the account that loads the schema, and is dropped after that."""
    return f"{user}_load"


@dataclass(frozen=True)
class Account:
    """A user from one host. Without a password, it is open to everybody on that host.

    With ``hashed``, the statement contains only the password's hash: MariaDB writes statements unchanged to logs that
    an administrator may have enabled. MySQL masks passwords in logs, and has no hash that this machine could compute; a
    MariaDB with a plugin for password validation accepts no hash.
    """

    user: str
    host: str
    grant: str
    password: Secret | None
    tls: bool
    hashed: bool

    @property
    def name(self) -> str:
        """The account's name in SQL."""
        return f"'{self.user}'@'{self.host}'"

    def create(self) -> str:
        """Return the statements that make the account."""
        identified = ""
        if self.password is not None and self.hashed:
            identified = f" IDENTIFIED BY PASSWORD '{_native_hash(self.password.reveal())}'"
        elif self.password is not None:
            identified = f" IDENTIFIED BY '{self.password.reveal()}'"
        require = " REQUIRE SSL" if self.tls else ""
        return f"CREATE USER {self.name}{identified}{require};\n{self.grant} TO {self.name};\n"


@dataclass(frozen=True)
class Tls:
    """The encryption of connections: none, unless ``on``. ``ca`` is the server's own authority, in PEM.

    Without an authority, a client cannot verify the server's identity: MariaDB since 11.4 makes a new certificate at
    each start, which no client can know. An eavesdropper learns nothing in this case either.
    """

    on: bool = False
    ca: str = ""

    def context(self) -> ssl.SSLContext | None:
        """Return the context for a client on this machine; None without encryption."""
        if not self.on:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Clients connect by address, and the certificates that servers make for themselves contain no address.
        context.check_hostname = False
        if self.ca:
            context.load_verify_locations(cadata=self.ca)
        else:
            context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(frozen=True)
class _Refusal:
    """The client's side of an authentication method that would reveal the password: it refuses."""

    method: str
    connection: Connection

    def authenticate(self, packet: object) -> NoReturn:
        """Raise an error instead of sending the password.

        :raises pymysql.OperationalError: always.
        """
        raise pymysql.OperationalError(
            CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
            f"the server requests the password by {self.method}, which could reveal it to whoever answers there or"
            f" listens on the way, so nothing was sent: use an account with one of the methods {', '.join(_METHODS)}",
        )


# All other methods that PyMySQL has: it would use each of them for any server that requests it.
_REFUSALS: dict[str, Callable[[pymysql.connections.Connection[Any]], Any]] = {
    method: partial(_Refusal, method)
    for method in ("mysql_clear_password", "dialog", "mysql_old_password", "client_ed25519")
}


if TYPE_CHECKING:
    _Base = pymysql.connections.Connection[pymysql.cursors.Cursor]
else:
    _Base = pymysql.connections.Connection


class _Bounded(_Base):
    """A connection that closes when the answer to a statement, or to the handshake, is too long or does not end."""

    _left = MOST_ANSWERED
    _until = math.inf

    def connect(self, sock: Any = None) -> None:
        """Connect, and start the limits of the handshake."""
        self._begin()
        super().connect(sock)

    def _execute_command(self, command: int, sql: str | bytes) -> None:
        self._begin()
        super()._execute_command(command, sql)  # type: ignore[misc]

    def _begin(self) -> None:
        self._left, self._until = MOST_ANSWERED, time.monotonic() + WHOLE_LIMIT_S

    def _read_bytes(self, num_bytes: int) -> bytes:
        """Read in pieces: a single read would wait for as long as a byte comes now and then."""
        self._left -= num_bytes
        read = bytearray()
        try:
            if self._left < 0:
                raise OSError(f"an answer of more than {MOST_ANSWERED} bytes")
            while len(read) < num_bytes:
                if time.monotonic() > self._until:
                    raise OSError(f"an answer that did not end within {WHOLE_LIMIT_S:g} s")
                block = self._rfile.read1(num_bytes - len(read))  # type: ignore[attr-defined]
                if not block:
                    raise OSError("the server closed the connection")
                read += block
        except OSError as error:
            self._force_close()  # type: ignore[attr-defined]
            raise pymysql.OperationalError(
                CR.CR_SERVER_LOST, f"Lost connection to MySQL server during query ({error})"
            ) from None
        except BaseException:
            self._force_close()  # type: ignore[attr-defined]
            raise
        return bytes(read)


def connect(address: str, port: int, user: str, password: Secret | None, database: str | None, tls: Tls) -> Connection:
    """Connect from this machine; each statement is a separate transaction.

    A server that requests the password by a method that reveals it gets nothing, with TLS or without.

    :raises pymysql.OperationalError: the server refuses the connection, or cannot be reached.
    """
    try:
        return _Bounded(
            host=address,
            port=port,
            user=user,
            password=password.reveal() if password is not None else "",
            database=database,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=int(CONNECT_LIMIT_S),
            read_timeout=ANSWER_LIMIT_S,
            write_timeout=ANSWER_LIMIT_S,
            ssl=tls.context(),
            # Explicit, because PyMySQL would try TLS by itself.
            ssl_disabled=not tls.on,
            auth_plugin_map=_REFUSALS,
        )
    except Exception as error:  # noqa: BLE001 - every error is raised again below
        # A report may show the variables of frames, and the frames below contain the password.
        again = without_frames(error)
        if isinstance(error, pymysql.MySQLError) and error.args[0] == CR.CR_AUTH_PLUGIN_CANNOT_LOAD:
            again = pymysql.OperationalError(error.args[0], f"MySQL at {address} port {port}: {error.args[1]}")
    raise again


def own_address(address: str, port: int) -> str | None:
    """Return this machine's source address on the route to another; None where there is no route."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # Sends nothing.
            probe.connect((address, port))
        except OSError:
            return None
        own: str = probe.getsockname()[0]
        return own


def seen_from(address: str, port: int, tls: Tls, app: str) -> str | None:
    """Return the address at which a server sees this machine, with or without address translation between them.

    The server's error message for a refused user contains that address, so this tries unknown users, with names similar
    to that of the checks' account that belongs to ``app``. Returns None where the server cannot be reached from here.

    :raises DeployError: the server accepts any password, or requests passwords by a method that reveals them.
    """
    refused = ""
    # For an unknown user, MariaDB simulates the method of an existing one, which depends on the given name.
    checks = check_user(app)
    for user in (checks, *(f"{checks}{number}" for number in range(1, _PROBES))):
        try:
            connect(address, port, user, generate(), None, tls).close()
        except pymysql.OperationalError as error:
            if error.args[0] == CR.CR_AUTH_PLUGIN_CANNOT_LOAD:
                refused = str(error.args[1])
                continue
            if error.args[0] not in _REFUSED:
                return None
            client = re.search(r"(?:@|Host )'([^']+)'", str(error.args[1]))
            if client is not None and _is_ip(client[1]):
                return client[1]
            # A name, where the server looks up names; it matches accounts by address, too.
            return own_address(address, port)
        raise DeployError(f"MySQL at {address} port {port} accepts the unknown user {user} with any password")
    raise DeployError(refused)


def _native_hash(password: str) -> str:
    """Return the hash that ``mysql_native_password`` stores."""
    return "*" + hashlib.sha1(hashlib.sha1(password.encode()).digest()).hexdigest().upper()


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
