"""Whole lines of several processes on one output.

What a process prints comes in pieces that may end anywhere. Shown as they come, the lines of several would mix.
"""

from __future__ import annotations

from collections.abc import Iterator

#: How long the beginning of a line may wait for its end, seconds: a prompt must be seen.
PATIENCE = 0.2
#: A line that does not end is shown in pieces of this size, bytes.
LONGEST = 64 << 10


class Lines:
    """Hold back the beginnings of lines."""

    def __init__(self) -> None:
        self._begun: dict[tuple[int, int], bytes] = {}

    @property
    def waiting(self) -> bool:
        """Tell whether something is held back."""
        return bool(self._begun)

    def take(self, pid: int, stream: int, data: bytes) -> bytes:
        """Take what a process has printed; return what may be shown of it now."""
        data = self._begun.pop((pid, stream), b"") + data
        end = data.rfind(b"\n") + 1
        if end == len(data) or len(data) - end >= LONGEST:
            return data
        self._begun[pid, stream] = data[end:]
        return data[:end]

    def rest(self, pid: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Yield (stream, data) of what is held back (of one process, or of all), and forget it."""
        for who in [who for who in self._begun if pid in (None, who[0])]:
            yield who[1], self._begun.pop(who)
