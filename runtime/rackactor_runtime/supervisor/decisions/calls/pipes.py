"""The system calls of pipes."""

from __future__ import annotations

from rackactor.errors import InvalidCall, NotAllowed
from rackactor.ipc.pipes.framing import parse_parcel
from rackactor.ipc.pipes.writing import Writer
from rackactor_runtime.supervisor.decisions.messages import Called
from rackactor_runtime.supervisor.decisions.pipes import READ, WRITE
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.decisions.turn import Turn

#: Characters of the name of a pipe at the most.
_MAX_NAME = 255


def op_pipe_open(turn: Turn, caller: Process, call: Called) -> None:
    """Open one end of a pipe, by its number or name; or make one without a name, and open both."""
    state, mode = turn.state, call.args["mode"]
    if state.shutdown.reason:
        raise NotAllowed(f"the group is ending: {state.shutdown.reason}")
    if mode not in (READ, WRITE, READ + WRITE):
        raise InvalidCall(f"a pipe is opened to read ('r') or to write ('w'), not {mode!r}")
    number, name = call.args.get("id"), call.args.get("name")
    if number is not None:
        pipe = state.pipes.get(number)
    else:
        if name is not None and not (isinstance(name, str) and 0 < len(name) <= _MAX_NAME and name.isprintable()):
            raise InvalidCall(f"the name of a pipe is 1 to {_MAX_NAME} printable characters, not {name!r}")
        pipe = state.pipes.make(name)
    opened = [state.pipes.open(pipe, caller.pid, each) for each in mode]
    # The answer first: what the new end hears next is about a seat that it must know.
    turn.reply(call, {"id": pipe.id, "name": pipe.name, "seats": [seat for seat, _ in opened]})
    for _, effects in opened:
        turn.emit(*effects)


def op_pipe_close(turn: Turn, caller: Process, call: Called) -> None:
    """Close an end; a reader says what it has taken, a writer if something of it was lost."""
    taken = call.args.get("taken")
    counts = {int(seat): int(count) for seat, count in taken} if taken is not None else {}
    turn.emit(*turn.state.pipes.close(caller.pid, call.args["seat"], counts, str(call.args.get("lost") or "")))
    turn.reply(call, {})


def op_pipe_credit(turn: Turn, caller: Process, call: Called) -> None:
    """Say what a reader has taken of what the supervisor inherited, and what it may be sent."""
    names = ("seat", "reader", "taken", "received", "limit")
    numbers = [int(call.args[name]) for name in names]
    turn.emit(*turn.state.pipes.credit(caller.pid, *numbers))
    turn.reply(call, {})


def op_pipe_room(turn: Turn, caller: Process, call: Called) -> None:
    """Tell whether there is room for so many bytes of messages that nobody has taken."""
    turn.reply(call, {"room": turn.state.pipes.room(int(call.args["size"]))})


def op_pipe_piece(turn: Turn, caller: Process, call: Called) -> None:
    """Take a piece of what the caller is about to bequeath."""
    pieces = (*caller.pieces, *call.blobs)
    room = turn.state.pipes.room(sum(map(len, pieces)))
    caller.pieces = pieces if room else ()
    turn.reply(call, {"room": room})


def op_pipe_bequeath(turn: Turn, caller: Process, call: Called) -> None:
    """Leave what nobody has taken to the supervisor; answers whether it has room for it."""
    state, args = turn.state, call.args
    blobs = (*caller.pieces, *call.blobs)
    caller.pieces = ()
    if not state.pipes.room(sum(map(len, blobs))):
        turn.reply(call, {"taken": False})
        return
    messages = parse_parcel(args["shape"], blobs, join=False)
    writer = Writer.inherit(args["lanes"], messages)
    effects = state.pipes.inherit(caller.pid, args["seat"], writer, clean=bool(args["clean"]))
    turn.reply(call, {"taken": True})
    turn.emit(*effects)


def op_pipes(turn: Turn, caller: Process, call: Called) -> None:
    """List the pipes."""
    turn.reply(call, {"pipes": turn.state.pipes.rows()})
