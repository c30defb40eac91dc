"""MySQL: bound to the private address alone, with the tutorial's schema, users and grants."""

from __future__ import annotations

import re

import pymysql
import pytest
import testinfra

from circuit_harness.operations.addresses import reread_private_address
from circuit_harness.operations.ports import Listening
from circuit_harness.remote.address import METADATA, ROUTE, Addresses
from circuit_harness.remote.command import root
from circuit_harness.secret import Secret, generate
from circuit_harness.services.mysql import RunningMySQL
from circuit_harness.services.mysql.data import CHARSET, COLLATION
from deploy.services import DATABASE, TABLE, USER
from fixtures.connections import Admin, Connect, HostClient, Reader, Row, rows
from fixtures.services import MySQLService

pytestmark = pytest.mark.mysql

REFUSED = r"Access denied|not allowed to connect"
LOCAL = {"localhost", "127.0.0.1", "::1"}


@pytest.fixture(scope="module")
def sockets(mysql: RunningMySQL) -> set[str]:
    """The addresses and ports that MySQL's processes listen on."""
    listening = mysql.host.run(root("ss -Hltnp")).text.splitlines()
    return {line.split()[3] for line in listening if re.search(r'"(mariadbd|mysqld)"', line)}


@pytest.fixture(scope="module")
def accounts(mysql_admin: Admin) -> list[Row]:
    """The name and the host of each account."""
    return mysql_admin("SELECT user, host FROM mysql.user")


def _grants(mysql_admin: Admin, account: str) -> set[str]:
    """An account's grants; how it proves itself is another matter."""
    grants = (grant for (grant,) in mysql_admin(f"SHOW GRANTS FOR {account}"))
    return {re.sub(r" (IDENTIFIED|REQUIRE) .*", "", grant).rstrip() for grant in grants}


def test_service_is_running(mysql: RunningMySQL) -> None:
    status = mysql.host.run(root(mysql.service.is_active()), check=False).exit_status
    assert status == 0, f"service {mysql.service} on host {mysql.host.name} is inactive"


def test_bind_address_in_the_option_file(mysql_host: testinfra.host.Host, mysql: RunningMySQL) -> None:
    bound = mysql_host.file(mysql.config).contains(rf"^bind-address\s*=\s*{mysql.address}$")
    assert bound, f"{mysql.config} on host {mysql.host.name} does not bind the server to {mysql.address}"


def test_bind_address_of_the_running_server(mysql_connection: Reader, mysql: RunningMySQL) -> None:
    assert rows(mysql_connection, "SELECT @@bind_address, @@port") == [(mysql.address, str(mysql.port))]


def test_bind_address_of_the_socket(mysql_host: testinfra.host.Host, mysql: RunningMySQL) -> None:
    listening = mysql_host.socket(f"tcp://{mysql.address}:{mysql.port}").is_listening
    assert listening, f"nothing listens on {mysql.address}:{mysql.port} on host {mysql.host.name}"


def test_bind_address_is_the_only_one(mysql_host: testinfra.host.Host, mysql: RunningMySQL) -> None:
    listening = {s for s in mysql_host.socket.get_listening_sockets() if s.endswith(f":{mysql.port}")}
    assert listening == {f"tcp://{mysql.address}:{mysql.port}"}, (
        f"port {mysql.port} on host {mysql.host.name} is listened on at {', '.join(sorted(listening)) or 'no address'}"
    )


def test_bind_address_is_never_every_address(mysql: RunningMySQL, sockets: set[str]) -> None:
    """On no port: MySQL's X protocol has one of its own, 33060."""
    assert sockets, f"no process called mariadbd or mysqld listens on host {mysql.host.name}"
    everywhere = sorted(socket for socket in sockets if socket.startswith(("0.0.0.0:", "*:", "[::]:")))
    assert not everywhere, f"MySQL on host {mysql.host.name} listens on every address: {', '.join(everywhere)}"


def test_bind_address_has_no_other_port(mysql: RunningMySQL, sockets: set[str]) -> None:
    """But for this host's own programs."""
    reachable = {socket for socket in sockets if not socket.startswith(("127.", "[::1]:"))}
    expected = str(Listening(mysql.address, mysql.port))
    assert reachable == {expected}, (
        f"MySQL on host {mysql.host.name} listens on {', '.join(sorted(reachable)) or 'nothing'}, not {expected} alone"
    )


def test_bind_address_is_the_private_one(mysql: RunningMySQL, addresses: dict[str, Addresses]) -> None:
    """Its source still has the address that the server was bound to."""
    known = addresses[mysql.host.name]
    if known.private_from not in (METADATA, ROUTE):
        pytest.skip(f"the private address {known.private} is not from the host (source: {known.private_from})")
    private = reread_private_address(mysql.host, known)
    assert mysql.address == private, (
        f"MySQL is bound to {mysql.address}; the private address of {mysql.host.name} is {private}"
    )


def test_schema_columns(mysql_connection: Reader) -> None:
    columns = rows(
        mysql_connection,
        "SELECT column_name, column_type, is_nullable FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = 'NameValue' ORDER BY ordinal_position",
        DATABASE,
    )
    assert columns == [("name", "varchar(100)", "NO"), ("value", "text", "YES")]


def test_schema_primary_key(mysql_connection: Reader) -> None:
    key = rows(
        mysql_connection,
        "SELECT column_name FROM information_schema.key_column_usage"
        " WHERE table_schema = %s AND table_name = 'NameValue' AND constraint_name = 'PRIMARY'",
        DATABASE,
    )
    assert key == [("name",)]


