"""Calls that wait for processes to come up: `fork(n, min_ok=k)`.

Each process is checked when it comes up and when it ends, and never all of them because of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any

from rackactor.records import dataclass
from rackactor_runtime.supervisor.decisions.table import Process, Table

#: Causes with which a process has never come up, whatever its agent reported.
_NEVER_UP = ("boot-failed", "load-failed", "lost")


def state(record: Process | None) -> tuple[bool, bool]:
    """Return (has come up, is alive) of a process; an unknown one is neither."""
    if record is None:
        return False, False
    ran = record.status is not None and record.status.cause not in _NEVER_UP
    return record.started is not None and (record.alive or ran), record.alive


@dataclass
class Start:
    """A call that waits until `count` of these processes have come up, or cannot come up any more."""

    pid: int
    rid: int
    pids: tuple[int, ...]
    count: int
    up: set[int] = field(default_factory=set)
    #: Those that are alive, and may still come up.
    open: set[int] = field(default_factory=set)

    @property
    def decided(self) -> bool:
        """Tell whether it can be answered."""
        return len(self.up) >= self.count or len(self.up) + len(self.open) < self.count

    def up_pids(self) -> list[int]:
        """Return those that have come up, in the order of the call."""
        return [pid for pid in self.pids if pid in self.up]


class Starts:
    """The calls that wait for starts, by the processes they wait for."""

    def __init__(self, table: Table, looked_at: Callable[[int], None] = lambda _: None) -> None:
        self._table = table
        self._looked_at = looked_at  # called for each process that is checked, to measure the cost
        self._calls: dict[tuple[int, int], Start] = {}
        self._awaited: dict[int, list[Start]] = {}
        self._callers: dict[int, set[int]] = {}
        self._decided: list[Start] = []

    def to_record(self) -> list[Any]:
        """Return plain values for `load`."""
        starts = self._calls.values()
        return [[s.pid, s.rid, list(s.pids), s.count, sorted(s.up), sorted(s.open)] for s in starts]

    def load(self, record: Sequence[Any]) -> None:
        """Take what `to_record` gave."""
        for pid, rid, pids, count, up, still_open in record:
            self._add(Start(pid, rid, tuple(pids), count, set(up), set(still_open)))

    def begin(self, pid: int, rid: int, pids: Sequence[int], count: int) -> None:
        """Wait for `count` of these processes."""
        start = Start(pid, rid, tuple(dict.fromkeys(pids)), count)
        self._add(start)
        for each in start.pids:
            self._look(start, each)
        if start.decided:
            self._decide(start)

    def _add(self, start: Start) -> None:
        self._calls[start.pid, start.rid] = start
        self._callers.setdefault(start.pid, set()).add(start.rid)
        for each in start.pids:
            self._awaited.setdefault(each, []).append(start)

    def changed(self, pid: int) -> None:
        """Note that a process has come up, or has ended."""
        for start in list(self._awaited.get(pid, ())):
            self._look(start, pid)
            if start.decided:
                self._decide(start)

    def cancel(self, pid: int, rid: int) -> None:
        """Withdraw a call."""
        start = self._calls.get((pid, rid))
        if start is not None:
            self._forget(start)

    def gone(self, pid: int) -> None:
        """Withdraw all calls of a process that has ended."""
        for rid in list(self._callers.get(pid, ())):
            self.cancel(pid, rid)

    def decided(self) -> list[Start]:
        """Return the calls that can be answered now, once."""
        decided, self._decided = self._decided, []
        return decided

    def _look(self, start: Start, pid: int) -> None:
        self._looked_at(pid)
        came_up, alive = state(self._table.get(pid) or self._table.past(pid))
        (start.up.add if came_up else start.up.discard)(pid)
        (start.open.add if alive and not came_up else start.open.discard)(pid)

    def _decide(self, start: Start) -> None:
        self._forget(start)
        self._decided.append(start)

    def _forget(self, start: Start) -> None:
        del self._calls[start.pid, start.rid]
        mine = self._callers[start.pid]
        mine.discard(start.rid)
        if not mine:
            del self._callers[start.pid]
        for pid in start.pids:
            waiting = self._awaited[pid]
            waiting.remove(start)
            if not waiting:
                del self._awaited[pid]
