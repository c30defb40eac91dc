"""MySQL: bound to the private address alone, with the tutorial's schema and grants."""

from __future__ import annotations

import pytest
import testinfra

from deploy.addresses import find_addresses
from deploy.mysql import DATABASE, MySQL
from fixtures.connections import Connection, rows

pytestmark = pytest.mark.mysql


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
    assert listening == [f"tcp://{mysql.address}:{mysql.port}"]


def test_bind_address_is_the_private_one(mysql: MySQL) -> None:
    assert mysql.address == find_addresses(mysql.host).private


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
        mysql_connection, "SELECT table_name FROM information_schema.tables WHERE table_schema = %s", DATABASE
    )
    assert tables == [("NameValue",)]


def test_grants_of_tutorial(mysql_connection: Connection) -> None:
    grants = {str(grant).partition(" IDENTIFIED ")[0].rstrip() for (grant,) in rows(mysql_connection, "SHOW GRANTS")}
    assert grants == {
        "GRANT USAGE ON *.* TO `tutorial`@`%`",
        "GRANT ALL PRIVILEGES ON `tutorial`.* TO `tutorial`@`%`",
    }


def test_user_is_tutorial(mysql_connection: Connection) -> None:
    assert rows(mysql_connection, "SELECT CURRENT_USER(), DATABASE()") == [("tutorial@%", "tutorial")]
