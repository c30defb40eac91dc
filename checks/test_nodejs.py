"""The Node.js API on its host: a process element, its process, its log, and where it listens."""

from __future__ import annotations

import shlex

import pytest
import testinfra

from circuit import Proc
from deploy.nodejs import NodeJS
from deploy.ports import Listening

pytestmark = pytest.mark.nodejs


def _running(host: testinfra.host.Host, nodejs: NodeJS) -> list[testinfra.modules.process._Process]:
    """All processes that have to do with the app."""
    return [process for process in host.process.filter() if nodejs.folder in process.args]


def test_element_is_a_running_process(nodejs: NodeJS) -> None:
    element = nodejs.anchor.get()
    assert isinstance(element, Proc)
    assert element.peek().phase == "running"


def test_element_is_at_the_documented_anchor(nodejs: NodeJS) -> None:
    element = nodejs.host.walk("nodejs").get()
    assert element is not None
    assert element.anchor.path == f"/{nodejs.host.name}/nodejs"


def test_element_has_the_command_line(nodejs: NodeJS) -> None:
    element = nodejs.anchor.get()
    assert isinstance(element, Proc)
    cmd = element.peek().cmd
    assert (cmd.path, cmd.args[0]) == ("/bin/sh", "-c")
    assert cmd.args[1].startswith(f"exec {shlex.join(nodejs.command)} ")


def test_process_is_node_itself(nodejs_host: testinfra.host.Host, nodejs: NodeJS) -> None:
    """No shell around it that would take the signals."""
    assert [process.args for process in _running(nodejs_host, nodejs)] == [" ".join(nodejs.command)]


def test_process_belongs_to_the_circuit_s_user(nodejs_host: testinfra.host.Host, nodejs: NodeJS) -> None:
    assert {process.euid for process in _running(nodejs_host, nodejs)} == {nodejs_host.user().uid}


def test_process_is_the_circuit_server_s_child(nodejs_host: testinfra.host.Host, nodejs: NodeJS) -> None:
    """As the shell is that runs commands."""
    server = int(nodejs_host.check_output("echo $PPID"))
    assert {process.ppid for process in _running(nodejs_host, nodejs)} == {server}


def test_listens_on_every_address(nodejs_host: testinfra.host.Host, nodejs: NodeJS) -> None:
    assert nodejs_host.socket(f"tcp://{nodejs.listen}:{nodejs.port}").is_listening


def test_log_says_where_it_listens_and_no_more(nodejs_host: testinfra.host.Host, nodejs: NodeJS) -> None:
    log = nodejs_host.file(nodejs.log)
    assert log.exists
    assert log.content_string.splitlines() == [f"Listening on {Listening(nodejs.listen, nodejs.port)}"]
