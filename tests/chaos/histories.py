"""Judge what processes did with shared memory: is there one order of all operations that explains every result?

The operations are made so that the versions of a key have a known order: a counter's is its value; a register is only
ever changed by who names the version that it replaces (compare-and-set, or a transaction that has read it). What is
left to find is whether the orders of all keys, each process's own order, and real time (what has returned before
another was called comes first) fit together: a graph without a cycle. That is strict serializability, which for single
keys is linearizability, in n log n steps.

A read that may be served by a replica (`local`) need not be of now: it may show an older state, but never one older
than what its own process has seen or written before, and never one that has not been.

See Elle (Kingsbury and Alvaro, "Inferring Isolation Anomalies from Experimental Observations", 2020) for versions that
are recovered from the operations themselves.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Version = Hashable
#: The version of a key before anybody has written it.
ABSENT: Version = None
#: Violations of a kind that are told one by one.
_TOLD = 5
#: Operations of a circle that are shown, of its beginning and of its end.
_SHOWN = 8


@dataclass(slots=True)
class Operation:
    """What a process did, and when."""

    #: Label of one life of a process.
    process: int
    #: When it was called, and when it returned: infinity, when its process was killed meanwhile.
    call: float
    end: float
    #: Key -> version that it saw; of a key that it writes, the version that it replaced.
    reads: Mapping[str, Version]
    #: Key -> version that it made. No version is made twice.
    writes: Mapping[str, Version] = field(default_factory=dict)
    #: Key -> version that it found to have been replaced, without seeing by what (a compare-and-set that failed).
    past: Mapping[str, Version] = field(default_factory=dict)
    #: It may have been served by a replica.
    local: bool = False

    @property
    def unknown(self) -> bool:
        """Whether it is unknown if it took effect."""
        return self.end == math.inf

    def __str__(self) -> str:
        done = [f"{key}={version!r}" for key, version in self.reads.items()]
        done += [f"{key}:={version!r}" for key, version in self.writes.items()]
        done += [f"{key} no more {version!r}" for key, version in self.past.items()]
        how = " (a read that may be of earlier)" if self.local else ""
        return f"process {self.process} [{self.call:.6f}, {self.end:.6f}] {' '.join(done)}{how}"


@dataclass
class Judged:
    """What the judge found."""

    operations: int = 0
    violations: list[str] = field(default_factory=list)
    #: Each key's versions in their order, from ABSENT on.
    orders: dict[str, list[Version]] = field(default_factory=dict)

    def tell(self, kind: str, violations: Sequence[str]) -> None:
        """Tell the first violations of a kind, and how many there are."""
        if violations:
            self.violations += [f"{kind}: {each}" for each in violations[:_TOLD]]
            if len(violations) > _TOLD:
                self.violations.append(f"{kind}: {len(violations)} in all")


def judge(operations: Iterable[Operation], seen: Iterable[tuple[str, Version]] = ()) -> Judged:
    """Judge a whole history: no key in it may have been written by anybody else.

    Args:
        operations: all of them.
        seen: versions of keys that are known otherwise (by watchers, or in the end) to have been made.
    """
    found = Judged()
    history = _without_what_nobody_saw(operations, seen)
    found.operations = len(history)
    writer = _writers(history, found)
    successor = _successors(history, writer, found)
    _orders(writer, successor, found)
    if not found.violations:
        _sort(history, _edges(history, writer, successor), found)
    return found


def _without_what_nobody_saw(
    operations: Iterable[Operation], otherwise: Iterable[tuple[str, Version]]
) -> list[Operation]:
    """Drop writes of killed processes of which there is no trace: they need not have taken effect."""
    history = list(operations)
    seen = {item for each in history for item in each.reads.items() if not each.unknown}
    seen.update(otherwise)
    while True:
        # What one killed process has replaced may be what another killed one had made.
        kept = [each for each in history if not each.unknown or any(item in seen for item in each.writes.items())]
        more = {item for each in kept for item in each.reads.items()} - seen
        if not more:
            return kept
        seen |= more


def _writers(history: Sequence[Operation], found: Judged) -> dict[tuple[str, Version], int]:
    writer: dict[tuple[str, Version], int] = {}
    twice = []
    for number, each in enumerate(history):
        for item in each.writes.items():
            if writer.setdefault(item, number) != number:
                twice.append(f"{item[1]!r} of {item[0]} by {history[writer[item]]} and by {each}")
    found.tell("the same version made twice", twice)
    return writer


def _successors(
    history: Sequence[Operation], writer: Mapping[tuple[str, Version], int], found: Judged
) -> dict[tuple[str, Version], int]:
    """Return which operation replaced a version; two that replaced the same one are a lost update."""
    successor: dict[tuple[str, Version], int] = {}
    lost, strange = [], []
    for number, each in enumerate(history):
        for item in each.reads.items():
            if item[1] is not ABSENT and item not in writer:
                strange.append(f"{item[1]!r} of {item[0]} was never written, seen by {each}")
            if item[0] in each.writes and successor.setdefault(item, number) != number:
                lost.append(f"{item[1]!r} of {item[0]} replaced by {history[successor[item]]} and by {each}")
    kept = [
        f"{item[1]!r} of {item[0]} was never replaced, but for {each}"
        for each in history
        for item in each.past.items()
        if item not in successor
    ]
    found.tell("lost update", lost)
    found.tell("refused for no reason", kept)
    found.tell("read of what was never written", strange)
    return successor


def _orders(
    writer: Mapping[tuple[str, Version], int], successor: Mapping[tuple[str, Version], int], found: Judged
) -> None:
    """Follow each key's versions from the first one; those that are not reached are a violation."""
    following: dict[tuple[str, Version], Version] = {}
    made: dict[str, int] = defaultdict(int)
    by_operation: dict[tuple[str, int], Version] = {}
    for (key, version), number in writer.items():
        made[key] += 1
        by_operation[key, number] = version
    for (key, version), number in successor.items():
        following[key, version] = by_operation[key, number]
    apart = []
    for key, count in made.items():
        order: list[Version] = [ABSENT]
        while (key, order[-1]) in following and len(order) <= count:
            order.append(following[key, order[-1]])
        found.orders[key] = order
        if len(order) != count + 1:
            apart.append(f"{count + 1 - len(order)} versions of {key} do not follow from the first one")
    found.tell("versions in no order", apart)


