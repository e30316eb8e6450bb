"""Time limits, and silent members: what is due, who is checked from outside, and who is lost."""

from __future__ import annotations

from collections.abc import Iterable

from rackactor.status import Cause, State
from rackactor.wire.events import HeartbeatEvent
from rackactor_runtime.providers.base import InstanceExit, Key, Liveness
from rackactor_runtime.supervisor.decisions import lifecycle, machines, services, shutdown
from rackactor_runtime.supervisor.decisions.messages import Probe
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.decisions.turn import Turn


def heard(turn: Turn, pids: Iterable[int]) -> None:
    """Note that members have sent something."""
    for pid in pids:
        record = turn.state.table.get(pid)
        if record is not None:
            record.timers.heard, record.timers.asked = turn.now, None


def probed(turn: Turn, key: Key, liveness: Liveness) -> None:
    """Decide on a silent agent by the provider's check of its instance."""
    state, settings = turn.state, turn.state.settings
    record = state.of(key)
    if record is None or not record.alive or record.started is None:
        return
    if state.sleeps(record) and not _doubted(turn, record, liveness):
        return
    silent = state.silence(record, turn.now)
    if liveness is Liveness.GONE or silent <= settings.lost_after:
        return
    if liveness is not Liveness.STOPPED and silent <= settings.silence_limit:
        return  # also if the provider cannot tell, which proves nothing
    words = f"its agent has not answered for {silent:.1f} s, and the provider says: {liveness.value}"
    lifecycle.kill(turn, record, Cause.LOST, words)


def _doubted(turn: Turn, record: Process, liveness: Liveness) -> bool:
    """If there is a doubt, ask a sleeping member whether it is alive; tell whether it may be judged now."""
    if record.timers.asked is not None:
        return True
    settings = turn.state.settings
    overdue = turn.now - record.timers.heard > settings.idle_beat + settings.lost_after
    if liveness is Liveness.RUNNING:
        record.timers.ran = turn.now
    if liveness is Liveness.GONE or (liveness is Liveness.RUNNING and not overdue):
        return False
    turn.notify(record.pid, HeartbeatEvent())
    stopped = liveness is Liveness.STOPPED  # since the last check or earlier; it cannot answer, and has not
    record.timers.asked = max(record.timers.ran, record.timers.heard) if stopped else turn.now
    return stopped


def severed(turn: Turn, pid: int, words: str) -> None:
    """End a process that has missed something for good: a silent gap would be a wrong answer."""
    record = turn.state.table.get(pid)
    if record is None or not record.alive:
        return
    if record.kind == "machine":
        machines.lost(turn, record, f"the machine's connection: {words}")
    elif record.external:
        record.intent, record.intent_words = Cause.LOST, words
        lifecycle.gone(turn, record, InstanceExit())
    else:
        lifecycle.kill(turn, record, Cause.LOST, words)


def excuse(turn: Turn, away: float) -> None:
    """Count the time in which the supervisor did not run neither as silence nor as boot: messages are still unread."""
    fresh = away > turn.state.settings.lost_after / 2
    for record in turn.state.table:
        record.timers.excuse(away, turn.now, fresh=fresh)
    services.excuse(turn, away)


def tick(turn: Turn) -> None:
    """Do what is due."""
    shutdown.check_deadline(turn)
    for record in turn.state.table:
        if record.alive:
            _tick(turn, record)
    services.tick(turn)
    shutdown.tick(turn)


def _tick(turn: Turn, record: Process) -> None:
    now = turn.now
    if record.timers.kill_at is not None and now >= record.timers.kill_at:
        lifecycle.kill(turn, record)
    elif record.timers.deadline is not None and now >= record.timers.deadline:
        record.timers.deadline = None
        lifecycle.terminate(turn, record, Cause.DEADLINE, "its deadline passed")
    elif record.timers.boot_by is not None and now >= record.timers.boot_by:
        record.timers.boot_by = None
        words = f"its agent had not joined within {turn.state.settings.boot_timeout:g} s"
        lifecycle.kill(turn, record, Cause.BOOT_FAILED, words)
    elif record.started is not None and now - record.timers.heard > _quiet_for(turn, record):
        _silent(turn, record)


def _quiet_for(turn: Turn, record: Process) -> float:
    """Return after how long a silence a member is checked; a sleeping one must be seen to run."""
    asleep = turn.state.sleeps(record) and not record.external
    return turn.state.settings.heartbeat if asleep else turn.state.settings.lost_after


def _silent(turn: Turn, record: Process) -> None:
    if record.external:
        _silent_member(turn, record)
    elif turn.now >= _look_at(turn, record) and record.state is State.RUNNING:
        record.timers.probed = turn.now
        turn.emit(Probe(record.life))


def _silent_member(turn: Turn, record: Process) -> None:
    """Decide on a silent member that no provider made."""
    too_long = turn.now - record.timers.heard > turn.state.settings.silence_limit
    match record.kind:
        case "machine":
            machines.silent(turn, record)
        case "service":
            if too_long:
                services.silent(turn, record)
        case "script" if turn.state.owner_watched or _is_kept(turn):
            pass
        case _:
            at_once = record.kind == "operator" and not record.keeper
            if too_long or at_once:
                record.intent, record.intent_words = Cause.LOST, "it has not answered"
                lifecycle.gone(turn, record, InstanceExit())


def _look_at(turn: Turn, record: Process) -> float:
    """Return when a silent member is to be checked from outside: as soon as it may be lost, else now and then."""
    settings = turn.state.settings
    at = record.timers.probed + settings.heartbeat
    lost = 0.0 if record.timers.asked is None else record.timers.asked + settings.lost_after
    return min(at, lost + 1e-3) if record.timers.probed <= lost else at


def _is_kept(turn: Turn) -> bool:
    """Tell whether a member watches over the group that knows whether the script is alive."""
    return any(record.keeper and record.alive for record in turn.state.table)
