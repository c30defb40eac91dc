"""Who may connect to the deployed MySQL, from where, with what, and how it is done from this machine.

The app's account is admitted from the API's host alone, the checks' from this machine, to read. Both have generated
passwords, and need TLS where the server has it.
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
"""As an account's host."""

CONNECT_LIMIT_S = 5.0
ANSWER_LIMIT_S = 10.0
WHOLE_LIMIT_S = 30.0
"""How long a whole answer may take: a host that was taken over may send one byte at a time."""

MOST_ANSWERED = 8 << 20
"""How many bytes one answer may have. Checks ask for a few; as rows they take up to twenty times as much memory."""


# By these a server proves that a password is known without being given it, or is given it encrypted: by TLS, or for its
# own RSA key.
_METHODS = ("mysql_native_password", "caching_sha2_password", "sha256_password")
_PROBES = 5

_DENIED_WITHOUT_PASSWORD = 1698
"""MariaDB's answer to a user unknown to it, where it plays a method that takes no password."""

_REFUSED = (ER.ACCESS_DENIED_ERROR, _DENIED_WITHOUT_PASSWORD, ER.HOST_NOT_PRIVILEGED)

Connection: TypeAlias = "pymysql.connections.Connection[pymysql.cursors.Cursor]"


def check_user(user: str) -> str:
    """The checks' account, which can read what the app, whose account is ``user``, has stored."""
    return f"{user}_check"


def load_user(user: str) -> str:
    """The account that loads the schema, and is gone when it has."""
    return f"{user}_load"


@dataclass(frozen=True)
class Account:
    """A user from one host. Without a password it is open to all who are there.

    ``hashed`` has the server told the password's hash alone: MariaDB writes statements as they are into logs that an
    administrator may have switched on. MySQL masks passwords there, and has no hash that could be made here; and a
    MariaDB that judges passwords takes none.
    """

    user: str
    host: str
    grant: str
    password: Secret | None
    tls: bool
    hashed: bool

    @property
    def name(self) -> str:
        """As SQL has it."""
        return f"'{self.user}'@'{self.host}'"

    def create(self) -> str:
        """The statements that make it."""
        identified = ""
        if self.password is not None and self.hashed:
            identified = f" IDENTIFIED BY PASSWORD '{_native_hash(self.password.reveal())}'"
        elif self.password is not None:
            identified = f" IDENTIFIED BY '{self.password.reveal()}'"
        require = " REQUIRE SSL" if self.tls else ""
        return f"CREATE USER {self.name}{identified}{require};\n{self.grant} TO {self.name};\n"


@dataclass(frozen=True)
class Tls:
    """How connections are encrypted: not, where not ``on``. ``ca`` is the server's own authority, in PEM.

    Without it the server is not proven to be itself: MariaDB since 11.4 makes a certificate of its own at each start,
    which nobody can know. An eavesdropper learns nothing all the same.
    """

    on: bool = False
    ca: str = ""

    def context(self) -> ssl.SSLContext | None:
        """For a client of this machine."""
        if not self.on:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Servers are called by address, and the certificates that they make for themselves tell no address.
        context.check_hostname = False
        if self.ca:
            context.load_verify_locations(cadata=self.ca)
        else:
            context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(frozen=True)
class _Refusal:
    """What answers a server that asks for a password by a method that gives it away."""

    method: str
    connection: Connection

    def authenticate(self, packet: object) -> NoReturn:
        """Send nothing.

        :raises pymysql.OperationalError: always.
        """
        raise pymysql.OperationalError(
            CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
            f"the server asks for the password by {self.method}, which could give it away"
            f" to whoever answers there or listens on the way, so that nothing was sent: an account that is let in by"
            f" {', '.join(_METHODS)} is needed",
        )


# All other methods that PyMySQL knows, which it would use for whoever asks.
_REFUSALS: dict[str, Callable[[pymysql.connections.Connection[Any]], Any]] = {
    method: partial(_Refusal, method)
    for method in ("mysql_clear_password", "dialog", "mysql_old_password", "client_ed25519")
}


if TYPE_CHECKING:
    _Base = pymysql.connections.Connection[pymysql.cursors.Cursor]
else:
    _Base = pymysql.connections.Connection


class _Bounded(_Base):
    """One that gives its server up where the answer to a statement, or to the hello, is too long or does not end."""

    _left = MOST_ANSWERED
    _until = math.inf

    def connect(self, sock: Any = None) -> None:
        """Connect, and begin to count."""
        self._begin()
        super().connect(sock)

    def _execute_command(self, command: int, sql: str | bytes) -> None:
        self._begin()
        super()._execute_command(command, sql)  # type: ignore[misc]

    def _begin(self) -> None:
        self._left, self._until = MOST_ANSWERED, time.monotonic() + WHOLE_LIMIT_S

    def _read_bytes(self, num_bytes: int) -> bytes:
        """In pieces: what is asked for at once is waited for as long as a byte comes now and then."""
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
    """Connect from this machine; each statement is a transaction of its own.

    A server that asks for the password in a way that gives it away gets nothing, with TLS or without.

    :raises pymysql.OperationalError: refused, or not to be reached.
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
            # Said, as it would try TLS by itself.
            ssl_disabled=not tls.on,
            auth_plugin_map=_REFUSALS,
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, it goes on
        # A report may show what frames hold, and those below hold the password.
        again = without_frames(error)
        if isinstance(error, pymysql.MySQLError) and error.args[0] == CR.CR_AUTH_PLUGIN_CANNOT_LOAD:
            again = pymysql.OperationalError(error.args[0], f"MySQL at {address} port {port}: {error.args[1]}")
    raise again


def own_address(address: str, port: int) -> str | None:
    """This machine's address on the way to another; None where there is no way."""
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
    """The address that a server sees this machine at, be there a translation of addresses between them or not.

    It says so when it refuses somebody: users of names like that of the checks' account, which belongs to ``app``. None
    where it cannot be reached from here.

    :raises DeployError: it lets anybody in, or asks for passwords in a way that gives them away.
    """
    refused = ""
    # For a user whom it does not know MariaDB plays the method of one whom it knows, by the name that was given.
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
            told = re.search(r"(?:@|Host )'([^']+)'", str(error.args[1]))
            if told is not None and _is_ip(told[1]):
                return told[1]
            # A name, where the server looks names up: it matches addresses all the same.
            return own_address(address, port)
        raise DeployError(f"MySQL at {address} port {port} lets {user} in with any password: it is not as it was made")
    raise DeployError(refused)


def _native_hash(password: str) -> str:
    """What ``mysql_native_password`` stores."""
    return "*" + hashlib.sha1(hashlib.sha1(password.encode()).digest()).hexdigest().upper()


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
