"""Output of processes: kept on disk within a bound, read from any offset, followed with back-pressure.

A `Spool` is a ring of two files of records. While it is followed, nothing unread is dropped. Instead the writer gets
no credit, so that it blocks as on a full pipe (what its remaining credit lets through may need a third file). Without
a follower the oldest records are dropped, and a later reader is told how much it missed.

If no file can be written (the disk is full, the directory has been removed), records are kept in memory instead: much
fewer of them, by the same two rules. Each new segment tries a file first.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import struct
from collections import deque
from dataclasses import field
from pathlib import Path
from typing import BinaryIO

from rackactor.errors import InvalidCall
from rackactor.records import dataclass
from rackactor_runtime import descriptors

_RECORD = struct.Struct(">IBdI")  # pid, stream, time, length
_NO_RECORD = (0, 0, 0.0, 0)
#: Bytes sent to a reader at a time.
CHUNK = 256 << 10
#: Size of a segment in memory, for which no file can be written, bytes.
MEMORY = 32 << 10
_TAIL = 8 << 10
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
#: Reasons why a file cannot be read now, but later.
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR})

Record = tuple[int, int, float, bytes]


class _Segment:
    """A piece of a log: the records of a range of offsets, in a file or, where none can be written, in memory."""

    __slots__ = ("data", "end", "path", "sizes", "start")

    def __init__(self, start: int, path: Path | None) -> None:
        self.start = self.end = start
        self.path = path
        self.data = bytearray()
        #: Bytes of standard output, of standard error.
        self.sizes = [0, 0]

    def open(self, writer: int | None) -> BinaryIO:
        """Open it for reading.

        Args:
            writer: a descriptor of its file, if one is open: it leads to the file even when the name is gone.

        Raises:
            OSError: it is gone, or cannot be read now.
        """
        if self.path is None:
            return io.BytesIO(self.data)
        path = self.path if writer is None else Path(f"/proc/self/fd/{writer}")
        return descriptors.spared(path.open, "rb")

    def remove(self) -> None:
        """Remove its file."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()


