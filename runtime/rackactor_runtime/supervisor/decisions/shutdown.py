"""The end of a group: processes are asked to end and then deleted, callers are answered, and all others are told."""

from __future__ import annotations

from collections.abc import Sequence

from rackactor.status import Cause, State
from rackactor.wire.events import EndEvent
from rackactor_runtime.providers.base import InstanceExit
from rackactor_runtime.supervisor.decisions import lifecycle, machines
from rackactor_runtime.supervisor.decisions.messages import Finish, Reply
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.decisions.turn import Turn


def ask(turn: Turn, pid: int, rid: int, reason: str) -> None:
    """End the group for a caller, who is answered when everything is gone."""
    shutdown = turn.state.shutdown
    shutdown.callers.append((pid, rid))
    if shutdown.reason:
        _go_on(turn)
    else:
        begin(turn, reason)


def begin(turn: Turn, reason: str) -> None:
    """End every process, then the group."""
    shutdown = turn.state.shutdown
    if shutdown.reason:
        return
    shutdown.reason = reason
    shutdown.kill_at = turn.now + turn.state.settings.end_grace
    for record in turn.state.table:
        if record.alive and not record.external:
            lifecycle.terminate(turn, record, Cause.GROUP_ENDED, f"the group ended: {reason}")
    _go_on(turn)


def told(turn: Turn, record: Process) -> None:
    """Note that a process has ended: the group ends with the program that made it."""
    if record.kind == "script" and not turn.state.shutdown.detached:
        begin(turn, "the program that made the group has ended")


def owner_gone(turn: Turn, reason: str) -> None:
    """Note the operating system's report that the program that made the group has ended."""
    if not turn.state.shutdown.detached:
        begin(turn, reason)
    for record in turn.state.table:
        if record.kind == "script" and record.alive:
            lifecycle.gone(turn, record, InstanceExit())


def check_deadline(turn: Turn) -> None:
    """End the group when its deadline has passed."""
    deadline = turn.state.deadline_at
    if deadline is not None and turn.now >= deadline:
        begin(turn, "the group's deadline passed")


def tick(turn: Turn) -> None:
    """Do what is due."""
    state = turn.state
    if state.shutdown.reason:
        _go_on(turn)
    elif state.shutdown.detached:
        _forget_old(turn)
        _look_for_life(turn)


def _forget_old(turn: Turn) -> None:
    kept, table = turn.state.shutdown.kept, turn.state.table
    while kept and kept[0][0] <= turn.now:
        record = table.get(kept.popleft()[1])
        if record is not None and record.state is State.ZOMBIE:
            table.reap(record)


def _go_on(turn: Turn) -> None:
    shutdown = turn.state.shutdown
    living = [record for record in turn.state.table if record.alive and not record.external]
    if living and shutdown.kill_at is not None and turn.now >= shutdown.kill_at:
        shutdown.kill_at = None
        shutdown.leave_at = turn.now + turn.state.settings.delete_timeout
        for record in living:
            lifecycle.kill(turn, record)
    if not living or (shutdown.leave_at is not None and turn.now >= shutdown.leave_at):
        _finish(turn, tuple(f"process {r.pid}: {r.instance or 'no instance yet'}: {r.note}" for r in living))


def _finish(turn: Turn, left: Sequence[str]) -> None:
    state, shutdown = turn.state, turn.state.shutdown
    statuses = [[r.pid, r.status.to_wire()] for r in state.table if r.status is not None]
    for pid, rid in shutdown.callers:
        turn.emit(Reply(pid, rid, True, {"statuses": statuses, "left": list(left)}))
    shutdown.callers = []
    if shutdown.finished or state.lives(shutdown.held_by):
        return
    shutdown.finished = True
    owed = machines.owes(turn, [record for record in state.table if record.alive and not record.external])
    event = EndEvent(shutdown.reason, owed if owed > 0 else None)
    for record in state.table:
        if record.external and record.alive and record.started is not None:
            turn.notify(record.pid, event)
    turn.emit(Finish(shutdown.reason, left))


def _look_for_life(turn: Turn) -> None:
    """End a detached group when nothing runs, and nobody has asked for exit statuses."""
    state, shutdown = turn.state, turn.state.shutdown
    idle = ("service", "machine")
    if any(record.alive and record.kind not in idle and not record.keeper for record in state.table):
        shutdown.empty_since = None
        return
    if shutdown.empty_since is None:
        shutdown.empty_since = turn.now
    waiting = any(record.state is State.ZOMBIE for record in state.table)
    if not waiting or turn.now - shutdown.empty_since >= state.settings.linger:
        begin(turn, "its last process has ended")
