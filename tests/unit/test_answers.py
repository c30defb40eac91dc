"""The one who deploys, asked by checks: on fake hosts, for services that are there, fail, or have a fault."""

from __future__ import annotations

import pytest

from circuit_harness.plugin.questions import Unavailable
from circuit_harness.services.protocol import Service
from tests.unit.fakes import FakeHost
from tests.unit.invented import broken, page, queue, worker, wrong
from tests.unit.runs import asked

ALL = frozenset({"queue", "worker", "page"})


def test_a_service_is_deployed_when_it_is_asked_for(
    hosts: tuple[FakeHost, FakeHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = asked(hosts, monkeypatch, [queue(), worker(), page()])
    assert [host.log for host in hosts] == [[], []]
    answer = coordinator.ask("worker", frozenset({"worker"}))
    assert (answer["host"], answer["service"]["port"]) == (hosts[0].name, 5001)
    # What it uses comes with it, and nothing else.
    assert coordinator.ask("queue", frozenset({"worker"}))["service"]["found"] == {"jobs": "3"}
    assert "write the page" not in hosts[1].log
    assert [(host["name"], host["parts"]) for host in coordinator.hosts()] == [(hosts[0].name, ["worker", "queue"])]
    assert coordinator.epilogue[0] == "Started Worker on private address: 10.0.0.1 5001"
    assert coordinator.close(keep=False) == []
    assert [host.is_as_it_was() for host in hosts] == [True, True]


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
