"""The lives of machines: how one begins, what lists and the cloud's words say of it, and how it ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lifedriver import A, B, Driver, both, seen

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
    Find,
    List,
    Remove,
    Say,
    Seen,
    classify,
    condition,
)
from rackactor_runtime.providers.machines.judging import FAULT_PATIENCE
from rackactor_runtime.providers.machines.lifecycle import APART, ATTEMPTS, MISSING, SETTLE, UNKILLABLE, Machines
from rackactor_runtime.providers.machines.strays import DEBT


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
