"""The system calls of waiting, of signals, and of a process's own end."""

from __future__ import annotations

import signal

from rackactor.errors import InvalidCall, NoChild, NoSuchProcess, NotAllowed, RackTimeout
from rackactor.status import State, signal_name
from rackactor.wire.calls.processes import Bye, Cancel, Exit, Kill, Ps, SpareChildren, Wait, Why
from rackactor_runtime.providers.base import InstanceExit
from rackactor_runtime.supervisor.decisions import lifecycle, services
from rackactor_runtime.supervisor.decisions.messages import Called
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.decisions.turn import Turn
from rackactor_runtime.supervisor.decisions.waits import Waiter


def op_wait(turn: Turn, caller: Process, call: Called, args: Wait) -> None:
    """Wait for the end of a process, of one of several, or of any child (no pids)."""
    targets = tuple(args.pids)
    if targets == (caller.pid,):
        raise NoChild(f"process {caller.pid} cannot wait for its own end")
    if caller.kind == "operator" and targets:
        past = turn.state.table.past(targets[0])
        if past is not None and past.status is not None:
            lifecycle.answer_wait(turn, call.pid, call.rid, past, reap=False)
            return
    found = turn.state.waits.begin(Waiter(call.pid, call.rid, targets), hang=args.hang)
    if found is not None:
        # A command line only looks: whoever asks next, within a detached group's `linger`, is told the same.
        lifecycle.answer_wait(turn, call.pid, call.rid, found, reap=True)
    elif not args.hang:
        turn.reply(call, {"pid": 0})


def op_cancel(turn: Turn, caller: Process, call: Called, args: Cancel) -> None:
    """Withdraw a call that timed out."""
    rid = args.rid
    turn.state.waits.cancel(call.pid, rid)
    services.cancel(turn, call.pid, rid)
    turn.state.starts.cancel(call.pid, rid)
    # Answered in any case, so that the caller may forget the call; if the result has crossed this, it came first.
    turn.refuse(call.pid, rid, RackTimeout("withdrawn"))


def op_kill(turn: Turn, caller: Process, call: Called, args: Kill) -> None:
    """Send a signal to processes: pids, 0 (the whole group), -pgid (a process group)."""
    sig = args.signal
    targets: list[Process] = []
    missing: list[int] = []
    for pid in args.pids:
        found = _targets(turn, pid)
        targets.extend(found)
        if not found:
            missing.append(pid)
    if sig != 0:
        for record in targets:
            _may_signal(record, sig, len(targets) == 1)
        for record in targets:
            if not (record.external and sig == signal.SIGKILL):
                lifecycle.send_signal(turn, record, sig, call.pid)
    if missing:
        names = ", ".join(str(pid) for pid in missing)
        raise NoSuchProcess(f"no living process {names} in this group")
    turn.reply(call)


def _targets(turn: Turn, pid: int) -> list[Process]:
    table = turn.state.table
    if pid == 0:
        return [record for record in table if record.alive and not record.hidden]
    if pid < 0:
        return [record for record in table.members(-pid) if record.alive and not record.hidden]
    record = table.get(pid)
    return [record] if record is not None and record.alive else []


def _may_signal(record: Process, sig: int | str, alone: bool) -> None:
    if sig in (signal.SIGSTOP, signal.SIGTSTP) and record.kind != "command":
        raise InvalidCall(
            f"{signal_name(sig)} would stop the agent of process {record.pid} together with its {record.kind};"
            " only a command can be stopped"
        )
    if record.kind == "machine":
        raise NotAllowed(f"process {record.pid} is the machine of process {record.machine}: it ends with that")
    if record.kind == "service":
        raise NotAllowed(f"process {record.pid} is the group's service {record.name!r}: it ends with the group")
    if alone and record.external and sig == signal.SIGKILL:
        raise NotAllowed(f"process {record.pid} was not started by the group; end it, or the group, instead")


def op_exit(turn: Turn, caller: Process, call: Called, args: Exit) -> None:
    """Say how the target ended; the instance ends next."""
    caller.report = args.to_wire()
    caller.result = (*caller.result, *call.blobs)
    if caller.state is State.RUNNING:
        caller.state = State.STOPPING
    if caller.timers.kill_at is None and not caller.external:
        caller.timers.kill_at = turn.now + turn.state.settings.grace
    turn.reply(call)
    lifecycle.leaving(turn, caller)
    if caller.external:
        lifecycle.gone(turn, caller, InstanceExit(args.code or 0, None))


def op_bye(turn: Turn, caller: Process, call: Called, args: Bye) -> None:
    """Part from the group: a command line's end; the script's own is known by its death, or by the group's end."""
    if caller.kind == "operator":
        lifecycle.gone(turn, caller, InstanceExit(0, None))


def op_spare_children(turn: Turn, caller: Process, call: Called, args: SpareChildren) -> None:
    """Let the caller's children outlive it (Thespian's exit request that is not recursive)."""
    for child in turn.state.table.children(caller.pid):
        if child.on_orphan == "kill":
            child.on_orphan = "adopt"
    turn.reply(call)


def op_ps(turn: Turn, caller: Process, call: Called, args: Ps) -> None:
    """List the processes."""
    table = turn.state.table
    asked = [table.get(pid) for pid in sorted({*args.pids})] if args.pids else table
    rows = [record.row() for record in asked if record is not None and not record.hidden]
    turn.reply(call, {"processes": rows})


def op_why(turn: Turn, caller: Process, call: Called, args: Why) -> None:
    """Tell everything that is known of a process, living or ended."""
    record = turn.state.table.get(args.pid) or turn.state.table.past(args.pid)
    if record is None:
        raise NoSuchProcess(f"this group never had a process {args.pid}, or has forgotten it")
    signals = [[sent.at, sent.sender, sent.signal] for sent in record.sent]
    turn.reply(call, {"process": record.row(), "signals": signals})
