"""The writer's half of a pipe: messages wait here until a reader takes them.

A message is in one of these states:

- in the queue: it may go to any reader
- unconfirmed, in the lane of one reader: sent, and kept
- confirmed: the reader's application has taken it; forgotten

When a reader leaves or dies (`left`), what it has not taken goes to the front of the queue again, for the others. That
is why messages wait here and not at the readers.

Each reader has a numbered lane (`Lane`) and gives credit in bytes. One message beyond it is always let through, so that
a message of any size passes. Readers that have credit are served in turns (`assign`). None gets more than its share of
what waits at one go, since what waits may be all there is.

Only the process that the supervisor has named speaks for a reader (`introduce`). Its credit may come before the
introduction, which takes another way: it is kept until then (`_early`).

A writer that closes (`closing`) asks its readers to confirm at once. It is done when everything was taken, not when it
was sent: otherwise readers would hear of the end while a message could still come back from one that dies.

A process that ends first leaves its messages to the supervisor (`estate`, `inherit`), which goes on under the same end
and the same numbers, with this code. `resume` sends again what a reader has not received.

The application appends messages while the loop sends others. No lock is needed: what the one counts (`offered`,
`messages`) the other only reads.

No sockets, no clock, no threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from rackactor.ipc.pipes.framing import INLINE, OVERHEAD, Message, from_record, to_record

#: Bytes that may wait here for a reader before the application must wait; one more message is always accepted.
BACKLOG = 1 << 20
#: Bytes of small messages that are sent together.
BATCH = 48 << 10


class Batch(NamedTuple):
    """Messages for one reader; `first` is the number of the first one in its lane."""

    pid: int
    seat: int
    first: int
    messages: Sequence[Message]
    #: The writer is closing: the reader must confirm at once what it takes.
    closing: bool = False


class Lane:
    """The messages to one reader."""

    __slots__ = ("closing", "limit", "next", "pid", "seat", "sent", "taken", "unconfirmed")

    def __init__(self, seat: int, pid: int) -> None:
        self.seat = seat
        self.pid = pid
        #: Total cost that the reader allows, and total cost that was sent.
        self.limit = 0
        self.sent = 0
        #: Number of the next message; number up to which the reader has taken them.
        self.next = 1
        self.taken = 0
        self.unconfirmed: deque[Message] = deque()
        #: Whether the reader has been told that the writer closes.
        self.closing = False


def cost(message: Message) -> int:
    """Return the cost of a message in credit, bytes."""
    return len(message) + OVERHEAD


class Writer:
    """One process's messages for a pipe."""

    def __init__(self) -> None:
        self.queue: deque[Message] = deque()
        self.lanes: dict[int, Lane] = {}
        self.closing = False
        #: Total cost of what the application has offered (counted there), and of what left the queue (counted here).
        self.offered = 0
        self.drawn = 0
        self.unconfirmed_cost = 0
        self.messages = self.confirmed = self.redelivered = 0
        self._gone: set[int] = set()
        self._readers: dict[int, int] = {}  # the pid of the process that acts for each reader, by seat
        #: What a process has said for a reader that is not known yet, by pid: (seat, taken, limit).
        self._early: dict[int, tuple[int, int, int]] = {}
        self._turn: deque[int] = deque()  # seats in the order of their turns

    def offer(self, message: Message) -> None:
        """Queue a message; always succeeds (check `crowded` first)."""
        self.queue.append(message)
        self.offered += len(message) + OVERHEAD
        self.messages += 1

    @property
    def waiting(self) -> int:
        """Cost of what waits for a reader's credit, bytes."""
        return self.offered - self.drawn

    @property
    def crowded(self) -> bool:
        """Tell whether the application should wait."""
        return self.offered - self.drawn >= BACKLOG

    @property
    def settled(self) -> bool:
        """Tell whether everything has been taken."""
        return not self.queue and not any(lane.unconfirmed for lane in self.lanes.values())

    def introduce(self, seat: int, pid: int) -> None:
        """Add a reader, and the process that acts for it: messages of no other process are accepted for it."""
        self._readers[seat] = pid
        early = self._early.pop(pid, None)
        if early is not None and early[0] == seat:
            self.credit(seat, pid, *early[1:])

    def credit(self, seat: int, pid: int, taken: int, limit: int) -> None:
        """Process a reader's confirmation and its new credit.

        It may come before the introduction, which takes another path. A process has one reader of a pipe at a time, so
        its latest message counts.
        """
        if seat in self._gone:
            return
        if seat not in self._readers:
            self._early[pid] = seat, taken, limit
        if self._readers.get(seat) != pid:
            return
        lane = self.lanes.get(seat)
        if lane is None:
            lane = self.lanes[seat] = Lane(seat, pid)
            self._turn.append(seat)
        lane.limit = max(lane.limit, limit)
        self._confirm(lane, taken)

    def left(self, seat: int, taken: int | None) -> None:
        """Remove a reader; what it has not taken (None: as far as is known) goes to the others."""
        self._gone.add(seat)
        self._early.pop(self._readers.pop(seat, 0), None)
        lane = self.lanes.pop(seat, None)
        if lane is None:
            return
        self._turn.remove(seat)
        if taken is not None:
            self._confirm(lane, taken)
        back = sum(map(cost, lane.unconfirmed))
        self.redelivered += len(lane.unconfirmed)
        self.unconfirmed_cost -= back
        self.drawn -= back
        self.queue.extendleft(reversed(lane.unconfirmed))

    def assign(self) -> Iterator[Batch]:
        """Yield what is to be sent now, and to whom."""
        while self.queue and (ready := [seat for seat in self._turn if self._ready(seat)]):
            # No reader gets more than its share at once: there may be nothing more to come.
            share = -(-len(self.queue) // len(ready))
            for seat in ready:
                if not self.queue:
                    break
                self._turn.remove(seat)
                self._turn.append(seat)
                yield self._draw(self.lanes[seat], share)
        if self.closing and not self.queue:
            for lane in self.lanes.values():
                if lane.unconfirmed and not lane.closing:
                    lane.closing = True
                    yield Batch(lane.pid, lane.seat, lane.next, (), True)

    def resume(self, seat: int, received: int) -> Batch | None:
        """Send again what a reader has not received, since the writer's process has changed."""
        lane = self.lanes.get(seat)
        if lane is None:
            return None
        start = max(0, received - lane.taken)
        missing = list(islice(lane.unconfirmed, start, None))
        return Batch(lane.pid, seat, lane.taken + start + 1, missing, True) if missing else None

    def _ready(self, seat: int) -> bool:
        lane = self.lanes[seat]
        return lane.sent < lane.limit

    def _draw(self, lane: Lane, share: int) -> Batch:
        queue = self.queue
        messages: list[Message] = []
        first, size = lane.next, 0
        while queue and len(messages) < share and size < BATCH and lane.sent + size < lane.limit:
            if messages and len(queue[0]) > INLINE:
                break  # a large one is sent alone
            message = queue.popleft()
            messages.append(message)
            size += len(message) + OVERHEAD
            if len(message) > INLINE:
                break
        lane.sent += size
        lane.next += len(messages)
        lane.unconfirmed.extend(messages)
        lane.closing = False
        self.drawn += size
        self.unconfirmed_cost += size
        return Batch(lane.pid, lane.seat, first, messages)

    def _confirm(self, lane: Lane, taken: int) -> None:
        count = min(taken - lane.taken, len(lane.unconfirmed))
        if count <= 0:
            return
        pop = lane.unconfirmed.popleft
        self.unconfirmed_cost -= sum([cost(pop()) for _ in range(count)])
        self.confirmed += count
        lane.taken += count

    # -- the estate of a writer whose process ends ------------------------------------------------------

    def estate(self) -> tuple[list[list[int]], list[Message]]:
        """Return (lanes as plain values, messages: those of each lane in order, then what waits)."""
        lanes = [[x.seat, x.pid, x.limit, x.sent, x.next, x.taken, len(x.unconfirmed)] for x in self.lanes.values()]
        messages = [message for lane in self.lanes.values() for message in lane.unconfirmed]
        return lanes, [*messages, *self.queue]

    @classmethod
    def inherit(cls, lanes: Sequence[Sequence[Any]], messages: Sequence[Message]) -> Writer:
        """Continue from the state of another writer."""
        writer = cls()
        writer.closing = True
        left = deque(messages)
        for seat, pid, limit, sent, following, taken, count in lanes:
            writer.introduce(seat, pid)
            lane = Lane(seat, pid)
            lane.limit, lane.sent, lane.next, lane.taken = limit, sent, following, taken
            lane.unconfirmed.extend(left.popleft() for _ in range(count))
            writer.unconfirmed_cost += sum(map(cost, lane.unconfirmed))
            writer.lanes[seat] = lane
            writer._turn.append(seat)
        for message in left:
            writer.offer(message)
        writer.messages = len(messages)
        return writer

    def to_record(self) -> dict[str, Any]:
        """Return plain values from which `from_record` makes the same again."""
        lanes = [
            [x.seat, x.pid, x.limit, x.sent, x.next, x.taken, x.closing, list(map(to_record, x.unconfirmed))]
            for x in self.lanes.values()
        ]
        return {
            "queue": list(map(to_record, self.queue)),
            "lanes": lanes,
            "closing": self.closing,
            "counts": [self.offered, self.drawn, self.messages, self.confirmed, self.redelivered],
            "gone": sorted(self._gone),
            "readers": [list(each) for each in self._readers.items()],
            "early": [[pid, *said] for pid, said in self._early.items()],
            "turn": list(self._turn),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Writer:
        """Make a writer from a record that `to_record` made."""
        writer = cls()
        writer.queue.extend(map(from_record, record["queue"]))
        for seat, pid, limit, sent, following, taken, closing, unconfirmed in record["lanes"]:
            lane = writer.lanes[seat] = Lane(seat, pid)
            lane.limit, lane.sent, lane.next, lane.taken, lane.closing = limit, sent, following, taken, closing
            lane.unconfirmed.extend(map(from_record, unconfirmed))
            writer.unconfirmed_cost += sum(map(cost, lane.unconfirmed))
        writer.closing = record["closing"]
        writer.offered, writer.drawn, writer.messages, writer.confirmed, writer.redelivered = record["counts"]
        writer._gone = set(record["gone"])
        writer._readers = dict(record["readers"])
        writer._early = {pid: (seat, taken, limit) for pid, seat, taken, limit in record["early"]}
        writer._turn = deque(record["turn"])
        return writer

    @property
    def held(self) -> int:
        """Cost of all that is kept here, bytes."""
        return self.waiting + self.unconfirmed_cost
