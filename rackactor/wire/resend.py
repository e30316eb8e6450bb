"""What one end of a connection between an agent and its supervisor has said and may have to say again.

A TCP connection that breaks swallows what was under way, and ZeroMQ makes another without a word. Over tcp each end
therefore keeps what it sends until the other has it, and counts what it gets. When the agent comes back
on a new connection the two tell each other their counts, and what is missing goes again, in its order: nothing
is lost and nothing comes twice. No numbers travel with the messages: a connection drops none in the middle.
"""

from __future__ import annotations

from collections import deque
from typing import Any

#: Messages, and bytes, after which the sender is told that it need not keep them any longer.
ACK_MESSAGES, ACK_BYTES = 128, 256 << 10
#: Bytes kept at the most; an end that falls behind further cannot come back after a break.
LIMIT = 256 << 20
#: What a message costs beside its frames, bytes.
_OVERHEAD = 128


class ResendBuffer:
    """One end: what it has sent, and how much it has got."""

    def __init__(self) -> None:
        self._sent: deque[tuple[int, Any]] = deque()  # (cost, message)
        self._acknowledged = 0
        self._bytes = 0
        self._got_bytes = 0
        self._told = 0
        #: Messages got so far.
        self.got = 0

    def keep(self, message: Any, size: int) -> None:
        """Keep a message that is sent now."""
        cost = size + _OVERHEAD
        self._sent.append((cost, message))
        self._bytes += cost
        while self._bytes > LIMIT and len(self._sent) > 1:
            self._forget()

    def take(self, size: int) -> bool:
        """Count a message that has come; tell whether the sender should hear of it now."""
        self.got += 1
        self._got_bytes += size + _OVERHEAD
        return self.got - self._told >= ACK_MESSAGES or self._got_bytes >= ACK_BYTES

    @property
    def due(self) -> bool:
        """Tell whether the sender does not know yet how much has come (no hurry)."""
        return self._told != self.got

    def tell(self) -> int:
        """Return how much has come, to tell the sender."""
        self._told, self._got_bytes = self.got, 0
        return self.got

    def acknowledge(self, count: int) -> None:
        """Learn how many messages the other end has got."""
        while self._sent and self._acknowledged < count:
            self._forget()

    def resend_from(self, count: int) -> list[Any] | None:
        """Return what to say again to an end that has got so many; None: it is not all there any more."""
        self.acknowledge(count)
        if self._acknowledged != count:
            return None
        return [message for _, message in self._sent]

    def _forget(self) -> None:
        self._bytes -= self._sent.popleft()[0]
        self._acknowledged += 1
