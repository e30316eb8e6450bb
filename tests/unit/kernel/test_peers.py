"""Whom an agent talks to, and on which path."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackactor.kernel.peers import DIRECT_AFTER, Delivery, Peers, Sending
from rackactor.wire.frames import Kind
from rackactor.wire.stream import OVERHEAD, WINDOW, Entry, EntryKind, parse_entries

A, B = 10, 20


def tell(number: int, size: int = 0) -> Entry:
    return Entry(EntryKind.TELL, number, bytes(size))


def bodies(sending: Sending) -> list[int]:
    """The numbers of the messages that a sending carries."""
    if sending.kind is not Kind.DATA:
        return []
    return [entry.rid for entry in parse_entries(sending.extra[1], sending.bodies)]


def deliver(sending: Sending, sender: int, receiver: Peers) -> list[Delivery]:
    """Hand a sending to the receiver's side."""
    if sending.kind is Kind.ACK:
        receiver.acknowledged(sender, sending.extra[0], sending.extra[1])
        return []
    first, count, ack, limit = sending.extra
    numbers, entries = (first, count, ack, limit), parse_entries(count, sending.bodies)
    one = receiver.follows(sender, 1, numbers, entries[0]) if count == 1 else None
    return [one] if one is not None else receiver.arrived(sender, 1, numbers, entries)


def test_a_message_goes_to_the_supervisor_first() -> None:
    peers = Peers()
    assert not peers.waiting
    peers.offer(B, tell(1))
    assert peers.waiting
    (sending,) = peers.send()
    assert (sending.pid, sending.path, sending.kind) == (B, None, Kind.DATA)
    assert bodies(sending) == [1]
    assert not peers.waiting
    assert list(peers.send()) == []


def test_an_acknowledgement_is_in_no_hurry() -> None:
    a, b = Peers(), Peers()
    a.offer(B, tell(1))
    (sending,) = a.send()
    assert [d.entry.rid for d in deliver(sending, A, b)] == [1]
    assert b.owes
    assert list(b.send()) == []
    (ack,) = b.send(everything=True)
    assert (ack.kind, ack.extra[0], ack.bodies) == (Kind.ACK, 1, [])
    assert not b.owes
    assert list(b.send(everything=True)) == []


def test_an_answer_carries_the_acknowledgement() -> None:
    a, b = Peers(), Peers()
    a.offer(B, tell(1))
    for sending in a.send():
        deliver(sending, A, b)
    b.consumed(A, OVERHEAD)
    b.offer(A, tell(2))
    (answer,) = b.send()
    assert answer.extra[2:] == (1, WINDOW + OVERHEAD)
    assert not b.owes
    deliver(answer, B, a)
    peer = a.known(B)
    assert peer is not None
    assert peer.outgoing.pending == 0


