"""A cloud that is full, asked too much or gives no clear answer: what is asked of it, and how long anybody waits."""

from __future__ import annotations

import pytest
from lifedriver import A, Driver, seen

from rackactor.wire.calls.machine import MachineSays
from rackactor_runtime.providers.base import (
    Created,
    CreateFailed,
    Ended,
    Key,
    Unanswered,
)
from rackactor_runtime.providers.machines.effects import (
    Ask,
    List,
    Remove,
)
from rackactor_runtime.providers.machines.lifecycle import Machines
from rackactor_runtime.providers.machines.lives import GRACE, Lives
from rackactor_runtime.providers.machines.register import Record


def test_a_killed_machine_is_not_asked_for() -> None:
    drive = Driver()
    drive.order()
    drive.take(Ask)
    assert drive.lives.wants(A)
    drive.do(drive.lives.delete(A, drive.now))
    assert not drive.lives.wants(A)
    drive.do(drive.lives.refused(A, "called-off", "nobody wants it any more", drive.now))
    assert drive.take(Remove) == []
    assert drive.told == [Ended(A, None, None, note="it was deleted before it was asked for")]


def test_what_the_quota_refuses_to_one_of_a_fork_it_refuses_to_all() -> None:
    drive = Driver(Machines("gid", 2))
    fork = [Key(pid, 1) for pid in range(3, 8)]
    for key in fork:
        drive.do(drive.lives.order(key, drive.now, fork=3))
    drive.do(drive.lives.order(Key(9, 1), drive.now, fork=9))
    assert [ask.key for ask in drive.take(Ask)] == fork[:2]
    drive.do(drive.lives.refused(fork[0], "quota", "no more cores", drive.now))
    failed = {event.key: event for event in drive.told if isinstance(event, CreateFailed)}
    assert sorted(failed) == [fork[0], *fork[2:]]  # not the one that is being asked for
    assert {event.kind for event in failed.values()} == {"quota"}
    assert "no more cores (said of process 3 of the same fork" in failed[fork[3]].fault
    assert drive.take(Ask) == [Ask(Key(9, 1))]


def test_a_cloud_that_is_asked_too_much_is_left_alone_for_as_long_as_it_says() -> None:
    drive = Driver(Machines("gid", 10))
    for pid in range(3, 13):
        drive.order(Key(pid, 1))
    asked = drive.take(Ask)
    assert len(asked) == 10
    for ask in asked:
        drive.do(drive.lives.refused(ask.key, "busy", "429", drive.now, retry_after=60.0))
    began = drive.now
    while not (again := drive.take(Ask)):
        assert not drive.take(List)
        drive.wait(0.5)
    assert 60.0 <= drive.now - began < 61.0
    for ask in again:
        drive.do(drive.lives.asked(ask.key, f"i{ask.key.pid}", drive.now))
    assert not [event for event in drive.told if isinstance(event, CreateFailed)]


def storm(drive: Driver, seconds: float, kind: str = "unclear") -> int:
    """Refuse all creates for so long, and show empty lists; return how many there were."""
    count, until = 0, drive.now + seconds
    while drive.now < until:
        for ask in drive.take(Ask):
            count += 1
            drive.do(drive.lives.refused(ask.key, kind, "503", drive.now))
        if drive.take(List):
            drive.do(drive.lives.listed([], drive.now))
        for remove in drive.take(Remove):
            drive.do(drive.lives.removed(remove.key, True, "", "", drive.now))
        drive.wait(0.1)
    return count


def test_creates_that_make_nothing_are_bounded_for_all_together() -> None:
    drive = Driver(Machines("gid", 10))
    for pid in range(3, 53):
        drive.do(drive.lives.order(Key(pid, 1), drive.now, fork=3))
    assert storm(drive, 60.0) <= 20
    assert storm(drive, 540.0) <= 20
    waiting = [event for event in drive.told if isinstance(event, Unanswered)]
    assert {event.key.pid for event in waiting} == set(range(3, 53))  # all have been told what they wait for


def test_nobody_waits_for_ever_for_a_cloud_that_gives_no_clear_answer() -> None:
    drive = Driver(Machines("gid", 2))
    for pid in range(3, 9):
        drive.do(drive.lives.order(Key(pid, 1), drive.now, patience=50.0))
    began = drive.now
    storm(drive, 50.0 + GRACE + 10.0)
    failed = {event.key.pid: event for event in drive.told if isinstance(event, CreateFailed)}
    assert sorted(failed) == list(range(3, 9))
    assert "the cloud has given no clear answer for 170 s: 503" in failed[8].fault
    assert drive.now - began < 200.0


def test_a_join_says_more_than_a_lost_answer() -> None:
    drive = Driver()
    drive.order()
    drive.take(Ask)
    drive.do(drive.lives.refused(A, "unclear", "504", drive.now))
    drive.listed()
    drive.take(Ask)
    drive.do(drive.lives.joined(A, drive.now))
    assert not drive.lives.wants(A)  # the thread that is about to ask need not
    drive.do(drive.lives.refused(A, "called-off", "", drive.now))
    for _ in range(4):
        drive.listed()  # they lag
    assert drive.take(Ask) == []
    drive.listed(seen())
    assert drive.told[-1] == Created(A, "i3")


@pytest.mark.parametrize("others", [0, 300])
def test_an_event_costs_what_its_own_machine_costs(others: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drive = Driver(Machines("gid", 1000))
    monkeypatch.setattr("rackactor_runtime.providers.machines.pacing.BURST", 1000)
    drive.lives._pace._tokens = 1000.0
    for pid in range(10, 10 + others):
        drive.up(Key(pid, 1))
    sorted_: list[Record] = []
    sort = Lives.sort
    monkeypatch.setattr(Lives, "sort", lambda self, record: (sorted_.append(record), sort(self, record)))
    drive.up()
    drive.do(drive.lives.located(A, "10.0.0.5", drive.now))
    drive.do(drive.lives.probe(A, drive.now)[1])
    drive.do(drive.lives.said_ended(A, MachineSays("ended", code=0), drive.now))
    drive.do(drive.lives.removed(A, True, "", "", drive.now))
    assert drive.told[-1] == Ended(A, 0, None)
    assert {record.key for record in sorted_} == {A}
    assert len(sorted_) < 20
