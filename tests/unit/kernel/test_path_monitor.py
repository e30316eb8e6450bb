"""When a direct path is given up, and that nothing is lost by it: whatever dies, and whenever it comes back."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_peers import A, B, deliver, tell

from rackactor.kernel.direct.path_monitor import (
    ASK_AFTER,
    DARK_AFTER,
    FIRST_RETRY,
    LAST_RETRY,
    MEET_WITHIN,
    SLOWEST,
    STABLE,
    Action,
    Paths,
    Standing,
    Step,
)
from rackactor.kernel.peers import Peers
from rackactor.wire.frames import Kind
from rackactor.wire.stream import WINDOW

IDLE = Standing(0, 5, False, 9)
BUSY = Standing(100, 5, False, 9)


def watch(paths: Paths, standing: Standing, since: float, until: float) -> list[tuple[float, Step]]:
    """Look whenever it is due; return what was decided, and when."""
    found = []
    while paths.due <= until:
        now = max(paths.due, since)
        found += [(now - since, action.step) for action in paths.tick(now, lambda _: standing)]
    return found


def in_use(now: float = 0.0) -> Paths:
    paths = Paths()
    paths.asked(B, now)
    paths.met(B, 1, now)
    paths.taken(B, 1, now)
    return paths


def test_an_idle_path_is_left_alone() -> None:
    paths = in_use()
    assert watch(paths, IDLE, 0, 1000) == []
    assert paths.due > 1000, "and causes no wake-ups"


def test_silence_is_asked_about_once_and_then_believed() -> None:
    paths = in_use()
    paths.sent(B, 0.0)
    (asked, first), (gone, second) = watch(paths, BUSY, 0, 100)
    assert (first, second) == (Step.ASK, Step.GIVE_UP)
    assert ASK_AFTER <= asked < gone <= 2.5
    assert gone - asked >= DARK_AFTER


def test_progress_is_news() -> None:
    paths = in_use()
    for second in range(30):
        paths.sent(B, float(second))
        moved = Standing(100, second, False, 9)
        assert Step.GIVE_UP not in [step for _, step in watch(paths, moved, float(second), second + 0.99)]


def test_what_is_large_may_take_its_time() -> None:
    paths = in_use()
    paths.sent(B, 0.0)
    seconds = 20
    large = Standing(seconds * SLOWEST, 5, False, 9)
    assert Step.GIVE_UP not in [step for _, step in watch(paths, large, 0, seconds)]
    assert Step.GIVE_UP in [step for _, step in watch(paths, large, 0, seconds + 5)]


def test_a_slow_reader_is_no_dark_path() -> None:
    """Its credit may be what went dark: it is asked, and any answer will do."""
    paths = in_use()
    told = 0

    def standing(_: int) -> Standing:
        return Standing(0, 5, True, told)

    paths.sent(B, 0.0)
    asked = 0
    while paths.due < 60:
        for action in paths.tick(paths.due, standing):
            assert action.step is Step.ASK
            asked += 1
            told += 1
    assert 20 < asked < 130
    assert Step.GIVE_UP in [step for _, step in watch(paths, Standing(0, 5, True, told), 60, 70)]


def test_a_connection_that_does_not_come_up_is_closed() -> None:
    paths = Paths()
    paths.met(B, 7, 0.0)
    assert paths.tick(MEET_WITHIN - 0.1, lambda _: IDLE) == []
    assert paths.tick(MEET_WITHIN, lambda _: IDLE) == [Action(Step.DROP, B, 7)]
    paths.met(B, 8, 10.0)
    paths.taken(B, 8, 11.0)
    assert [a for a in paths.tick(20.0, lambda _: IDLE) if a.step is Step.DROP] == []


def test_retries_grow_rare_and_a_path_that_held_is_forgiven() -> None:
    paths, now, waits = Paths(), 0.0, []
    for _ in range(8):
        paths.asked(B, now)
        waits.append(paths.due - now)
        now = paths.due
        assert paths.tick(now, lambda _: IDLE) == [Action(Step.RETRY, B)]
    assert waits[:3] == [FIRST_RETRY, 2 * FIRST_RETRY, 4 * FIRST_RETRY]
    assert waits[-1] == LAST_RETRY
    paths.taken(B, 9, now)
    paths.over(B, now + 1)
    assert watch(paths, IDLE, now, now + 100) == [], "it did not hold for long"
    paths.taken(B, 10, now)
    paths.over(B, now + STABLE)
    watch(paths, IDLE, now, now + STABLE + FIRST_RETRY - 0.1)
    assert paths.tick(now + STABLE + FIRST_RETRY, lambda _: IDLE) == [Action(Step.RETRY, B)]


def test_a_peer_that_is_gone_is_forgotten() -> None:
    paths = in_use()
    paths.sent(B, 0.0)
    paths.met(B, 2, 0.0)
    paths.forget(B)
    assert watch(paths, BUSY, 0, 1000) == []


# -- two agents -------------------------------------------------------------------------------------------


class Connection:
    """A direct connection: what is under way on it, each way."""

    def __init__(self) -> None:
        self.lines: dict[int, list[Any]] = {A: [], B: []}
        #: It swallows everything: TCP has broken, and ZeroMQ has made another that the other end does not know.
        self.dead = False


class Agent:
    """What one process keeps: its streams, its paths, the connections that it knows."""

    def __init__(self) -> None:
        self.peers, self.paths = Peers(), Paths()
        self.known: dict[int, Connection] = {}
        self.got: list[int] = []
        self.mailbox: list[Any] = []
        self.offered = 0


class World:
    """Two agents, a supervisor between them that loses nothing, and a network that does."""

    def __init__(self) -> None:
        self.agents = {A: Agent(), B: Agent()}
        self.relay: dict[int, list[Any]] = {A: [], B: []}
        self.numbers = itertools.count(1)
        self.up = True
        self.now = 0.0

    def offer(self, pid: int, size: int) -> None:
        agent = self.agents[pid]
        if not agent.peers.over_limit(A + B - pid):
            agent.offered += 1
            agent.peers.offer(A + B - pid, tell(agent.offered, size))

    def turn(self, pid: int, everything: bool = False) -> None:
        for sending in self.agents[pid].peers.send(everything):
            self._transmit(pid, sending)

    def _transmit(self, pid: int, sending: Any) -> None:
        agent = self.agents[pid]
        if sending.path is None:
            self.relay[pid].append(sending)
            return
        connection = agent.known[sending.path]
        if not connection.dead:
            connection.lines[pid].append(sending)
        if sending.kind is Kind.DATA:
            agent.paths.sent(A + B - pid, self.now)

    def pass_on(self, pid: int) -> None:
        """Have the supervisor carry one thing that this agent has sent it."""
        if not self.relay[pid]:
            return
        item, other = self.relay[pid].pop(0), A + B - pid
        if isinstance(item, list):
            self._part(other, item)
        else:
            self._take(other, item)

    def carry(self, pid: int) -> None:
        """Have the network carry one message of each connection."""
        other = A + B - pid
        for number, connection in list(self.agents[pid].known.items()):
            if self.up and connection.lines[pid]:
                item = connection.lines[pid].pop(0)
                if number not in self.agents[other].known:
                    continue  # closed there already
                if item is None:
                    for sending in list(self.agents[other].peers.tell_state(pid)):
                        self._transmit(other, sending)
                else:
                    self._take(other, item)

    def _take(self, pid: int, sending: Any) -> None:
        agent = self.agents[pid]
        found = deliver(sending, A + B - pid, agent.peers)
        agent.got += [delivery.entry.rid for delivery in found]
        agent.mailbox += found

    def consume(self, pid: int) -> None:
        agent = self.agents[pid]
        while agent.mailbox:
            delivery = agent.mailbox.pop()
            agent.peers.consumed(delivery.pid, delivery.entry.cost)

    def meet(self, pid: int, whole: bool) -> None:
        """Introduce the two; with `whole` false the network is cut just before the one who connects hears of it."""
        number, connection, other = next(self.numbers), Connection(), A + B - pid
        self.agents[pid].known[number] = self.agents[other].known[number] = connection
        self.agents[pid].paths.met(other, number, self.now)
        self._use(other, number)
        if whole:
            self._use(pid, number)

    def _use(self, pid: int, number: int) -> None:
        agent, other = self.agents[pid], A + B - pid
        agent.peers.switch(other, number, again=False)
        agent.paths.taken(other, number, self.now)

    def network(self, up: bool) -> None:
        self.up = up

    def reset(self, _: int) -> None:
        """Break the TCP connections there are, with what is under way."""
        for connection in {*self.agents[A].known.values(), *self.agents[B].known.values()}:
            connection.dead = True
            connection.lines = {A: [], B: []}

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for pid, agent in self.agents.items():
            for action in agent.paths.tick(self.now, agent.peers.standing):
                self._act(pid, action)

    def _act(self, pid: int, action: Action) -> None:
        agent, other = self.agents[pid], A + B - pid
        if action.step is Step.ASK:
            path = agent.peers.get(other).path
            if path is not None and not agent.known[path].dead:
                agent.known[path].lines[pid].append(None)
        elif action.step is Step.DROP:
            if agent.known.pop(action.number, None) is not None:
                self.relay[pid].append([action.number])
        elif action.step is Step.GIVE_UP:
            self._give_up(pid)

    def _give_up(self, pid: int) -> None:
        agent, other = self.agents[pid], A + B - pid
        agent.paths.over(other, self.now)
        agent.peers.switch(other, None, again=True)
        if agent.known:
            self.relay[pid].append(list(agent.known))
        agent.known.clear()

    def _part(self, pid: int, numbers: list[int]) -> None:
        agent, other = self.agents[pid], A + B - pid
        for number in numbers:
            agent.known.pop(number, None)
        if agent.peers.get(other).path in numbers:
            self._give_up(pid)

    def check(self) -> None:
        for pid in (A, B):
            assert self.agents[pid].got == list(range(1, len(self.agents[pid].got) + 1))

    def settle(self) -> None:
        for beat in range(200):
            self.wait(0.25)
            for pid in (A, B):
                self.turn(pid, beat % 4 == 0)
                while self.relay[pid]:
                    self.pass_on(pid)
                for _ in range(50):
                    self.carry(pid)
                self.consume(pid)
        for pid in (A, B):
            assert self.agents[A + B - pid].got == list(range(1, self.agents[pid].offered + 1))
            assert not self.agents[pid].peers.over_limit(A + B - pid)


either = st.sampled_from([A, B])
happenings = st.one_of(
    st.tuples(st.just("offer"), either, st.sampled_from([0, 30_000, WINDOW // 2, WINDOW])),
    st.tuples(st.just("turn"), either, st.booleans()),
    st.tuples(st.sampled_from(["pass_on", "carry", "consume"]), either),
    st.tuples(st.just("meet"), either, st.booleans()),
    st.tuples(st.just("network"), st.booleans()),
    st.tuples(st.just("reset"), either),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 0.3, 1.0, 6.0, 30.0])),
)


@example([("meet", A, True), ("reset", A), ("offer", A, WINDOW)])  # whoever only receives has to be told
@example([("meet", A, False), ("network", False), ("offer", A, WINDOW)])
@example([("offer", B, WINDOW), ("meet", A, True), ("meet", A, False), ("network", False), ("wait", 6.0)])
@example([("meet", A, True), ("meet", B, True), ("network", False), ("offer", A, WINDOW), ("offer", B, WINDOW)])
@given(st.lists(happenings, max_size=60))
@settings(max_examples=100, deadline=None)
def test_nothing_is_lost_or_stuck_whatever_dies_and_comes_back(schedule: list[tuple[Any, ...]]) -> None:
    world = World()
    for name, *arguments in schedule:
        getattr(world, name)(*arguments)
        world.check()
    world.settle()