class Spool:
    """A bounded log of records at growing offsets.

    Args:
        path: prefix of its files' names; a number follows.
        limit: bytes kept.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self.path = path
        self._half = max(4096, limit // 2)
        self._segments: deque[_Segment] = deque()  # oldest first
        self._writer: int | None = None  # the descriptor of the newest segment, if that is a file
        self.end = 0
        #: Bytes of standard output and of standard error that are no longer kept.
        self.dropped = [0, 0]
        self._tail: deque[bytes] = deque()
        self._tail_size = 0

    def append(self, pid: int, stream: int, when: float, data: bytes, keep: int | None = None) -> None:
        """Write a record; may drop the oldest segment, but nothing from offset `keep` on. Never fails."""
        head = _RECORD.pack(pid, stream, when, len(data))
        newest = self._segments[-1] if self._segments else None
        if newest is None or newest.end - newest.start >= (self._half if newest.path else self._in_memory):
            newest = self._rotate(keep)
        if newest.path is not None and not self._write(newest, head, data):
            newest = self._add(None)
        if newest.path is None:
            newest.data += head
            newest.data += data
        newest.sizes[stream - 1] += len(data)
        newest.end = self.end = self.end + len(head) + len(data)
        self._remember(data)

    def read(self, offset: int) -> tuple[list[Record], int, int]:
        """Return (records from `offset` on, offset after them, bytes that are lost before them).

        Raises:
            InvalidCall: no record begins there.
            OSError: it cannot be read now, but later.
        """
        offset = max(0, min(offset, self.end))
        records: list[Record] = []
        size = skipped = 0
        for segment in list(self._segments):
            if offset >= segment.end or size >= CHUNK:
                continue
            skipped += max(0, segment.start - offset)
            offset, known = max(segment.start, offset), len(records)
            try:
                with segment.open(self._writer if segment is self._segments[-1] else None) as file:
                    offset, size = _read(file, segment, offset, records, size)
            except OSError as error:
                if error.errno in _PASSING:
                    raise
                del records[known:]
                self._forget(segment)  # its file has been removed, or the disk has lost it
                skipped, offset = skipped + segment.end - offset, segment.end
        return records, offset, skipped

    def tail(self) -> str:
        """Return the last few kilobytes as text."""
        return b"".join(self._tail)[-_TAIL:].decode("utf-8", "replace")

    def room(self, offset: int) -> bool:
        """Tell whether a reader at `offset` is close enough to the end that more may be written."""
        held = sum(each.end - max(each.start, offset) for each in self._segments if not each.path and each.end > offset)
        return self.end - offset < self._half and held < self._in_memory

    def rest(self) -> None:
        """Close the descriptor while nothing is written."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                os.close(self._writer)
            self._writer = None

    def close(self) -> None:
        """Remove everything."""
        self.rest()
        while self._segments:
            self._segments.popleft().remove()

    @property
    def _in_memory(self) -> int:
        return min(self._half, MEMORY)

    def _rotate(self, keep: int | None) -> _Segment:
        while len(self._segments) >= 2 and (keep is None or self._segments[1].start <= keep):
            self._forget(self._segments[0])
        return self._add(self.path.with_name(f"{self.path.name}.{self.end}"))

    def _add(self, path: Path | None) -> _Segment:
        self.rest()
        segment = _Segment(self.end, path)
        self._segments.append(segment)
        return segment

    def _forget(self, segment: _Segment) -> None:
        self._segments.remove(segment)
        segment.remove()
        self.dropped = [gone + size for gone, size in zip(self.dropped, segment.sizes, strict=True)]

    def _write(self, segment: _Segment, head: bytes, data: bytes) -> bool:
        """Write a record to a file; tell whether that was possible. If not, nothing more is written to this file."""
        assert segment.path is not None
        try:
            if self._writer is None:
                self._writer = descriptors.spared(os.open, segment.path, _APPEND, 0o600)
            if os.writev(self._writer, (head, data)) == len(head) + len(data):
                return True
        except OSError:
            pass  # the file system is full, or its directory is gone, or `ulimit -f` is reached
        if segment.end == segment.start:
            self._segments.remove(segment)
            segment.remove()
        return False

    def _remember(self, data: bytes) -> None:
        self._tail.append(data[-_TAIL:])
        self._tail_size += len(self._tail[-1])
        while len(self._tail) > 1 and self._tail_size - len(self._tail[0]) >= _TAIL:
            self._tail_size -= len(self._tail.popleft())


def _read(file: BinaryIO, segment: _Segment, offset: int, records: list[Record], size: int) -> tuple[int, int]:
    """Read records of a segment into `records`, up to a chunk; return the offset after them, and their size.

    Raises:
        InvalidCall: no record begins at `offset`.
        OSError: there is less data than was written.
    """
    file.seek(offset - segment.start)
    while offset < segment.end and size < CHUNK:
        head = file.read(_RECORD.size)
        if len(head) < _RECORD.size and offset + _RECORD.size <= segment.end:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        pid, stream, when, length = _RECORD.unpack(head) if len(head) == _RECORD.size else _NO_RECORD
        if offset + _RECORD.size + length > segment.end or stream not in (1, 2):
            raise InvalidCall("no record of this log begins at that offset")
        offset += _RECORD.size + length
        records.append((pid, stream, when, file.read(length)))
        size += length
    return offset, size


@dataclass
class Follower:
    """A reader of a spool as it grows."""

    offset: int = 0
    #: The number of its waiting call, or 0.
    rid: int = 0


@dataclass
class Log:
    """The output of one process (or of all, for the feed), and its followers."""

    pid: int
    spool: Spool
    #: By the reader's pid and reader number: it may have one for output and one for errors.
    followers: dict[tuple[int, int], Follower] = field(default_factory=dict)
    ended: bool = False

    @property
    def keep(self) -> int | None:
        """Return the first offset that some follower has not read yet, or None."""
        return min((follower.offset for follower in self.followers.values()), default=None)

    def blocked(self) -> bool:
        """Tell whether a follower is so far behind that the writer must wait."""
        return any(not self.spool.room(follower.offset) for follower in self.followers.values())
