"""Whatever a cloud answers, and in whichever order, three things never happen."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from lifedriver import Driver

from rackactor.wire.calls.machine import MachineSays
from rackactor_runtime.providers.base import (
    CreateFailed,
    Ended,
    Key,
)
from rackactor_runtime.providers.machines.effects import (
    Ask,
    List,
    Remove,
    Seen,
)
from rackactor_runtime.providers.machines.lifecycle import Machines


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
