"""What follows from a change of a pipe's ends: whom to tell of whom, and what becomes of an ended writer's messages.

Messages go from writer to reader; the supervisor only introduces the two. An open end has a *seat*, a number of its
own, so that an end which was closed and opened again is not taken for the former one. A child's end is reserved when it
is forked, so the parent may close its own at once. The supervisor also inherits from writers that leave: it delivers
what nobody had taken, under the writer's own seat and numbers.
"""

from __future__ import annotations

from typing import Any

from rackactor.ipc.pipes.framing import AT_ONCE, pack_parcel
from rackactor.ipc.pipes.writing import Batch, Writer
from rackactor.status import Cause
from rackactor.wire.events import PipeEvent
from rackactor.wire.frames import SUPERVISOR
from rackactor_runtime.supervisor.decisions.pipe_table import READ, WRITE, End, Ends, Pipe
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.decisions.turn import Turn

# -- opening ------------------------------------------------------------------------------------------------


def open_end(turn: Turn, pipe: Pipe, end: End, mode: str) -> None:
    """Open an end: see `Pipes.end_of`."""
    if end.seat not in pipe.ends(mode):
        _seat(turn, pipe, end, mode)
    if not end.opened:
        end.opened = True
        _introduce(turn, pipe, end, mode)


def reserve(turn: Turn, pid: int, ends: Ends) -> None:
    """Keep ends for a child that will open them."""
    pipes = turn.state.pipes
    for number, mode in dict.fromkeys(ends):
        _seat(turn, pipes.get(number), pipes.new_end(pid), mode)


def _seat(turn: Turn, pipe: Pipe, end: End, mode: str) -> None:
    pipe.ends(mode)[end.seat] = end
    if mode == WRITE:
        pipe.had_writer = True
    _changed(turn, pipe, mode)


def _introduce(turn: Turn, pipe: Pipe, end: End, mode: str) -> None:
    pipe.seen = pipe.seen or mode == READ
    if mode == WRITE:
        for reader in pipe.listeners:
            # The writer is told first: a reader answers at once, and only a writer that knows it accepts that.
            _tell(turn, end, "reader", reader=reader.seat, pid=reader.pid)
            _tell(turn, reader, "writer", writer=end.seat, pid=end.pid)
        _tell(turn, end, "readers", count=len(pipe.readers))
        return
    for writer in pipe.writers.values():
        if writer.opened:
            _tell(turn, writer, "reader", reader=end.seat, pid=end.pid)
            _tell(turn, end, "writer", writer=writer.seat, pid=writer.pid)
    for seat in pipe.estates:
        pipe.resumed.add((seat, end.seat))  # nothing was delivered to it before
        _tell(turn, end, "writer", writer=seat, pid=SUPERVISOR)
    if pipe.ended:
        _tell(turn, end, "ended", ended=True, broken=list(pipe.broken))


# -- closing ------------------------------------------------------------------------------------------------


def close(turn: Turn, pid: int, seat: int, taken: dict[int, int] | None = None, lost: str = "") -> None:
    """Close an end.

    Args:
        turn: the decision under way.
        pid: its holder.
        seat: its seat.
        taken: what a reader has taken, by the writer's seat; None: unknown.
        lost: why a writer's messages are not complete.
    """
    for pipe in turn.state.pipes:
        for mode in (READ, WRITE):
            end = pipe.ends(mode).get(seat)
            if end is not None and end.pid == pid:
                _close(turn, pipe, end, mode, taken, lost)
                return


def gone(turn: Turn, record: Process) -> None:
    """Note that a process is gone. An agent that ended in good order had closed its ends."""
    status = record.status
    for pipe in turn.state.pipes:
        for mode in (READ, WRITE):
            for end in [end for end in pipe.ends(mode).values() if end.pid == record.pid]:
                unopened = not end.opened and status is not None and status.cause == Cause.EXITED
                _close(turn, pipe, end, mode, None, "" if unopened else str(status))


def _close(turn: Turn, pipe: Pipe, end: End, mode: str, taken: dict[int, int] | None, lost: str) -> None:
    del pipe.ends(mode)[end.seat]
    if mode == READ:
        _reader_left(turn, pipe, end, taken)
    else:
        if lost:
            pipe.broken.append((end.pid, lost))
        if end.seat not in pipe.estates:
            _writer_left(turn, pipe, end.seat, clean=not lost)
    _changed(turn, pipe, mode)


