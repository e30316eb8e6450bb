"""How processes ended, as this one is told: a child is reaped once, and what was told of it must not get lost.

An interrupt may come between the telling and the return; several threads may ask for the same process, and only one
of them is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rackactor import arguments
from rackactor.errors import NoChild, RackTimeout
from rackactor.kernel import CALL_TIMEOUT, Kernel
from rackactor.pending import Pending
from rackactor.status import ExitStatus


class Reaping:
    """Wait for processes. Thread-safe.

    Attributes:
        statuses: how those ended that have been waited for, by pid.
        results: what those that were functions returned, packed, by pid.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.statuses: dict[int, ExitStatus] = {}
        self.results: dict[int, Any] = {}
        self._late: list[int] = []  # those that nobody was given: whoever had asked did not stay for the answer
        self._open: list[Pending] = []  # questions that are under way, in whichever threads

    def wait(self, pid: int | Sequence[int], timeout: float | None) -> tuple[int, ExitStatus]:
        """Wait for the end of one of several processes: see `Session.wait`."""
        pids = arguments.targets(pid)
        if (known := self._take_late(pids)) is not None:
            return known
        with self._asking({"pids": pids}) as (pending, rid):
            if not self._kernel.wait(lambda: pending.done or self._is_late(pids), timeout):
                raise RackTimeout(f"no end of {pid if pids else 'a child'} within {timeout:g} s")
            # What an earlier wait that had been given up was told may come first, and be why this one is refused.
            if (not pending.done or pending.error is not None) and (known := self._take_late(pids)) is not None:
                self._kernel.withdraw(pending, rid, self._keep)
                return known
            pending.get()
            return self._note(pending)

    def wait_for(self, pid: int, timeout: float | None) -> ExitStatus:
        """Wait for one process; asked again, answer the same."""
        try:
            if pid not in self.statuses:
                self.wait(pid, timeout)
        except NoChild:
            self._catch_up()
            if pid not in self.statuses:
                raise
        return self.statuses[pid]

    def poll(self, pid: int) -> ExitStatus | None:
        """Return how a process ended, or None while it lives."""
        try:
            if pid not in self.statuses:
                with self._asking({"pids": [pid], "hang": False}) as (pending, _):
                    if not self._kernel.wait(lambda: pending.done, CALL_TIMEOUT):
                        raise RackTimeout(f"no answer within {CALL_TIMEOUT:g} s whether {pid} lives")
                    if pending.get()["pid"]:
                        self._note(pending)
        except NoChild:
            self._catch_up()
            if pid not in self.statuses:
                raise
        return self.statuses.get(pid)

    @contextmanager
    def _asking(self, args: dict[str, Any]) -> Iterator[tuple[Pending, int]]:
        pending, rid = self._kernel.begin_call("wait", args)
        self._open.append(pending)
        try:
            yield pending, rid
        except BaseException:
            self._kernel.withdraw(pending, rid, self._keep)
            raise
        finally:
            self._open.remove(pending)

    def _note(self, answer: Pending) -> tuple[int, ExitStatus]:
        pid, status = answer.value["pid"], ExitStatus.from_wire(answer.value["status"])
        self.statuses[pid] = status
        if answer.blobs:
            self.results[pid] = answer.blobs[0]
        return pid, status

    def _keep(self, answer: Pending) -> None:
        """Keep a status that came when its wait had been given up."""
        if answer.error is None and answer.value["pid"]:
            self._late.append(self._note(answer)[0])

    def _catch_up(self) -> None:
        """Take note of what other threads have been told, and may not have looked at yet."""
        for answer in list(self._open):
            if answer.done and answer.error is None and answer.value["pid"]:
                self._note(answer)

    def _is_late(self, pids: Sequence[int]) -> bool:
        return any(not pids or pid in pids for pid in self._late)

    def _take_late(self, pids: Sequence[int]) -> tuple[int, ExitStatus] | None:
        for known in [pid for pid in self._late if not pids or pid in pids]:
            try:
                self._late.remove(known)
            except ValueError:
                continue  # another thread was quicker
            return known, self.statuses[known]
        return None
