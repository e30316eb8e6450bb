"""The life of the group's processes, from fork to exit status, and which processes end with others."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from rackactor.status import Cause, Signal, State
from rackactor.wire.events import ChildEvent, GoneEvent, LeavingEvent, SignalEvent
from rackactor.wire.frames import SUPERVISOR
from rackactor_runtime.providers.base import InstanceExit, Key
from rackactor_runtime.supervisor.decisions import pipes, sources
from rackactor_runtime.supervisor.decisions.exit_status import verdict
from rackactor_runtime.supervisor.decisions.messages import Delete, Dismiss, InstanceEnded, Reply, Welcome
from rackactor_runtime.supervisor.decisions.table import Joining, Process, Sent
from rackactor_runtime.supervisor.decisions.turn import Turn

#: The most signals that are remembered of each process.
_SIGNALS = 50


def give_name(turn: Turn, name: str, pid: int) -> None:
    """Give a process a name that the whole group knows, until it ends."""
    turn.state.names[name] = pid
    turn.state.names_of.setdefault(pid, []).append(name)


def _unname(turn: Turn, pid: int) -> None:
    for name in turn.state.names_of.pop(pid, ()):
        del turn.state.names[name]


# -- births -------------------------------------------------------------------------------------------------


def created(turn: Turn, key: Key, instance: str) -> None:
    """Note that an instance exists."""
    record = turn.state.of(key)
    if record is not None:
        record.instance = instance
        record.note = record.note if record.state is State.UNKILLABLE else ""
        if record.started is None and record.timers.boot_by is None and record.state in (State.NEW, State.BOOTING):
            record.timers.boot_by = turn.now + turn.state.settings.boot_timeout
        if record.state is State.NEW:
            record.state = State.BOOTING


def joined(turn: Turn, pid: int, os_pid: int, key: bytes | None) -> None:
    """Welcome a member whose token was valid; the token is used up."""
    state = turn.state
    record = state.table.get(pid)
    if record is None or not record.alive:
        return
    state.tokens.pop(record.joining.token, None)
    record.started, record.timers.heard, record.key = turn.wall, turn.now, key
    record.timers.boot_by = None
    if record.external:
        record.instance = str(os_pid)
    if record.state in (State.NEW, State.BOOTING):
        record.state = State.RUNNING
    state.starts.changed(pid)
    if record.kind == "actor" and state.capabilities:
        record.joining.birth["capabilities"] = dict(state.capabilities)
    turn.emit(Welcome(pid, record.joining.birth, record.joining.blobs))
    for hook in turn.hooks.joined:
        hook(turn, record)
    held, record.joining = record.joining.signals, Joining()
    for each in held:
        turn.notify(pid, SignalEvent(**each))


# -- ends ---------------------------------------------------------------------------------------------------


def send_signal(
    turn: Turn, record: Process, sig: Signal, sender: int, intent: Cause | None = None, words: str = ""
) -> None:
    """Send a signal; SIGTERM starts the grace period, SIGKILL is the provider's delete.

    Args:
        turn: the decision under way.
        record: the receiver.
        sig: the signal.
        sender: the sender's pid.
        intent: why the supervisor ends the process by it, if it does.
        words: the same for people.
    """
    killed = any(sent.signal == signal.SIGKILL for sent in record.sent)
    record.sent.append(Sent(turn.wall, sender, sig))
    del record.sent[:-_SIGNALS]
    if intent is not None and record.intent is None and record.report is None and not killed:
        record.intent, record.intent_words = intent, words
    if sig == signal.SIGKILL:
        _delete(turn, record)
        return
    if record.state is State.UNKILLABLE:
        return
    if sig == signal.SIGTERM and not record.external and record.timers.kill_at is None:
        record.timers.kill_at = turn.now + turn.state.settings.grace
        record.state = State.STOPPING if record.started is not None else record.state
    if record.started is None:
        record.joining.signals.append({"signal": sig, "sender": sender})
    else:
        turn.notify(record.pid, SignalEvent(sig, sender))


def kill(turn: Turn, record: Process, intent: Cause | None = None, words: str = "") -> None:
    """End a process by the supervisor's own SIGKILL."""
    send_signal(turn, record, int(signal.SIGKILL), SUPERVISOR, intent, words)


def terminate(turn: Turn, record: Process, intent: Cause, words: str) -> None:
    """Ask a process to end, by the supervisor's own SIGTERM."""
    send_signal(turn, record, int(signal.SIGTERM), SUPERVISOR, intent, words)


def _delete(turn: Turn, record: Process) -> None:
    if record.external:
        gone(turn, record, InstanceExit())
        return
    if record.state is not State.UNKILLABLE:
        record.state = State.STOPPING
    record.timers.clear()
    turn.emit(Delete(record.life))


def instance_ended(turn: Turn, event: InstanceEnded) -> None:
    """Note the provider's report that an instance is gone: the process is a zombie now."""
    record = turn.state.of(event.key)
    if record is None or not record.alive:
        return
    _explain(turn, record, event.how)
    gone(turn, record, event.how)


