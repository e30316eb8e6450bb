"""The group's pipes: the holders of their ends, whom to tell of whom, and what ended writers have left to be read.

Messages go from writer to reader; the supervisor only introduces the two. An open end has a *seat*, a number of its
own, so that an end which was closed and opened again is not taken for the former one. A child's end is reserved when it
is forked, so the parent may close its own at once. The supervisor also inherits from writers that leave: it delivers
what nobody had taken, under the writer's own seat and numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rackactor.errors import InvalidCall
from rackactor.ipc.pipes.framing import AT_ONCE, pack_parcel
from rackactor.ipc.pipes.writing import Batch, Writer
from rackactor.status import Cause, ExitStatus
from rackactor.wire.events import PipeEvent
from rackactor.wire.frames import SUPERVISOR
from rackactor_runtime.supervisor.decisions.messages import Effect, Notify

READ, WRITE = "r", "w"
#: The most unused named pipes that are remembered.
_UNSEEN = 1000

#: The ends that a child is given at its fork: (pipe, mode) each.
Ends = Sequence[tuple[int, str]]


@dataclass
class End:
    """A process's end of a pipe."""

    seat: int
    pid: int
    #: False: it is reserved for a child that has not opened it yet.
    opened: bool


@dataclass
class Pipe:
    """One pipe."""

    id: int
    name: str | None
    readers: dict[int, End] = field(default_factory=dict)
    writers: dict[int, End] = field(default_factory=dict)
    #: What ended writers have left, by their seats.
    estates: dict[int, Writer] = field(default_factory=dict)
    #: Readers that have told the supervisor how far they are: (writer's seat, reader's seat).
    resumed: set[tuple[int, int]] = field(default_factory=set)
    #: What former readers had taken by their own account, for writers that may not have been told.
    finals: dict[tuple[int, int], int | None] = field(default_factory=dict)
    #: Writers that died, and how.
    broken: list[tuple[int, str]] = field(default_factory=list)
    had_writer: bool = False
    ended: bool = False
    #: Some reader was there, and will be told of its end.
    seen: bool = False

    def to_record(self) -> dict[str, Any]:
        """Return plain values from which `from_record` makes the same again."""
        return {
            "id": self.id,
            "name": self.name,
            "readers": [[end.seat, end.pid, end.opened] for end in self.readers.values()],
            "writers": [[end.seat, end.pid, end.opened] for end in self.writers.values()],
            "estates": [[seat, writer.to_record()] for seat, writer in self.estates.items()],
            "resumed": sorted(map(list, self.resumed)),
            "finals": [[*key, taken] for key, taken in self.finals.items()],
            "broken": [list(each) for each in self.broken],
            "had_writer": self.had_writer,
            "ended": self.ended,
            "seen": self.seen,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Pipe:
        """Make a pipe of what `to_record` gave."""
        return cls(
            **{
                **record,
                "readers": {seat: End(seat, pid, opened) for seat, pid, opened in record["readers"]},
                "writers": {seat: End(seat, pid, opened) for seat, pid, opened in record["writers"]},
                "estates": {seat: Writer.from_record(writer) for seat, writer in record["estates"]},
                "resumed": {(writer, reader) for writer, reader in record["resumed"]},
                "finals": {(writer, reader): taken for writer, reader, taken in record["finals"]},
                "broken": [(pid, how) for pid, how in record["broken"]],
            }
        )

    def ends(self, mode: str) -> dict[int, End]:
        """Return its readers or writers by seat."""
        return self.readers if mode == READ else self.writers

    @property
    def listeners(self) -> list[End]:
        """Return the readers that have opened their end."""
        return [end for end in self.readers.values() if end.opened]

    def row(self) -> dict[str, Any]:
        """Return the plain values that are shown to people."""
        return {
            "id": self.id,
            "name": self.name,
            "readers": sorted(end.pid for end in self.readers.values()),
            "writers": sorted(end.pid for end in self.writers.values()),
            "held": sum(writer.held for writer in self.estates.values()),
            "ended": self.ended,
        }


class Pipes:
    """All pipes of a group. Each change yields the effects for the processes concerned.

    Args:
        limit: bytes of messages of ended writers that are kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pipes: dict[int, Pipe] = {}
        self._names: dict[str, Pipe] = {}
        self._last_id = self._last_seat = 0

    def to_record(self) -> dict[str, Any]:
        """Return plain values from which `from_record` makes the same again."""
        rows = [pipe.to_record() for pipe in self._pipes.values()]
        return {"limit": self._limit, "id": self._last_id, "seat": self._last_seat, "pipes": rows}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Pipes:
        """Make pipes of what `to_record` gave."""
        made = cls(record["limit"])
        made._last_id, made._last_seat = record["id"], record["seat"]
        for pipe in map(Pipe.from_record, record["pipes"]):
            made._pipes[pipe.id] = pipe
            if pipe.name is not None:
                made._names[pipe.name] = pipe
        return made

    # -- opening ----------------------------------------------------------------------------------------

    def make(self, name: str | None = None) -> Pipe:
        """Make a pipe, or return the one of that name."""
        pipe = self._names.get(name) if name is not None else None
        if pipe is None:
            self._last_id += 1
            pipe = Pipe(self._last_id, name)
            self._pipes[pipe.id] = pipe
            if name is not None:
                self._names[name] = pipe
        return pipe

    def get(self, number: int) -> Pipe:
        """Return a pipe by its number.

        Raises:
            InvalidCall: it does not exist any more.
        """
        pipe = self._pipes.get(number)
        if pipe is None:
            raise InvalidCall(
                f"pipe {number} is no more: all its ends were closed. Whoever sends an end to another process keeps"
                " its own open until that one has opened it; ends given to `fork` need no such care"
            )
        return pipe

    def open(self, pipe: Pipe, pid: int, mode: str) -> tuple[int, list[Effect]]:
        """Open an end; returns its seat. A process has one of each kind."""
        end = next((end for end in pipe.ends(mode).values() if end.pid == pid), None)
        effects: list[Effect] = []
        if end is None:
            end, effects = self._seat(pipe, pid, mode)
        if not end.opened:
            end.opened = True
            effects += self._introduce(pipe, end, mode)
        return end.seat, effects

    def check(self, wanted: Any, n: int) -> Sequence[Ends]:
        """Check the ends to give to the children of a fork: the same for all, or one list for each."""
        lists = [()] if wanted is None else wanted
        if len(lists) not in (1, n):
            raise InvalidCall(f"the pipes of {n} children are 1 or {n} lists")
        for ends in lists:
            for number, mode in ends:
                self.get(number)
                if mode not in (READ, WRITE):
                    raise InvalidCall(f"an end of a pipe is 'r' or 'w', not {mode!r}")
        return [[(number, mode) for number, mode in ends] for ends in lists]

    def reserve(self, pid: int, ends: Ends) -> list[Effect]:
        """Keep ends for a child that will open them."""
        effects: list[Effect] = []
        for number, mode in dict.fromkeys(ends):
            effects += self._seat(self._pipes[number], pid, mode)[1]
        return effects

    def _seat(self, pipe: Pipe, pid: int, mode: str) -> tuple[End, list[Effect]]:
        self._last_seat += 1
        end = End(self._last_seat, pid, False)
        pipe.ends(mode)[end.seat] = end
        if mode == WRITE:
            pipe.had_writer = True
        return end, list(self._changed(pipe, mode))

    def _introduce(self, pipe: Pipe, end: End, mode: str) -> Iterator[Effect]:
        pipe.seen = pipe.seen or mode == READ
        if mode == WRITE:
            for reader in pipe.listeners:
                # The writer is told first: a reader answers at once, and only a writer that knows it accepts that.
                yield _event(end, "reader", reader=reader.seat, pid=reader.pid)
                yield _event(reader, "writer", writer=end.seat, pid=end.pid)
            yield _event(end, "readers", count=len(pipe.readers))
            return
        for writer in pipe.writers.values():
            if writer.opened:
                yield _event(writer, "reader", reader=end.seat, pid=end.pid)
                yield _event(end, "writer", writer=writer.seat, pid=writer.pid)
        for seat in pipe.estates:
            pipe.resumed.add((seat, end.seat))  # nothing was delivered to it before
            yield _event(end, "writer", writer=seat, pid=SUPERVISOR)
        if pipe.ended:
            yield _event(end, "ended", ended=True, broken=list(pipe.broken))

    # -- closing ----------------------------------------------------------------------------------------

    def close(self, pid: int, seat: int, taken: dict[int, int] | None = None, lost: str = "") -> list[Effect]:
        """Close an end.

        Args:
            pid: its holder.
            seat: its seat.
            taken: what a reader has taken, by the writer's seat; None: unknown.
            lost: why a writer's messages are not complete.
        """
        for pipe in self._pipes.values():
            for mode in (READ, WRITE):
                end = pipe.ends(mode).get(seat)
                if end is not None and end.pid == pid:
                    return list(self._close(pipe, end, mode, taken, lost))
        return []

    def gone(self, pid: int, status: ExitStatus | None) -> list[Effect]:
        """Note that a process is gone. An agent that ended in good order had closed its ends."""
        effects: list[Effect] = []
        for pipe in list(self._pipes.values()):
            for mode in (READ, WRITE):
                for end in [end for end in pipe.ends(mode).values() if end.pid == pid]:
                    unopened = not end.opened and status is not None and status.cause == Cause.EXITED
                    effects += self._close(pipe, end, mode, None, "" if unopened else str(status))
        return effects

    def _close(self, pipe: Pipe, end: End, mode: str, taken: dict[int, int] | None, lost: str) -> Iterator[Effect]:
        del pipe.ends(mode)[end.seat]
        if mode == READ:
            yield from self._reader_left(pipe, end, taken)
        else:
            if lost:
                pipe.broken.append((end.pid, lost))
            if end.seat not in pipe.estates:
                yield from self._writer_left(pipe, end.seat, clean=not lost)
        yield from self._changed(pipe, mode)

    def _reader_left(self, pipe: Pipe, end: End, taken: dict[int, int] | None) -> Iterator[Effect]:
        for writer in pipe.writers.values():
            count = None if taken is None else taken.get(writer.seat, 0)
            if writer.opened:
                pipe.finals[writer.seat, end.seat] = count
                yield _event(writer, "left", reader=end.seat, taken=count)
        for seat, estate in list(pipe.estates.items()):
            estate.left(end.seat, None if taken is None else taken.get(seat, 0))
            yield from self._serve(pipe, seat, estate)

    def _writer_left(self, pipe: Pipe, seat: int, *, clean: bool) -> Iterator[Effect]:
        for key in [key for key in pipe.finals if key[0] == seat]:
            del pipe.finals[key]
        for reader in pipe.listeners:
            yield _event(reader, "left", writer=seat, clean=clean)

    def _changed(self, pipe: Pipe, mode: str) -> Iterator[Effect]:
        """Tell the other ends how a pipe has changed."""
        if pipe.name is None and not pipe.readers:
            pipe.estates.clear()  # nobody can ever open it again
        if mode == READ:
            for writer in pipe.writers.values():
                if writer.opened:
                    yield _event(writer, "readers", count=len(pipe.readers))
        yield from self._check_end(pipe)
        if not pipe.readers and not pipe.writers and not pipe.estates:
            self._forget(pipe)

    def _check_end(self, pipe: Pipe) -> Iterator[Effect]:
        ended = pipe.had_writer and not pipe.writers and not pipe.estates
        if ended == pipe.ended:
            return
        pipe.ended = ended
        if not ended:
            pipe.broken = []
            pipe.seen = bool(pipe.listeners)
        for reader in pipe.listeners:
            yield _event(reader, "ended", ended=ended, broken=list(pipe.broken))

    def _forget(self, pipe: Pipe) -> None:
        """Forget a pipe without open ends; an unread named pipe stays for a later reader."""
        if pipe.name is not None and pipe.had_writer and not pipe.seen:
            unseen = [p for p in self._pipes.values() if not p.readers and not p.writers and not p.estates]
            if len(unseen) <= _UNSEEN:
                return
            pipe = unseen[0]
        self._pipes.pop(pipe.id, None)
        if pipe.name is not None and self._names.get(pipe.name) is pipe:
            del self._names[pipe.name]

    # -- the estates of writers that have ended -----------------------------------------------------------

    def room(self, size: int) -> bool:
        """Tell whether this many bytes can be kept."""
        held = sum(writer.held for pipe in self._pipes.values() for writer in pipe.estates.values())
        return held + size <= self._limit

    def inherit(self, pid: int, seat: int, writer: Writer, *, clean: bool) -> list[Effect]:
        """Take over what a leaving writer has not delivered.

        Args:
            pid: its holder.
            seat: its seat, under which the supervisor continues.
            writer: its messages and lanes.
            clean: it has ended in good order; otherwise the end of its process decides.
        """
        for pipe in self._pipes.values():
            end = pipe.writers.get(seat)
            if end is not None and end.pid == pid:
                return list(self._inherit(pipe, end, writer, clean))
        raise InvalidCall(f"process {pid} has no seat {seat} at a pipe to write to")

    def _inherit(self, pipe: Pipe, end: End, writer: Writer, clean: bool) -> Iterator[Effect]:
        pipe.estates[end.seat] = writer
        if clean:
            del pipe.writers[end.seat]
        for seat in list(writer.lanes):
            if seat not in pipe.readers:
                writer.left(seat, pipe.finals.get((end.seat, seat)))
        for reader in pipe.listeners:
            if reader.seat not in writer.lanes:
                pipe.resumed.add((end.seat, reader.seat))
            yield _event(reader, "writer", writer=end.seat, pid=SUPERVISOR)
        yield from self._serve(pipe, end.seat, writer)
        yield from self._changed(pipe, WRITE)

    def credit(self, pid: int, seat: int, reader: int, taken: int, received: int, limit: int) -> list[Effect]:
        """Process a reader's confirmation for an inherited lane, and its credit."""
        for pipe in self._pipes.values():
            estate, end = pipe.estates.get(seat), pipe.readers.get(reader)
            if estate is not None and end is not None and end.pid == pid:
                estate.introduce(reader, pid)
                estate.credit(reader, pid, taken, limit)
                effects: list[Effect] = []
                if (seat, reader) not in pipe.resumed:
                    pipe.resumed.add((seat, reader))
                    missing = estate.resume(reader, received)
                    effects += _data(seat, missing) if missing is not None else []
                return [*effects, *self._serve(pipe, seat, estate), *self._check_forget(pipe)]
        return []

    def _serve(self, pipe: Pipe, seat: int, estate: Writer) -> Iterator[Effect]:
        for batch in estate.assign():
            yield from _data(seat, batch)
        if estate.settled:
            pipe.estates.pop(seat, None)
            pipe.resumed = {key for key in pipe.resumed if key[0] != seat}
            if seat not in pipe.writers:
                yield from self._writer_left(pipe, seat, clean=True)
            yield from self._check_end(pipe)

    def _check_forget(self, pipe: Pipe) -> Iterator[Effect]:
        if not pipe.readers and not pipe.writers and not pipe.estates:
            self._forget(pipe)
        return iter(())

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows that are shown to people."""
        return [pipe.row() for pipe in self._pipes.values()]


def _event(end: End, what: str, **fields: Any) -> Notify:
    return Notify(end.pid, PipeEvent(what, end.seat, **fields))


def _data(seat: int, batch: Batch) -> list[Notify]:
    shape, blobs = pack_parcel(batch.messages)
    effects: list[Notify] = []
    if sum(map(len, blobs)) > AT_ONCE:
        effects = [Notify(batch.pid, PipeEvent("piece", batch.seat, writer=seat), [blob]) for blob in blobs]
        blobs = []
    event = PipeEvent("data", batch.seat, writer=seat, first=batch.first, shape=shape, closing=batch.closing)
    return [*effects, Notify(batch.pid, event, blobs)]
