"""Streams over paths that break, double and overtake: exactly once, in order, within the window, never stuck."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackactor.errors import ProtocolError
from rackactor.wire.stream import (
    OVERHEAD,
    PACKET,
    SHARED,
    WINDOW,
    Entry,
    EntryKind,
    Incoming,
    Outgoing,
    Packet,
    pack_entries,
    parse_entries,
)

SMALL = 2000  # window of the simulated streams, bytes


def entry(number: int, size: int = 0) -> Entry:
    """A message that says which it is."""
    return Entry(EntryKind.TELL, number, bytes(size))


class Network:
    """A sender and a receiver with two paths between them, each first in, first out."""

    def __init__(self) -> None:
        self.sender, self.receiver = Outgoing(SMALL), Incoming(SMALL)
        self.data: list[deque[Packet]] = [deque(), deque()]
        self.acks: list[deque[tuple[int, int]]] = [deque(), deque()]
        self.path = 0
        self.costs: list[int] = []
        self.sent = 0  # distinct messages that have left
        self.delivered: list[int] = []
        self.untaken: deque[int] = deque()
        self.consumed = 0

    # what may happen

    def offer(self, size: int) -> None:
        self.sender.offer(entry(len(self.costs) + 1, size))
        self.costs.append(size + OVERHEAD)

    def pass_on(self, size: int) -> None:
        passed = entry(len(self.costs) + 1, size)
        number = self.sender.pass_on(passed)
        if number == 0:
            self.offer(size)
            return
        self.costs.append(size + OVERHEAD)
        self.data[self.path].append(Packet(number, [passed]))
        self.sent = max(self.sent, number)

    def flush(self, _: int = 0) -> None:
        for packet in self.sender.packets():
            self.data[self.path].append(packet)
            self.sent = max(self.sent, packet.first + len(packet.entries) - 1)

    def carry(self, path: int) -> None:
        if self.data[path % 2]:
            self.arrive(self.data[path % 2].popleft())

    def carry_ack(self, path: int) -> None:
        if self.acks[path % 2]:
            self.sender.acknowledge(*self.acks[path % 2].popleft())

    def double(self, path: int) -> None:
        if self.data[path % 2]:
            self.data[path % 2].append(self.data[path % 2][0])

    def double_ack(self, path: int) -> None:
        if self.acks[path % 2]:
            self.acks[path % 2].append(self.acks[path % 2][0])

    def take(self, count: int) -> None:
        for _ in range(min(count % 8, len(self.untaken))):
            cost = self.costs[self.untaken.popleft() - 1]
            self.receiver.consume(cost)
            self.consumed += cost

    def tell(self, path: int) -> None:
        self.acks[path % 2].append(self.receiver.state())

    def tell_if_due(self, path: int) -> None:
        if self.receiver.credit_due:
            self.tell(path)

    def switch(self, path: int) -> None:
        self.path = path % 2

    def break_path(self, path: int) -> None:
        lost = path % 2
        self.data[lost].clear()
        self.acks[lost].clear()
        self.path = 1 - lost
        self.sender.rewind()

    # what must hold

    def arrive(self, packet: Packet) -> None:
        ready = packet.entries
        # An honest sender is never accused.
        if len(ready) != 1 or not self.receiver.follows(packet.first, ready[0].cost):
            ready = self.receiver.accept(packet)
            if ready:
                self.receiver.charge(sum(each.cost for each in ready), ready[-1].cost)
        for found in ready:
            self.delivered.append(found.rid)
            self.untaken.append(found.rid)

    def check(self) -> None:
        assert self.delivered == list(range(1, len(self.delivered) + 1))
        assert self.receiver.ack == len(self.delivered)
        under_way = sum(self.costs[: self.sent]) - self.consumed
        assert under_way <= SMALL + max(self.costs[: self.sent], default=0)
        waiting = sum(self.costs[len(self.costs) - self.waiting() :]) if self.waiting() else 0
        assert self.sender.waiting_cost == waiting
        assert self.sender.pending >= self.sender.waiting_cost

    def waiting(self) -> int:
        left, cost = 0, 0
        while cost < self.sender.waiting_cost:
            left += 1
            cost += self.costs[-left]
        return left

    def settle(self) -> None:
        """Let everything arrive and be taken: nothing may be stuck."""
        self.break_path(0)
        for _ in range(len(self.costs) + 5):
            self.flush()
            for path in (0, 1):
                while self.data[path]:
                    self.carry(path)
            while self.untaken:
                self.take(7)
            self.tell(1)
            while self.acks[0] or self.acks[1]:
                self.carry_ack(0)
                self.carry_ack(1)
        assert self.delivered == list(range(1, len(self.costs) + 1))
        assert self.sender.pending == self.sender.waiting_cost == 0
        assert not self.sender.sendable
        assert not self.sender.over_limit
        assert not self.receiver.ack_due


steps = st.one_of(
    st.tuples(st.sampled_from(["offer", "pass_on"]), st.sampled_from([0, 1, 100, 500, 1900, 3000])),
    st.tuples(st.sampled_from(["flush", "carry", "carry_ack", "tell", "tell_if_due", "take"]), st.integers(0, 7)),
    st.tuples(st.sampled_from(["double", "double_ack", "switch", "break_path"]), st.integers(0, 1)),
)


@given(st.lists(steps, max_size=80))
@settings(max_examples=300, deadline=None)
def test_whatever_the_paths_do_messages_come_once_and_in_order(schedule: list[tuple[str, int]]) -> None:
    network = Network()
    for name, argument in schedule:
        getattr(network, name)(argument)
        network.check()
    network.settle()


@given(st.lists(st.sampled_from([0, 10, 700, SMALL, 2 * SMALL]), min_size=1, max_size=60), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_a_receiver_that_takes_and_tells_when_due_keeps_its_sender_going(sizes: list[int], lag: int) -> None:
    """No lazy acknowledgement is needed for progress: the one that is due at once suffices."""
    network = Network()
    for size in sizes:
        network.offer(size)
    for _ in range(10 * len(sizes)):
        network.flush()
        network.carry(0)
        if not network.data[0] or len(network.untaken) > lag:
            network.take(7)
        network.tell_if_due(0)
        network.carry_ack(0)
        network.check()
    assert len(network.delivered) == len(sizes)


def test_a_sender_waits_when_its_credit_is_used_up() -> None:
    sender = Outgoing(1000)
    assert not sender.over_limit
    for number in range(1, 5):
        sender.offer(entry(number, 300 - OVERHEAD))
    assert sender.over_limit
    (packet,) = sender.packets()
    assert len(packet.entries) == 4  # the fourth began below the limit: one message beyond it
    sender.offer(entry(5))
    assert not sender.sendable
    assert list(sender.packets()) == []
    sender.acknowledge(4, 1000)
    assert not sender.sendable  # arrived, and not taken: no credit
    sender.acknowledge(4, 1300)
    assert [e.rid for p in sender.packets() for e in p.entries] == [5]


def test_a_message_larger_than_the_window_passes() -> None:
    sender, receiver = Outgoing(100), Incoming(100)
    sender.offer(entry(1, 10_000))
    (packet,) = sender.packets()
    assert receiver.accept(packet) == [entry(1, 10_000)]
    sender.offer(entry(2))
    assert not sender.sendable
    receiver.consume(10_000 + OVERHEAD)
    assert receiver.credit_due
    sender.acknowledge(*receiver.state())
    assert sender.sendable


@pytest.mark.parametrize("gap", [False, True])
def test_who_sends_more_than_it_has_credit_for_is_told_apart(gap: bool) -> None:
    receiver = Incoming(1000)

    def send(first: int, sizes: list[int]) -> None:
        ready = receiver.accept(Packet(first, [entry(0, size) for size in sizes]))
        if ready:
            receiver.charge(sum(each.cost for each in ready), ready[-1].cost)

    first = 5 if gap else 1
    send(first, [900 - OVERHEAD, 10_000])  # one message may go beyond
    for _ in range(3):
        send(first, [900 - OVERHEAD, 10_000])  # what comes twice costs nothing
    if gap:
        send(4, [99 - OVERHEAD])  # sent before what goes beyond
    with pytest.raises(ProtocolError, match="more messages than it had credit for"):
        send(first + 2, [1])


def test_credit_never_shrinks_and_old_acknowledgements_do_no_harm() -> None:
    sender = Outgoing(1000)
    for number in (1, 2, 3):
        sender.offer(entry(number))
    assert len(list(sender.packets())) == 1
    sender.acknowledge(2, 2000)
    sender.acknowledge(1, 500)
    sender.acknowledge(0, 0)
    assert sender.pending == OVERHEAD
    assert [e.rid for e in sender.undelivered()] == [3]
    assert sender.pending == sender.waiting_cost == 0


def test_an_acknowledgement_of_what_was_never_sent() -> None:
    sender = Outgoing(1000)
    sender.offer(entry(1))
    sender.acknowledge(99, 1000)
    assert [e.rid for p in sender.packets() for e in p.entries] == [1]
    sender.acknowledge(99, 1000)
    sender.offer(entry(2))
    assert [p.first for p in sender.packets()] == [2]


def test_what_a_dead_receiver_never_had_comes_back_in_order() -> None:
    sender = Outgoing(3 * OVERHEAD)
    for number in range(1, 7):
        sender.offer(entry(number))
    sent = [e.rid for p in sender.packets() for e in p.entries]
    sender.acknowledge(1, 0)
    assert sent == [1, 2, 3]
    assert [e.rid for e in sender.undelivered()] == [2, 3, 4, 5, 6]


def test_small_messages_share_a_packet_and_large_ones_travel_alone() -> None:
    sender = Outgoing(WINDOW)
    sizes = [10, 10, SHARED + 1, 10, SHARED, SHARED, SHARED, SHARED, SHARED + 1, SHARED + 1]
    for number, size in enumerate(sizes, 1):
        sender.offer(entry(number, size))
    packets = list(sender.packets())
    assert [e.rid for p in packets for e in p.entries] == list(range(1, 11))
    for packet in packets:
        large = [e for e in packet.entries if len(e.payload) > SHARED]
        assert not large or len(packet.entries) == 1
        assert sum(e.cost for e in packet.entries) <= PACKET + SHARED + OVERHEAD
        assert packet.first == packet.entries[0].rid


payloads = st.binary(max_size=30) | st.sampled_from([bytes(SHARED), bytes(SHARED + 1)])
entries = st.builds(Entry, st.sampled_from(list(EntryKind)), st.integers(0, 2**62), payloads, st.just(()))


@given(st.lists(entries, min_size=1, max_size=6))
@settings(max_examples=80, deadline=None)
def test_entries_come_back(found: list[Entry]) -> None:
    assert parse_entries(len(found), pack_entries(found)) == found


def test_an_entry_with_frames_of_its_own_travels_alone() -> None:
    several = Entry(EntryKind.PIPE, 1, b"head", (b"one", b"two"))
    assert parse_entries(1, pack_entries([several])) == [several]
    assert several.cost == len(b"headonetwo") + OVERHEAD
    sender = Outgoing(WINDOW)
    for each in (entry(1, 1), several, entry(3, 1), entry(4, 1)):
        sender.offer(each)
    assert [len(packet.entries) for packet in sender.packets()] == [1, 1, 2]


@given(st.integers(0, 5), st.lists(st.binary(max_size=30), max_size=3))
@settings(max_examples=200, deadline=None)
def test_arbitrary_frames_are_refused_or_parsed(count: int, frames: list[bytes]) -> None:
    try:
        found = parse_entries(count, frames)
    except ProtocolError:
        return
    assert len(found) == count


@pytest.mark.parametrize(
    "value",
    [
        None,
        [None],
        [[0, 1]],
        [[0, 1, b"", 2]],
        [[9, 1, b""]],
        [["0", 1, b""]],
        [[None, 1, b""]],
        [[[], 1, b""]],
        [[{}, 1, b""]],
        [[0, "1", b""]],
        [[0, 1.0, b""]],
        [[0, 1, "text"]],
        [[0, 1, None]],
        [[0, 1, b""], [0, 1, b""]],
        [],
        {"a": 1},
        {b"abc": 1},
        7,
    ],
    ids=repr,
)
def test_what_no_packet_holds(value: Any) -> None:
    with pytest.raises(ProtocolError):
        parse_entries(1, [msgpack.packb(value)])


@pytest.mark.parametrize("value", [None, [], [0], [0, "1"], [9, 1], [[], 1], [{}, 1], [0, 1, 2], "ab", {0: 1}])
def test_what_no_large_message_begins_with(value: Any) -> None:
    with pytest.raises(ProtocolError):
        parse_entries(1, [msgpack.packb(value), b"payload"])