def test_credit_is_told_at_once() -> None:
    a, b = Peers(), Peers()
    while not a.over_limit(B):
        a.offer(B, tell(1, WINDOW // 8))
    for sending in a.send():
        for delivery in deliver(sending, A, b):
            b.consumed(A, delivery.entry.cost)
    (ack,) = b.send()
    deliver(ack, B, a)
    assert not a.over_limit(B)
    assert not a.over_limit(99)


def test_a_direct_connection_is_asked_for_once() -> None:
    peers = Peers()
    wants = []
    for number in range(3 * DIRECT_AFTER):
        peers.offer(B, tell(number))
        wants.append(peers.wants_direct(B))
    assert wants.index(True) == DIRECT_AFTER - 1
    assert wants.count(True) == 1


def test_what_overtakes_on_a_new_path_waits_for_what_came_before() -> None:
    a, b = Peers(), Peers()
    a.offer(B, tell(1))
    (slow,) = a.send()
    a.switch(B, "direct", again=False)
    a.offer(B, tell(2))
    (quick,) = a.send()
    assert (slow.path, quick.path) == (None, "direct")
    assert deliver(quick, A, b) == []
    assert [d.entry.rid for d in deliver(slow, A, b)] == [1, 2]


def test_a_path_that_breaks_loses_nothing_and_doubles_nothing() -> None:
    a, b = Peers(), Peers()
    a.switch(B, "direct", again=False)
    for number in (1, 2):
        a.offer(B, tell(number, 20_000))
    first, _lost = a.send()
    assert [d.entry.rid for d in deliver(first, A, b)] == [1]
    a.switch(B, None, again=True)
    again = list(a.send())
    assert [(s.path, *bodies(s)) for s in again] == [(None, 1), (None, 2)]
    assert [d.entry.rid for s in again for d in deliver(s, A, b)] == [2]


def test_an_acknowledgement_lost_with_its_path_is_told_again() -> None:
    a, b = Peers(), Peers()
    b.switch(A, "direct", again=False)
    while not a.over_limit(B):
        a.offer(B, tell(1, WINDOW // 4))
    for sending in a.send():
        for delivery in deliver(sending, A, b):
            b.consumed(A, delivery.entry.cost)
    (lost,) = b.send()
    assert lost.path == "direct"
    b.switch(A, None, again=True)  # it could not be sent
    told = list(b.send(everything=True))
    assert [s.kind for s in told] == [Kind.ACK]
    deliver(told[0], B, a)
    assert not a.over_limit(B)


@pytest.mark.parametrize("path", [None, "direct"])
def test_what_a_dead_process_never_had_comes_back(path: Any) -> None:
    a, b = Peers(), Peers()
    a.switch(B, path, again=False)
    a.offer(B, tell(1))
    (sending,) = a.send()
    deliver(sending, A, b)
    (ack,) = b.send(everything=True)
    deliver(ack, B, a)
    a.offer(B, tell(2))
    list(a.send())
    a.offer(B, tell(3))
    assert [entry.rid for entry in a.gone(B)] == [2, 3]
    assert a.drained()
    assert not a.waiting
    assert list(a.send(everything=True)) == []
    assert a.gone(B) == []
    assert a.gone(99) == []


def test_the_last_words_of_a_dead_process_on_a_direct_path_are_heard() -> None:
    a, b = Peers(), Peers()
    b.switch(A, "direct", again=False)
    a.switch(B, "direct", again=False)
    for number in (1, 2):
        b.offer(A, tell(number, 20_000))
    first, second = b.send()
    assert len(deliver(first, B, a)) == 1
    a.gone(B)
    assert [d.entry.rid for d in deliver(second, B, a)] == [2]


def test_drained_means_sent_to_the_supervisor_or_acknowledged_by_a_direct_peer() -> None:
    a, b = Peers(), Peers()
    assert a.drained()
    a.offer(B, tell(1))
    assert not a.drained()
    (sending,) = a.send()
    assert a.drained()
    deliver(sending, A, b)
    a.switch(B, "direct", again=False)
    assert not a.drained()
    (ack,) = b.send(everything=True)
    deliver(ack, B, a)
    assert a.drained()


def test_what_waits_for_credit_is_not_drained() -> None:
    a = Peers()
    for number in range(5):
        a.offer(B, tell(number, WINDOW))
    assert len(list(a.send())) == 1
    assert not a.drained()


def test_an_acknowledgement_from_a_stranger() -> None:
    peers = Peers()
    peers.acknowledged(77, 5, 5)
    peers.consumed(77, 5)
    assert peers.known(77) is None


class World:
    """Two agents with a relay and a direct connection that can break for either of them."""

    def __init__(self) -> None:
        self.sides = {A: Peers(), B: Peers()}
        self.lines: dict[tuple[int, Any], list[Sending]] = {(pid, p): [] for pid in (A, B) for p in (None, "direct")}
        self.count = {A: 0, B: 0}
        self.got: dict[int, list[int]] = {A: [], B: []}
        self.mailbox: dict[int, list[Delivery]] = {A: [], B: []}
        self.up = True

    def other(self, pid: int) -> int:
        return B if pid == A else A

    def offer(self, pid: int, size: int) -> None:
        self.count[pid] += 1
        self.sides[pid].offer(self.other(pid), tell(self.count[pid], size))

    def pass_on(self, pid: int, size: int) -> None:
        passed, other = tell(self.count[pid] + 1, size), self.other(pid)
        path = self.sides[pid].get(other).path
        numbers = None if path is None else self.sides[pid].pass_on(other, passed)
        if numbers is None:
            self.offer(pid, size)
            return
        self.count[pid] += 1
        self.leave(pid, Sending(other, path, Kind.DATA, numbers, (passed,)))

    def send(self, pid: int, everything: bool) -> None:
        for sending in self.sides[pid].send(everything):
            self.leave(pid, sending)

    def leave(self, pid: int, sending: Sending) -> None:
        if sending.path is not None and not self.up:
            self.sides[pid].switch(sending.pid, None, again=True)  # as the kernel does when a send fails
        else:
            self.lines[pid, sending.path].append(sending)

    def carry(self, pid: int, path: Any) -> None:
        line, to = self.lines[pid, path], self.other(pid)
        if line:
            found = deliver(line.pop(0), pid, self.sides[to])
            self.got[to] += [delivery.entry.rid for delivery in found]
            self.mailbox[to] += found

    def take(self, pid: int) -> None:
        if self.mailbox[pid]:
            delivery = self.mailbox[pid].pop(0)
            self.sides[pid].consumed(delivery.pid, delivery.entry.cost)

    def meet(self, pid: int) -> None:
        if self.up:
            self.sides[pid].switch(self.other(pid), "direct", again=False)

    def break_direct(self) -> None:
        """Lose what is under way on the direct connection; both ends find out when they next send."""
        self.up = False
        for pid in (A, B):
            self.lines[pid, "direct"].clear()
            if self.sides[pid].get(self.other(pid)).path is not None:
                self.sides[pid].switch(self.other(pid), None, again=True)

    def settle(self) -> None:
        for _ in range(5 * sum(self.count.values()) + 10):
            for pid in (A, B):
                self.send(pid, True)
                for path in (None, "direct"):
                    while self.lines[pid, path]:
                        self.carry(pid, path)
                while self.mailbox[pid]:
                    self.take(pid)
        for pid in (A, B):
            assert self.got[self.other(pid)] == list(range(1, self.count[pid] + 1))
            assert not self.sides[pid].over_limit(self.other(pid))
            assert self.sides[pid].drained()


either = st.sampled_from([A, B])
actions = st.one_of(
    st.tuples(st.sampled_from(["offer", "pass_on"]), either, st.sampled_from([0, 30_000, WINDOW // 2, WINDOW])),
    st.tuples(st.just("send"), either, st.booleans()),
    st.tuples(st.just("carry"), either, st.sampled_from([None, "direct"])),
    st.tuples(st.sampled_from(["take", "meet"]), either),
    st.tuples(st.just("break_direct")),
)


@given(st.lists(actions, max_size=50))
@settings(max_examples=150, deadline=None)
def test_two_agents_lose_nothing_whatever_becomes_of_their_connection(schedule: list[tuple[Any, ...]]) -> None:
    world = World()
    for name, *arguments in schedule:
        getattr(world, name)(*arguments)
        for pid in (A, B):
            assert world.got[pid] == list(range(1, len(world.got[pid]) + 1))
    world.settle()


def test_one_introduction_is_enough_where_both_reach_each_other() -> None:
    peers = Peers()
    peers.direct_after = 2
    peers.introduced(B)
    for number in range(3):
        peers.offer(B, tell(number))
        peers.offer(A, tell(number))
    assert not peers.wants_direct(B)
    assert peers.wants_direct(A)
