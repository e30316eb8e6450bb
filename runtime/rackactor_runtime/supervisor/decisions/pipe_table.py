"""The group's pipes as records: who holds which end, and what ended writers have left to be read.

What follows from a change is decided in `pipes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import Any

from rackactor.errors import InvalidCall
from rackactor.ipc.pipes.writing import Writer
from rackactor.records import dataclass

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

    @property
    def unused(self) -> bool:
        """Tell whether nobody has an end of it, and nothing is left to be read."""
        return not self.readers and not self.writers and not self.estates

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
    """All pipes of a group.

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

    def __iter__(self) -> Iterator[Pipe]:
        return iter(list(self._pipes.values()))

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

    def end_of(self, pipe: Pipe, pid: int, mode: str) -> End:
        """Return a process's end, of which it has one of each kind; or a new one that is no part of the pipe yet."""
        return next((end for end in pipe.ends(mode).values() if end.pid == pid), None) or self.new_end(pid)

    def new_end(self, pid: int) -> End:
        """Return an end with a seat of its own, which is not yet one of any pipe's."""
        self._last_seat += 1
        return End(self._last_seat, pid, False)

    def written(self, pid: int, seat: int) -> tuple[Pipe, End]:
        """Return the pipe to which a process writes from a seat, and that end.

        Raises:
            InvalidCall: it has no such seat.
        """
        for pipe in self._pipes.values():
            end = pipe.writers.get(seat)
            if end is not None and end.pid == pid:
                return pipe, end
        raise InvalidCall(f"process {pid} has no seat {seat} at a pipe to write to")

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

    def forget_unused(self, pipe: Pipe) -> None:
        """Forget a pipe if all its ends are closed; an unread named pipe stays for a later reader."""
        if not pipe.unused:
            return
        if pipe.name is not None and pipe.had_writer and not pipe.seen:
            unseen = [p for p in self._pipes.values() if p.unused]
            if len(unseen) <= _UNSEEN:
                return
            pipe = unseen[0]
        self._pipes.pop(pipe.id, None)
        if pipe.name is not None and self._names.get(pipe.name) is pipe:
            del self._names[pipe.name]

    def room(self, size: int) -> bool:
        """Tell whether this many bytes can be kept."""
        held = sum(writer.held for pipe in self._pipes.values() for writer in pipe.estates.values())
        return held + size <= self._limit

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows that are shown to people."""
        return [pipe.row() for pipe in self._pipes.values()]
