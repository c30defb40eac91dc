"""Verdicts on services that are down, on fake services: in which order they are found, and how often."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from circuit import HostLost
from circuit_harness.engine.spec import Services
from circuit_harness.errors import CommandTimedOut
from circuit_harness.plugin.probing import Probes
from circuit_harness.services.program import Program
from circuit_harness.services.protocol import Probed, Running
from tests.unit.fakes import FakeHost
from tests.unit.invented import Started

DECLARED = Services(
    [
        Program(name="page", command=["page"], port=5002, uses=["worker"]),
        Program(name="queue", command=["queue"], port=5000, title="Queue"),
        Program(name="worker", command=["worker"], port=5001, uses=["queue"], title="Worker"),
    ]
)
NAMES = ("queue", "worker", "page")


def up() -> str:
    return ""


@dataclass(frozen=True)
class Asked(Started):
    """A service that can be probed; ``state`` answers."""

    state: Callable[[], str] = up
    times: list[int] = field(default_factory=list)

    def down(self) -> str:
        """Count the probe, and answer it."""
        self.times.append(1)
        return self.state()


class Made:
    """Three services, each of which uses the one before it, and the probes of one run."""

    def __init__(self, *, on: bool = True, **states: Callable[[], str]) -> None:
        self.host = FakeHost("X1", "10.0.0.1", answers={"tail /srv/log": "one\ntwo\n"})
        self.services = {name: Asked(self.host, "10.0.0.1", 5000, name, {}, states.get(name, up), []) for name in NAMES}
        self.running: dict[str, Running] = dict(self.services)
        self.said: list[str] = []
        self.lost: list[str] = []
        self.probes = Probes(DECLARED, self.said.append, lambda host, text: f"on {host}: {text}", self.lose, on=on)

    def lose(self, host: str) -> bool:
        new = host not in self.lost
        self.lost.append(host)
        return new

    def times(self) -> dict[str, int]:
        return {name: len(service.times) for name, service in self.services.items()}


def stopped() -> str:
    return "it is stopped\nsince noon\n$ show the log"


def test_the_service_that_others_use_is_probed_first_and_is_the_cause() -> None:
    made = Made(queue=stopped, worker=stopped)
    down = made.probes.after({"page", "worker"}, made.running)
    assert down["text"].splitlines() == [
        "Queue on host X1: it is stopped",
        "  since noon",
        "  /srv/log, its end:",
        "    one",
        "    two",
        "  to look further: on X1: show the log",
    ]
    assert made.times() == {"queue": 1, "worker": 0, "page": 0}
    assert made.probes.reasons() == {"queue": "Queue on host X1: it is stopped"}


def test_what_does_not_use_the_service_goes_on() -> None:
    made = Made(worker=stopped)
    assert made.probes.after({"queue"}, made.running) == {}
    assert made.probes.after({"page"}, made.running)["text"].startswith("Worker on host X1: it is stopped\n")


def test_a_service_is_probed_once_before_its_first_check_and_again_after_each_failure() -> None:
    made = Made()
    for _ in range(2):
        assert made.probes.before("worker", made.running) == {}
    assert made.times() == {"queue": 1, "worker": 1, "page": 0}
    for _ in range(2):
        assert made.probes.after({"worker"}, made.running) == {}
    assert made.times() == {"queue": 3, "worker": 3, "page": 0}


def test_what_the_run_has_just_seen_ready_is_probed_after_a_failure_alone() -> None:
    made = Made(worker=stopped)
    made.probes.ready("worker")
    assert made.probes.before("worker", made.running) == {}
    assert made.times() == {"queue": 1, "worker": 0, "page": 0}
    assert made.probes.after({"worker"}, made.running)["text"].startswith("Worker on host X1: it is stopped\n")


def test_what_is_down_is_not_probed_again_and_one_test_of_two_processes_reports_it() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def stops() -> str:
        begun.set()
        assert go_on.wait(10)
        return "it is stopped"

    made = Made(queue=stops)
    answers: list[bool] = []

    def fail(name: str) -> None:
        answers.append(made.probes.after({name}, made.running)["new"])

    workers = [threading.Thread(target=fail, args=(name,)) for name in ("queue", "worker")]
    for worker in workers:
        worker.start()
        assert begun.wait(10)
    go_on.set()
    for worker in workers:
        worker.join(10)
    assert sorted(answers) == [False, True]
    assert made.probes.before("page", made.running)["new"] is False
    assert made.times() == {"queue": 1, "worker": 0, "page": 0}


def test_a_service_that_is_not_deployed_yet_is_not_probed() -> None:
    made = Made(queue=stopped)
    del made.running["queue"]
    assert made.probes.before("worker", made.running) == {}
    assert made.times() == {"queue": 0, "worker": 1, "page": 0}


def test_without_probes_nothing_is_asked() -> None:
    made = Made(on=False, queue=stopped)
    assert made.probes.before("queue", made.running) == {}
    assert made.probes.after({"queue"}, made.running) == {}
    assert made.times() == dict.fromkeys(NAMES, 0)


def test_a_service_without_the_method_counts_as_up() -> None:
    made = Made()
    plain = Started(made.host, "10.0.0.1", 5000, "queue", {})
    assert not isinstance(plain, Probed)
    assert made.probes.after({"queue"}, {"queue": plain}) == {}


def test_a_fault_in_the_method_is_said_and_no_verdict() -> None:
    def wrong() -> str:
        raise KeyError("state")

    made = Made(queue=wrong)
    assert made.probes.before("queue", made.running) == {}
    assert made.said == ["  Queue on host X1 cannot be probed: KeyError: 'state'"]


def test_a_lost_host_is_one_failure_for_all_services_there() -> None:
    def lose() -> str:
        raise HostLost("X1 does not answer")

    made = Made(queue=lose, worker=lose)
    down = made.probes.after({"queue"}, made.running)
    assert (down["text"].splitlines()[0], down["new"], down["lost"]) == (
        "host X1 is lost: X1 does not answer",
        True,
        True,
    )
    del made.running["queue"]
    again = made.probes.after({"worker"}, made.running)
    assert (again["text"], again["new"]) == (down["text"], False)


def test_a_lost_host_that_another_failure_has_reported_is_no_new_one() -> None:
    def lose() -> str:
        raise HostLost("X1 does not answer")

    made = Made(queue=lose)
    made.lost.append("X1")
    assert made.probes.after({"queue"}, made.running)["new"] is False


def test_a_host_that_does_not_answer_in_time_is_a_verdict() -> None:
    def hang() -> str:
        raise CommandTimedOut("X1", "true", 15, b"", b"")

    made = Made(queue=hang)
    text = made.probes.before("queue", made.running)["text"]
    assert text == "Queue on host X1: the host did not answer a probe within 15 s"


@pytest.fixture(autouse=True)
def all_ended() -> Iterator[None]:
    """No thread is left behind."""
    before = threading.active_count()
    yield
    assert threading.active_count() == before
