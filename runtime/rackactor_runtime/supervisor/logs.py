"""What processes print: kept on disk within a bound, read from any offset, followed with back-pressure.

A `Spool` is a ring of two files of records. While somebody follows it nothing unread is dropped: the writer's credit
is withheld instead, so that it blocks as on a full pipe (what its credit still lets through may need a third file).
With nobody following, the oldest goes, and a later reader is told how much it missed.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from rackactor.errors import InvalidCall

_RECORD = struct.Struct(">IBdI")  # pid, stream, time, length
_NO_RECORD = (0, 0, 0.0, 0)
#: Bytes given to a reader at once.
CHUNK = 256 << 10
_TAIL = 8 << 10

Record = tuple[int, int, float, bytes]


class Spool:
    """A bounded log of records at growing offsets."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._half = max(4096, limit // 2)
        self._starts: deque[int] = deque()  # of the files, oldest first
        self._writer: BinaryIO | None = None  # the newest file
        self.end = 0
        self._sizes: deque[list[int]] = deque()  # of each file: bytes of standard output, of standard error
        #: Bytes of standard output and of standard error that are not kept any more.
        self.dropped = [0, 0]
        self._tail: deque[bytes] = deque()
        self._tail_size = 0

    def append(self, pid: int, stream: int, when: float, data: bytes, keep: int | None = None) -> None:
        """Write a record; may drop the oldest file, but nothing from offset `keep` on."""
        if not self._starts or self.end - self._starts[-1] >= self._half:
            self._rotate(keep)
        if self._writer is None:
            self._writer = self._name(self._starts[-1]).open("ab")
        self._writer.write(_RECORD.pack(pid, stream, when, len(data)))
        self._writer.write(data)
        self._sizes[-1][stream - 1] += len(data)
        self.end += _RECORD.size + len(data)
        self._remember(data)

    def read(self, offset: int) -> tuple[list[Record], int, int]:
        """Return (records from `offset` on, offset after them, bytes that are lost before them).

        Raises:
            InvalidCall: no record begins there.
        """
        offset = max(0, min(offset, self.end))
        skipped = max(0, self._starts[0] - offset) if self._starts else 0
        offset += skipped
        records: list[Record] = []
        size = 0
        if self._writer is not None:
            self._writer.flush()
        for start, stop in pairwise([*self._starts, self.end]):
            if offset >= stop or size >= CHUNK:
                continue
            with self._name(start).open("rb") as file:
                file.seek(offset - start)
                while offset < stop and size < CHUNK:
                    head = file.read(_RECORD.size)
                    pid, stream, when, length = _RECORD.unpack(head) if len(head) == _RECORD.size else _NO_RECORD
                    offset += _RECORD.size + length
                    if offset > stop or stream not in (1, 2):
                        raise InvalidCall("no record of this log begins at that offset")
                    records.append((pid, stream, when, file.read(length)))
                    size += length
        return records, offset, skipped

    def tail(self) -> str:
        """Return the last few kilobytes as text."""
        return b"".join(self._tail)[-_TAIL:].decode("utf-8", "replace")

    def room(self, offset: int) -> bool:
        """Tell whether a reader at `offset` has read so much that more may be written."""
        return self.end - offset < self._half

    def rest(self) -> None:
        """Hold no descriptor while nothing is written."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def close(self) -> None:
        """Remove everything."""
        self.rest()
        while self._starts:
            self._name(self._starts.popleft()).unlink(missing_ok=True)

    def _rotate(self, keep: int | None) -> None:
        self.rest()
        while len(self._starts) >= 2 and (keep is None or self._starts[1] <= keep):
            self._name(self._starts.popleft()).unlink(missing_ok=True)
            self.dropped = [gone + size for gone, size in zip(self.dropped, self._sizes.popleft(), strict=True)]
        self._starts.append(self.end)
        self._sizes.append([0, 0])

    def _name(self, start: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{start}")

    def _remember(self, data: bytes) -> None:
        self._tail.append(data[-_TAIL:])
        self._tail_size += len(self._tail[-1])
        while len(self._tail) > 1 and self._tail_size - len(self._tail[0]) >= _TAIL:
            self._tail_size -= len(self._tail.popleft())


@dataclass
class Follower:
    """Who reads a spool as it grows."""

    offset: int = 0
    #: The number of its call that waits for more, or 0.
    rid: int = 0


@dataclass
class Log:
    """The output of one process (or of all, for the feed), and who follows it."""

    spool: Spool
    #: By the pid of the reader, and the number of its reader: it may have one for output and one for errors.
    followers: dict[tuple[int, int], Follower] = field(default_factory=dict)
    ended: bool = False

    @property
    def keep(self) -> int | None:
        """Return the offset from which on somebody has not read yet, or None."""
        return min((follower.offset for follower in self.followers.values()), default=None)

    def blocked(self) -> bool:
        """Tell whether a follower lags so far behind that the writer must wait."""
        return any(not self.spool.room(follower.offset) for follower in self.followers.values())
