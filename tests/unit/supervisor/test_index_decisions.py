"""Who waits for whom is known by indexes: they agree with a look at everybody, and their cost does not grow with n."""

from __future__ import annotations

from typing import Any

import pytest
from driving import House
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rackactor.errors import NoChild, NoSuchProcess
from rackactor.status import State
from rackactor_runtime.supervisor.decisions.messages import Reply
from rackactor_runtime.supervisor.decisions.starts import Starts, state
from rackactor_runtime.supervisor.decisions.waits import Waits


class Crowd(RuleBasedStateMachine):
    """Processes come up and end in any order; others wait for their starts and their ends."""

    def __init__(self) -> None:
        super().__init__()
        self.house = House(max_spawns=100_000, history=5)
        self.script = self.house.script()
        self.pids: list[int] = []
        self.asked: dict[int, tuple[list[int], int]] = {}  # the calls `started` under way

    @rule(n=st.integers(1, 6))
    def fork(self, n: int) -> None:
        self.pids += self.house.fork(self.script, n)

    def _some(self, picks: list[int]) -> list[int]:
        return list(dict.fromkeys(self.pids[pick % len(self.pids)] for pick in picks))

    @precondition(lambda self: self.pids)
    @rule(pick=st.integers(0, 50))
    def up(self, pick: int) -> None:
        pid = self.pids[pick % len(self.pids)]
        record = self.house.state.table.get(pid)
        if record is not None and record.started is None:
            self.house.up(pid)

    @precondition(lambda self: self.pids)
    @rule(pick=st.integers(0, 50), how=st.sampled_from(["exit", "die", "fail"]))
    def end(self, pick: int, how: str) -> None:
        pid = self.pids[pick % len(self.pids)]
        record = self.house.state.table.get(pid)
        if record is None or not record.alive:
            return
        if how == "exit" and record.started is not None:
            self.house.exit(pid, 3)
        elif how == "fail":
            self.house.die(pid, fault="there is no room")
        else:
            self.house.die(pid, None, 9)

    @precondition(lambda self: self.pids)
    @rule(picks=st.lists(st.integers(0, 50), min_size=1, max_size=6), k=st.integers(1, 6))
    def started(self, picks: list[int], k: int) -> None:
        pids = self._some(picks)
        k = min(k, len(pids))
        rid = self.house.cast(self.script, "started", pids=pids, count=k)
        self.asked[rid] = (pids, k)

    @precondition(lambda self: self.pids)
    @rule(picks=st.lists(st.integers(0, 50), max_size=4))
    def wait(self, picks: list[int]) -> None:
        self.house.cast(self.script, "wait", pids=self._some(picks))

    @rule(pick=st.integers(0, 5))
    def cancel(self, pick: int) -> None:
        if self.asked:
            rid = list(self.asked)[pick % len(self.asked)]
            if self.house.answer(self.script, rid) is None:
                self.house.cast(self.script, "cancel", rid=rid)
            del self.asked[rid]

    @invariant()
    def starts_agree_with_a_look_at_all(self) -> None:
        table = self.house.state.table
        for rid, (pids, k) in self.asked.items():
            start = self.house.state.starts._calls.get((self.script, rid))
            answer = self.house.answer(self.script, rid)
            assert (start is None) == (answer is not None)
            if start is not None:
                states = {pid: state(table.get(pid) or table.past(pid)) for pid in pids}
                up = {pid for pid, (came_up, _) in states.items() if came_up}
                waiting = {pid for pid, (came_up, alive) in states.items() if alive and not came_up}
                remembered = set(pids) - {p for p in pids if table.get(p) is None and table.past(p) is None}
                assert start.up & remembered == up
                assert start.open == waiting
                assert len(start.up) < k <= len(start.up) + len(waiting)

    @invariant()
    def waits_agree_with_a_look_at_all(self) -> None:
        state = self.house.state
        for waiter in state.waits._waiters.values():
            assert state.waits._ended(waiter) is None  # neither ended, nor hopeless

    @invariant()
    def zombies_agree_with_a_look_at_all(self) -> None:
        table = self.house.state.table
        zombies = [record for record in table.children(self.script) if record.state is State.ZOMBIE]
        assert table.zombie(self.script) is (zombies[0] if zombies else None)
        assert table.has_children(self.script) == bool(table.children(self.script))

    @invariant()
    def nothing_is_kept_of_what_is_over(self) -> None:
        state = self.house.state
        calls, waits = state.starts._calls, state.waits._waiters
        assert set(state.starts._awaited) == {pid for start in calls.values() for pid in start.pids}
        assert set(state.waits._for) == {pid for waiter in waits.values() for pid in waiter.targets}


Crowd.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCrowd = Crowd.TestCase


def _looks(n: int, *, min_ok: bool) -> int:
    """Start n processes, wait for each, and return how many records and waits were looked at meanwhile."""
    looks = [0]

    def look(_: object) -> None:
        looks[0] += 1

    house = House(max_spawns=100_000)
    state = house.state
    state.starts, state.waits = Starts(state.table, look), Waits(state.table, look)
    script = house.script()
    pids = house.fork(script, n)
    if min_ok:
        house.cast(script, "started", pids=pids, count=n)
    for pid in pids:
        house.up(pid)
    waits = [house.cast(script, "wait", pids=[pid]) for pid in pids]
    others = house.cast(script, "wait", pids=list(pids))
    for pid in pids:
        house.die(pid, 0)
    answers = {effect.rid for effect in house.effects if isinstance(effect, Reply)}
    assert {*waits, others} <= answers
    assert not state.starts._calls
    assert not state.waits._waiters
    return looks[0]


@pytest.mark.parametrize("n", [10, 100, 1000])
def test_a_start_that_is_waited_for_costs_the_same_for_each_however_many_there_are(n: int) -> None:
    bare, waited = _looks(n, min_ok=False), _looks(n, min_ok=True)
    assert waited - bare <= 2 * n  # each when the call comes, and when it is up
    assert bare <= 4 * n


@pytest.mark.parametrize("n", [10, 100, 1000])
def test_the_end_of_a_process_looks_at_its_own_names_and_zombies_only(n: int) -> None:
    house = House(max_spawns=100_000)
    script = house.script()
    names = [f"name-{index}" for index in range(n)]
    pids = [house.fork(script, global_name=name)[0] for name in names]
    before = house.state.names
    for pid in pids:
        house.die(pid, None, 9)
    assert house.state.names is before  # not built anew for each of them
    assert before == {} == house.state.names_of
    reaped = [house.call(script, "wait").fields["pid"] for _ in pids]
    assert reaped == pids
    assert house.state.table._zombies == {}


def test_a_waiter_that_is_gone_leaves_nothing() -> None:
    found = House()
    script = found.script()
    parent = found.spawn(script)
    child = found.fork(parent)[0]
    found.cast(parent, "started", pids=[child], count=1)
    found.cast(parent, "wait", pids=[child])
    found.die(parent, None, 9)
    assert not found.state.starts._awaited
    assert not found.state.waits._for


@pytest.mark.parametrize(("targets", "error"), [([], NoChild), ([77], NoSuchProcess)])
def test_a_wait_for_nobody_is_refused(targets: list[int], error: Any) -> None:
    house = House()
    script = house.script()
    answer = house.call(script, "wait", pids=targets)
    assert not answer.ok
    assert answer.fields["type"] == error.__name__
