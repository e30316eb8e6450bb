"""Whole lines of several processes on one output.

The output of a process comes in pieces that may end anywhere. Shown at once, the lines of several processes would mix.
So an unfinished line waits for its end, but not for long: a prompt must be seen, and so must the dots and bars of
progress displays. A carriage return ends a piece as a line feed does. As the last byte so far it may be the first half
of a line's end, so it waits as an unfinished line does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

#: How long an unfinished line may wait for its end, seconds.
PATIENCE = 0.2
#: The same for copies of one command: the writes of one line may be far apart on a busy machine.
PATIENCE_WITH_COPIES = 1.0
#: A line without an end is shown in pieces of this size, bytes.
LONGEST = 64 << 10


class _Begun(NamedTuple):
    """An unfinished line."""

    data: bytes
    #: When its first byte came.
    since: float


class Lines:
    """Holds back unfinished lines. Times are arguments, in seconds of any one clock.

    Args:
        patience: seconds that an unfinished line may wait, counted from its first byte.
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
        """Take output of a process; return what may be shown of it now."""
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
