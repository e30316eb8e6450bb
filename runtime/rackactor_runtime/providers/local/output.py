"""A child's standard output and error: what may be read of them, and reading it.

The reader's credit is the only limit. When it is used up nothing is read, the pipe fills, and the
child waits in write(2) as before any pipe whose reader is slow: nothing is dropped, and no buffer of
ours grows with what a child says.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator

#: What may be read of a new child, both streams together, before anything is granted.
FIRST_CREDIT = 64 * 1024
_CHUNK = 64 * 1024
#: Times that the last of a dead child's output is asked for, where the system refuses it.
_TRIES = 8


class Credit:
    """Count the bytes that may still be read."""

    def __init__(self, count: int = FIRST_CREDIT) -> None:
        self.left = count

    def grant(self, count: int) -> None:
        """Allow `count` more bytes.

        Raises:
            ValueError: `count` is negative: what was allowed cannot be taken back.
        """
        if count < 0:
            raise ValueError(f"a grant of {count} bytes")
        self.left += count

    def spend(self, count: int) -> None:
        """Note that `count` bytes were read. The last ones of a dead child may exceed the credit."""
        self.left = max(0, self.left - count)


class Pipes:
    """The reading ends of one child's standard output (1) and error (2).

    `watch` and `unwatch` register a descriptor with the event loop; they are called only on a change.
    """

    def __init__(self, fds: dict[int, int], watch: Callable[[int], object], unwatch: Callable[[int], object]) -> None:
        self.credit = Credit()
        self._streams = fds  # descriptor: stream
        self._watch = watch
        self._unwatch = unwatch
        self._watching = False
        #: Why the last of what the child has said could not be read; "": it was.
        self.unread = ""
        #: They are to be watched, and could not be.
        self.unheard = False
        self._attend()

    def grant(self, count: int) -> None:
        """Allow more bytes, and go on reading if that was what it waited for."""
        self.credit.grant(count)
        self._attend()

    def read(self, fd: int) -> tuple[int, bytes] | None:
        """Return a stream and what is there of it within the credit, or None."""
        if fd not in self._streams or not self.credit.left:
            return None
        stream = self._streams[fd]
        data = self._take(fd, min(_CHUNK, self.credit.left))
        self.credit.spend(len(data or b""))
        self._attend()
        return (stream, data) if data else None

    def drain(self) -> Iterator[tuple[int, bytes]]:
        """Yield what a dead child has left, whatever the credit, and close.

        Bounded by what a pipe can hold, for the end may have been handed to a process outside the tree.
        """
        for fd, stream in list(self._streams.items()):
            room, failures = _capacity(fd), 0
            while room > 0 and failures < _TRIES:
                try:
                    data = self._take(fd, min(_CHUNK, room))
                except OSError as error:
                    failures += 1
                    if failures == _TRIES:
                        self.unread = error.strerror or str(error)
                    continue
                if not data:
                    break
                room -= len(data)
                yield stream, data
        self.close()

    def close(self) -> None:
        """Close both ends."""
        for fd in list(self._streams):
            self._drop(fd)

    def _take(self, fd: int, count: int) -> bytes | None:
        """Read; at the end of the stream close it."""
        try:
            data = os.read(fd, count)
        except BlockingIOError:
            return None
        if not data:
            self._drop(fd)
        return data

    def _drop(self, fd: int) -> None:
        del self._streams[fd]
        if self._watching:
            self._unwatch(fd)
        os.close(fd)

    def _attend(self) -> None:
        """Watch the pipes exactly while something may be read of them."""
        wanted = self.credit.left > 0
        if wanted == self._watching:
            return
        done: list[int] = []
        try:
            for fd in self._streams:
                (self._watch if wanted else self._unwatch)(fd)
                done.append(fd)
        except OSError:
            for fd in done if wanted else ():
                self._unwatch(fd)
            self.unheard = True
            return
        self.unheard = False
        self._watching = wanted

    def attend(self) -> None:
        """Try again to watch pipes that the kernel had no room to watch."""
        if self.unheard:
            self._attend()


def _capacity(fd: int) -> int:
    try:
        return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
    except OSError:
        return _CHUNK