def test_schema_has_no_other_table(mysql_connection: Reader) -> None:
    tables = rows(
        mysql_connection,
        "SELECT table_name FROM information_schema.tables WHERE table_schema = %s",
        DATABASE,
    )
    # Some servers keep names in lower case.
    assert [name.lower() for (name,) in tables] == [TABLE.lower()]


def test_schema_database_charset(mysql_connection: Reader) -> None:
    assert rows(mysql_connection, "SELECT @@character_set_database, @@collation_database") == [(CHARSET, COLLATION)]


def test_schema_columns_charset(mysql_connection: Reader) -> None:
    charsets = rows(
        mysql_connection,
        "SELECT DISTINCT character_set_name, collation_name FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = 'NameValue'",
        DATABASE,
    )
    assert charsets == [(CHARSET, COLLATION)]


def test_schema_engine_has_transactions(mysql_connection: Reader) -> None:
    engines = rows(
        mysql_connection,
        "SELECT engine FROM information_schema.tables WHERE table_schema = %s AND table_name = 'NameValue'",
        DATABASE,
    )
    assert engines == [("InnoDB",)]


def test_grants_of_tutorial(mysql_admin: Admin, mysql: RunningMySQL) -> None:
    account = f"`{USER}`@`{mysql.admits}`"
    assert _grants(mysql_admin, account) == {
        f"GRANT USAGE ON *.* TO {account}",
        f"GRANT ALL PRIVILEGES ON `{DATABASE}`.* TO {account}",
    }


@pytest.mark.selfcheck
def test_check_account_is_read_only(mysql_admin: Admin, mysql: RunningMySQL, mysql_unreachable_reason: str) -> None:
    if not mysql.check_from:
        pytest.skip(f"the checks have no account: {mysql_unreachable_reason}")
    account = f"`{mysql.check_user}`@`{mysql.check_from}`"
    assert _grants(mysql_admin, account) == {
        f"GRANT USAGE ON *.* TO {account}",
        f"GRANT SELECT ON `{DATABASE}`.* TO {account}",
    }


def test_user_tutorial_is_one_account(accounts: list[Row], mysql: RunningMySQL) -> None:
    found = [(user, host) for user, host in accounts if user == USER]
    assert found == [(USER, mysql.admits)], f"the accounts of user {USER} are {found}, not one for {mysql.admits}"


def test_open_to_all_only_in_compat_mode(mysql_connect: Connect, mysql: RunningMySQL) -> None:
    """From here, without its password."""
    if mysql.is_open:
        assert rows(mysql_connect(USER, None, DATABASE), "SELECT CURRENT_USER()") == [("tutorial@%",)]
    else:
        for password in (None, generate()):
            with pytest.raises(pymysql.OperationalError, match=REFUSED):
                mysql_connect(USER, password)


@pytest.mark.selfcheck
def test_user_of_the_checks_reads_the_database_alone(
    mysql: RunningMySQL, mysql_connect: Connect, mysql_password: Secret
) -> None:
    connection = mysql_connect(mysql.check_user, mysql_password, DATABASE)
    for statement in ("DELETE FROM NameValue", "SELECT * FROM mysql.user"):
        with pytest.raises(pymysql.OperationalError, match="command denied"):
            rows(connection, statement)


def test_tls_is_used(mysql_connection: Reader, mysql: RunningMySQL) -> None:
    if isinstance(mysql_connection, HostClient):
        pytest.skip("checks read through the client on MySQL's host, which needs no TLS")
    if not mysql.tls:
        pytest.skip(f"the server, {mysql.version}, has no TLS")
    ((_, cipher),) = rows(mysql_connection, "SHOW SESSION STATUS LIKE 'Ssl_cipher'")
    assert cipher, "the connection is not encrypted"


def test_tls_is_required(mysql_connect: Connect, mysql_password: Secret, mysql: RunningMySQL) -> None:
    if not mysql.tls:
        pytest.skip(f"the server, {mysql.version}, has no TLS")
    with pytest.raises(pymysql.OperationalError, match=f"{REFUSED}|insecure transport are prohibited"):
        mysql_connect(mysql.check_user, mysql_password, DATABASE, tls=False)


def test_user_without_a_name_is_none(accounts: list[Row]) -> None:
    hosts = [host for user, host in accounts if not user]
    assert not hosts, f"MySQL lets in a user without a name from {', '.join(hosts)}"


def test_user_unknown_is_refused(mysql_connect: Connect) -> None:
    with pytest.raises(pymysql.OperationalError, match=REFUSED):
        mysql_connect("nobody-at-all")


def test_user_root_is_local(accounts: list[Row]) -> None:
    hosts = {host for user, host in accounts if user == "root"}
    assert hosts <= LOCAL, f"MySQL has root from {', '.join(sorted(hosts - LOCAL))}"


def test_user_root_is_refused_from_here(mysql_connect: Connect) -> None:
    with pytest.raises(pymysql.OperationalError, match=REFUSED):
        mysql_connect("root")


@pytest.mark.disruptive
def test_data_survives_a_restart(mysql_admin: Admin, mysql_key: str, mysql_service: MySQLService) -> None:
    mysql_admin("INSERT INTO NameValue (name, value) VALUES (%s, 'still there')", mysql_key)
    mysql_service.stop()
    mysql_service.start()
    assert mysql_admin("SELECT value FROM NameValue WHERE name = %s", mysql_key) == [("still there",)]
