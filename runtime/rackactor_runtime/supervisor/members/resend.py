"""What the supervisor has sent to members over tcp, and may have to send again: see `rackactor.wire.resend`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rackactor.wire.resend import ResendBuffer

Frames = Sequence[Any]


class ResendBuffers:
    """The supervisor's ends of its connections; over ipc, which does not break, there are none."""

    def __init__(self) -> None:
        self._ends: dict[int, ResendBuffer] = {}

    def begin(self, pid: int) -> None:
        """Begin with a member that has just been welcomed."""
        self._ends[pid] = ResendBuffer()

    def end(self, pid: int) -> None:
        """Forget a member that is gone."""
        self._ends.pop(pid, None)

    def keep(self, pid: int, frames: Frames) -> None:
        """Keep what is sent to a member."""
        end = self._ends.get(pid)
        if end is not None:
            end.keep(frames, sum(map(len, frames)))

    def took(self, pid: int, frames: Frames) -> int | None:
        """Count a member's message; return the count if the member should be told now."""
        end = self._ends.get(pid)
        return end.tell() if end is not None and end.take(sum(map(len, frames))) else None

    def due(self, pid: int) -> int | None:
        """Return the count to tell a member along with another message, if it is due."""
        end = self._ends.get(pid)
        return end.tell() if end is not None and end.due else None

    def acknowledge(self, pid: int, count: int) -> None:
        """Note how many messages a member has received."""
        end = self._ends.get(pid)
        if end is not None:
            end.acknowledge(count)

    def resume(self, pid: int, count: int) -> tuple[int, list[Frames]] | None:
        """Return the count for a member that is back, and the messages to send again; None: it cannot be resumed."""
        end = self._ends.get(pid)
        missing = None if end is None else end.resend_from(count)
        return None if end is None or missing is None else (end.tell(), missing)
