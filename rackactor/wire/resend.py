"""What one end of a connection between an agent and its supervisor has sent, and may have to send again.

A TCP connection that breaks loses what was under way, and ZeroMQ silently makes another one. Over tcp each end
therefore keeps what it sends until the other has it, and counts what it receives. When the agent comes back
on a new connection, the two exchange their counts and send again what is missing, in order: nothing
is lost and nothing comes twice. Messages carry no numbers, since a connection drops none in the middle.
"""

from __future__ import annotations

from collections import deque
from typing import Any

#: How many messages, and bytes, are received before the sender is told that it need not keep them any longer.
ACK_MESSAGES, ACK_BYTES = 128, 256 << 10
#: Most bytes that are kept; an end that falls further behind cannot come back after a break.
LIMIT = 256 << 20
#: Cost of a message beside its frames, bytes.
_OVERHEAD = 128


class ResendBuffer:
    """One end: what it has sent, and how much it has received."""

    def __init__(self) -> None:
        self._sent: deque[tuple[int, Any]] = deque()  # (cost, message)
        self._acknowledged = 0
        self._bytes = 0
        self._got_bytes = 0
        self._told = 0
        #: Messages received so far.
        self.got = 0

    def keep(self, message: Any, size: int) -> None:
        """Keep a message that is sent now."""
        cost = size + _OVERHEAD
        self._sent.append((cost, message))
        self._bytes += cost
        while self._bytes > LIMIT and len(self._sent) > 1:
            self._forget()

    def take(self, size: int) -> bool:
        """Count a message that has come; tell whether the sender should be told now."""
        self.got += 1
        self._got_bytes += size + _OVERHEAD
        return self.got - self._told >= ACK_MESSAGES or self._got_bytes >= ACK_BYTES

    @property
    def due(self) -> bool:
        """Tell whether the sender does not know the latest count yet (no hurry)."""
        return self._told != self.got

    def tell(self) -> int:
        """Return the count, to tell the sender."""
        self._told, self._got_bytes = self.got, 0
        return self.got

    def acknowledge(self, count: int) -> None:
        """Note how many messages the other end has received."""
        while self._sent and self._acknowledged < count:
            self._forget()

    def resend_from(self, count: int) -> list[Any] | None:
        """Return what to send again to an end that has received so many; None: some of it is no longer kept."""
        self.acknowledge(count)
        if self._acknowledged != count:
            return None
        return [message for _, message in self._sent]

    def _forget(self) -> None:
        self._bytes -= self._sent.popleft()[0]
        self._acknowledged += 1
