"""MySQL: bound to the private address alone, with the tutorial's schema, users and grants."""

from __future__ import annotations

import re

import pymysql
import pytest
import testinfra

from deploy.addresses import Addresses, tell_again
from deploy.mysql import CHARSET, COLLATION, DATABASE, MySQL
from deploy.shell import as_root, run_shell
from fixtures.connections import Admin, Connect, Connection, rows
from fixtures.services import MySQLService

pytestmark = pytest.mark.mysql

LOCAL = {"localhost", "127.0.0.1", "::1"}


def test_service_is_running(mysql_host: testinfra.host.Host, mysql: MySQL) -> None:
    assert mysql_host.service(mysql.service).is_running


def test_bind_address_in_the_option_file(mysql_host: testinfra.host.Host, mysql: MySQL) -> None:
    assert mysql_host.file(mysql.config).contains(rf"^bind-address\s*=\s*{mysql.address}$")


def test_bind_address_of_the_running_server(mysql_connection: Connection, mysql: MySQL) -> None:
    assert rows(mysql_connection, "SELECT @@bind_address, @@port") == [(mysql.address, mysql.port)]


def test_bind_address_of_the_socket(mysql_host: testinfra.host.Host, mysql: MySQL) -> None:
    assert mysql_host.socket(f"tcp://{mysql.address}:{mysql.port}").is_listening


def test_bind_address_is_no_other(mysql_host: testinfra.host.Host, mysql: MySQL) -> None:
    listening = [s for s in mysql_host.socket.get_listening_sockets() if s.endswith(f":{mysql.port}")]
    assert set(listening) <= {f"tcp://{mysql.address}:{mysql.port}"}


def test_bind_address_is_never_every_address(mysql: MySQL) -> None:
    """On no port: MySQL's X protocol has one of its own, 33060."""
    listening = run_shell(mysql.host, as_root("ss -Hltnp")).text.splitlines()
    addresses = [line.split()[3] for line in listening if re.search(r'"(mariadbd|mysqld)"', line)]
    assert [address for address in addresses if address.startswith(("0.0.0.0:", "*:", "[::]:"))] == []


def test_bind_address_is_the_private_one(mysql: MySQL, addresses: dict[str, Addresses]) -> None:
    """The one that is told now by what told it when the server was bound."""
    assert mysql.address == tell_again(mysql.host, addresses[mysql.host.name])


def test_schema_columns(mysql_connection: Connection) -> None:
    columns = rows(
        mysql_connection,
        "SELECT column_name, column_type, is_nullable FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = 'NameValue' ORDER BY ordinal_position",
        DATABASE,
    )
    assert columns == [("name", "varchar(100)", "NO"), ("value", "text", "YES")]


def test_schema_primary_key(mysql_connection: Connection) -> None:
    key = rows(
        mysql_connection,
        "SELECT column_name FROM information_schema.key_column_usage"
        " WHERE table_schema = %s AND table_name = 'NameValue' AND constraint_name = 'PRIMARY'",
        DATABASE,
    )
    assert key == [("name",)]


def test_schema_has_no_other_table(mysql_connection: Connection) -> None:
    tables = rows(
        mysql_connection,
        "SELECT table_name FROM information_schema.tables WHERE table_schema = %s AND table_name <> 'NameValue'",
        DATABASE,
    )
    assert tables == []


def test_schema_database_charset(mysql_connection: Connection) -> None:
    assert rows(mysql_connection, "SELECT @@character_set_database, @@collation_database") == [(CHARSET, COLLATION)]


def test_schema_columns_charset(mysql_connection: Connection) -> None:
    charsets = rows(
        mysql_connection,
        "SELECT DISTINCT character_set_name, collation_name FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = 'NameValue'",
        DATABASE,
    )
    assert charsets == [(CHARSET, COLLATION)]


def test_schema_engine_has_transactions(mysql_connection: Connection) -> None:
    engines = rows(
        mysql_connection,
        "SELECT engine FROM information_schema.tables WHERE table_schema = %s AND table_name = 'NameValue'",
        DATABASE,
    )
    assert engines == [("InnoDB",)]


def test_grants_of_tutorial(mysql_connection: Connection) -> None:
    grants = {str(grant).partition(" IDENTIFIED ")[0].rstrip() for (grant,) in rows(mysql_connection, "SHOW GRANTS")}
    assert grants == {
        "GRANT USAGE ON *.* TO `tutorial`@`%`",
        "GRANT ALL PRIVILEGES ON `tutorial`.* TO `tutorial`@`%`",
    }


def test_grants_give_no_sight_of_the_users(mysql_connection: Connection) -> None:
    with pytest.raises(pymysql.OperationalError, match="command denied"):
        rows(mysql_connection, "SELECT * FROM mysql.user")


def test_user_is_tutorial(mysql_connection: Connection) -> None:
    assert rows(mysql_connection, "SELECT CURRENT_USER(), DATABASE()") == [("tutorial@%", "tutorial")]


def test_user_tutorial_is_one_account(mysql_admin: Admin) -> None:
    assert mysql_admin("SELECT user, host FROM mysql.user WHERE user = 'tutorial'") == [("tutorial", "%")]


def test_user_without_a_name_is_none(mysql_admin: Admin) -> None:
    assert mysql_admin("SELECT host FROM mysql.user WHERE user = ''") == []


def test_user_unknown_is_refused(mysql_connect: Connect) -> None:
    with pytest.raises(pymysql.OperationalError, match="Access denied"):
        mysql_connect(user="nobody-at-all", database=None)


def test_user_root_is_local(mysql_admin: Admin) -> None:
    assert {host for (host,) in mysql_admin("SELECT host FROM mysql.user WHERE user = 'root'")} <= LOCAL


def test_user_root_is_refused_from_here(mysql_connect: Connect) -> None:
    with pytest.raises(pymysql.OperationalError, match="Access denied"):
        mysql_connect(user="root", database=None)


@pytest.mark.disruptive
def test_data_survives_a_restart(mysql_connect: Connect, mysql_key: str, mysql_service: MySQLService) -> None:
    rows(mysql_connect(), "INSERT INTO NameValue (name, value) VALUES (%s, 'still there')", mysql_key)
    mysql_service.stop()
    mysql_service.start()
    assert rows(mysql_connect(), "SELECT value FROM NameValue WHERE name = %s", mysql_key) == [("still there",)]
