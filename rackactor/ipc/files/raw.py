"""Open files of a group, unbuffered: read and written here through a descriptor, or remotely in chunks.

A written file appears when it is closed, and only if there was no error; `discard` leaves nothing of it.
"""

from __future__ import annotations

import errno
import io
import os
import warnings
from abc import ABC, abstractmethod
from collections import deque
from typing import Any

from rackactor.ipc.files.client import Opened
from rackactor.kernel.pending import Pending

#: Size of a chunk, bytes.
CHUNK = 512 << 10
#: Chunks that are under way at the same time.
AHEAD = 6


class Unfinished:
    """The completion of a file that is being written."""

    def __init__(self, opened: Opened, commits: bool) -> None:
        self.opened = opened
        #: Whether closing it makes the file appear.
        self.commits = commits
        self.failed = False
        self.sealed = False

    def seal(self) -> None:
        """Make the closed file appear, or leave nothing of it."""
        if self.failed:
            self.opened.close(commit=False)
        elif self.commits:
            self.opened.close(commit=True)
        self.sealed = True

    def commit(self) -> None:
        """Make a file appear that was opened with `autocommit=False`."""
        self.opened.close(commit=not self.failed)

    def discard(self) -> None:
        """Leave nothing of the file."""
        self.failed = True
        if self.sealed:
            self.opened.close(commit=False)

    def drop(self) -> None:
        """Leave nothing of the file, without waiting: its last reference has gone."""
        self.failed = True
        self.opened.abandon()


class Leaving(ABC):
    """How a written file is left: after an exception, or without any reference to it, nothing of it stays."""

    @abstractmethod
    def _end(self) -> Unfinished:
        """Return the file's completion, wherever the class that uses this mixin has it."""

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            self._end().discard()
        self.close()  # type: ignore[attr-defined]

    def __del__(self) -> None:
        try:
            lost = not self.closed  # type: ignore[attr-defined]
        except (AttributeError, ValueError):
            return  # it was never opened
        if lost:
            end = self._end()
            if not end.failed:
                text = f"{self!r} was not closed: nothing of it is kept"
                warnings.warn(text, ResourceWarning, stacklevel=2, source=self)
            end.drop()
            try:
                self.close()  # type: ignore[attr-defined]
            except (OSError, ValueError):
                pass


class HereReader(io.FileIO):
    """A file that this process reads itself."""

    def __init__(self, opened: Opened, descriptor: int) -> None:
        super().__init__(descriptor, "rb")
        self.name = opened.path
        self.size = opened.size


