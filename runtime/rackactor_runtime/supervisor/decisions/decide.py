"""The one function that changes the state of a group: an event comes in, effects go out.

It reads no clock, uses no random numbers and touches no socket: time and entropy are arguments. So a recorded run can
be replayed, from the beginning or from a state that was stored on the way, and gives the same effects.
"""

from __future__ import annotations

from rackactor_runtime.supervisor.decisions import births, lifecycle, machines, services, shutdown, silence
from rackactor_runtime.supervisor.decisions.calls import dispatch
from rackactor_runtime.supervisor.decisions.messages import (
    Absent,
    Called,
    Corresponded,
    Effect,
    Entered,
    Event,
    GroupOpened,
    Heard,
    InstanceCreated,
    InstanceEnded,
    InstanceLocated,
    InstanceOver,
    Joined,
    Malformed,
    OperatorArrived,
    Owed,
    OwnerGone,
    Probed,
    Reply,
    ServiceEnded,
    Severed,
    Ticked,
    Unanswered,
    Unconfirmed,
)
from rackactor_runtime.supervisor.decisions.state import GroupState
from rackactor_runtime.supervisor.decisions.turn import Hooks, Turn

_HOOKS = Hooks(
    joined=(services.joined,),
    gone=(machines.gone, services.gone),
    told=(shutdown.told,),
)


def decide(state: GroupState, event: Event, now: float, wall: float, entropy: bytes) -> list[Effect]:
    """Change the state by an event; return the effects, in order.

    Args:
        state: of the group.
        event: what has happened.
        now: seconds of the group's own clock, which never goes back.
        wall: seconds since the epoch.
        entropy: random bytes, at most 64, for this event alone.
    """
    turn = Turn(state, now, wall, entropy, _HOOKS)
    _take(turn, event)
    for start in state.starts.decided():
        turn.emit(Reply(start.pid, start.rid, True, {"up": start.up_pids()}))
    return turn.effects


def _take(turn: Turn, event: Event) -> None:
    match event:
        case Heard(pids):
            silence.heard(turn, pids)
        case Called():
            dispatch.handle(turn, event)
        case Ticked():
            silence.tick(turn)
        case Joined(pid, os_pid, key):
            lifecycle.joined(turn, pid, os_pid, key)
        case InstanceCreated(life, instance):
            lifecycle.created(turn, life, instance)
        case InstanceEnded():
            lifecycle.instance_ended(turn, event)
        case Probed(life, liveness):
            silence.probed(turn, life, liveness)
        case Corresponded(pid, other):
            _corresponded(turn.state, pid, other)
        case OperatorArrived():
            turn.emit(Entered(births.external(turn, "operator").pid))
        case GroupOpened(token, watched):
            _open(turn, token, watched)
        case Malformed(pid, words):
            if (record := turn.state.table.get(pid)) is not None:
                lifecycle.expel(turn, record, words)
        case Severed(pid, reason):
            silence.severed(turn, pid, reason)
        case OwnerGone(reason):
            shutdown.owner_gone(turn, reason)
        case ServiceEnded(pid, words):
            services.ended(turn, pid, words)
        case InstanceLocated(life, address):
            machines.located(turn, life, address)
        case InstanceOver(life):
            machines.over(turn, life)
        case Unanswered(life, seconds, words):
            machines.unanswered(turn, life, seconds, words)
        case Owed(seconds):
            machines.owed(turn, seconds)
        case Unconfirmed(life, words):
            machines.unconfirmed(turn, life, words)
        case Absent(seconds):
            silence.excuse(turn, seconds)


def _corresponded(state: GroupState, pid: int, other: int) -> None:
    """Note that two members have exchanged messages: each is told of the other's end."""
    for one, two in ((pid, other), (other, pid)):
        if (record := state.table.get(one)) is not None:
            record.correspondents.add(two)


def _open(turn: Turn, token: bytes, watched: bool) -> None:
    """Begin: the program that made the group is expected, with a token."""
    state, settings = turn.state, turn.state.settings
    if settings.deadline is not None:
        state.deadline_at = turn.now + settings.deadline
    state.owner_watched = watched
    script = births.external(turn, "script", token=token)
    script.timers.boot_by = turn.now + settings.boot_timeout
    turn.emit(Entered(script.pid))
