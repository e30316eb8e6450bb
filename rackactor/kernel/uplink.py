"""The agent's end of the connection to its supervisor over tcp, which may break and be made anew.

A connection that breaks, or on which the supervisor has been silent for a few heartbeats, is closed, and another one
opened: TCP itself would wait longer and longer between its attempts. The first word on the new one is a RESUME;
the supervisor knows the agent by its key, and both say again what the other does not have (see
`rackactor.wire.resend`). Until then nothing else is sent. Whether a process may live without its supervisor at all is
for its lease to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import zmq

from rackactor.wire.frames import Header, Kind
from rackactor.wire.resend import Kept

if TYPE_CHECKING:
    from rackactor.kernel.event_loop import Exchange

#: Heartbeats of silence after which another connection is tried.
SILENT_BEATS = 3
#: Seconds that an attempt has at least.
ATTEMPT = 1.5

_UNKEPT = frozenset({Kind.BEAT, Kind.RECEIVED, Kind.RESUME, Kind.JOIN})
_UNCOUNTED = frozenset({Kind.BEAT, Kind.RECEIVED, Kind.RESUME, Kind.REFUSED, Kind.WELCOME})


class Lifeline:
    """See the module (used by the holder of the baton only).

    Args:
        exchange: whose it is.
        beat: seconds between heartbeats.
    """

    def __init__(self, exchange: Exchange, beat: float) -> None:
        self._exchange = exchange
        self._beat = beat
        self._kept = Kept()
        self._attempt_ends = 0.0
        #: A new connection has been opened, and the supervisor has not answered on it.
        self.resuming = False

    def send(self, kind: Kind, extra: tuple[Any, ...], bodies: Sequence[Any], pid: int) -> bool:
        """Keep a message; tell whether it is to be sent now."""
        if kind not in _UNKEPT:
            self._kept.keep((kind, extra, bodies, pid), sum(map(len, bodies)))
        return not self.resuming or kind is Kind.RESUME

    def took(self, header: Header, frames: Sequence[Any]) -> bool:
        """Count a message of the supervisor's; True when it was about the connection itself."""
        if header.kind not in _UNCOUNTED:
            if self._kept.take(sum(map(len, frames))):
                self._tell()
            return False
        if header.kind is Kind.RECEIVED:
            self._kept.acknowledge(header.extra[0])
        elif header.kind is Kind.RESUME:
            self._resume(header.extra[0])
        else:
            return False
        return True

    def look(self, now: float, heard: float) -> None:
        """Do what is due at a heartbeat, or when the connection has broken.

        Args:
            now: seconds, monotonic.
            heard: when the supervisor was last heard.
        """
        link = self._exchange.link
        if link.revoked:
            self._exchange.end("the supervisor does not know this process any more")
        elif link.broken or now - heard >= SILENT_BEATS * self._beat:
            if now >= self._attempt_ends:
                self._attempt_ends = now + max(2 * self._beat, ATTEMPT)
                self._redial()
        elif self._kept.due and not self.resuming:
            self._tell()

    def _redial(self) -> None:
        try:
            self._exchange.link.redial()
        except (zmq.ZMQError, OSError):
            return  # too many open files: there will be another attempt
        self.resuming = True
        self._exchange.say(Kind.RESUME, (self._kept.tell(),))

    def _tell(self) -> None:
        self._exchange.say(Kind.RECEIVED, (self._kept.tell(),))

    def _resume(self, count: int) -> None:
        if not self.resuming:
            return
        self.resuming = False
        missing = self._kept.again(count)
        if missing is None:
            self._exchange.end("the connection to the supervisor broke with too much under way to go on")
            return
        for kind, extra, bodies, pid in missing:
            self._exchange.say(kind, extra, bodies, pid)
