"""A record for each of a group's machines, and indexes by their states.

An event concerns one machine, and must not cost a look at all of them. So a changed record must be filed again.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import field

from rackactor.records import dataclass
from rackactor_runtime.providers.base import InstanceExit, Key
from rackactor_runtime.providers.machines.effects import Seen


@dataclass
class Record:
    """A record of one life."""

    key: Key
    mark: str
    #: The first pid of its fork; seconds that its boot may take; since when it is wanted.
    fork: int = 0
    patience: float = 300.0
    ordered: float = 0.0
    queued: bool = True
    #: A create is under way; its answer was unclear.
    asking: bool = False
    unclear: bool = False
    attempts: int = 0
    asked_at: float | None = None
    #: Number of creates with an unknown result, and when the last of them was given up.
    lost: int = 0
    lost_at: float = 0.0
    instance: str | None = None
    #: All instance names that have been seen with its mark.
    names: set[str] = field(default_factory=set)
    #: Lists that began before this time do not count for it.
    since: float = 0.0
    status: str = ""
    address: str = ""
    #: The address in its own report: of two machines with its mark, the one with this address is it.
    voice: str = ""
    #: Others with its mark in the last list.
    doubles: tuple[Seen, ...] = ()
    #: How many lists in a row lacked it; since when the cloud does not know its name either; when to ask for that next.
    missing: int = 0
    absent: float | None = None
    finding: bool = False
    find_at: float = 0.0
    #: Since when it is in ERROR.
    failed: float | None = None
    joined: bool = False
    #: When it was last found silent.
    silent: float = -math.inf
    ending: InstanceExit | None = None
    #: Since when, whether and how often its removal was requested; when the next request is due.
    ending_since: float = 0.0
    removing: bool = False
    removals: int = 0
    #: When the last removal began, and whether a list that began later has shown something of it.
    removed_at: float = 0.0
    shown: bool = False
    remove_at: float = 0.0
    console: bool = False
    unkillable: bool = False
    #: Seconds after which a delete has been in vain for too long.
    hope: float = 30.0
    words: str = ""
    #: When it is due for a check.
    wake: float = math.inf

    @property
    def coming_up(self) -> bool:
        """Tell whether it counts among the machines that come up."""
        if self.queued or self.ending is not None:
            return self.asking
        return self.asking or self.unclear or not (self.joined or self.status == "ACTIVE")


@dataclass
class Register:
    """All records, and for each state the keys of those in it."""

    records: dict[Key, Record] = field(default_factory=dict)
    marks: dict[str, Key] = field(default_factory=dict)
    queued: OrderedDict[Key, None] = field(default_factory=OrderedDict)
    coming: dict[Key, None] = field(default_factory=dict)
    unclear: dict[Key, None] = field(default_factory=dict)
    #: Their delete has been asked for, and is looked for; it has been in vain for long.
    going: dict[Key, None] = field(default_factory=dict)
    stuck: dict[Key, None] = field(default_factory=dict)
    #: Existing but not in lists; coming up; existing.
    missing: dict[Key, None] = field(default_factory=dict)
    booting: dict[Key, None] = field(default_factory=dict)
    steady: dict[Key, None] = field(default_factory=dict)
    _timers: list[tuple[float, Key]] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Add a life."""
        self.records[record.key], self.marks[record.mark] = record, record.key
        self.file(record)

    def drop(self, record: Record) -> None:
        """Remove a life."""
        del self.records[record.key], self.marks[record.mark]
        for held in self._states():
            held.pop(record.key, None)

    def file(self, record: Record) -> None:
        """Update the indexes for a record that has changed; `wake` says when it is due for a check."""
        key, ending = record.key, record.ending is not None
        there = record.instance is not None and not ending and not record.unclear
        waits = ending and record.removals > 0 and not record.removing and not record.unclear
        _put(self.queued, key, record.queued and not ending)
        _put(self.coming, key, record.coming_up)
        _put(self.unclear, key, record.unclear)
        _put(self.going, key, waits and not record.unkillable)
        _put(self.stuck, key, waits and record.unkillable)
        _put(self.missing, key, there and record.missing > 0)
        _put(self.booting, key, there and not record.missing and not record.joined)
        _put(self.steady, key, there and not record.missing and record.joined)

    def wake_at(self, record: Record, when: float) -> None:
        """Set when a record is due for a check; the last call counts."""
        if when != record.wake:
            record.wake = when
            if when < math.inf:
                heapq.heappush(self._timers, (when, record.key))

    def ripe(self, now: float) -> Iterator[Record]:
        """Yield the records that are due."""
        while self._timers and self._timers[0][0] <= now:
            when, key = heapq.heappop(self._timers)
            record = self.records.get(key)
            if record is not None and record.wake == when:
                record.wake = math.inf
                yield record

    def due(self) -> float:
        """Return when the next record is due."""
        while self._timers:
            when, key = self._timers[0]
            record = self.records.get(key)
            if record is not None and record.wake == when:
                return when
            heapq.heappop(self._timers)
        return math.inf

    def _states(self) -> tuple[dict[Key, None], ...]:
        return (
            self.queued,
            self.coming,
            self.unclear,
            self.going,
            self.stuck,
            self.missing,
            self.booting,
            self.steady,
        )


def _put(held: dict[Key, None], key: Key, belongs: bool) -> None:
    if belongs:
        held.setdefault(key)
    else:
        held.pop(key, None)
