"""The actions of a stage on a fake host: what is recorded when, and by which command."""

from __future__ import annotations

from circuit import Cmd
from circuit_harness.engine.carry_out import carry_out
from circuit_harness.journal.journal import Journal
from circuit_harness.journal.record import Record
from circuit_harness.remote.address import Addresses
from circuit_harness.remote.command import root
from circuit_harness.services.protocol import Action, Context, Element, Guard, Stage, Undo
from circuit_harness.steps import Steps
from tests.unit.fakes import FakeHost

ADDRESSES = Addresses("10.0.0.1", "option", "10.0.0.1", "option")
MAKE = Action("make its folder", root("make /srv/worker"), Undo("remove its folder", "remove /srv/worker"))
ASK = Action("ask for its name", root("ask for a name"))
START = Action("start it", Element("worker", Cmd("/bin/sh"), "worker"), Undo("end it", "end worker"))
PREPARED = Action(
    "start it", Element("worker", Cmd("/bin/sh"), "worker", root("store its files")), Undo("end it", "end worker")
)
NOT_NEEDED = Action("rename it", root("rename it"), guard=Guard("if it has a name", holds=False))


def carried_out(*actions: Action) -> tuple[list[str], list[str]]:
    """Carry out actions; return what the host did, and how its record says that this is undone."""
    host = FakeHost("X1", "10.0.0.1")
    journal = Journal(host, Record("0a1b2c3d", "me@here", "today", ADDRESSES))
    context = Context(host, Steps(), lambda line: None)
    carry_out("worker", Stage(lambda results: actions), {}, journal, context)
    return host.log, host.journal()


def test_a_process_that_nothing_prepares_is_recorded_by_the_command_before_it() -> None:
    did = ["write the record", "make /srv/worker", "start worker"]
    assert carried_out(MAKE, START) == (did, ["remove its folder", "end it"])
    assert carried_out(MAKE, NOT_NEEDED, START) == (did, ["remove its folder", "end it"])
    assert carried_out(ASK, START) == (["write the record", "ask for a name", "start worker"], ["end it"])


def test_a_process_without_a_command_before_it_is_recorded_by_one_of_its_own() -> None:
    assert carried_out(START) == (["write the record", "start worker"], ["end it"])
    assert carried_out(START, MAKE) == (
        ["write the record", "start worker", "write the record", "make /srv/worker"],
        ["end it", "remove its folder"],
    )


def test_a_process_is_recorded_by_the_command_that_prepares_it() -> None:
    assert carried_out(MAKE, PREPARED) == (
        ["write the record", "make /srv/worker", "write the record", "store its files", "start worker"],
        ["remove its folder", "end it"],
    )
