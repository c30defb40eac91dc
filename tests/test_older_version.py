"""What an older version has left on hosts is checked and taken down by this one, and its lease is respected."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY, Mock

import pytest

import circuit
from circuit_harness.journal.lease import take
from circuit_harness.journal.record import FOLDER, decode
from circuit_harness.remote.circuit_host import CircuitHost
from circuit_harness.services.program import RunningProgram
from localhosts import Host
from tests.jobs import Watched, dial_cluster, named, run, sh

GOLDEN = Path(__file__).parent / "golden/deployed"
OPTIONS = "/etc/mysql/mariadb.conf.d/50-server.cnf"
OWNER = "run 1a2b3c4d of ci@elsewhere, started 2026-11-26T14:00:00+00:00"
SAVED = OPTIONS.removeprefix("/").replace("/", "_")


class Older:
    """The older version's deployment, laid onto these hosts: the API's, and MySQL's."""

    def __init__(self, watched: Watched, fate: str) -> None:
        self.cluster = watched.cluster
        self.nodejs, self.mysql = watched.cluster.hosts
        self.anchor = next(name for name in watched.roles if watched.named(name) == self.nodejs)
        self._fate = fate
        self.run = json.loads(self._text("kept-nodejs.json" if fate == "kept" else "killed-nodejs.json"))["run"]
        self.folder = f"/tmp/tutorial-nodejs-{self.run}"

    def lay(self) -> None:
        """Lay its state onto the hosts, in the order in which it was made."""
        self._lay_mysql(f"/var/lib/tutorial-deploy/{self.run}")
        self._record(self.nodejs, "nodejs")
        put(self.nodejs, f"{self.folder}/index.js", (GOLDEN / "index.js").read_text())
        sh(self.nodejs, f": > {self.folder}/.no-log-was-there; chmod 644 {self.folder}/index.js")

    def start_app(self) -> None:
        """Start the app by the command that it was started by."""
        uid = json.loads(self._text("kept-nodejs.json"))["services"]["nodejs"]["uid"]
        sh(self.nodejs, f"install -d -m 700 -o {uid} -g {uid} {self.folder}/run")
        with dial_cluster(self.cluster) as client:
            self.make(client, "nodejs").discard_streams()
        sh(self.nodejs, "timeout 20 sh -c 'until ss -Hltn sport = 8080 | grep -q .; do sleep 0.05; done'")

    def make(self, client: circuit.Client, anchor: str) -> circuit.Proc:
        """Make an element as it did."""
        element = json.loads(self._text("elements.json"))[anchor]
        return client.walk(self.anchor, anchor).make_proc(circuit.Cmd(**element))

    def _lay_mysql(self, backups: str) -> None:
        password = secrets.token_urlsafe(24)
        self._record(self.mysql, "mysql")
        sh(
            self.mysql,
            f"set -e; mkdir -m 700 {backups}; cp -p {OPTIONS} {backups}/{SAVED}\n"
            f"sed -i 's/^bind-address .*/bind-address = {self.mysql.private_address}/' {OPTIONS}\n"
            f"sha256sum < {OPTIONS} > {backups}/{SAVED}.ours\n"
            f"umask 077; printf %s {password} > {backups}/tutorial_check",
        )
        grants = [
            f"CREATE USER {user}@'{address}' IDENTIFIED BY '{password}';"
            f"GRANT {what} ON tutorial.* TO {user}@'{address}';"
            for user, address, what in (
                ("tutorial", self.nodejs.private_address, "ALL"),
                ("tutorial_check", self.cluster.gateway, "SELECT"),
            )
        ]
        sql = (
            "CREATE DATABASE tutorial CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;"
            "CREATE TABLE tutorial.NameValue (name VARCHAR(100), value TEXT, PRIMARY KEY (name));"
        )
        put(self.mysql, "/root/older.sql", sql + "".join(grants))
        sh(self.mysql, "systemctl start mariadb; mariadb < /root/older.sql; rm /root/older.sql")

    def _record(self, host: Host, part: str) -> None:
        sh(host, "mkdir -m 700 /var/lib/tutorial-deploy")
        put(host, "/var/lib/tutorial-deploy/record.json", self._text(f"{self._fate}-{part}.json"))

    def _text(self, name: str) -> str:
        """A file, with these hosts' addresses in place of those where it was written."""
        addresses = {
            "1": self.cluster.gateway,
            "11": self.nodejs.private_address,
            "111": self.nodejs.public_address,
            "12": self.mysql.private_address,
            "112": self.mysql.public_address,
        }
        text = (GOLDEN / name).read_text()
        return re.sub(r"\b10\.213\.1\.(\d+)\b", lambda found: addresses[found[1]], text)


