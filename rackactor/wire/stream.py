"""A reliable, ordered stream of messages from one process to another, with credit in bytes.

A stream hides the path below. That may change (relayed by the supervisor, or direct), lose what is on it, or overtake
another one. Each message has a number, from 1 on. The sender keeps what the receiver has not acknowledged.

The sender (`Outgoing`) has a message in one of three states:

- waiting: offered, and not sent on the present path
- unacknowledged: sent; kept
- acknowledged: forgotten

When a path breaks, `rewind` makes all that is unacknowledged wait again. It goes out once more on the new path, with
the same numbers.

The receiver (`Incoming`) takes messages in order. What comes ahead of a gap is kept until the gap is filled, and
duplicates are dropped.

Credit bounds what is between the two. A receiver gives each sender a `WINDOW`, and more as its application takes
messages, so a slow receiver slows its senders. Credit is a total that only grows: a lost or repeated acknowledgement
does no harm. One message beyond the credit is always let through, so that a message of any size passes. Who sends more
than that is garbage (`ProtocolError`).

Acknowledgement and credit travel together, on what goes the other way if anything does. `credit_due` says when the
sender should hear at once, `ack_due` when it may wait.

ZeroMQ's high-water marks are no replacement for credit: they count messages and not bytes, and a ROUTER drops what is
beyond its mark. They are off.

`pass_on` and `follows` are short cuts for one message that is the next one, as nearly always. They change nothing else.

No sockets, no clock, no threads: the owner calls in, and sends what the calls return.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import msgpack

from rackactor.errors import ProtocolError
from rackactor.wire.codec import unpack

#: Credit that a receiver gives each sender, bytes. One message beyond it is always let through, so that a
#: message of any size passes.
WINDOW = 1 << 20
#: What each message costs beside its payload, bytes: empty messages are not free.
OVERHEAD = 64
#: Messages up to this size share a packet, bytes; a larger one travels in a frame of its own.
SHARED = 16 << 10
#: A packet is closed when it holds this much, bytes.
PACKET = 48 << 10


class EntryKind(IntEnum):
    """What one message of a stream is."""

    #: A message for the mailbox.
    TELL = 0
    #: A message for the mailbox whose sender waits for the reply with this id.
    ASK = 1
    #: The reply to an ask.
    REPLY = 2
    #: The reply to an ask whose handler raised: the text of the traceback.
    FAILED = 3
    #: Bytes for standard input; empty: end of file.
    STDIN = 4
    #: Messages of a pipe, for the reader with this id (see rackactor.ipc.pipes).
    PIPE = 5
    #: What a reader of a pipe tells the writer with this id.
    CREDIT = 6
    #: Asks for a name of the receiver's `__main__` (see rackactor.syscalls.main_names).
    NAME = 7


class Entry(NamedTuple):
    """One message of a stream."""

    kind: EntryKind
    rid: int
    payload: bytes | memoryview
    #: Further frames, if the message has its own.
    more: Sequence[bytes | memoryview] = ()

    @property
    def cost(self) -> int:
        """Bytes of credit it takes."""
        size = len(self.payload) + OVERHEAD
        return size + sum(map(len, self.more)) if self.more else size

    @property
    def alone(self) -> bool:
        """Tell whether it is sent in frames of its own."""
        return bool(self.more) or len(self.payload) > SHARED


class Packet(NamedTuple):
    """Consecutive messages that are sent together; `first` is the number of the first one."""

    first: int
    entries: Sequence[Entry]


def pack_entries(entries: Sequence[Entry]) -> list[bytes | memoryview]:
    """Return the body frames of a packet."""
    if len(entries) == 1 and entries[0].alone:
        kind, rid, payload, more = entries[0]
        return [msgpack.packb((kind, rid)), payload, *more]
    return [msgpack.packb([(kind, rid, payload) for kind, rid, payload, _ in entries])]


def parse_entries(count: int, frames: Sequence[bytes | memoryview]) -> list[Entry]:
    """Return the messages of a packet's body frames.

    Raises:
        ProtocolError: the frames do not hold `count` messages.
    """
    try:
        if len(frames) >= 2 and count == 1:
            kind, rid = unpack(frames[0])
            return [Entry(_KINDS[kind], _rid(rid), frames[1], tuple(frames[2:]))]
        (body,) = frames
        entries = [_entry(*fields) for fields in unpack(body)]
    except (TypeError, ValueError, KeyError) as error:
        raise ProtocolError(f"not the messages of a packet: {error}") from None
    if len(entries) != count:
        raise ProtocolError(f"a packet of {count} messages holds {len(entries)}")
    return entries


_NO_CREDIT = "more messages than it had credit for"
_KINDS = {int(kind): kind for kind in EntryKind}


def flatten(entries: Sequence[Entry]) -> list[Any]:
    """Return the fields of messages one after the other, for a packet with all of them in one array."""
    return [field for entry in entries for field in entry[:3]]


def message(kind: int, rid: int, payload: bytes) -> Entry:
    """Return a message of fields whose types have been checked.

    Raises:
        KeyError: there is no such kind.
    """
    return Entry(_KINDS[kind], rid, payload)


def unflatten(fields: Sequence[Any]) -> list[Entry]:
    """Return the messages of `flatten`.

    Raises:
        ProtocolError: these are not the fields of messages.
    """
    try:
        return [_entry(*message) for message in zip(*[iter(fields)] * 3, strict=True)]
    except (TypeError, ValueError, KeyError) as error:
        raise ProtocolError(f"not the messages of a packet: {error}") from None


def _entry(kind: object, rid: object, payload: object) -> Entry:
    if type(kind) is not int or type(rid) is not int or type(payload) is not bytes:
        raise ValueError("an entry is two integers and bytes")
    return Entry(_KINDS[kind], rid, payload)


def _rid(value: object) -> int:
    if type(value) is not int:
        raise ValueError("a reply id is an integer")
    return value


class Standing(NamedTuple):
    """The progress of a stream to a peer."""

    #: Bytes sent and not acknowledged.
    unacknowledged: int
    #: Number of the first message that is not acknowledged.
    first: int
    #: All that the receiver has room for has been sent: only the receiver can change that.
    blocked: bool
    #: How often the receiver has reported its progress.
    told: int


class Outgoing:
    """The sender's end of a stream."""

    def __init__(self, window: int = WINDOW) -> None:
        self._waiting: deque[Entry] = deque()  # offered, not yet sent on the present path
        self._unacked: deque[Entry] = deque()  # sent, not yet acknowledged
        self._first_unacked = 1
        self._sent_cost = 0  # of everything sent so far
        self._waiting_cost = 0
        self._limit = window  # total cost the receiver lets us send
        self._told = 0  # how often the receiver has reported
        #: Cost of what is not acknowledged, and of what waits here, bytes.
        self.pending = 0

    def offer(self, entry: Entry) -> int:
        """Queue a message to be sent; always succeeds (check `over_limit` first). Returns its cost."""
        self._waiting.append(entry)
        cost = entry.cost
        self._waiting_cost += cost
        self.pending += cost
        return cost

    def pass_on(self, entry: Entry) -> int:
        """Number a message that is sent at once; 0: it cannot be, since others wait before it or credit is missing."""
        if self._waiting or self._sent_cost >= self._limit:
            return 0
        cost = entry.cost
        self._sent_cost += cost
        self.pending += cost
        self._unacked.append(entry)
        return self._first_unacked + len(self._unacked) - 1

    @property
    def over_limit(self) -> bool:
        """Tell whether the sender should wait, because the receiver's credit is used up."""
        return self._sent_cost + self._waiting_cost >= self._limit

    @property
    def sendable(self) -> bool:
        """Tell whether `packets` would yield anything."""
        return bool(self._waiting) and self._sent_cost < self._limit

    @property
    def waiting_cost(self) -> int:
        """Bytes offered and not yet sent."""
        return self._waiting_cost

    def packets(self) -> Iterator[Packet]:
        """Yield what may be sent now, in order; it counts as sent."""
        while (packet := self.packet()) is not None:
            yield packet

    def packet(self) -> Packet | None:
        """Return the next of `packets`, or None when nothing may be sent now."""
        waiting = self._waiting
        if not waiting or self._sent_cost >= self._limit:
            return None
        first = self._first_unacked + len(self._unacked)
        if len(waiting) > 1:
            return Packet(first, self._take())
        entry = waiting.popleft()
        self._sent_cost += self._waiting_cost  # this is all that waits, as nearly always
        self._waiting_cost = 0
        self._unacked.append(entry)
        return Packet(first, [entry])

    def _take(self) -> list[Entry]:
        taken: list[Entry] = []
        size = 0
        while self._waiting and self._sent_cost < self._limit and size < PACKET:
            entry = self._waiting[0]
            if taken and entry.alone:
                break  # a large one travels alone
            self._waiting.popleft()
            cost = entry.cost
            self._waiting_cost -= cost
            self._sent_cost += cost
            self._unacked.append(entry)
            taken.append(entry)
            size += cost
            if entry.alone:
                break
        return taken

    def acknowledge(self, ack: int, limit: int) -> None:
        """Process an acknowledgement of everything up to number `ack`, and the new credit limit."""
        self._told += 1
        unacked = self._unacked
        while self._first_unacked <= ack and unacked:
            self.pending -= unacked.popleft().cost
            self._first_unacked += 1
        if limit > self._limit:
            self._limit = limit

    @property
    def standing(self) -> Standing:
        """Return the receiver's progress."""
        under_way = self.pending - self._waiting_cost
        return Standing(under_way, self._first_unacked, self._sent_cost >= self._limit, self._told)

    def rewind(self) -> None:
        """Queue again whatever is not acknowledged, since the path has changed or broken."""
        while self._unacked:
            entry = self._unacked.pop()
            self._sent_cost -= entry.cost
            self._waiting_cost += entry.cost
            self._waiting.appendleft(entry)

    def undelivered(self) -> list[Entry]:
        """Return every message that the receiver has not acknowledged, in order; the receiver is gone."""
        left = [*self._unacked, *self._waiting]
        self._unacked.clear()
        self._waiting.clear()
        self._waiting_cost = self.pending = 0
        return left


