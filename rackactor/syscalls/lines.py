"""Whole lines of several processes on one output.

What a process prints comes in pieces that may end anywhere. Shown as they come, the lines of several would mix. So
the beginning of a line waits for its end, but not for long: a prompt must be seen, and so must the dots and bars by
which programs show that they get on. A carriage return ends a piece as a line feed does; one that is the last byte
so far may be the first half of a line's end, and waits like a beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

#: How long the beginning of a line may wait for its end, seconds.
PATIENCE = 0.2
#: The same where copies of one command print: the writes of one line may be far apart on a busy machine.
PATIENCE_WITH_COPIES = 1.0
#: A line that does not end is shown in pieces of this size, bytes.
LONGEST = 64 << 10


class _Begun(NamedTuple):
    """The beginning of a line."""

    data: bytes
    #: When its first byte came.
    since: float


class Lines:
    """Hold back the beginnings of lines. Times are an argument, in seconds of any one clock.

    Args:
        patience: seconds that a beginning may wait, counted from its first byte.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._begun: dict[tuple[int, int], _Begun] = {}

    def wait(self, now: float) -> float | None:
        """Return in how many seconds `due` has something to show; None: nothing is held back."""
        if not self._begun:
            return None
        return max(0.0, min(begun.since for begun in self._begun.values()) + self._patience - now)

    def take(self, pid: int, stream: int, data: bytes, now: float) -> bytes:
        """Take what a process has printed; return what may be shown of it now."""
        begun = self._begun.pop((pid, stream), None)
        if begun is not None:
            data = begun.data + data
        end = max(data.rfind(b"\n"), data.rfind(b"\r", 0, len(data) - 1)) + 1
        if end == len(data) or len(data) - end >= LONGEST:
            return data
        self._begun[pid, stream] = _Begun(data[end:], now if begun is None or end else begun.since)
        return data[:end]

    def due(self, now: float) -> Iterator[tuple[int, int, bytes]]:
        """Yield (pid, stream, data) of what has waited long enough, and forget it."""
        for who, begun in list(self._begun.items()):
            if begun.since + self._patience <= now:
                del self._begun[who]
                yield *who, begun.data

    def rest(self, pid: int | None = None) -> Iterator[tuple[int, int, bytes]]:
        """Yield (pid, stream, data) of what is held back (of one process, or of all), and forget it."""
        for who in [who for who in self._begun if pid in (None, who[0])]:
            yield *who, self._begun.pop(who).data
