"""What runs can be stopped, started, killed, paused and resumed; and all of it is taken down afterwards."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from circuit_harness.engine.attach import find
from circuit_harness.engine.spec import Services
from circuit_harness.errors import CommandFailed
from circuit_harness.remote.circuit_host import CircuitHosts
from circuit_harness.remote.command import root
from circuit_harness.services.mysql import RunningMySQL
from circuit_harness.services.program import RunningProgram
from circuit_harness.steps import Steps
from deploy.services import services
from tests.conftest import Eventually
from tests.jobs import Watched, dial_cluster, named, run

LIMIT_S = 3.0


@contextmanager
def standing(watched: Watched) -> Iterator[tuple[RunningMySQL, RunningProgram]]:
    """A kept deployment, taken down in the end."""
    done = run(*named(watched.cluster), "-k", "http_answers_from_here", "--keep=always")
    assert done.returncode == 0, done.stdout
    try:
        with dial_cluster(watched.cluster) as client:
            found = find(CircuitHosts(client), Services(services())).services
            mysql, nodejs = found["mysql"], found["nodejs"]
            assert isinstance(mysql, RunningMySQL)
            assert isinstance(nodejs, RunningProgram)
            yield mysql, nodejs
    finally:
        done = run(*named(watched.cluster), "--circuit-teardown")
        assert done.returncode == 0, done.stdout
    watched.assert_unchanged()


def answers(nodejs: RunningProgram) -> bool:
    """Whether the API says within its limit that it can read the table."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{nodejs.url}/ready", timeout=LIMIT_S) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_what_runs_is_stopped_started_killed_paused_and_resumed(watched: Watched, eventually: Eventually) -> None:
    with standing(watched) as (mysql, nodejs):
        nodejs.pause()
        assert not answers(nodejs)
        nodejs.resume()
        eventually(lambda: answers(nodejs))
        for act in (nodejs.kill, nodejs.stop):
            act()
            eventually(lambda: nodejs.host.element(nodejs.anchor) is None)
            assert not answers(nodejs)
            nodejs.start(Steps())
            eventually(lambda: answers(nodejs))
        nodejs.start(Steps())
        assert answers(nodejs)
        nodejs.stop()
        with pytest.raises(CommandFailed):
            nodejs.pause()

        nodejs.start(Steps())

        def is_active() -> bool:
            return mysql.host.run(root(mysql.service.is_active()), check=False).exit_status == 0

        mysql.pause()
        assert not answers(nodejs)
        mysql.resume()
        eventually(lambda: answers(nodejs))
        mysql.stop()
        assert not is_active()
        mysql.start(Steps())
        eventually(lambda: answers(nodejs))
        mysql.kill()
        mysql.start(Steps())
        assert is_active()
        eventually(lambda: answers(nodejs))
        mysql.stop()
        with pytest.raises(CommandFailed):
            mysql.kill()
        mysql.start(Steps())


def test_two_deployments_stand_on_one_host_and_share_no_server(watched: Watched) -> None:
    """What is the one's, the other may not take; each is found, and taken down, by its name."""
    with standing(watched):
        second = run(*named(watched.cluster), "--deployment=second", "-k", "schema_columns")
        assert second.returncode == pytest.ExitCode.TESTS_FAILED
        assert "port 3306 is that of mysql, of run " in second.stdout
        other_port = ["--deployment=second", "--mysql-port=3307"]
        third = run(*named(watched.cluster), *other_port, "-k", "schema_columns")
        assert "its MySQL server is in use, of run " in third.stdout
        spared = run(*named(watched.cluster), "--circuit-teardown", "--deployment=second")
        assert (spared.returncode, "nothing to take down" in spared.stdout) == (0, True), spared.stdout
        attached = run(*named(watched.cluster), "--attach", "-k", "http_answers_from_here")
        assert attached.returncode == 0, attached.stdout
    for act in (["--keep=always"], ["--attach"]):
        done = run(*named(watched.cluster), *act, "--deployment=second", "-k", "http_answers_from_here or element")
        assert done.returncode == 0, done.stdout
        assert "/second-nodejs" in done.stdout or act == ["--attach"]
    done = run(*named(watched.cluster), "--circuit-teardown")
    assert "deployment second, run " in done.stdout
    watched.assert_unchanged()
