"""The end of a group: its processes are told and then deleted, whoever asked is answered, and everybody else told."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rackactor.status import Cause, State
from rackactor_runtime.supervisor.decisions.messages import Finish, Notify, Reply
from rackactor_runtime.supervisor.decisions.table import INIT, Process

if TYPE_CHECKING:
    from rackactor_runtime.supervisor.decisions.lifecycle import Core


class Shutdown:
    """When a group ends, and how far its end is."""

    def __init__(self, core: Core) -> None:
        self._core = core
        #: Why the group ends; empty: it does not.
        self.reason = ""
        #: It outlives the program that made it, and ends with its last process.
        self.detached = False
        #: Everything has ended, and everybody has been told.
        self.finished = False
        self._callers: list[tuple[int, int]] = []
        #: Pid of the program that still reads what was printed: the supervisor stays until it lets go, or ends.
        self._held_by = 0
        self._kill_at: float | None = None
        self._leave_at: float | None = None
        self._empty_since: float | None = None
        #: Processes that have ended and that nobody will wait for, with when they are forgotten: the first one first.
        self._kept: deque[tuple[float, int]] = deque()

    def ask(self, pid: int, rid: int, reason: str) -> None:
        """End the group for a caller, who is answered when everything is gone."""
        self._callers.append((pid, rid))
        if self.reason:
            self._go_on()
        else:
            self.begin(reason)

    def hold(self, pid: int) -> None:
        """Have the supervisor stay for a program that still reads; 0: for nobody."""
        self._held_by = pid

    def begin(self, reason: str) -> None:
        """End every process, then the group."""
        if self.reason:
            return
        core = self._core
        self.reason = reason
        self._kill_at = core.now + core.settings.end_grace
        for record in core.table:
            if record.alive and not record.external:
                core.signal(record, int(signal.SIGTERM), INIT, Cause.GROUP_ENDED, f"the group ended: {reason}")
        self._go_on()

    def tick(self) -> None:
        """Do what is due."""
        if self.reason:
            self._go_on()
        elif self.detached:
            self._forget_old()
            self._look_for_life()

    def keep(self, record: Process) -> None:
        """Keep a process of a detached group that has ended and has no parent, for `linger` seconds."""
        self._kept.append((self._core.now + self._core.settings.linger, record.pid))

    def _forget_old(self) -> None:
        core = self._core
        while self._kept and self._kept[0][0] <= core.now:
            record = core.table.get(self._kept.popleft()[1])
            if record is not None and record.state is State.ZOMBIE:
                core.table.reap(record)

    def _go_on(self) -> None:
        core = self._core
        living = [record for record in core.table if record.alive and not record.external]
        if living and self._kill_at is not None and core.now >= self._kill_at:
            self._kill_at = None
            self._leave_at = core.now + core.settings.delete_timeout
            for record in living:
                core.signal(record, int(signal.SIGKILL), INIT)
        if not living or (self._leave_at is not None and core.now >= self._leave_at):
            self._finish(tuple(f"process {r.pid}: {r.instance or 'no instance yet'}: {r.note}" for r in living))

    def _finish(self, left: Sequence[str]) -> None:
        core = self._core
        statuses = [[r.pid, r.status.to_wire()] for r in core.table if r.status is not None]
        for pid, rid in self._callers:
            core.effects.append(Reply(pid, rid, True, {"statuses": statuses, "left": list(left)}))
        self._callers = []
        if self.finished or core.lives(self._held_by):
            return
        self.finished = True
        owed = core.machinery.owes([record for record in core.table if record.alive and not record.external])
        fields = {"reason": self.reason, **({"owed": owed} if owed > 0 else {})}
        for record in core.table:
            if record.external and record.alive and record.started is not None:
                core.effects.append(Notify(record.pid, "end", fields))
        core.effects.append(Finish(self.reason, left))

    def _look_for_life(self) -> None:
        """End a detached group when nothing runs, and nobody has asked for what ended."""
        core = self._core
        idle = ("service", "machine")
        if any(record.alive and record.kind not in idle and not record.keeper for record in core.table):
            self._empty_since = None
            return
        if self._empty_since is None:
            self._empty_since = core.now
        waiting = any(record.state is State.ZOMBIE for record in core.table)
        if not waiting or core.now - self._empty_since >= core.settings.linger:
            self.begin("its last process has ended")
