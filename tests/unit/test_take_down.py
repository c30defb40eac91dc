"""What is recorded, and what is undone where recording or undoing itself fails."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest

from circuit import CallFailed, HostLost
from circuit_harness.engine.spec import Identity
from circuit_harness.engine.teardown import tear_down
from circuit_harness.errors import CommandFailed, LeaseLost
from circuit_harness.journal.journal import Journal
from circuit_harness.journal.record import KEPT, Change, NotWritten, Record, write
from circuit_harness.journal.undo import take_down
from circuit_harness.remote.address import Addresses
from circuit_harness.remote.command import Command, root
from circuit_harness.steps import Steps
from tests.unit.fakes import AFTER, BEFORE, BETWEEN, FakeCircuit, FakeHost
from tests.unit.runs import cleared, cut

ADDRESSES = Addresses("10.0.0.1", "option", "10.0.0.1", "option")
FIRST = Change("remove the first", "queue", "rm -f /srv/first", proof="ls /srv/first")
SECOND = Change("remove the second", "queue", "rm -f /srv/second", proof="ls /srv/second")
RECORD = Record("0a1b2c3d", "me@here", "today", ADDRESSES, changes=(FIRST, SECOND))
UNDO = ["remove the second", "remove the first"]


def test_a_change_that_was_not_recorded_is_forgotten(hosts: tuple[FakeHost, FakeHost]) -> None:
    journal = Journal(hosts[0], replace(RECORD, changes=()))
    journal.change([FIRST], root("touch /srv/first"))

    def full(entry: str, moment: str) -> None:
        raise CommandFailed(hosts[0].name, entry, 1, b"", b"No space left on device\nthe-record-was-not-written\n")

    hosts[0].cut = full
    with pytest.raises(NotWritten, match="No space left on device"):
        journal.change([SECOND], root("touch /srv/second"))
    assert journal.record.changes == (FIRST,)
    assert hosts[0].journal() == ["remove the first"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [(CommandFailed("X1", "", 1, b"", b"no such folder"), CommandFailed), (CallFailed("no answer"), CallFailed)],
    ids=["failed", "no answer"],
)
def test_a_change_that_failed_counts_as_made(
    hosts: tuple[FakeHost, FakeHost], error: Exception, kind: type[Exception]
) -> None:
    journal = Journal(hosts[0], replace(RECORD, changes=()))

    def failing(entry: str, moment: str) -> None:
        if moment == BETWEEN:
            raise error

    hosts[0].cut = failing
    with pytest.raises(kind):
        journal.change([FIRST], root("touch /srv/first"))
    assert journal.record.changes == (FIRST,)
    assert hosts[0].journal() == ["remove the first"]


def test_the_change_gets_what_follows_the_record(hosts: tuple[FakeHost, FakeHost]) -> None:
    given: list[object] = []

    def take(command: Command) -> str:
        given.append(command.stdin)
        return "done\n"

    hosts[0].answers["cat > /srv/first"] = take
    journal = Journal(hosts[0], replace(RECORD, changes=()))
    assert journal.change([FIRST], root("cat > /srv/first", b"its content")).text == "done"
    assert given == [b"its content"]
    assert hosts[0].record == journal.record.encode()


def test_another_runs_record_is_not_written_over(hosts: tuple[FakeHost, FakeHost]) -> None:
    def another(entry: str, moment: str) -> None:
        raise CommandFailed(hosts[0].name, entry, 67, b"", b"the-record-was-not-written\n")

    hosts[0].cut = another
    taken_over = "this run, 0a1b2c3d, has lost its lease, and another has taken the host over"
    with pytest.raises(LeaseLost, match=taken_over):
        write(hosts[0], RECORD)
    journal = Journal(hosts[0], replace(RECORD, changes=()))
    with pytest.raises(LeaseLost, match=taken_over):
        journal.change([FIRST], root("touch /srv/first"))
    assert journal.record.changes == ()


@pytest.mark.parametrize("moment", [BEFORE, BETWEEN, AFTER])
@pytest.mark.parametrize("entry", ["undo remove the second", "undo remove the first", "remove the record"])
def test_what_cannot_be_undone_stays_recorded_and_is_undone_later(
    hosts: tuple[FakeHost, FakeHost], entry: str, moment: str
) -> None:
    host = hosts[0]
    write(host, RECORD)
    made = cut(host, entry, moment)
    left = [str(one) for one in take_down([(host, RECORD)], Steps(), lambda line: None, force=False)]
    assert made == [entry]
    assert len(left) == 1
    # The other is undone all the same, and the record stays unless it was removed and only the answer was lost.
    assert left[0].startswith(f"on host {host.name}: {entry.removeprefix('undo ')}: ") or entry == "remove the record"
    assert set(UNDO) - {entry.removeprefix("undo ")} <= set(host.undone())
    if (entry, moment) != ("remove the record", AFTER):
        assert host.journal() == UNDO[::-1]
        assert cleared(hosts).left == []
        assert host.undone()[-2:] == UNDO
    assert host.is_as_it_was()


def test_what_is_proven_to_be_left_is_told_and_stays_recorded(hosts: tuple[FakeHost, FakeHost]) -> None:
    write(hosts[0], RECORD)
    hosts[0].answers["ls /srv/first"] = "/srv/first\n"
    left = take_down([(hosts[0], RECORD)], Steps(), lambda line: None, force=False)
    assert [str(one) for one in left] == [f"on host {hosts[0].name}: /srv/first"]
    assert hosts[0].undone() == UNDO
    assert hosts[0].journal() == UNDO[::-1]


def test_a_host_that_is_lost_is_tried_no_further(hosts: tuple[FakeHost, FakeHost]) -> None:
    tried: list[str] = []

    def losing(entry: str, moment: str) -> None:
        if entry.startswith("undo"):
            tried.append(entry)
            raise HostLost("it is lost")

    for host in hosts:
        write(host, RECORD)
    hosts[0].cut = losing
    left = take_down([(host, RECORD) for host in hosts], Steps(), lambda line: None, force=False)
    assert [str(one) for one in left] == [f"on host {hosts[0].name}: remove the second: it is lost"]
    assert tried == ["undo remove the second"]
    assert hosts[1].undone() == UNDO
    assert hosts[1].is_as_it_was()


def test_what_the_run_that_held_a_host_has_undone_is_not_undone_again(hosts: tuple[FakeHost, FakeHost]) -> None:
    write(hosts[0], RECORD)

    def ending(entry: str, moment: str) -> None:
        if entry == "start tutorial-lease":
            hosts[0].record = b""

    hosts[0].cut = ending
    outcome = cleared(hosts)
    assert (outcome.left, outcome.records) == ([], [])
    assert hosts[0].undone() == []
    assert hosts[0].is_as_it_was()


@pytest.mark.parametrize(("spare", "undone"), [(False, [UNDO, UNDO]), (True, [[], UNDO])])
def test_what_was_kept_may_be_spared(hosts: tuple[FakeHost, FakeHost], spare: bool, undone: list[list[str]]) -> None:
    write(hosts[0], replace(RECORD, run="0b", state=KEPT))
    write(hosts[1], RECORD)
    identity = Identity()
    outcome = tear_down(FakeCircuit(hosts), identity, [], Steps(), lambda line: None, nullcontext(), spare_kept=spare)
    assert outcome.left == []
    assert [host for host, _ in outcome.spared] == ([hosts[0].name] if spare else [])
    assert [host.undone() for host in hosts] == undone
    assert ("start tutorial-lease" in hosts[0].log) == (not spare)
