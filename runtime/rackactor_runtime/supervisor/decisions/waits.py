"""POSIX's wait, for processes of a group: who waits for whose end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rackactor.errors import NoChild, NoSuchProcess, RackError
from rackactor.records import dataclass
from rackactor.status import State
from rackactor_runtime.supervisor.decisions.table import Process, Table


@dataclass(frozen=True)
class Waiter:
    """A wait that is under way."""

    pid: int
    rid: int
    #: The pids whose end is awaited; empty: any child's.
    targets: tuple[int, ...]


class Waits:
    """The waits under way, by the processes they wait for, and the rules of waiting."""

    def __init__(self, table: Table, looked_at: Callable[[Waiter], None] = lambda _: None) -> None:
        self._table = table
        self._looked_at = looked_at  # called for each wait that is checked, to measure the cost
        self._waiters: dict[tuple[int, int], Waiter] = {}
        self._of: dict[int, dict[int, Waiter]] = {}  # by the waiting process, and the call's number
        self._for: dict[int, dict[tuple[int, int], Waiter]] = {}  # by the awaited process; without waits for any child

    def to_record(self) -> list[Any]:
        """Return plain values for `load`."""
        return [[waiter.pid, waiter.rid, list(waiter.targets)] for waiter in self._waiters.values()]

    def load(self, record: Sequence[Any]) -> None:
        """Take what `to_record` gave."""
        for pid, rid, targets in record:
            self._add(Waiter(pid, rid, tuple(targets)))

    def begin(self, waiter: Waiter, *, hang: bool) -> Process | None:
        """Begin to wait; return a process if one has ended already.

        Raises:
            NoChild: there is nothing to wait for.
            NoSuchProcess: no such pid.
        """
        found = self._ended(waiter)
        if found is None and hang:
            self._add(waiter)
        return found

    def _add(self, waiter: Waiter) -> None:
        self._waiters[waiter.pid, waiter.rid] = waiter
        self._of.setdefault(waiter.pid, {})[waiter.rid] = waiter
        for target in set(waiter.targets):
            self._for.setdefault(target, {})[waiter.pid, waiter.rid] = waiter

    def cancel(self, pid: int, rid: int) -> None:
        """Withdraw a wait that timed out."""
        waiter = self._waiters.get((pid, rid))
        if waiter is not None:
            self._remove(waiter)

    def forget(self, pid: int) -> None:
        """Withdraw all waits of a process that has ended."""
        for waiter in list(self._of.get(pid, {}).values()):
            self._remove(waiter)

    def ended(self, process: Process) -> Iterator[Waiter]:
        """Yield the waits for this process: observers first, its parent last, since the parent's wait reaps it."""
        ready = sorted(self._concerned(process), key=lambda w: (w.pid == process.ppid, w.rid))
        reaped = False
        for waiter in ready:
            if waiter.pid == process.ppid and reaped:
                continue  # a second wait of the parent goes on for another child
            reaped = reaped or waiter.pid == process.ppid
            self._remove(waiter)
            yield waiter

    def hopeless(self, process: Process) -> Iterator[tuple[Waiter, RackError]]:
        """Yield the waits that can never succeed now that this process has ended."""
        for waiter in self._concerned(process):
            try:
                self._ended(waiter)
            except (NoChild, NoSuchProcess) as error:
                self._remove(waiter)
                yield waiter, error

    def _concerned(self, process: Process) -> list[Waiter]:
        """Return the waits for this process, or for any child of its parent."""
        waiters = list(self._for.get(process.pid, {}).values())
        waiters += [waiter for waiter in self._of.get(process.ppid, {}).values() if not waiter.targets]
        for waiter in waiters:
            self._looked_at(waiter)
        return waiters

    def _remove(self, waiter: Waiter) -> None:
        key = waiter.pid, waiter.rid
        del self._waiters[key]
        mine = self._of[waiter.pid]
        del mine[waiter.rid]
        if not mine:
            del self._of[waiter.pid]
        for target in set(waiter.targets):
            others = self._for[target]
            del others[key]
            if not others:
                del self._for[target]

    def _ended(self, waiter: Waiter) -> Process | None:
        if not waiter.targets:
            if not self._table.has_children(waiter.pid):
                raise NoChild(f"process {waiter.pid} has no child to wait for")
            return self._table.zombie(waiter.pid)
        found = None
        living = False
        for pid in waiter.targets:
            record = self._table.get(pid)
            living = living or (record is not None and record.alive)
            if found is None and record is not None and record.state is State.ZOMBIE:
                found = record
        if found is None and not living:
            self._refuse(waiter)
        return found

    def _refuse(self, waiter: Waiter) -> None:
        pid = waiter.targets[0]
        if self._table.past(pid) is not None:
            raise NoChild(f"process {pid} has ended and been waited for already")
        raise NoSuchProcess(f"this group never had a process {pid}, or has forgotten it")
