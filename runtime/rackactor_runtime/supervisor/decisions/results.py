"""Results too large for one message: they are sent in parts, and those who were told of an end fetch them in parts.

There is room for heartbeats between two parts. One message of a gigabyte would delay them, and its receiver would be
taken for dead, or take the supervisor for dead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rackactor.errors import InvalidCall

#: Bytes of a result that are sent with the end itself.
AT_ONCE = 32 << 20


class Shelf:
    """Large results, by the process that was told of them. Pure."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], list[Any]] = {}

    def to_record(self) -> list[Any]:
        """Return plain values for `load`."""
        return [[waiter, pid, [bytes(part) for part in parts]] for (waiter, pid), parts in self._kept.items()]

    def load(self, record: Sequence[Any]) -> None:
        """Take what `to_record` gave."""
        self._kept = {(waiter, pid): list(parts) for waiter, pid, parts in record}

    def put(self, waiter: int, pid: int, frames: Sequence[Any]) -> Sequence[Any]:
        """Keep the result of a process for a waiter if it is large; return the frames to send at once."""
        if sum(map(len, frames)) <= AT_ONCE:
            return frames
        self._kept[waiter, pid] = list(frames[1:])
        return frames[:1]

    def count(self, waiter: int, pid: int) -> int:
        """Return how many parts wait."""
        return len(self._kept.get((waiter, pid), ()))

    def take(self, waiter: int, pid: int) -> Any:
        """Return the next part; with the last one, nothing is left.

        Raises:
            InvalidCall: there is none.
        """
        parts = self._kept.get((waiter, pid))
        if not parts:
            raise InvalidCall(f"there is no part of the result of process {pid} for process {waiter}")
        part = parts.pop(0)
        if not parts:
            del self._kept[waiter, pid]
        return part

    def drop(self, waiter: int, pid: int) -> None:
        """Drop a result that nobody wants any more."""
        self._kept.pop((waiter, pid), None)

    def gone(self, waiter: int) -> None:
        """Drop what an ended process has not fetched."""
        self._kept = {key: parts for key, parts in self._kept.items() if key[0] != waiter}