class Incoming:
    """The receiver's end of a stream."""

    def __init__(self, window: int = WINDOW) -> None:
        self._expected = 1
        self._early: dict[int, Entry] = {}  # arrived ahead of a gap
        self._early_cost = 0
        self._last_early = (0, 0)  # number and cost
        self._arrived = 0  # cost of what has arrived in order
        self._window = window
        self._consumed = 0  # cost of what the application has taken
        self._told_limit = window
        self._told_ack = 0

    def follows(self, number: int, cost: int) -> bool:
        """Take one message if it is the next one, the usual case; otherwise change nothing: see `accept` and `charge`.

        Raises:
            ProtocolError: the sender had no credit for it.
        """
        if number != self._expected or self._early:
            return False
        self._expected = number + 1
        before = self._arrived
        self._arrived = before + cost
        if before >= self._consumed + self._window:
            raise ProtocolError(_NO_CREDIT)
        return True

    def accept(self, packet: Packet) -> Sequence[Entry]:
        """Take a packet; return the messages that are now in order. Duplicates are dropped."""
        first, entries = packet
        if first == self._expected and not self._early:
            self._expected += len(entries)
            return entries
        ready: list[Entry] = []
        for number, entry in enumerate(entries, first):
            if number == self._expected:
                ready.append(entry)
                self._expected += 1
            elif number > self._expected and number not in self._early:
                self._keep(number, entry)
        while self._early:
            following = self._early.pop(self._expected, None)
            if following is None:
                if min(self._early) < self._expected:
                    self._early = {n: e for n, e in self._early.items() if n > self._expected}
                    self._early_cost = sum(entry.cost for entry in self._early.values())
                break
            self._early_cost -= following.cost
            ready.append(following)
            self._expected += 1
        return ready

    def _keep(self, number: int, entry: Entry) -> None:
        """Keep a message that has arrived ahead of a gap: paths differ in speed."""
        cost = entry.cost
        if not self._early or number > self._last_early[0]:
            self._last_early = number, cost
        self._early[number] = entry
        self._early_cost += cost
        self._check(self._arrived + self._early_cost - self._last_early[1])

    def _check(self, before: int) -> None:
        """Check that a sender keeps to its credit, by what came before its last message: that one may exceed it."""
        if before >= self._consumed + self._window:
            raise ProtocolError(_NO_CREDIT)

    def charge(self, cost: int, last: int) -> None:
        """Add the cost of messages that arrived in order, and of the last of them, which may exceed the credit.

        Raises:
            ProtocolError: the sender had no credit for them.
        """
        before = self._arrived + cost - last
        self._arrived += cost
        self._check(before)

    def consume(self, cost: int) -> None:
        """Count a message of this cost as taken by the application."""
        self._consumed += cost

    @property
    def ack(self) -> int:
        """Number up to which everything has arrived."""
        return self._expected - 1

    @property
    def limit(self) -> int:
        """Total cost the sender may send."""
        return self._consumed + self._window

    def state(self) -> tuple[int, int]:
        """Return (ack, limit) for the sender; it counts as told."""
        told = self._told_ack, self._told_limit = self._expected - 1, self._consumed + self._window
        return told

    def forget_told(self) -> None:
        """Note that what was told last may never have arrived."""
        self._told_ack = self._told_limit = 0

    @property
    def credit_due(self) -> bool:
        """Tell whether the sender should be told at once: a quarter of its window has been freed."""
        return self._consumed + self._window - self._told_limit >= self._window // 4

    @property
    def ack_due(self) -> bool:
        """Tell whether the sender does not know the latest state yet (no hurry)."""
        return self._told_ack != self.ack or self._told_limit != self.limit
