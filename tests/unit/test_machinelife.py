"""The lives of machines: whatever a cloud answers, and in whichever order, three things never happen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rackactor_runtime.providers.base import Created, CreateFailed, Ended, Event, Key, Located, Unkillable, Vital
from rackactor_runtime.providers.machinelife import ATTEMPTS, MISSING, SETTLE, UNKILLABLE, Machines
from rackactor_runtime.providers.machinewords import (
    CONDITIONS,
    Ask,
    Condition,
    Effect,
    List,
    Remove,
    Say,
    Seen,
    Tell,
    classify,
    condition,
)

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
        asked = [effect for effect in effects if isinstance(effect, (Ask, List, Remove))]
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
    assert drive.lives.examine(A, drive.now)[0] is Vital.RUNNING
    drive.do(drive.lives.said_ended(A, {"code": 3, "signal": None, "oom": False, "note": ""}, drive.now))
    assert drive.take(Remove) == [Remove(A, name, console=False)]
    drive.do(drive.lives.removed(A, False, "", "", drive.now))
    drive.listed(seen())
    assert drive.take(Remove) == []  # it goes: no need to ask again
    drive.listed()
    assert drive.take(Remove) == [Remove(A, name, console=False)]  # once more, for its ports
    assert drive.told[2:] == []
    drive.do(drive.lives.removed(A, True, "", "", drive.now))
    assert drive.told[2:] == [Ended(A, 3, None)]
    assert drive.lives.examine(A, drive.now) == (Vital.GONE, [])


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
        began = drive.now
        assert drive.take(Ask) == []
        drive.listed()
        assert drive.now >= began + SETTLE, "what was made after all had time to show"
        assert attempt < ATTEMPTS - 1 or drive.take(Ask) == []
    assert drive.take(Remove) == [Remove(A, None, console=False)]  # to be sure
    drive.do(drive.lives.removed(A, True, "", "", drive.now))
    [failed] = drive.told
    assert isinstance(failed, CreateFailed)
    assert f"asked {ATTEMPTS} times" in failed.fault
    assert "503" in failed.fault


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


def test_one_list_without_it_is_not_believed() -> None:
    drive = Driver()
    drive.up()
    for number in range(MISSING):
        assert drive.take(Remove) == []
        drive.listed()
        assert (number == MISSING - 1) == bool(drive.take(Remove))
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
    assert drive.lives.examine(A, drive.now)[0] is Vital.STOPPED
    drive.now += 5.0
    drive.do(drive.lives.examine(A, drive.now)[1])
    assert drive.take(List) == [List()]  # a fresh look


def test_a_delete_that_is_not_confirmed_is_tried_on() -> None:
    drive = Driver()
    name = drive.up()
    drive.do(drive.lives.delete(A, drive.now))
    assert drive.said == [Say(A, {"do": "delete"})]
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
    drive.do(drive.lives.said_ended(A, {"code": None, "signal": 9}, drive.now))
    drive.do(drive.lives.removed(A, True, "", "", drive.now))
    assert drive.told[-1] == Ended(A, None, 9)


def test_lists_that_fail_judge_nobody_and_come_slower() -> None:
    drive = Driver()
    drive.up()
    gaps = []
    for _ in range(6):
        last = drive.now
        while not drive.take(List):
            drive.do(drive.lives.examine(A, drive.now)[1])
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
    @rule(data=st.data(), what=st.sampled_from(["delete", "join", "end", "shut", "left", "examine"]))
    def happen(self, data: st.DataObject, what: str) -> None:
        key, lives, now = data.draw(st.sampled_from(self.ordered)), self.drive.lives, self.drive.now
        if what == "delete":
            self.drive.do(lives.delete(key, now))
        elif what == "join" and self.mark(key) in self.there.values():
            self.drive.do(lives.joined(key, now))
        elif what in ("end", "shut") and self.mark(key) in self.there.values():
            fields = {"code": 0} if what == "end" else {"why": "shut down"}
            self.drive.do(lives.said_ended(key, fields, now))
        elif what == "left":
            self.drive.do(lives.left(key, now))
        else:
            self.drive.do(lives.examine(key, now)[1])
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
