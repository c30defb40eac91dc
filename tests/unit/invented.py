"""Services that there are not: each uses parts of the protocol that MySQL and Node.js do not, or not together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from circuit import Cmd
from circuit_harness.errors import DeployError, NotReady
from circuit_harness.operations.needs import Need
from circuit_harness.remote.command import Command, root
from circuit_harness.remote.host import Host
from circuit_harness.services.protocol import (
    Action,
    Context,
    Element,
    Guard,
    Local,
    Probe,
    Results,
    Site,
    Stage,
    Undo,
)
from tests.unit.fakes import FakeHost

ANSWERS = {"look_at_queue": "ready\n", "queue count": "3\n"}
"""What a host says on which they can be deployed."""

WORDS = {
    "look_at_queue": "look at the queue",
    "queue count": "ask the queue for its jobs",
    "mkdir /srv/queue": "make the queue's folder",
    "touch /srv/queue/full": "mark the queue full",
    "queue open": "open the queue",
    "mkdir /srv/worker": "make the worker's folder",
    "touch /srv/worker/runs": "write that the worker runs",
    "cat > /srv/page": "write the page",
}
"""What their commands are called in a host's log."""


@dataclass(frozen=True)
class Started:
    """What runs of one of them; ``found`` is what its probes found."""

    host: Host
    address: str
    port: int
    anchor: str
    found: Mapping[str, Any]

    @property
    def jobs(self) -> str:
        """How many jobs the queue had."""
        return str(self.found["jobs"])

    def describe(self) -> dict[str, Any]:
        """All but the host, as plain values."""
        return {"address": self.address, "port": self.port, "anchor": self.anchor, "found": dict(self.found)}

    def logs(self) -> tuple[str, str]:
        """What to call its log, and how to read it."""
        return "/srv/log", "tail /srv/log"


def _found(host: Host, facts: Any, site: Site, results: Results) -> Mapping[str, Any]:
    return {name: value for name, value in results.items() if isinstance(value, str)}


@dataclass(frozen=True)
class Invented:
    """A service of ``stages``; ``starts`` is whether one starts an element. ``looks`` and ``finds`` read the host."""

    name: str
    port: int
    stages: Callable[[Any, Site], Sequence[Stage]]
    uses: Sequence[str] = ()
    place: str = ""
    needs: Sequence[Need] = ()
    here: Sequence[Local] = ()
    starts: bool = False
    looks: Callable[[Host], Any] = lambda host: None
    refusals: Sequence[DeployError] = ()
    finds: Callable[[Host, Any, Site, Results], Mapping[str, Any]] = field(default=_found)
    title: str = "Queue"
    speaks: str = "TCP"

    @property
    def announced(self) -> str:
        """What the run prints in front of its address."""
        return f"{self.title} on private address"

    def look(self, host: Host, deployment: str) -> Any:
        """Read the facts."""
        return self.looks(host)

    def remarks(self, facts: Any, host: str) -> Sequence[str]:
        """Nothing to say."""
        return ()

    def refuse(self, facts: Any, site: Site) -> Iterable[DeployError]:
        """Say what stands against it."""
        return self.refusals

    def shares(self, described: Mapping[str, Any]) -> str:
        """Nothing."""
        return ""

    def address(self, site: Site) -> str:
        """The private address."""
        return site.addresses.private

    def plan(self, facts: Any, site: Site) -> Sequence[Stage]:
        """The stages."""
        return self.stages(facts, site)

    def result(self, host: Host, facts: Any, site: Site, results: Results) -> Started:
        """What runs."""
        anchor = self.name if self.starts else ""
        return Started(host, self.address(site), self.port, anchor, self.finds(host, facts, site, results))

    def find(self, host: Host, described: Mapping[str, Any]) -> Started:
        """What was described."""
        return Started(host, **described)


def queue(**changed: Any) -> Invented:
    """A queue: commands, a probe between two stages, and an action under a condition."""

    def stages(facts: Any, site: Site) -> list[Stage]:
        def count(context: Context) -> str:
            return context.host.run(Command("queue count")).text

        def opened(results: Results) -> list[Action]:
            return [
                Action(
                    "Queue: mark it full",
                    root("touch /srv/queue/full"),
                    Undo("Queue: remove the mark", "rm -f /srv/queue/full"),
                    guard=Guard("where it has jobs", results["jobs"] != "0"),
                ),
                Action(
                    f"Queue: open it with {results['jobs']} jobs",
                    root("queue open"),
                    Undo("Queue: close it", "queue close", proof="! queue is-open || echo it is open"),
                    details=[f"at {site.addresses.private}"],
                ),
            ]

        make = Action(
            "Queue: make its folder", root("mkdir /srv/queue"), Undo("Queue: remove its folder", "rm -rf /srv/queue")
        )
        return [
            Stage(lambda results: [make]),
            Stage(opened, [Probe("jobs", "Queue: count its jobs", count, "<jobs>")]),
        ]

    looks = {"looks": lambda host: host.run(Command("look_at_queue")).text}
    return Invented(**{"name": "queue", "port": 5000, "stages": stages, **looks, **changed})


def worker(**changed: Any) -> Invented:
    """A worker: an element on the host of the queue, which it uses."""

    def stages(facts: Any, site: Site) -> list[Stage]:
        def start(results: Results) -> list[Action]:
            queue = site["queue"]
            words = ["-c", f"exec worker {site.run} {queue.address}:{queue.port} {queue.jobs}"]
            return [
                Action(
                    f"Worker: start it at /{site.host}/worker, for {queue.jobs} jobs",
                    Element("worker", Cmd("/bin/sh", words, scrub=True), site.run, root("mkdir /srv/worker")),
                    Undo("Worker: end it, remove its folder", "worker end; rm -rf /srv/worker"),
                )
            ]

        def write(results: Results) -> list[Action]:
            # In a plan there is none.
            process = results["worker"]
            assert process is None or process.peek().exit is None
            return [Action("Worker: write that it runs", root("touch /srv/worker/runs"))]

        return [Stage(start, after=("queue",)), Stage(write)]

    chosen = {"uses": ("queue",), "place": "queue", "starts": True}
    return Invented(**{"name": "worker", "title": "Worker", "port": 5001, "stages": stages, **chosen, **changed})


def page(**changed: Any) -> Invented:
    """A page, whose text is made here first."""

    def stages(facts: Any, site: Site) -> list[Stage]:
        def write(results: Results) -> list[Action]:
            text = root("cat > /srv/page", results["text"].encode())
            return [Action(f"Page: write {results['text']}", text, Undo("Page: remove it", "rm -f /srv/page"))]

        return [Stage(write)]

    made = Local("text", "Page: make its text, here", lambda steps: "a text", "<text>")
    return Invented(**{"name": "page", "title": "Page", "port": 5002, "stages": stages, "here": (made,), **changed})


def broken(*_: object) -> Any:
    """What a service does that fails."""
    raise NotReady("the queue is broken")


def wrong(*_: object) -> Any:
    """What a service does that has a fault of its own."""
    return dict[str, str]()["jobs"]


def prepare(hosts: Iterable[FakeHost]) -> None:
    """Have hosts answer to these services."""
    for host in hosts:
        host.answers |= ANSWERS
        host.words |= WORDS