def _explain(turn: Turn, record: Process, how: InstanceExit) -> None:
    """Check whether a process that ended without a report did so because it had been cut off from the supervisor."""
    settings = turn.state.settings
    silent = turn.state.silence(record, turn.now)
    ended_by = how.deleted or (how.code is None and not how.outside)
    said = record.report is not None or record.intent is not None or ended_by
    if record.started is not None and not said and silent >= settings.lease - 2 * settings.heartbeat:
        record.intent = Cause.LOST
        record.intent_words = (
            f"it had not been heard for {silent:.1f} s, and then ended itself, as a process does that"
            f" has been cut off from its supervisor for longer than its lease ({settings.lease:g} s)"
        )


def leaving(turn: Turn, record: Process) -> None:
    """Note that an actor has ended, before its process has: Thespian programs go on from here."""
    _unname(turn, record.pid)
    parent = turn.state.table.get(record.ppid)
    if record.kind == "actor" and parent is not None and parent.kind == "actor" and parent.alive:
        turn.notify(parent.pid, LeavingEvent(record.pid))


def gone(turn: Turn, record: Process, ending: InstanceExit) -> None:
    """Turn a process into a zombie, tell everyone concerned, and handle its children."""
    state = turn.state
    record.status = verdict(record, ending, turn.wall)
    record.ended = turn.wall
    state.table.bury(record)
    record.timers.clear()
    state.tokens.pop(record.joining.token, None)
    for hook in turn.hooks.gone:
        hook(turn, record)
    _unname(turn, record.pid)
    if state.dead_letters == record.pid:
        state.dead_letters = None
    sources.gone(turn, record.pid)
    pipes.gone(turn, record)
    state.waits.forget(record.pid)
    state.starts.gone(record.pid)
    state.starts.changed(record.pid)
    state.shelf.gone(record.pid)
    if record.report is None:
        record.result = ()  # parts of a result that was not sent completely
    turn.emit(Dismiss(record.pid))
    _tell_end(turn, record)
    _orphans(turn, record)
    _answer_waits(turn, record)
    for hook in turn.hooks.told:
        hook(turn, record)


def _tell_end(turn: Turn, record: Process) -> None:
    assert record.status is not None
    why, table = record.status.reason, turn.state.table
    parent = table.get(record.ppid)
    for pid in sorted(record.correspondents | {record.ppid}):
        other = table.get(pid)
        if other is not None and other.alive and other.started is not None:
            other.correspondents.discard(record.pid)
            turn.notify(pid, GoneEvent(record.pid, why))
    if parent is not None and parent.alive and parent.started is not None:
        turn.notify(parent.pid, ChildEvent(record.pid, record.incarnation, record.status.to_wire()))


def _orphans(turn: Turn, dead: Process) -> None:
    table = turn.state.table
    for child in table.children(dead.pid):
        if child.state is State.ZOMBIE or child.on_orphan != "kill":
            table.adopt(child, SUPERVISOR)
        elif not turn.state.shutdown.reason:
            terminate(turn, child, Cause.PARENT_DIED, f"its parent, process {dead.pid}, has ended ({dead.status})")
        if child.state is State.ZOMBIE:
            _unwaited(turn, child)


def _answer_waits(turn: Turn, record: Process) -> None:
    state = turn.state
    parent = state.table.get(record.ppid)
    reaped = False
    for waiter in state.waits.ended(record):
        answer_wait(turn, waiter.pid, waiter.rid, record, reap=False)
        reaped = reaped or waiter.pid == record.ppid
    nobody = parent is None or not parent.alive
    if reaped or record.hidden:
        state.table.reap(record)
    elif nobody and not state.shutdown.reason:
        _unwaited(turn, record)
    for waiter, error in state.waits.hopeless(record):
        turn.refuse(waiter.pid, waiter.rid, error)


def _unwaited(turn: Turn, record: Process) -> None:
    """Handle an ended process whose parent will not wait for it."""
    shutdown = turn.state.shutdown
    if shutdown.detached:  # for `linger`, its exit status can be asked for from outside
        shutdown.kept.append((turn.now + turn.state.settings.linger, record.pid))
    else:
        turn.state.table.reap(record)


def answer_wait(turn: Turn, pid: int, rid: int, record: Process, *, reap: bool) -> None:
    """Tell a waiter how a process ended; the parent's wait reaps it."""
    assert record.status is not None
    shelf = turn.state.shelf
    frames: Sequence[object] = shelf.put(pid, record.pid, record.result)
    parts = shelf.count(pid, record.pid)
    fields = {"pid": record.pid, "status": record.status.to_wire(), **({"parts": parts} if parts else {})}
    turn.emit(Reply(pid, rid, True, fields, tuple(frames)))
    if reap and pid == record.ppid:
        turn.state.table.reap(record)


def expel(turn: Turn, record: Process, words: str) -> None:
    """Expel a process that breaks the protocol; messages of a member that was not forked are only ignored."""
    if record.alive and not record.external:
        kill(turn, record, Cause.EXPELLED, words)
