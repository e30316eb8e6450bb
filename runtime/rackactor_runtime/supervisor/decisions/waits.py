"""Who waits for whose end: POSIX's wait, for processes of a group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rackactor.errors import NoChild, NoSuchProcess
from rackactor.status import State
from rackactor_runtime.supervisor.decisions.table import Process, Table


@dataclass(frozen=True)
class Waiter:
    """A wait that is under way."""

    pid: int
    rid: int
    #: Whose end is awaited; empty: any child's.
    targets: tuple[int, ...]


class Waits:
    """The waits under way, and the rules of waiting."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._waiters: list[Waiter] = []

    def begin(self, waiter: Waiter, *, hang: bool) -> Process | None:
        """Begin to wait; return the process at once when one has ended already.

        Raises:
            NoChild: there is nothing to wait for.
            NoSuchProcess: no such pid.
        """
        found = self._ended(waiter)
        if found is None and hang:
            self._waiters.append(waiter)
        return found

    def cancel(self, pid: int, rid: int) -> None:
        """Withdraw a wait that timed out."""
        self._waiters = [w for w in self._waiters if (w.pid, w.rid) != (pid, rid)]

    def forget(self, pid: int) -> None:
        """Withdraw all waits of a process that has ended."""
        self._waiters = [w for w in self._waiters if w.pid != pid]

    def ended(self, process: Process) -> Iterator[Waiter]:
        """Yield who waited for this process: observers first, its parent last, for the parent reaps."""
        ready = [w for w in self._waiters if self._matches(w, process)]
        ready.sort(key=lambda w: w.pid == process.ppid)
        reaped = False
        for waiter in ready:
            if waiter.pid == process.ppid and reaped:
                continue  # a second wait of the parent goes on for another child
            reaped = reaped or waiter.pid == process.ppid
            self._waiters.remove(waiter)
            yield waiter

    def hopeless(self) -> Iterator[tuple[Waiter, Exception]]:
        """Yield the waits that nothing can end any more."""
        for waiter in list(self._waiters):
            try:
                self._ended(waiter)
            except (NoChild, NoSuchProcess) as error:
                self._waiters.remove(waiter)
                yield waiter, error

    def _matches(self, waiter: Waiter, process: Process) -> bool:
        if waiter.targets:
            return process.pid in waiter.targets
        return process.ppid == waiter.pid

    def _ended(self, waiter: Waiter) -> Process | None:
        if not waiter.targets:
            children = self._table.children(waiter.pid)
            if not children:
                raise NoChild(f"process {waiter.pid} has no child to wait for")
            return next((child for child in children if child.state is State.ZOMBIE), None)
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
