"""The one who deploys, asked by checks: on fake hosts, for services that are there, fail, or have a fault."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import Mock

import pytest

from circuit_harness.engine import deployment
from circuit_harness.engine.deployment import Deployment
from circuit_harness.engine.spec import Identity
from circuit_harness.journal.undo import Leftover
from circuit_harness.plugin.questions import Unavailable
from circuit_harness.plugin.spelling import FRONT_END
from circuit_harness.services.protocol import Service
from localhosts import LocalHostsError
from tests.unit.fakes import FakeHost
from tests.unit.invented import broken, page, queue, worker, wrong
from tests.unit.runs import asked

ALL = frozenset({"queue", "worker", "page"})


def test_a_service_is_deployed_when_it_is_asked_for(
    hosts: tuple[FakeHost, FakeHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    coordinator = asked(hosts, monkeypatch, [queue(), worker(), page()], said.append)
    assert [host.log for host in hosts] == [[], []]
    answer = coordinator.ask("worker", frozenset({"worker"}))
    assert (answer["host"], answer["service"]["port"]) == (hosts[0].name, 5001)
    # What it uses comes with it, and nothing else.
    assert coordinator.ask("queue", frozenset({"worker"}))["service"]["found"] == {"jobs": "3"}
    assert "write the page" not in hosts[1].log
    assert [(host["name"], host["parts"]) for host in coordinator.hosts()] == [(hosts[0].name, ["worker", "queue"])]
    assert said[-2:] == [
        "Started Queue on private address: 10.0.0.1 5000 (circuit address)",
        "Started Worker on private address: 10.0.0.1 5001 (circuit address)",
    ]
    assert coordinator.close(keep=False) == []
    assert coordinator.epilogue == ["Everything that this run deployed was taken down."]
    assert [host.is_as_it_was() for host in hosts] == [True, True]


def test_the_last_lines_of_a_kept_deployment_name_what_still_runs(
    hosts: tuple[FakeHost, FakeHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FRONT_END, raising=False)
    coordinator = asked(hosts, monkeypatch, [queue(), worker(), page()], keep="always")
    coordinator.ask("worker", frozenset({"worker"}))
    assert coordinator.close(keep=True) == []
    kept, *running, attach, end = coordinator.epilogue
    assert kept == f"Kept {coordinator.identity}, which still runs:"
    # The queue, which no check has asked for, runs as well.
    assert running == [
        "  Queue on private address: 10.0.0.1 5000 (circuit address)",
        "  Worker on private address: 10.0.0.1 5001 (circuit address)",
    ]
    assert ("--attach" in attach, "--circuit-teardown" in end) == (True, True)


def kept(hosts: tuple[FakeHost, FakeHost], monkeypatch: pytest.MonkeyPatch) -> Identity:
    """The run that has deployed the queue, and kept it."""
    coordinator = asked(hosts, monkeypatch, [queue()], keep="always")
    coordinator.ask("queue", frozenset({"queue"}))
    assert coordinator.close(keep=True) == []
    return coordinator.identity


def test_the_last_lines_name_what_was_taken_down_first(
    hosts: tuple[FakeHost, FakeHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = kept(hosts, monkeypatch)
    coordinator = asked(hosts, monkeypatch, [queue()], replace=True)
    coordinator.ask("queue", frozenset({"queue"}))
    assert coordinator.close(keep=False) == []
    undone, before = coordinator.epilogue
    assert undone == "Everything that this run deployed was taken down."
    assert before == f"Before that, it took down {earlier}."


def test_the_last_lines_of_a_run_that_could_not_take_down_what_is_there(
    hosts: tuple[FakeHost, FakeHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = kept(hosts, monkeypatch)
    coordinator = asked(hosts, monkeypatch, [queue()], replace=True)
    with monkeypatch.context() as patch:
        patch.setattr(deployment, "take_down", lambda *given, **named: [Leftover("X1", "a full disk")])
        with pytest.raises(Unavailable, match="cannot be taken down"):
            coordinator.ask("queue", frozenset({"queue"}))
    assert coordinator.close(keep=False) == []
    assert coordinator.epilogue == [
        "This run deployed nothing.",
        f"It took down {earlier}, or as much of that as the lines above show.",
    ]


def test_what_cannot_be_kept_in_the_workspace_is_taken_down_with_its_hosts(
    hosts: tuple[FakeHost, FakeHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    coordinator = asked(hosts, monkeypatch, [queue()], said.append, keep="always")
    coordinator.ask("queue", frozenset({"queue"}))
    local = Mock(hosts="hosts were")
    local.keep.side_effect = LocalHostsError("the workspace has other hosts by now")
    coordinator._local = local
    assert coordinator.close(keep=True) == []
    assert said[-1] == "  cannot be kept, and is taken down: the workspace has other hosts by now"
    assert coordinator.epilogue == ["Everything that this run deployed was taken down, and its hosts were removed."]
    assert [host.is_as_it_was() for host in hosts] == [True, True]
    local.close.assert_called_once_with()


def test_a_deployment_that_cannot_be_kept_leaves_no_hosts_in_the_workspace(
    hosts: tuple[FakeHost, FakeHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = asked(hosts, monkeypatch, [queue()], keep="always")
    coordinator.ask("queue", frozenset({"queue"}))
    monkeypatch.setattr(Deployment, "keep", broken)
    coordinator._local = local = Mock(hosts="hosts were")
    assert coordinator.close(keep=True) == []
    local.keep.assert_not_called()
    assert [host.is_as_it_was() for host in hosts] == [True, True]


def test_the_last_line_of_a_refused_deployment_says_that_nothing_was_changed(
    hosts: tuple[FakeHost, FakeHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = asked(hosts, monkeypatch, [queue(stages=broken)])
    with pytest.raises(Unavailable):
        coordinator.ask("queue", frozenset({"queue"}))
    assert coordinator.close(keep=False) == []
    assert coordinator.epilogue == ["This run changed nothing on any host."]


def test_the_last_line_of_a_run_that_was_stopped_while_it_made_hosts_says_that_none_is_left(
    hosts: tuple[FakeHost, FakeHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = asked(hosts, monkeypatch, [queue()])
    monkeypatch.undo()
    coordinator.options = replace(coordinator.options, addresses=())
    monkeypatch.setattr("circuit_harness.plugin.local_circuit.LocalCircuit", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        coordinator.ask("queue", frozenset({"queue"}))
    assert coordinator.close(keep=False) == []
    assert coordinator.epilogue == ["Nothing was deployed, and no host that this run began to make is left."]


@pytest.mark.parametrize(
    ("service", "told"),
    [
        (queue(stages=broken), r"^the queue is broken$"),
        (
            queue(stages=wrong),
            r"^KeyError: 'jobs', at line \d+ of \S+/tests/unit/invented.py, in wrong$",
        ),
        (queue(looks=wrong), r"^KeyError: 'jobs', at line \d+ of .*, in wrong$"),
    ],
    ids=["refusal", "fault", "fault in a look"],
)
def test_what_cannot_be_had_is_told_in_one_line_and_once(
    hosts: tuple[FakeHost, FakeHost], monkeypatch: pytest.MonkeyPatch, service: Service, told: str
) -> None:
    coordinator = asked(hosts, monkeypatch, [service, worker(), page()])
    with pytest.raises(Unavailable, match=told) as first:
        coordinator.ask("queue", ALL)
    with pytest.raises(Unavailable, match=told) as second:
        coordinator.ask("worker", ALL)
    assert [first.value.already_reported, second.value.already_reported] == [False, True]
    assert coordinator.close(keep=False) == []
    assert [host.is_as_it_was() for host in hosts] == [True, True]
