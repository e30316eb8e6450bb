"""The system calls that begin processes."""

from __future__ import annotations

from rackactor.errors import ForkError, InvalidCall, NotAllowed
from rackactor.wire.calls.fork import Fork, Started
from rackactor_runtime.supervisor.decisions import lifecycle, machines, pipes
from rackactor_runtime.supervisor.decisions.messages import Called
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.decisions.turn import Turn


def op_fork(turn: Turn, caller: Process, call: Called, args: Fork) -> None:
    """Write down the intents of n processes; they begin at once."""
    state, n = turn.state, args.n
    if state.shutdown.reason:
        raise NotAllowed(f"the group is ending: {state.shutdown.reason}")
    if args.on_orphan == "detach" and args.deadline is None:
        raise InvalidCall('on_orphan="detach" needs a deadline=: nothing else would ever end the process')
    if len(call.blobs) != 1 + n and len(call.blobs) != 2:
        raise InvalidCall(f"a fork of {n} carries the target and 1 or {n} sets of arguments")
    named = args.global_name
    if named and named in state.names:
        turn.reply(call, {"pids": [state.names[named]], "existing": True})
        return
    ends = state.pipes.check(args.pipes, n)
    _check_room(turn, n)
    state.intensity.admit(n, turn.now)
    pids = [state.table.next_pid() for _ in range(n)]
    pgid = pids[0] if caller.external else caller.pgid
    for index, pid in enumerate(pids):
        _fork_one(turn, caller, call, args, pid, pgid, index)
        pipes.reserve(turn, pid, ends[index % len(ends)])
    if named:
        lifecycle.give_name(turn, named, pids[0])
    turn.reply(call, {"pids": pids, "pgid": pgid})


def _check_room(turn: Turn, n: int) -> None:
    """Refuse a fork of more processes than may live at the same time.

    Raises:
        ForkError: says how many there are, and what may be changed.
    """
    state = turn.state
    most = state.settings.max_processes
    if len(state.table) + n <= most:
        return
    living = sum(record.alive and not record.external for record in state.table)
    if living + n > most:
        raise ForkError(
            f"{living + n} processes would live at the same time, and the group allows {most}:"
            " raise max_processes= of the group, or wait for some of them first"
        )


def _fork_one(turn: Turn, caller: Process, call: Called, args: Fork, pid: int, pgid: int, index: int) -> None:
    state = turn.state
    record = Process(
        pid=pid,
        ppid=caller.pid,
        pgid=pgid,
        name=args.name or f"process-{pid}",
        kind=args.kind,
        what=args.what,
        created=turn.wall,
        on_orphan=args.on_orphan,
        placement={**caller.placement, **(args.placement or {})},  # its parent's but for what is said: RACK's rule
        memory=args.memory,
    )
    if args.deadline is not None:
        record.timers.deadline = turn.now + args.deadline
    record.correspondents.add(caller.pid)
    target, *arguments = call.blobs
    blobs = (target, arguments[index % len(arguments)], *state.sources.content(args.source_hash))
    machines.fork(turn, args, record, blobs, first=pid - index)


def op_started(turn: Turn, caller: Process, call: Called, args: Started) -> None:
    """Answer when k of these processes have come up, or cannot any more."""
    if args.count > len(args.pids):
        raise InvalidCall(f"count is an integer from 1 to {len(args.pids)}, the number of pids, not {args.count}")
    turn.state.starts.begin(call.pid, call.rid, tuple(args.pids), args.count)