def _reader_left(turn: Turn, pipe: Pipe, end: End, taken: dict[int, int] | None) -> None:
    for writer in pipe.writers.values():
        count = None if taken is None else taken.get(writer.seat, 0)
        if writer.opened:
            pipe.finals[writer.seat, end.seat] = count
            _tell(turn, writer, "left", reader=end.seat, taken=count)
    for seat, estate in list(pipe.estates.items()):
        estate.left(end.seat, None if taken is None else taken.get(seat, 0))
        _serve(turn, pipe, seat, estate)


def _writer_left(turn: Turn, pipe: Pipe, seat: int, *, clean: bool) -> None:
    for key in [key for key in pipe.finals if key[0] == seat]:
        del pipe.finals[key]
    for reader in pipe.listeners:
        _tell(turn, reader, "left", writer=seat, clean=clean)


def _changed(turn: Turn, pipe: Pipe, mode: str) -> None:
    """Tell the other ends how a pipe has changed."""
    if pipe.name is None and not pipe.readers:
        pipe.estates.clear()  # nobody can ever open it again
    if mode == READ:
        for writer in pipe.writers.values():
            if writer.opened:
                _tell(turn, writer, "readers", count=len(pipe.readers))
    _check_end(turn, pipe)
    turn.state.pipes.forget_unused(pipe)


def _check_end(turn: Turn, pipe: Pipe) -> None:
    ended = pipe.had_writer and not pipe.writers and not pipe.estates
    if ended == pipe.ended:
        return
    pipe.ended = ended
    if not ended:
        pipe.broken = []
        pipe.seen = bool(pipe.listeners)
    for reader in pipe.listeners:
        _tell(turn, reader, "ended", ended=ended, broken=list(pipe.broken))


# -- the estates of writers that have ended -------------------------------------------------------------------


def inherit(turn: Turn, pipe: Pipe, end: End, writer: Writer, *, clean: bool) -> None:
    """Take over what a leaving writer has not delivered.

    Args:
        turn: the decision under way.
        pipe: to which it writes.
        end: its end, under whose seat the supervisor continues.
        writer: its messages and lanes.
        clean: it has ended in good order; otherwise the end of its process decides.
    """
    pipe.estates[end.seat] = writer
    if clean:
        del pipe.writers[end.seat]
    for seat in list(writer.lanes):
        if seat not in pipe.readers:
            writer.left(seat, pipe.finals.get((end.seat, seat)))
    for reader in pipe.listeners:
        if reader.seat not in writer.lanes:
            pipe.resumed.add((end.seat, reader.seat))
        _tell(turn, reader, "writer", writer=end.seat, pid=SUPERVISOR)
    _serve(turn, pipe, end.seat, writer)
    _changed(turn, pipe, WRITE)


def credit(turn: Turn, pid: int, seat: int, reader: int, taken: int, received: int, limit: int) -> None:
    """Process a reader's confirmation for an inherited lane, and its credit."""
    for pipe in turn.state.pipes:
        estate, end = pipe.estates.get(seat), pipe.readers.get(reader)
        if estate is not None and end is not None and end.pid == pid:
            estate.introduce(reader, pid)
            estate.credit(reader, pid, taken, limit)
            if (seat, reader) not in pipe.resumed:
                pipe.resumed.add((seat, reader))
                missing = estate.resume(reader, received)
                if missing is not None:
                    _deliver(turn, seat, missing)
            _serve(turn, pipe, seat, estate)
            turn.state.pipes.forget_unused(pipe)
            return


def _serve(turn: Turn, pipe: Pipe, seat: int, estate: Writer) -> None:
    for batch in estate.assign():
        _deliver(turn, seat, batch)
    if estate.settled:
        pipe.estates.pop(seat, None)
        pipe.resumed = {key for key in pipe.resumed if key[0] != seat}
        if seat not in pipe.writers:
            _writer_left(turn, pipe, seat, clean=True)
        _check_end(turn, pipe)


def _tell(turn: Turn, end: End, what: str, **fields: Any) -> None:
    turn.notify(end.pid, PipeEvent(what, end.seat, **fields))


def _deliver(turn: Turn, seat: int, batch: Batch) -> None:
    shape, blobs = pack_parcel(batch.messages)
    if sum(map(len, blobs)) > AT_ONCE:
        for blob in blobs:
            turn.notify(batch.pid, PipeEvent("piece", batch.seat, writer=seat), [blob])
        blobs = []
    event = PipeEvent("data", batch.seat, writer=seat, first=batch.first, shape=shape, closing=batch.closing)
    turn.notify(batch.pid, event, blobs)
