"""The reader's half of a pipe: what has arrived from each writer, and the credit granted to it.

Each writer has a numbered lane to each reader (`Lane`). The reader puts what arrives in order, drops duplicates, and
confirms what its application has taken. What it has not confirmed still belongs to the writer: if the reader dies, it
goes to another one. So arrived and taken are two numbers, and only taken counts.

A message is in one of these states here: early (ahead of a gap), in a run that waits (`_runs`), in the present run
(`run`), taken. A run is what came together. Taking a message is one `list.pop`, which any thread may do. It counts
nothing; what has left the run is counted when somebody looks (`sync`). So taking costs no more than the `pop`.

Credit is in bytes, and a total that only grows. Its size follows the reader (`Pace`): the window is what the reader
takes in `HORIZON`, up to `MAX_WINDOW`. It is raised step by step, and lowered at once where the time was long enough to
tell.

- A fast reader has megabytes under way.
- One that needs longer than that for a message has a window of 0. It gets the next message only when it comes for it,
  so slow readers share the work one by one.

A credit that was given is not taken back. One message beyond it is always let through, so that a message of any size
passes; who sends more is garbage (`ProtocolError`).

A writer hears of what was taken with its next credit, or soon; a writer that closes (`closing`) at once, for it waits
for that. A lane is clean when its writer left in order; of a writer that died, something may still be under way, and
its lane stays (`dead`).

No sockets, no threads; time is an argument.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rackactor.errors import ProtocolError
from rackactor.ipc.pipes.framing import OVERHEAD, Assembly, Message
from rackactor.wire.frames import SUPERVISOR

#: What a reader takes in this time may be sent ahead, seconds.
HORIZON = 0.02
#: The most that is sent ahead, bytes.
MAX_WINDOW = 4 << 20
#: Shorter times do not show whether a reader is slow, seconds.
_MOMENT = 0.005
_NEVER = 1 << 62


class Pace:
    """How much may be sent ahead of a reader."""

    def __init__(self) -> None:
        #: Bytes; 0: one message at a time, when the reader asks for it.
        self.window = 0

    def update(self, size: int, count: int, busy: float) -> None:
        """Record that the reader took `count` messages of `size` bytes in `busy` seconds, without its waits."""
        if not count:
            return
        target = min(int(size * HORIZON / max(busy, 1e-6)), MAX_WINDOW)
        mean = size // count
        if target >= self.window:
            self.window = min(target, max(2 * self.window, 4 * mean), MAX_WINDOW)
        elif busy >= _MOMENT:
            self.window = target
        if self.window < mean and busy >= _MOMENT:
            self.window = 0


class Credit(NamedTuple):
    """What a writer is told: the numbers up to which its messages were taken and have arrived, and its credit."""

    pid: int
    seat: int
    taken: int
    received: int
    limit: int


class Lane:
    """The messages from one writer."""

    __slots__ = (
        "arrived",
        "assembly",
        "closing",
        "consumed",
        "dead",
        "early",
        "early_cost",
        "expected",
        "granted",
        "pid",
        "seat",
        "taken",
        "tell_at",
        "told_limit",
        "told_taken",
    )

    def __init__(self, seat: int, pid: int) -> None:
        self.seat = seat
        self.pid = pid
        self.expected = 1
        self.early: dict[int, Message] = {}  # arrived ahead of a gap
        self.early_cost = 0
        self.assembly: Assembly | None = None
        #: Cost of what has arrived, and of what was taken.
        self.arrived = 0
        self.consumed = 0
        self.taken = 0
        self.told_taken = 0
        self.told_limit = 0
        #: The highest limit that it was ever told.
        self.granted = 0
        #: The application reports when it has taken this much.
        self.tell_at = _NEVER
        self.closing = False
        self.dead = False


class Reader:
    """One process's share of a pipe."""

    def __init__(self) -> None:
        self.lanes: dict[int, Lane] = {}
        self.pace = Pace()
        self.doubles = 0
        self._runs: deque[tuple[Lane, list[Message]]] = deque()
        #: Messages that came together and are being taken, the last one first; popped by any thread.
        self.run: list[Message] = []
        self._lane = Lane(0, 0)  # the lane of these messages
        self._length = self._cost = self._left = 0  # of the run at first, and at the last `sync`
        self._taken = self._consumed = 0  # of its lane when it began
        self._done = self._count_done = 0  # of earlier runs
        self._marked = 0.0
        self._marked_size = self._marked_count = 0

    # -- in the loop -----------------------------------------------------------------------------------

    def introduce(self, seat: int, pid: int) -> None:
        """Add a writer, or note that another process acts for it now."""
        lane = self.lanes.get(seat)
        if lane is None:
            self.lanes[seat] = Lane(seat, pid)
        else:
            lane.pid = pid
            lane.told_limit = lane.told_taken = 0  # it must be told again

    def hears(self, seat: int, pid: int) -> bool:
        """Tell whether this is the process that acts for a writer.

        An earlier one is no longer accepted: its successor sends again what had not arrived.
        """
        lane = self.lanes.get(seat)
        return lane is not None and lane.pid == pid

    def accept(self, seat: int, first: int, messages: Sequence[Message]) -> None:
        """Take messages of a writer; duplicates are dropped, gaps waited for.

        Raises:
            ProtocolError: the writer had no credit for them.
        """
        lane = self.lanes.get(seat)
        if lane is None:
            return
        if first == lane.expected and not lane.early:
            ready = list(messages)
        else:
            ready = self._sort(lane, first, messages)
        if not ready:
            return
        cost = _cost(ready)
        self._check(lane, cost - _cost(ready[-1:]))
        lane.expected += len(ready)
        lane.arrived += cost
        ready.reverse()
        self._runs.append((lane, ready))

    def _check(self, lane: Lane, more: int) -> None:
        """Check that a writer keeps to its credit; one message beyond it is always let through."""
        if lane.arrived + lane.early_cost + more >= lane.granted and lane.pid != SUPERVISOR:
            raise ProtocolError("more messages of a pipe than it had credit for")

    def _sort(self, lane: Lane, first: int, messages: Sequence[Message]) -> list[Message]:
        for number, message in enumerate(messages, first):
            if number < lane.expected or number in lane.early:
                self.doubles += 1
            else:
                self._check(lane, 0)
                lane.early[number] = message
                lane.early_cost += _cost((message,))
        ready: list[Message] = []
        while (message_or_none := lane.early.pop(lane.expected + len(ready), None)) is not None:
            ready.append(message_or_none)
            lane.early_cost -= _cost((message_or_none,))
        return ready

    def closing(self, seat: int) -> None:
        """Note that a writer is closing: it is told at once what was taken."""
        lane = self.lanes.get(seat)
        if lane is not None:
            lane.closing = True
            lane.tell_at = 0

    def left(self, seat: int, *, clean: bool) -> None:
        """Note that a writer is gone; if it died, something may still be under way."""
        lane = self.lanes.get(seat)
        if lane is None:
            return
        lane.dead = True
        lane.tell_at = _NEVER
        lane.assembly = None
        if clean:
            del self.lanes[seat]

    def credits(self, *, waiting: bool, everything: bool = False) -> Iterator[Credit]:
        """Yield what writers are to be told now.

        Args:
            waiting: the application waits for a message.
            everything: also what is not urgent.
        """
        self.sync()
        window = self.pace.window
        lanes = [lane for lane in self.lanes.values() if not lane.dead]
        if len(lanes) > 1:
            window //= max(1, sum(1 for lane in lanes if lane.arrived > lane.consumed or lane.closing))
        for lane in lanes:
            limit = lane.consumed + (max(1, window) if waiting else window)
            starved = waiting and lane.arrived >= lane.told_limit and limit > lane.told_limit
            freed = window > 0 and limit - lane.told_limit >= max(1, window // 4)
            last = lane.closing and lane.taken == lane.expected - 1 and lane.told_taken != lane.taken
            if starved or freed or last or (everything and lane.told_taken != lane.taken):
                lane.told_limit = max(limit, lane.told_limit)
                lane.granted = max(lane.granted, lane.told_limit)
                lane.told_taken = lane.taken
                yield Credit(lane.pid, lane.seat, lane.taken, lane.expected - 1, lane.told_limit)
            if not lane.closing:
                lane.tell_at = lane.told_limit - window * 3 // 4 if window else _NEVER

    def greet(self, seat: int) -> Iterator[Credit]:
        """Yield what a writer that has just been met must be told."""
        lane = self.lanes.get(seat)
        if lane is not None:
            lane.told_taken = lane.taken
            yield Credit(lane.pid, seat, lane.taken, lane.expected - 1, lane.told_limit)

    @property
    def owes(self) -> bool:
        """Tell whether some writer does not know what was taken."""
        return any(lane.told_taken != lane.taken and not lane.dead for lane in self.lanes.values())

    def final(self) -> dict[int, int]:
        """Return what was taken from each writer, for the end."""
        self.sync()
        return {seat: lane.taken for seat, lane in self.lanes.items()}

    # -- the application: one thread at a time, but for the `pop` of `run` ---------------------------------

    def take(self) -> Message | None:
        """Return the next message, or None when none is here."""
        while True:
            try:
                return self.run.pop()
            except IndexError:
                if not self.next_run():
                    return None

    def next_run(self) -> bool:
        """Begin with the next messages that came together; False: there are none."""
        self.sync()
        if self.run or not self._runs:
            return bool(self.run)
        self._lane, run = self._runs.popleft()
        self._done += self._cost - self._left
        self._count_done += self._length
        self._taken, self._consumed = self._lane.taken, self._lane.consumed
        self._length, self._cost = len(run), _cost(run)
        self._left = self._cost
        self.run = run
        return True

    def sync(self) -> None:
        """Count what was taken from the present run: until then its messages only disappear from the list."""
        run, lane = self.run, self._lane
        count = len(run)
        self._left = _cost(run)
        lane.taken = self._taken + self._length - count
        lane.consumed = self._consumed + self._cost - self._left

    @property
    def due(self) -> bool:
        """Tell whether the writer should be told what was taken (after a `sync`)."""
        lane = self._lane
        return lane.consumed >= lane.tell_at and (not lane.closing or lane.taken == lane.expected - 1)

    @property
    def empty(self) -> bool:
        """Tell whether there is nothing to take."""
        return not self.run and not self._runs

    @property
    def messages(self) -> int:
        """How many messages were taken."""
        return self._count_done + self._length - len(self.run)

    def measure(self, now: float) -> None:
        """Measure how fast the application takes: it has done so since the last mark."""
        self.sync()
        size = self._done + self._cost - self._left
        self.pace.update(size - self._marked_size, self.messages - self._marked_count, now - self._marked)
        self.mark(now)

    def mark(self, now: float) -> None:
        """Start a measurement, after a wait."""
        self._marked_size = self._done + self._cost - self._left
        self._marked_count = self.messages
        self._marked = now

    @property
    def waiting(self) -> int:
        """Cost of what has arrived and is not taken, bytes (after a `sync`)."""
        return sum(lane.arrived - lane.consumed for lane in list(self.lanes.values()))


def _cost(messages: Sequence[Message]) -> int:
    return sum(map(len, messages)) + OVERHEAD * len(messages)
