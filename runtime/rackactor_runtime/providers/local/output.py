"""A child's standard output and error: the credit for reading them, and the reading.

The reader's credit is the only limit. When it is used up, nothing is read, the pipe fills, and the
child blocks in write(2), as with any slow reader of a pipe: nothing is dropped, and none of our
buffers grows with the child's output.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator

#: The credit of a new child, both streams together, before anything is granted.
FIRST_CREDIT = 64 * 1024
_CHUNK = 64 * 1024
#: How often the last output of a dead child is requested if the system refuses to read it.
_TRIES = 8


class Credit:
    """Counts the bytes that may still be read."""

    def __init__(self, count: int = FIRST_CREDIT) -> None:
        self.left = count

    def grant(self, count: int) -> None:
        """Allow `count` more bytes.

        Raises:
            ValueError: `count` is negative: credit cannot be taken back.
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
        #: Why the last output could not be read; "": it was read.
        self.unread = ""
        #: They should be watched, and could not be.
        self.unheard = False
        self._attend()

    def grant(self, count: int) -> None:
        """Allow more bytes, and read on if reading waited for them."""
        self.credit.grant(count)
        self._attend()

    def read(self, fd: int) -> tuple[int, bytes] | None:
        """Return a stream and its data within the credit, or None."""
        if fd not in self._streams or not self.credit.left:
            return None
        stream = self._streams[fd]
        data = self._take(fd, min(_CHUNK, self.credit.left))
        self.credit.spend(len(data or b""))
        self._attend()
        return (stream, data) if data else None

    def drain(self) -> Iterator[tuple[int, bytes]]:
        """Yield what a dead child has left, whatever the credit, and close.

        Limited to the capacity of a pipe, since a process outside the tree may still hold its end.
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
        """Watch the pipes exactly while something may be read from them."""
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
