"""The lives of machines: whatever a cloud answers, and in whichever order, three things never happen."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rackactor.wire.calls.machine import MachineSays
from rackactor.wire.events import MachineEvent
from rackactor_runtime.providers.base import (
    Created,
    CreateFailed,
    Ended,
    Event,
    Key,
    Liveness,
    Located,
    Owed,
    Unanswered,
    Unkillable,
)
from rackactor_runtime.providers.machines.effects import (
    CONDITIONS,
    Ask,
    Condition,
    Discard,
    Effect,
    Find,
    List,
    Remove,
    Say,
    Seen,
    Tell,
    classify,
    condition,
)
from rackactor_runtime.providers.machines.judging import FAULT_PATIENCE
from rackactor_runtime.providers.machines.lifecycle import APART, ATTEMPTS, MISSING, SETTLE, UNKILLABLE, Machines
from rackactor_runtime.providers.machines.lives import GRACE, Lives
from rackactor_runtime.providers.machines.register import Record
from rackactor_runtime.providers.machines.strays import DEBT

A, B = Key(3, 1), Key(4, 1)


@dataclass
class Driver:
    """Machines, a clock, and what they wanted done and have told."""

    lives: Machines = field(default_factory=lambda: Machines("gid", 2))
    now: float = 100.0
    told: list[Event] = field(default_factory=list)
    said: list[Say] = field(default_factory=list)
    wanted: list[Effect] = field(default_factory=list)

    def do(self, effects: list[Effect]) -> list[Effect]:
        """Sort effects; return those that the cloud is asked for."""
        self.told += [effect.event for effect in effects if isinstance(effect, Tell)]
        self.said += [effect for effect in effects if isinstance(effect, Say)]
        asked = [effect for effect in effects if isinstance(effect, (Ask, Discard, Find, List, Remove))]
        self.wanted += asked
        return asked

    def take(self, kind: type[Any]) -> list[Any]:
        """Take the wishes of one kind."""
        found = [effect for effect in self.wanted if isinstance(effect, kind)]
        self.wanted = [effect for effect in self.wanted if not isinstance(effect, kind)]
        return found

    def order(self, key: Key = A) -> None:
        self.do(self.lives.order(key, self.now))

    def up(self, key: Key = A) -> str:
        """Have a machine come up; return its name."""
        self.order(key)
        assert self.take(Ask) == [Ask(key)]
        self.do(self.lives.asked(key, f"i{key.pid}", self.now))
        self.do(self.lives.joined(key, self.now))
        return f"i{key.pid}"

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.do(self.lives.tick(self.now))

    def listed(self, *seen: Seen) -> None:
        """Wait for the next list, and answer it."""
        while not self.take(List):
            self.wait(0.1)
        self.do(self.lives.listed({each.mark: each for each in seen}, self.now))


def seen(key: Key = A, status: str = "ACTIVE", **more: Any) -> Seen:
    return Seen(f"gid.{key.pid}.{key.incarnation}", f"i{key.pid}", status, **more)


def test_a_life() -> None:
    drive = Driver()
    name = drive.up()
    assert drive.told == [Created(A, name)]
    drive.do(drive.lives.located(A, "10.0.0.5", drive.now))
    assert drive.told[1:] == [Located(A, "10.0.0.5")]
    assert drive.lives.probe(A, drive.now)[0] is Liveness.RUNNING
    drive.do(drive.lives.said_ended(A, MachineSays("ended", code=3), drive.now))
    assert drive.take(Remove) == [Remove(A, name, console=False)]
    drive.do(drive.lives.removed(A, False, "", "", drive.now))
    drive.listed(seen())
    assert drive.take(Remove) == []  # it goes: no need to ask again
    drive.listed()
    assert drive.take(Remove) == [Remove(A, name, console=False)]  # once more, for its ports
    assert drive.told[2:] == []
    drive.do(drive.lives.removed(A, True, "", "", drive.now))
    assert drive.told[2:] == [Ended(A, 3, None)]
    assert drive.lives.probe(A, drive.now) == (Liveness.GONE, [])


def test_so_many_come_up_at_once() -> None:
    drive = Driver()
    for pid in range(3, 7):
        drive.order(Key(pid, 1))
    assert [ask.key.pid for ask in drive.take(Ask)] == [3, 4]
    drive.do(drive.lives.asked(Key(3, 1), "i3", drive.now))
    assert drive.take(Ask) == []  # it has a name, and is not up
    drive.do(drive.lives.joined(Key(3, 1), drive.now))
    assert [ask.key.pid for ask in drive.take(Ask)] == [5]
    drive.do(drive.lives.refused(Key(4, 1), "quota", "no more cores", drive.now))
    assert drive.told[-1] == CreateFailed(Key(4, 1), "no more cores", "quota")
    assert [ask.key.pid for ask in drive.take(Ask)] == [6]


def test_after_an_unclear_answer_comes_a_list() -> None:
    drive = Driver()
    drive.order()
    for attempt in range(ATTEMPTS):
        assert drive.take(Ask) == [Ask(A)]
        drive.do(drive.lives.refused(A, "unclear", "503", drive.now))
        assert drive.told[-1] == Unanswered(A, drive.now - 100.0, "503")
        began = drive.now
        assert drive.take(Ask) == []
        drive.listed()
        assert drive.now >= began + SETTLE, "what was made after all had time to show"
        assert attempt < ATTEMPTS - 1 or drive.take(Ask) == []
    assert drive.take(Remove) == [Remove(A, None, console=False)]  # to be sure
    drive.do(drive.lives.removed(A, True, "", "", drive.now))
    owed, failed = drive.told[ATTEMPTS:]
    assert isinstance(failed, CreateFailed)
    assert f"asked {ATTEMPTS} times" in failed.fault
    assert "503" in failed.fault
    assert isinstance(owed, Owed)  # any of the three may still be carried out
    assert 0 < owed.seconds <= DEBT


def test_a_list_that_began_earlier_says_nothing() -> None:
    drive = Driver()
    drive.up()
    drive.order(B)
    while not drive.take(List):
        drive.wait(0.1)
    drive.take(Ask)
    drive.do(drive.lives.asked(B, "i4", drive.now + 0.1))
    drive.now += 0.2
    drive.do(drive.lives.listed({seen().mark: seen()}, drive.now))  # of a moment at which B was not there yet
    drive.listed(seen(), seen(B))
    assert not any(isinstance(event, Ended) for event in drive.told)


def find(drive: Driver, seen: Seen | None) -> float:
    """Give lists that lack it until it is asked for by name, and the answer to that; return when it was asked for."""
    while not drive.take(Find):
        drive.listed()
    asked = drive.now
    drive.do(drive.lives.found(A, seen, drive.now))
    return asked


def test_what_lists_lack_is_asked_for_by_name() -> None:
    drive = Driver()
    name = drive.up()
    for number in range(MISSING):
        drive.listed()
        assert drive.take(Find) == ([Find(A, name)] if number == MISSING - 1 else [])
    drive.do(drive.lives.found(A, seen(), drive.now))
    for _ in range(5):
        find(drive, seen())  # its cell is down, for those who list
    assert drive.told == [Created(A, name)]
    assert drive.take(Remove) == []


def test_who_is_heard_runs_whatever_the_cloud_says() -> None:
    drive = Driver()
    name = drive.up()
    for _ in range(5):
        find(drive, None)
    for status in ("ERROR", "SHUTOFF", "SHELVED_OFFLOADED", "SOFT_DELETED"):
        drive.listed(seen(status=status, fault="the migration failed"))
        drive.listed(seen(status=status, fault="the migration failed"))
    assert drive.told == [Created(A, name)]
    assert drive.take(Remove) == []


def test_one_that_is_silent_and_nowhere_to_be_found_has_ended() -> None:
    drive = Driver()
    drive.up()
    drive.do(drive.lives.probe(A, drive.now)[1])
    looks = []
    while not drive.take(Remove):
        looks.append(find(drive, None))
        drive.do(drive.lives.probe(A, drive.now)[1])  # it is silent still
    assert looks[-1] - looks[0] >= APART
    drive.do(drive.lives.removed(A, True, "", "its last words", drive.now))
    [ended] = [event for event in drive.told if isinstance(event, Ended)]
    assert ended.outside
    assert "not in the cloud's list any more" in ended.note
    assert "its last words" in ended.note


@pytest.mark.parametrize(
    "status, joined, what, outside",
    [
        ("SHUTOFF", True, Ended, True),
        ("SHUTOFF", False, Ended, False),
        ("SOFT_DELETED", True, Ended, True),
        ("ERROR", True, Ended, True),
        ("ERROR", False, CreateFailed, None),
    ],
)
def test_what_a_cloud_says_of_it(status: str, joined: bool, what: type[Event], outside: bool | None) -> None:
    drive = Driver()
    drive.order()
    drive.take(Ask)
    drive.do(drive.lives.asked(A, "i3", drive.now))
    if joined:
        drive.do(drive.lives.joined(A, drive.now))
        drive.do(drive.lives.probe(A, drive.now)[1])  # it has fallen silent
    drive.listed(seen(status=status, fault="No valid host was found." if status == "ERROR" else ""))
    assert drive.take(Remove) == [Remove(A, "i3", console=True)]
    drive.do(drive.lives.removed(A, True, "", "", drive.now))
    end = drive.told[-1]
    assert type(end) is what
    if isinstance(end, CreateFailed):
        assert (end.fault, end.kind) == ("No valid host was found.", "no-valid-host")
    else:
        assert isinstance(end, Ended)
        assert (end.outside, status in end.note) == (outside, True)


@pytest.mark.parametrize("status", ["PAUSED", "SUSPENDED"])
def test_one_that_stands_still(status: str) -> None:
    drive = Driver()
    drive.up()
    drive.listed(seen(status=status))
    assert drive.lives.probe(A, drive.now)[0] is Liveness.STOPPED
    drive.now += 5.0
    drive.do(drive.lives.probe(A, drive.now)[1])
    assert drive.take(List) == [List()]  # a fresh look


def test_a_delete_that_is_not_confirmed_is_tried_on() -> None:
    drive = Driver()
    name = drive.up()
    drive.do(drive.lives.delete(A, drive.now))
    assert drive.said == [Say(A, MachineEvent("delete"))]
    tries, began = 0, drive.now
    while drive.now < began + 10 * UNKILLABLE:
        for remove in drive.take(Remove):
            assert remove.instance == name
            tries += 1
            drive.do(drive.lives.removed(A, False, "409 Conflict", "", drive.now))
        if drive.take(List):
            drive.do(drive.lives.listed({seen().mark: seen()}, drive.now))
        assert drive.now < drive.lives.due() <= drive.now + 50.0
        drive.now = drive.lives.due()
        drive.do(drive.lives.tick(drive.now))
    assert 8 <= tries <= 15
    [told] = [event for event in drive.told if isinstance(event, Unkillable)]
    assert "is listed as ACTIVE" in told.words
    while not drive.take(Remove):
        drive.wait(1.0)
    drive.do(drive.lives.removed(A, True, "", "", drive.now))
    assert drive.told[-1] == Ended(A, None, None)


def test_what_a_later_list_shows_is_not_gone() -> None:
    drive = Driver()
    name = drive.up()
    drive.do(drive.lives.delete(A, drive.now))
    assert drive.take(Remove) == [Remove(A, name, console=False)]
    drive.wait(1.0)
    drive.do(drive.lives.removed(A, False, "", "", drive.now))
    while not drive.take(Remove):
        drive.wait(0.1)
        if drive.take(List):
            drive.do(drive.lives.listed([], drive.now))
    late = replace(seen(), instance="late")
    drive.do(drive.lives.probe(A, drive.now)[1])  # somebody wants a list
    while not drive.take(List):
        drive.wait(0.1)
    drive.do(drive.lives.listed([late], drive.now))  # a create that was lost has just been carried out
    drive.do(drive.lives.removed(A, True, "", "", drive.now))
    assert not any(isinstance(event, Ended) for event in drive.told)
    while not drive.take(Remove):
        drive.wait(0.1)
    drive.do(drive.lives.removed(A, True, "", "", drive.now))
    assert drive.told[-1] == Ended(A, None, None)


def test_deleted_before_anybody_was_asked() -> None:
    drive = Driver(Machines("gid", 1))
    drive.order()
    drive.order(B)
    drive.do(drive.lives.delete(B, drive.now))
    [ended] = drive.told
    assert isinstance(ended, Ended)
    assert ended.note == "it was deleted before it was asked for"
    drive.do(drive.lives.delete(A, drive.now))
    assert drive.take(Remove) == []  # its create is under way: what it makes is deleted then
    drive.do(drive.lives.asked(A, "i3", drive.now))
    assert drive.take(Remove) == [Remove(A, "i3", console=False)]


def test_last_words_of_one_that_is_being_deleted() -> None:
    drive = Driver()
    drive.up()
    drive.do(drive.lives.delete(A, drive.now))
    drive.do(drive.lives.said_ended(A, MachineSays("ended", signal=9), drive.now))
    drive.do(drive.lives.removed(A, True, "", "", drive.now))
    assert drive.told[-1] == Ended(A, None, 9)


def test_lists_that_fail_judge_nobody_and_come_slower() -> None:
    drive = Driver()
    drive.up()
    gaps = []
    for _ in range(6):
        last = drive.now
        while not drive.take(List):
            drive.do(drive.lives.probe(A, drive.now)[1])
            drive.wait(0.1)
        gaps.append(drive.now - last)
        drive.do(drive.lives.list_failed(drive.now))
    assert gaps == sorted(gaps)
    assert gaps[-1] >= 9.0
    assert len(drive.told) == 1


def test_kinds_of_faults() -> None:
    assert classify("Exceeded maximum number of retries. No valid host was found.") == "no-valid-host"
    assert classify("Quota exceeded for instances") == "quota"
    assert classify("Image 4711 could not be found") == "image"
    assert classify("Build of instance aborted") == ""


def test_one_table_says_what_a_status_means() -> None:
    nova = (
        "ACTIVE BUILD DELETED ERROR HARD_REBOOT MIGRATING PASSWORD PAUSED REBOOT REBUILD RESCUE RESIZE REVERT_RESIZE"
        " SHELVED SHELVED_OFFLOADED SHUTOFF SOFT_DELETED SUSPENDED UNKNOWN VERIFY_RESIZE"
    )
    assert set(nova.split()) <= set(CONDITIONS)
    assert {each for each in nova.split() if condition(each) is Condition.UNKNOWN} == {"UNKNOWN"}
    assert condition("shutoff") is Condition.OFF
    assert condition("a word of a release to come") is Condition.UNKNOWN


@pytest.mark.parametrize("status", ["UNKNOWN", "MIGRATING", "VERIFY_RESIZE", "RESIZE", "HARD_REBOOT", "QUIESCED"])
@pytest.mark.parametrize("joined", [True, False])
def test_a_status_that_says_nothing_of_an_end_ends_nobody(status: str, joined: bool) -> None:
    drive = Driver()
    drive.order()
    drive.take(Ask)
    drive.do(drive.lives.asked(A, "i3", drive.now))
    if joined:
        drive.do(drive.lives.joined(A, drive.now))
    for _ in range(4):
        drive.listed(seen(status=status))
    assert drive.take(Remove) == []
    assert drive.told == [Created(A, "i3")]


def test_the_reason_of_an_error_is_waited_for_a_moment() -> None:
    drive = Driver()
    drive.order()
    drive.take(Ask)
    drive.do(drive.lives.asked(A, "i3", drive.now))
    began = drive.now
    while not drive.take(Remove):
        drive.listed(seen(status="ERROR"))
    assert FAULT_PATIENCE <= drive.now - began <= FAULT_PATIENCE + 3.0
    drive.do(drive.lives.removed(A, True, "", "", drive.now))
    failed = drive.told[-1]
    assert isinstance(failed, CreateFailed)
    assert "the cloud does not say why" in failed.fault


def test_the_reason_of_an_error_that_lists_lack_is_asked_for_by_name() -> None:
    drive = Driver()
    drive.order()
    drive.take(Ask)
    drive.do(drive.lives.asked(A, "i3", drive.now))
    drive.listed(seen(status="ERROR"))
    assert drive.take(Find) == [Find(A, "i3")]
    drive.listed(seen(status="ERROR"))
    assert drive.take(Find) == []  # one question at a time
    drive.do(drive.lives.found(A, None, drive.now))  # another node, perhaps: it is listed
    drive.listed(seen(status="ERROR"))
    assert drive.take(Find) == [Find(A, "i3")]
    words = "No valid host was found. There are not enough hosts available."
    drive.do(drive.lives.found(A, replace(seen(status="ERROR"), fault=words), drive.now))
    assert drive.take(Remove) == [Remove(A, "i3", console=True)]
    drive.do(drive.lives.removed(A, True, "", "", drive.now))
    assert drive.told[-1] == CreateFailed(A, words, "no-valid-host")


def test_of_two_with_one_mark_that_one_counts_that_has_joined() -> None:
    drive = Driver()
    drive.order()
    drive.take(Ask)
    drive.do(drive.lives.refused(A, "unclear", "504", drive.now))
    drive.listed()
    assert drive.take(Ask) == [Ask(A)]
    drive.do(drive.lives.asked(A, "i3", drive.now))
    late = replace(seen(addresses=("10.0.0.4",)), instance="late")
    known = seen(addresses=("10.0.0.3",))
    for _ in range(4):
        both(drive, late, known)
    assert drive.take(Discard) == []  # any of them may be the one that joins
    drive.do(drive.lives.joined(A, drive.now))
    drive.do(drive.lives.located(A, "10.0.0.4", drive.now))
    for _ in range(3):
        both(drive, late, known)
    assert drive.take(Discard) == [Discard(known.mark, "i3")]
    assert drive.told[-1] == Created(A, "late")
    drive.do(drive.lives.delete(A, drive.now))
    assert drive.take(Remove) == [Remove(A, "late", console=False)]


def both(drive: Driver, *rows: Seen) -> None:
    while not drive.take(List):
        drive.wait(0.1)
    drive.do(drive.lives.listed(rows, drive.now))


def test_what_no_life_claims_is_deleted_when_two_lists_show_it() -> None:
    drive = Driver(Machines("gid", 2, own="me"))
    drive.up()
    me = Seen("gid.1.1", "me", "ACTIVE")
    double = Seen("gid.1.1", "my double", "ACTIVE")
    stray = Seen("gid.99.1", "a stray", "SHUTOFF")
    others = [Seen("other.99.1", "x", "ACTIVE"), Seen("gid.backup", "y", "ACTIVE"), Seen("gid.a.b", "z", "ACTIVE")]
    both(drive, me, double, stray, seen(), *others)
    assert drive.take(Discard) == []
    both(drive, me, double, stray, seen(), *others)
    assert drive.take(Discard) == [Discard("gid.1.1", "my double"), Discard("gid.99.1", "a stray")]
    drive.do(drive.lives.discarded("my double", drive.now))
    drive.do(drive.lives.discarded("a stray", drive.now))
    for _ in range(4):
        both(drive, me, stray, seen(), *others)
    assert drive.take(Discard) == [Discard("gid.99.1", "a stray")]  # it was accepted, and forgotten
    assert drive.told == [Created(A, "i3")]


def test_who_does_not_know_which_server_it_runs_on_touches_no_supervisor() -> None:
    drive = Driver()
    drive.up()
    for _ in range(4):
        both(drive, Seen("gid.1.1", "a", "ACTIVE"), Seen("gid.1.1", "b", "ACTIVE"), seen())
    assert drive.take(Discard) == []


def test_what_was_given_up_is_looked_for_until_it_cannot_come_any_more() -> None:
    drive = Driver()
    drive.order()
    drive.take(Ask)
    drive.do(drive.lives.delete(A, drive.now))
    drive.do(drive.lives.refused(A, "unclear", "no answer", drive.now))
    began = drive.now
    while not drive.take(Remove):
        drive.listed()
    drive.do(drive.lives.removed(A, True, "", "", drive.now))
    assert isinstance(drive.told[-1], Ended)
    lists = 0
    while drive.lives.due() < math.inf:
        drive.now = max(drive.now, drive.lives.due())
        drive.do(drive.lives.tick(drive.now))
        if drive.take(List):
            lists += 1
            drive.do(drive.lives.listed([], drive.now))
    assert DEBT - 60 < drive.now - began < DEBT + 60
    assert 30 < lists < 120


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


class Clouds(RuleBasedStateMachine):
    """A cloud that answers in any order, loses answers, and keeps what it was to delete."""

    @initialize()
    def begin(self) -> None:
        self.drive = Driver(Machines("gid", 3))
        self.there: dict[str, str] = {}  # what the cloud has: name to mark
        self.asks: list[Key] = []
        self.removes: list[Remove] = []
        self.listing: dict[str, Seen] | None = None
        self.unclear: set[Key] = set()
        self.ordered: list[Key] = []
        self.numbers = iter(range(10_000))

    def sort(self) -> None:
        for ask in self.drive.take(Ask):
            assert ask.key not in self.unclear, "asked again after an unclear answer, and not listed in between"
            self.asks.append(ask.key)
        self.removes += self.drive.take(Remove)
        if self.drive.take(List):
            assert self.listing is None, "two lists at once"
            self.listing = {mark: Seen(mark, name, "ACTIVE") for name, mark in self.there.items()}

    def mark(self, key: Key) -> str:
        return self.drive.lives.mark(key)

    @rule()
    def order(self) -> None:
        key = Key(3 + len(self.ordered), 1)
        self.ordered.append(key)
        self.drive.order(key)
        self.sort()

    @precondition(lambda self: self.asks)
    @rule(data=st.data(), answer=st.sampled_from(["made", "made", "unclear", "unclear-made", "quota"]))
    def answer(self, data: st.DataObject, answer: str) -> None:
        key = data.draw(st.sampled_from(self.asks))
        self.asks.remove(key)
        if "made" in answer:
            name = f"i{next(self.numbers)}"
            assert self.mark(key) not in self.there.values(), "two machines of one mark"
            self.there[name] = self.mark(key)
        self.drive.now += 0.05
        if answer == "made":
            self.drive.do(self.drive.lives.asked(key, name, self.drive.now))
        else:
            kind = "unclear" if answer.startswith("unclear") else answer
            if kind == "unclear":
                self.unclear.add(key)
            self.drive.do(self.drive.lives.refused(key, kind, "words", self.drive.now))
        self.sort()

    @precondition(lambda self: self.listing is not None)
    @rule(works=st.booleans())
    def list(self, works: bool) -> None:
        listing, self.listing = self.listing, None
        assert listing is not None
        self.drive.now += 0.05
        if works:
            self.unclear.clear()
            self.drive.do(self.drive.lives.listed(listing, self.drive.now))
        else:
            self.drive.do(self.drive.lives.list_failed(self.drive.now))
        self.sort()

    @precondition(lambda self: self.removes)
    @rule(data=st.data(), works=st.booleans())
    def remove(self, data: st.DataObject, works: bool) -> None:
        remove = data.draw(st.sampled_from(self.removes))
        self.removes.remove(remove)
        if works:
            self.there = {name: mark for name, mark in self.there.items() if mark != self.mark(remove.key)}
        gone = self.mark(remove.key) not in self.there.values()
        self.drive.now += 0.05
        self.drive.do(self.drive.lives.removed(remove.key, gone, "" if gone else "409", "", self.drive.now))
        self.sort()

    @precondition(lambda self: self.ordered)
    @rule(data=st.data(), what=st.sampled_from(["delete", "join", "end", "shut", "left", "probe"]))
    def happen(self, data: st.DataObject, what: str) -> None:
        key, lives, now = data.draw(st.sampled_from(self.ordered)), self.drive.lives, self.drive.now
        if what == "delete":
            self.drive.do(lives.delete(key, now))
        elif what == "join" and self.mark(key) in self.there.values():
            self.drive.do(lives.joined(key, now))
        elif what in ("end", "shut") and self.mark(key) in self.there.values():
            said = MachineSays("ended", code=0) if what == "end" else MachineSays("ended", why="shut down")
            self.drive.do(lives.said_ended(key, said, now))
        elif what == "left":
            self.drive.do(lives.left(key, now))
        else:
            self.drive.do(lives.probe(key, now)[1])
        self.sort()

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def vanish(self, data: st.DataObject) -> None:
        del self.there[data.draw(st.sampled_from(sorted(self.there)))]

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 40.0]))
    def pass_time(self, seconds: float) -> None:
        self.drive.wait(seconds)
        self.sort()

    @invariant()
    def each_end_is_told_once_and_then_nothing_is_left(self) -> None:
        ends = [event.key for event in self.drive.told if isinstance(event, (Ended, CreateFailed))]
        assert len(ends) == len(set(ends))
        for key in ends:
            assert key not in self.drive.lives
            assert self.mark(key) not in self.there.values()

    @invariant()
    def no_two_machines_of_one_mark(self) -> None:
        assert len(set(self.there.values())) == len(self.there)

    def teardown(self) -> None:
        """A cloud that works from now on has every life end."""
        for key in self.ordered:
            self.drive.do(self.drive.lives.delete(key, self.drive.now))
        self.sort()
        for _ in range(2000):
            if not len(self.drive.lives):
                break
            if self.asks:
                key = self.asks.pop()
                name = f"i{next(self.numbers)}"
                self.there[name] = self.mark(key)
                self.drive.do(self.drive.lives.asked(key, name, self.drive.now))
            elif self.removes:
                remove = self.removes.pop()
                self.there = {name: mark for name, mark in self.there.items() if mark != self.mark(remove.key)}
                self.drive.do(self.drive.lives.removed(remove.key, True, "", "", self.drive.now))
            elif self.listing is not None:
                listing, self.listing = self.listing, None
                self.unclear.clear()
                self.drive.do(self.drive.lives.listed(listing, self.drive.now))
            else:
                self.drive.wait(0.5)
            self.sort()
        assert not len(self.drive.lives)
        assert not self.there
        ends = [event.key for event in self.drive.told if isinstance(event, (Ended, CreateFailed))]
        assert sorted(ends) == self.ordered


TestClouds = Clouds.TestCase
TestClouds.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
