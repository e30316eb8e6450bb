"""A descriptor that is readable from the moment somebody rings: from another thread, or from a signal handler."""

from __future__ import annotations

import os
from collections.abc import Callable


class Waker:
    """An eventfd that nobody can ring after its end.

    There is no `close`: the descriptor is closed with the last reference. Whoever rings has one, so that an owner who
    lets go this very moment cannot have the ring go to what has got the number next; and no lock is needed, which a
    signal handler could find taken, or a child made by os.fork.
    """

    def __init__(self) -> None:
        self._pid = 0  # nothing is open yet, and there may be no descriptor left
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._pid = os.getpid()

    def fileno(self) -> int:
        """Return the descriptor, for a poll."""
        return self._fd

    def wake(self) -> None:
        """Make it readable."""
        os.eventfd_write(self._fd, 1)

    def drain(self) -> None:
        """Make it silent again, if it was rung."""
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            pass

    def __del__(self, getpid: Callable[[], int] = os.getpid, close: Callable[[int], None] = os.close) -> None:
        if getpid() == self._pid:  # a forked child may long have closed it, and have something else under that number
            close(self._fd)
