"""Processes that are machines: each machine's guest program is a separate member, beside the agent that it starts.

The guest program is hidden, as a service is. Its reports on the agent count. Its silence, or its end, decides nothing:
only the provider says what has become of the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rackactor.status import Cause, State
from rackactor.wire.calls.fork import Fork
from rackactor_runtime.providers.base import InstanceExit, Key, Order
from rackactor_runtime.supervisor.decisions import births, lifecycle
from rackactor_runtime.supervisor.decisions.messages import Create, Probe
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.decisions.turn import Turn

#: Seconds after the supervisor's deadline for a process after which its machine ends itself, if nothing else did.
MARGIN = 30.0
#: Seconds for which a requested machine may still appear that is unknown when the group ends.
UNKNOWN = 900.0


def fork(turn: Turn, args: Fork, record: Process, blobs: Sequence[Any], *, first: int) -> None:
    """Record the fork of a process, then ask the provider.

    Args:
        turn: the current decision.
        args: of the call that forks it.
        record: of the process.
        blobs: its target and arguments.
        first: pid of the first process of that fork.
    """
    state = turn.state
    births.expect(turn, record, turn.token())
    record.joining.birth = births.birth_of(turn, record)
    record.joining.birth.update(_welcome(args))
    record.joining.blobs = blobs
    if not state.machines:  # machines wait for each other: see `lifecycle.created`
        record.timers.boot_by = turn.now + state.settings.boot_timeout
    state.table.add(record)
    turn.emit(Create(_order(turn, record, args, first)))


def _welcome(args: Fork) -> dict[str, Any]:
    """Return what a fork says that the agent is told when it joins."""
    welcome: dict[str, Any] = {"kind": args.kind, "stdin": args.stdin, "words": args.words and list(args.words)}
    if args.streams:
        welcome["streams"] = dict(args.streams)
    if args.code:
        welcome["code"] = list(args.code)
    return welcome


def _order(turn: Turn, record: Process, args: Fork, first: int) -> Order:
    """Return the order for the provider: an instance that gets the agent's birth data, or a machine."""
    settings = turn.state.settings
    birth = {"pid": record.pid, "incarnation": record.incarnation, "token": record.joining.token}
    surroundings: dict[str, Any] = {
        "env": args.env or {},
        "cwd": args.cwd,
        "memory": args.memory,
    }
    about: dict[str, Any] = {
        "name": record.name,
        "ppid": record.ppid,
        "placement": record.placement,
        "args": args.args or {},
        "fork": first,
        "boot_timeout": settings.boot_timeout,
    }
    if not turn.state.machines:
        return Order(record.life, birth, **surroundings, inherited=dict(args.inherited or {}), **about)
    member = births.external(turn, "machine", name=f"machine of {record.name}", token=turn.token())
    member.machine, record.machine = record.pid, member.pid
    member.joining.birth["order"] = {
        "pid": record.pid,
        "incarnation": record.incarnation,
        "birth": birth,
        **surroundings,
    }
    deadline = _deadline(turn, record)
    machine = {
        "role": "machine",
        "pid": member.pid,
        "incarnation": member.incarnation,
        "token": member.joining.token.hex(),
        "deadline": deadline,
        "lease": settings.lease,
        "boot_timeout": settings.boot_timeout,
    }
    return Order(record.life, machine, **about, deadline=deadline)


def _deadline(turn: Turn, record: Process) -> float | None:
    """Return when the machine ends itself: later than the supervisor ends the process, or the group."""
    state, ends = turn.state, []
    if record.timers.deadline is not None:
        ends.append(record.timers.deadline + state.settings.grace)
    if state.deadline_at is not None:
        ends.append(state.deadline_at + state.settings.end_grace)
    return turn.wall + min(ends) - turn.now + MARGIN if ends else None


# -- what is heard of a machine -------------------------------------------------------------------------------


def located(turn: Turn, key: Key, address: str) -> None:
    """Note where it is."""
    record = turn.state.of(key)
    if record is not None:
        record.address = address


def over(turn: Turn, key: Key) -> None:
    """Note that its process has ended: from now on its machine is not needed."""
    record = turn.state.of(key)
    if record is not None and record.alive:
        record.timers.clear()
        if record.state is not State.UNKILLABLE:
            record.state = State.STOPPING


def unanswered(turn: Turn, key: Key, seconds: float, words: str) -> None:
    """Note that the cloud gives no clear answer to the request for it."""
    record = turn.state.of(key)
    if record is not None and record.alive and not record.instance and record.state is not State.UNKILLABLE:
        since = datetime.fromtimestamp(turn.wall - seconds, UTC)
        record.note = f"the cloud gives no clear answer since {since:%H:%M:%S} UTC: {words}"


def owed(turn: Turn, seconds: float) -> None:
    """Note for how long something may still appear in the cloud that nobody waits for any more."""
    turn.state.owed_until = max(turn.state.owed_until, turn.now + seconds)


def owes(turn: Turn, left: Sequence[Process]) -> float:
    """Return for how many seconds something may still appear, if these processes are left at the group's end."""
    unknown = turn.state.machines and any(not record.instance for record in left)
    return max(turn.state.owed_until - turn.now, UNKNOWN if unknown else 0.0)


def unconfirmed(turn: Turn, key: Key, words: str) -> None:
    """Note that its delete is not confirmed."""
    record = turn.state.of(key)
    if record is not None and record.alive:
        record.state, record.note = State.UNKILLABLE, words


def gone(turn: Turn, record: Process) -> None:
    """Note that a process is gone: its machine is no longer a member either."""
    member = turn.state.table.get(record.machine) if record.machine and not record.external else None
    if member is not None and member.alive:
        lifecycle.gone(turn, member, InstanceExit())


def silent(turn: Turn, member: Process) -> None:
    """Have a silent machine checked; one that is silent for very long is lost."""
    settings, record = turn.state.settings, turn.state.table.get(member.machine)
    if record is None or not record.alive or record.state in (State.STOPPING, State.UNKILLABLE):
        return
    seconds = turn.now - member.timers.heard
    if seconds > settings.silence_limit:
        lost(turn, member, f"the guest program on its machine has not answered for {seconds:.1f} s")
    elif turn.now - member.timers.probed >= settings.heartbeat:
        member.timers.probed = turn.now
        turn.emit(Probe(record.life))


def lost(turn: Turn, member: Process, words: str) -> None:
    """Give up a process whose machine can no longer be relied on."""
    record = turn.state.table.get(member.machine)
    if record is not None and record.alive:
        lifecycle.kill(turn, record, Cause.LOST, words)
