"""The system calls of processes that connect to each other."""

from __future__ import annotations

from rackactor.wire.calls.connections import Introduce, Listening, Malformed, Part
from rackactor.wire.events import ListenEvent, MeetEvent, PartEvent
from rackactor_runtime.supervisor.decisions import lifecycle
from rackactor_runtime.supervisor.decisions.messages import Called
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.decisions.turn import Turn


def op_introduce(turn: Turn, caller: Process, call: Called, args: Introduce) -> None:
    """Introduce the caller to a process that it talks to a lot."""
    other = turn.state.table.get(args.pid)
    if not turn.state.settings.direct or other is None or not other.alive or other.started is None:
        return
    other.correspondents.add(caller.pid)
    caller.correspondents.add(other.pid)
    turn.state.introductions += 1
    number = turn.state.introductions
    # The ticket, and where to listen, are the loop's to say.
    turn.notify(other.pid, ListenEvent(caller.pid, caller.incarnation, number, b"", caller.key))


def op_listening(turn: Turn, caller: Process, call: Called, args: Listening) -> None:
    """Tell the other one of an introduction where to connect."""
    other = turn.state.table.get(args.pid)
    if other is None or not other.alive:
        return
    event = MeetEvent(caller.pid, caller.incarnation, args.number, args.ticket, args.endpoint, caller.key)
    turn.notify(other.pid, event)


def op_malformed(turn: Turn, caller: Process, call: Called, args: Malformed) -> None:
    """Hear that the caller has got bytes from another process that nobody of this wire sends.

    It costs the other one its membership. That is no more than a `kill` may do, and can be said of those only that
    have been in touch with the caller.
    """
    other = turn.state.table.get(args.pid)
    if other is not None and caller.pid in other.correspondents | {other.ppid}:
        words = args.words[:500]
        lifecycle.expel(turn, other, f"ProtocolError: what it sent to process {caller.pid} was {words}")
    turn.reply(call)


def op_part(turn: Turn, caller: Process, call: Called, args: Part) -> None:
    """Tell the other one of introductions that nothing came of, or whose connections went dark."""
    other = turn.state.table.get(args.pid)
    if other is None or not other.alive:
        return
    turn.notify(other.pid, PartEvent(caller.pid, list(args.numbers)))
