"""Wait until descriptors can be read or written, whatever their numbers: select(2) takes none above 1023."""

from __future__ import annotations

import math
import select
from collections.abc import Iterable
from typing import Protocol, TypeVar

#: The longest timeout of poll(2), milliseconds.
_MOST = (1 << 31) - 1


class HasFileno(Protocol):
    """An object that has a descriptor."""

    def fileno(self) -> int:
        """Return the descriptor."""
        ...


Watchable = TypeVar("Watchable", bound=int | HasFileno)


def readable(files: Iterable[Watchable], timeout: float | None = None) -> list[Watchable]:
    """Wait until one of the files can be read, or its other end is gone.

    Args:
        files: descriptors, or what has one.
        timeout: seconds to wait at the most; None: no bound.

    Returns: those files; none when the time is over.
    """
    return _wait(files, select.POLLIN, timeout)


def writable(files: Iterable[Watchable], timeout: float | None = None) -> list[Watchable]:
    """Wait until one of the files can be written: see `readable`."""
    return _wait(files, select.POLLOUT, timeout)


def _wait(files: Iterable[Watchable], event: int, timeout: float | None) -> list[Watchable]:
    poll = select.poll()
    known: dict[int, Watchable] = {}
    for file in files:
        number = file if isinstance(file, int) else file.fileno()
        known[number] = file
        poll.register(number, event)
    # Rounded up: rounded down, the last millisecond would be spent spinning.
    left = None if timeout is None else min(_MOST, math.ceil(max(0.0, timeout) * 1000))
    return [known[number] for number, _ in poll.poll(left)]
