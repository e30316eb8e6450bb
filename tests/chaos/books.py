"""From what processes wrote down to what the judges want: operations with the versions that they saw and made.

A process writes a record before each call (what it is about to do, and when) and one after it (what came of it, and
when); in between, a transaction tells what it has read. So of a process that was killed it is known what it was about.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from .histories import ABSENT, Operation, Version
from .queues import Append, Pop

#: Names of counters, of which the versions are their values, begin so.
COUNTER = "n"


class Did(IntEnum):
    """What a record is: its first field. The second one is the time, if there is one."""

    #: Called: kind, then what belongs to it.
    CALL = 0
    #: Returned: the result.
    RETURN = 1
    #: A transaction has read these versions.
    SAW = 2


class Kind(IntEnum):
    """What was called."""

    #: Add one to a counter: key. The result is its value.
    INCR = 0
    #: The same for several counters, in one pipeline: keys. The result: their values.
    MANY = 1
    #: Compare and set: key, expected, new. The result: whether it was done.
    CAS = 2
    #: Replace the versions of several keys in a transaction: keys, new. The result: whether it was done.
    BOTH = 3
    #: Put a version of a key that only this process writes: key, the version before, new.
    PUT = 4
    #: Append an element: key, element.
    APPEND = 5
    #: Take the first element: key. The result: it, or None.
    POP = 6
    #: Read versions at one revision: keys. The result: the versions.
    READ = 7
    #: The same after a `sync`.
    SYNC_READ = 8


@dataclass
class Books:
    """The histories of all keys."""

    operations: list[Operation] = field(default_factory=list)
    appends: dict[str, list[Append]] = field(default_factory=lambda: defaultdict(list))
    pops: dict[str, list[Pop]] = field(default_factory=lambda: defaultdict(list))
    violations: list[str] = field(default_factory=list)
    #: Versions of keys that watchers, or whoever looked in the end, have seen.
    seen: set[tuple[str, Version]] = field(default_factory=set)
    #: Increments of killed processes: key -> when each was called.
    unknown: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, process: int, records: Iterable[Sequence[Any]]) -> None:
        """Add what one life of a process wrote down."""
        called: Sequence[Any] = ()
        saw: Sequence[Any] = ()
        for record in records:
            match record[0]:
                case Did.CALL:
                    called, saw = record, ()
                case Did.SAW:
                    saw = record[1]
                case Did.RETURN:
                    self._take(process, called, saw, record[1], record[2])
                    called = ()
        if called:
            self._take_unknown(process, called, saw)

    def _take(self, process: int, called: Sequence[Any], saw: Sequence[Any], end: float, result: Any) -> None:
        _, call, kind, *what = called
        match kind:
            case Kind.INCR:
                self._count(process, call, end, what[0], result)
            case Kind.MANY:
                for key, value in zip(what[0], result, strict=True):
                    self._count(process, call, end, key, value)
            case Kind.CAS:
                key, expected, new = what
                if result:
                    self.operations.append(Operation(process, call, end, {key: expected}, {key: new}))
                else:
                    self.operations.append(Operation(process, call, end, {}, past={key: expected}))
            case Kind.BOTH if result:
                seen = dict(zip(what[0], saw, strict=True))
                self.operations.append(Operation(process, call, end, seen, dict.fromkeys(what[0], what[1])))
            case Kind.PUT:
                key, before, new = what
                self.operations.append(Operation(process, call, end, {key: before}, {key: new}))
            case Kind.APPEND:
                self.appends[what[0]].append(Append(what[1], call, end))
            case Kind.POP:
                self.pops[what[0]].append(Pop(result, call, end))
            case Kind.READ | Kind.SYNC_READ:
                seen = dict(zip(what[0], result, strict=True))
                self.operations.append(Operation(process, call, end, seen, local=kind == Kind.READ))

    def _count(self, process: int, call: float, end: float, key: str, value: int) -> None:
        self.operations.append(Operation(process, call, end, {key: value - 1 or ABSENT}, {key: value}))

    def _take_unknown(self, process: int, called: Sequence[Any], saw: Sequence[Any]) -> None:
        """Take what a process was about when it was killed."""
        _, call, kind, *what = called
        operation = None
        match kind:
            case Kind.INCR:
                self.unknown[what[0]].append(call)
            case Kind.MANY:
                for key in what[0]:
                    self.unknown[key].append(call)
            case Kind.CAS | Kind.PUT:
                operation = Operation(process, call, math.inf, {what[0]: what[1]}, {what[0]: what[2]})
            case Kind.BOTH if saw:
                seen = dict(zip(what[0], saw, strict=True))
                operation = Operation(process, call, math.inf, seen, dict.fromkeys(what[0], what[1]))
            case Kind.APPEND:
                self.appends[what[0]].append(Append(what[1], call, math.inf))
            case Kind.POP:
                self.pops[what[0]].append(Pop(None, call, math.inf, unknown=True))
        if operation is not None:
            self.operations.append(operation)

    def history(self) -> list[Operation]:
        """Return all operations, those of killed processes on counters at the values that nobody else can have made.

        Nobody knows which of them made which, or whether at all. So each such value is made by somebody of its own,
        who had called no sooner than as many killed processes had: the first called gets the first value.
        """
        made: dict[str, set[int]] = defaultdict(set)
        largest: dict[str, int] = defaultdict(int)
        for each in self.operations:
            for key, version in (*each.reads.items(), *each.writes.items()):
                if key.startswith(COUNTER) and isinstance(version, int):
                    largest[key] = max(largest[key], version)
            for key, version in each.writes.items():
                if key.startswith(COUNTER) and isinstance(version, int):
                    made[key].add(version)
        found: list[Operation] = []
        for key, version in self.seen:
            if key.startswith(COUNTER) and isinstance(version, int):
                largest[key] = max(largest[key], version)
        for key, value in largest.items():
            missing = [number for number in range(1, value + 1) if number not in made[key]]
            candidates = sorted(self.unknown[key])
            if len(missing) > len(candidates):
                self.violations.append(f"{key}: {len(missing)} values that nobody made, {missing[0]} the first")
            for number, call in zip(missing, candidates, strict=False):
                reads = {key: number - 1 or ABSENT}
                found.append(Operation(-1 - len(found), call, math.inf, reads, {key: number}))
        return self.operations + found
