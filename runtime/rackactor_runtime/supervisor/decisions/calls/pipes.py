"""The system calls of pipes."""

from __future__ import annotations

from rackactor.errors import NotAllowed
from rackactor.ipc.pipes.framing import parse_parcel
from rackactor.ipc.pipes.writing import Writer
from rackactor.wire.calls.pipes import (
    ListPipes,
    PipeBequeath,
    PipeClose,
    PipeCredit,
    PipeOpen,
    PipePiece,
    PipeRoom,
)
from rackactor_runtime.supervisor.decisions import pipes
from rackactor_runtime.supervisor.decisions.messages import Called
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.decisions.turn import Turn


def op_pipe_open(turn: Turn, caller: Process, call: Called, args: PipeOpen) -> None:
    """Open one end of a pipe, by its number or name; or make one without a name, and open both."""
    state = turn.state
    if state.shutdown.reason:
        raise NotAllowed(f"the group is ending: {state.shutdown.reason}")
    pipe = state.pipes.make(args.name) if args.id is None else state.pipes.get(args.id)
    ends = [(state.pipes.end_of(pipe, caller.pid, mode), mode) for mode in args.mode]
    # The answer first: what the new end hears next is about a seat that it must know.
    turn.reply(call, {"id": pipe.id, "name": pipe.name, "seats": [end.seat for end, _ in ends]})
    for end, mode in ends:
        pipes.open_end(turn, pipe, end, mode)


def op_pipe_close(turn: Turn, caller: Process, call: Called, args: PipeClose) -> None:
    """Close an end; a reader says what it has taken, a writer if something of it was lost."""
    counts = dict(args.taken or ())
    pipes.close(turn, caller.pid, args.seat, counts, args.lost)
    turn.reply(call, {})


def op_pipe_credit(turn: Turn, caller: Process, call: Called, args: PipeCredit) -> None:
    """Say what a reader has taken of what the supervisor inherited, and what it may be sent."""
    pipes.credit(turn, caller.pid, args.seat, args.reader, args.taken, args.received, args.limit)
    turn.reply(call, {})


def op_pipe_room(turn: Turn, caller: Process, call: Called, args: PipeRoom) -> None:
    """Tell whether there is room for so many bytes of messages that nobody has taken."""
    turn.reply(call, {"room": turn.state.pipes.room(args.size)})


def op_pipe_piece(turn: Turn, caller: Process, call: Called, args: PipePiece) -> None:
    """Take a piece of what the caller is about to bequeath."""
    pieces = (*caller.pieces, *call.blobs)
    room = turn.state.pipes.room(sum(map(len, pieces)))
    caller.pieces = pieces if room else ()
    turn.reply(call, {"room": room})


def op_pipe_bequeath(turn: Turn, caller: Process, call: Called, args: PipeBequeath) -> None:
    """Leave what nobody has taken to the supervisor; answers whether it has room for it."""
    state = turn.state
    blobs = (*caller.pieces, *call.blobs)
    caller.pieces = ()
    if not state.pipes.room(sum(map(len, blobs))):
        turn.reply(call, {"taken": False})
        return
    messages = parse_parcel(args.shape, blobs, join=False)
    writer = Writer.inherit(args.lanes, messages)
    pipe, end = state.pipes.written(caller.pid, args.seat)
    turn.reply(call, {"taken": True})
    pipes.inherit(turn, pipe, end, writer, clean=args.clean)


def op_pipes(turn: Turn, caller: Process, call: Called, args: ListPipes) -> None:
    """List the pipes."""
    turn.reply(call, {"pipes": turn.state.pipes.rows()})