def _edges(
    history: Sequence[Operation],
    writer: Mapping[tuple[str, Version], int],
    successor: Mapping[tuple[str, Version], int],
) -> list[list[int]]:
    """Return, for each operation, which ones come after it, real time left aside."""
    after: list[list[int]] = [[] for _ in history]
    by_process: dict[int, list[int]] = defaultdict(list)
    for number, each in enumerate(history):
        by_process[each.process].append(number)
        for item in each.reads.items():
            if item[1] is not ABSENT and writer[item] != number:
                after[writer[item]].append(number)
            if (replacing := successor.get(item, number)) != number:
                after[number].append(replacing)
        for item in each.past.items():
            after[successor[item]].append(number)
    for numbers in by_process.values():
        numbers.sort(key=lambda number: history[number].call)
        for one, other in pairwise(numbers):
            after[one].append(other)
    return after


def _sort(history: Sequence[Operation], after: Sequence[Sequence[int]], found: Judged) -> None:
    """Bring the operations into one order; where that is impossible, say around which ones."""
    before = [0] * len(history)
    for each in after:
        for number in each:
            before[number] += 1
    # An operation may come next when all that must precede it has come, and none that is still to come had returned
    # before it was called. A local read may be as of an earlier time, so only the first condition holds for it.
    calls = [-math.inf if each.local else each.call for each in history]
    ready = [(calls[number], number) for number in range(len(history)) if not before[number]]
    ends = [(each.end, number) for number, each in enumerate(history)]
    heapq.heapify(ready)
    heapq.heapify(ends)
    done = bytearray(len(history))
    left = len(history)
    while ready:
        while ends and done[ends[0][1]]:
            heapq.heappop(ends)
        if ends and ready[0][0] > ends[0][0]:
            break
        _, number = heapq.heappop(ready)
        done[number] = True
        left -= 1
        for other in after[number]:
            before[other] -= 1
            if not before[other]:
                heapq.heappush(ready, (calls[other], other))
    if left:
        found.violations += _circle(history, after, done)


def _circle(history: Sequence[Operation], after: Sequence[Sequence[int]], done: bytearray) -> list[str]:
    """Say which operations come each before the next one, in a circle."""
    left = [number for number in range(len(history)) if not done[number]]
    before: dict[int, int] = {}
    for number in left:
        for other in after[number]:
            if not done[other]:
                before[other] = number
    way = [min(left, key=lambda number: history[number].end)]
    while way[-1] in before and before[way[-1]] not in way:
        way.append(before[way[-1]])
    if way[-1] in before:
        way = way[way.index(before[way[-1]]) :]
    words = [f"{len(left)} operations fit into no order, since each of these {len(way)} must come before the next one,"]
    words[0] += " and the last one before the first one"
    return words + [str(history[number]) for number in [*reversed(way[-_SHOWN:]), *reversed(way[:-_SHOWN][:_SHOWN])]]
