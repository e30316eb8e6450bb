"""What processes print: kept on disk within a bound, read from any offset, followed with back-pressure.

A `Spool` is a ring of two files of records. While somebody follows it nothing unread is overwritten:
the writer's credit is withheld instead, so that it blocks as on a full pipe. With nobody following, the oldest
goes, and a later reader is told how much it missed.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

_RECORD = struct.Struct(">IBdI")  # pid, stream, time, length
#: Bytes given to a reader at once.
CHUNK = 256 << 10
_TAIL = 8 << 10

Record = tuple[int, int, float, bytes]


class Spool:
    """A bounded log of records at growing offsets."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._half = max(4096, limit // 2)
        self._files: deque[tuple[int, BinaryIO]] = deque()
        self.end = 0
        self._tail: deque[bytes] = deque()
        self._tail_size = 0

    def append(self, pid: int, stream: int, when: float, data: bytes) -> None:
        """Write a record; may drop the older half."""
        if not self._files or self.end - self._files[-1][0] >= self._half:
            self._rotate()
        file = self._files[-1][1]
        file.seek(0, 2)
        file.write(_RECORD.pack(pid, stream, when, len(data)))
        file.write(data)
        self.end += _RECORD.size + len(data)
        self._remember(data)

    def read(self, offset: int) -> tuple[list[Record], int, int]:
        """Return (records from `offset` on, offset after them, bytes that are lost before them)."""
        if not self._files:
            return [], offset, 0
        skipped = max(0, self._files[0][0] - offset)
        offset += skipped
        records: list[Record] = []
        size = 0
        for start, file in self._files:
            stop = self._stop(start)
            if offset >= stop:
                continue
            file.seek(offset - start)
            while offset < stop and size < CHUNK:
                pid, stream, when, length = _RECORD.unpack(file.read(_RECORD.size))
                records.append((pid, stream, when, file.read(length)))
                offset += _RECORD.size + length
                size += length
        return records, offset, skipped

    def tail(self) -> str:
        """Return the last few kilobytes as text."""
        return b"".join(self._tail)[-_TAIL:].decode("utf-8", "replace")

    def room(self, offset: int) -> bool:
        """Tell whether more may be written without losing what a reader at `offset` has not read."""
        return self.end - offset < self._half

    def close(self) -> None:
        """Close the files and remove them."""
        for start, file in self._files:
            file.close()
            self._name(start).unlink(missing_ok=True)
        self._files.clear()

    def _stop(self, start: int) -> int:
        starts = [begin for begin, _ in self._files if begin > start]
        return starts[0] if starts else self.end

    def _rotate(self) -> None:
        if len(self._files) == 2:
            start, file = self._files.popleft()
            file.close()
            self._name(start).unlink(missing_ok=True)
        self._files.append((self.end, self._name(self.end).open("w+b")))

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
    followers: dict[int, Follower] = field(default_factory=dict)
    ended: bool = False
    #: Credit withheld until the followers have caught up, bytes.
    withheld: int = 0

    def blocked(self) -> bool:
        """Tell whether a follower lags so far behind that the writer must wait."""
        return any(not self.spool.room(follower.offset) for follower in self.followers.values())