class HereWriter(Leaving, io.FileIO):
    """A file that this process writes itself; the service makes it appear."""

    def __init__(self, opened: Opened, descriptor: int, end: Unfinished, *, appends: bool) -> None:
        super().__init__(descriptor, "wb")
        self.name = opened.path
        self.end = end
        self._appends = appends
        self._start = opened.size if appends else 0
        self._elsewhere: int | None = None  # where `seek` has gone; does not affect appending

    def write(self, data: Any) -> int:
        """Write bytes."""
        if self.end.failed:
            return memoryview(data).nbytes
        self._elsewhere = None
        try:
            written = super().write(data)
        except BaseException:
            self.end.failed = True
            raise
        return written

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move the position; appended data still goes to the end."""
        if not self._appends:
            return super().seek(offset, whence)
        end = self._start + super().tell()
        self._elsewhere = _place(offset, whence, self.tell(), end)
        return self._elsewhere

    def tell(self) -> int:
        """Return the position."""
        return self._start + super().tell() if self._elsewhere is None else self._elsewhere

    def close(self) -> None:
        """Close the file, and make it appear."""
        if not self.closed:
            try:
                super().close()
            finally:
                self.end.seal()

    def _end(self) -> Unfinished:
        return self.end


class FarReader(io.RawIOBase):
    """A file that is read remotely: a sequential reader has the next chunks under way already."""

    def __init__(self, opened: Opened) -> None:
        super().__init__()
        self.name = opened.path
        self.mode = "rb"
        self.size = opened.size
        self._opened = opened
        self._at = 0
        self._current = opened.first
        self._from = 0  # where that begins
        self._chunks: deque[Pending] = deque()  # under way, in order
        self._next = len(opened.first)  # where the next chunk to ask for begins
        self._ahead = 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that the position can be moved."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move the position."""
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        self._at = _place(offset, whence, self._at, self.size)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read some bytes."""
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        view = memoryview(buffer).cast("B")
        if not view or self._at >= self.size:
            return 0
        part = self._part()
        count = min(len(part), len(view))
        view[:count] = part[:count]
        self._at += count
        return count

    def readall(self) -> bytes:
        """Read the rest."""
        whole = bytearray(max(0, self.size - self._at))
        view, at = memoryview(whole), 0
        while at < len(whole) and (count := self.readinto(view[at:])):
            at += count
        return bytes(view[:at])

    def _part(self) -> memoryview:
        """Return bytes from the position on; at least one."""
        offset = self._at - self._from
        if 0 <= offset < len(self._current):
            return self._current[offset:]
        if offset == len(self._current):
            self._from = self._at
            self._ahead = min(AHEAD, self._ahead + 2)
        else:
            self._chunks.clear()  # their answers will still come, and are dropped
            self._from = self._next = self._at
            self._ahead = 0  # a reader that seeks gets nothing ahead
        self._ask(max(1, self._ahead))
        self._current = self._opened.answer(self._chunks.popleft())
        self._ask(self._ahead)
        if not self._current:
            raise OSError(errno.EIO, "the file has become shorter while it was read", self.name)
        return self._current

    def _ask(self, ahead: int) -> None:
        while len(self._chunks) < ahead and self._next < self.size:
            self._chunks.append(self._opened.begin("read", {"start": self._next, "size": CHUNK}))
            self._next = min(self._next + CHUNK, self.size)

    def close(self) -> None:
        """Close it."""
        if not self.closed:
            self._chunks.clear()
            super().close()
            self._opened.abandon()


class FarWriter(Leaving, io.RawIOBase):
    """A file that is written remotely, several chunks at a time."""

    def __init__(self, opened: Opened, end: Unfinished, *, appends: bool) -> None:
        super().__init__()
        self.name = opened.path
        self.mode = "wb"
        self.end = end
        self._opened = opened
        self._appends = appends
        self._at = opened.size if appends else 0
        self._chunks: deque[Pending] = deque()
        self._size = self._at

    def writable(self) -> bool:
        """Tell that it can be written."""
        return True

    def seekable(self) -> bool:
        """Tell that the position can be moved."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move the position; appended data still goes to the end."""
        self._at = _place(offset, whence, self._at, self._size)
        return self._at

    def write(self, data: Any) -> int:
        """Write bytes; an error is raised by a later call, at the latest by `close`."""
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        view = memoryview(data).cast("B")[:CHUNK]
        if self._appends:
            self._at = self._size
        if not self.end.failed:
            try:
                self._settle(AHEAD - 1)
                self._chunks.append(self._opened.begin("write", {"at": self._at}, view))
            except BaseException:
                self.end.failed = True
                raise
        self._at += len(view)
        self._size = max(self._size, self._at)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Truncate the file."""
        size = self._at if size is None else size
        self.sync()
        self._opened.answer(self._opened.begin("truncate", {"size": size}))
        self._size = size
        return size

    def sync(self) -> None:
        """Wait until everything has arrived.

        Raises:
            OSError: something could not be written.
        """
        try:
            self._settle(0)
        except BaseException:
            self.end.failed = True
            raise

    def _settle(self, left: int) -> None:
        while len(self._chunks) > left:
            self._opened.answer(self._chunks.popleft())

    def close(self) -> None:
        """Close the file, and make it appear."""
        if not self.closed:
            try:
                if not self.end.failed:
                    self.sync()
            finally:
                super().close()
                self.end.seal()

    def _end(self) -> Unfinished:
        return self.end


def _place(offset: int, whence: int, at: int, end: int) -> int:
    """Return the position that `seek` leads to."""
    base = {os.SEEK_SET: 0, os.SEEK_CUR: at, os.SEEK_END: end}.get(whence)
    if base is None:
        raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
    if base + offset < 0:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return base + offset