def put(host: Host, path: str, text: str) -> None:
    script = f'mkdir -p "{Path(path).parent}"; umask 077; cat > {path}'
    assert host.run("/bin/sh", "-c", script, input=text.encode()).returncode == 0


def test_what_it_kept_is_checked_and_taken_down(watched: Watched) -> None:
    older = Older(watched, "kept")
    older.lay()
    older.start_app()
    laid = watched.state()
    attached = run(*named(watched.cluster), "--attach", "-k", "schema or http_missing_route")
    planned = run(*named(watched.cluster), "--plan")
    refused = run(*named(watched.cluster), "-k", "schema")
    untouched = watched.state()
    ended = run(*named(watched.cluster), "--circuit-teardown")
    watched.assert_unchanged()
    assert attached.returncode == 0, attached.stdout
    for other in (planned, refused):
        assert other.returncode == pytest.ExitCode.TESTS_FAILED
        assert f"has a deployment that was kept (run {older.run} of ci@runner" in other.stdout
    assert untouched == laid
    assert (ended.returncode, ended.stdout.count("it was all taken down")) == (0, 2), ended.stdout


def test_what_it_left_when_it_was_killed_is_cleared_away(watched: Watched) -> None:
    older = Older(watched, "killed")
    older.lay()
    done = run(*named(watched.cluster), "-k", "schema or http_missing_route")
    watched.assert_unchanged()
    assert done.returncode == 0, done.stdout
    assert f"run {older.run} of ci@runner, started 2026-11-26T13:00:37+00:00, did not end by itself" in done.stdout


def test_what_it_left_when_it_was_killed_is_taken_down_on_demand(watched: Watched) -> None:
    Older(watched, "killed").lay()
    ended = run(*named(watched.cluster), "--circuit-teardown")
    watched.assert_unchanged()
    assert (ended.returncode, ended.stdout.count("it was all taken down")) == (0, 2), ended.stdout


def test_its_lease_is_respected(watched: Watched) -> None:
    older = Older(watched, "kept")
    with dial_cluster(watched.cluster) as client:
        lease = older.make(client, "tutorial-lease")
        lease.stdin.write(bytes(32_000))
        refused = run(*named(watched.cluster), "-k", "schema or http_missing_route", "--lease-wait=0")
        planned = run(*named(watched.cluster), "--plan")
        lease.discard_streams()
        lease.wait(20)
    held = f"host {older.anchor} is held by run {older.run} of ci@runner, started "
    assert refused.returncode == pytest.ExitCode.TESTS_FAILED
    assert held in refused.stdout
    assert held in planned.stdout
    watched.assert_unchanged()


def test_it_respects_the_lease_of_this_version(watched: Watched) -> None:
    """As that version sees it: no element of its own can be made there, and the third argument tells the owner."""
    older = Older(watched, "kept")
    with dial_cluster(watched.cluster) as client:
        lease = take(CircuitHost(client.walk(older.anchor)), OWNER, FOLDER)
        assert lease is not None
        with pytest.raises(circuit.ElementExists):
            older.make(client, "tutorial-lease")
        assert lease.proc.peek().cmd.args[2] == OWNER
        lease.give_up()
        own = older.make(client, "tutorial-lease")
        own.discard_streams()
        own.wait(20)
    watched.assert_unchanged()


def test_it_can_read_the_records_of_this_version() -> None:
    """That version reads records of one format, with the fields that it knows in them, whatever else there is."""
    for name in ("kept-mysql.json", "kept-nodejs.json", "killed-mysql.json", "killed-nodejs.json"):
        theirs = json.loads((GOLDEN / name).read_text())
        ours = json.loads(decode((GOLDEN / name).read_bytes()).encode())
        assert {key: ours[key] for key in theirs} == theirs


def test_the_password_that_it_gave_the_app_is_found() -> None:
    """It told of none apart from the command."""
    described = json.loads((GOLDEN / "kept-nodejs.json").read_text())["services"]["nodejs"]
    found = RunningProgram.at(Mock(), "nodejs", described)
    assert found.secrets == {"mysql": f"{described['folder']}/mysql-password"}
    assert RunningProgram.at(Mock(), "nodejs", found.describe()) == replace(found, host=ANY)
