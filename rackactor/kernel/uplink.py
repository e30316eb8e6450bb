"""The agent's end of its connection to the supervisor; over tcp it may break and be made anew.

A connection that breaks, or on which the supervisor has been silent for a few heartbeats, is closed, and another one
opened: TCP itself would wait longer and longer between its attempts. The first word on the new one is a RESUME;
the supervisor knows the agent by its key, and both say again what the other does not have (`rackactor.wire.resend`).
Until then nothing else is sent. Whether a process may live without its supervisor at all is for its lease to say.

On one host a connection ends with one of its ends, and not before: nothing of that is needed there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from rackactor.kernel.identity import Identity
from rackactor.kernel.transport.sockets import Sockets
from rackactor.wire.frames import SUPERVISOR, Header, Kind, pack_body, pack_route
from rackactor.wire.resend import ResendBuffer
from rackactor.wire.schema import Call

#: Heartbeats of silence after which another connection is tried.
SILENT_BEATS = 3
#: Seconds that an attempt has at least.
ATTEMPT = 1.5

_UNKEPT = frozenset({Kind.BEAT, Kind.RECEIVED, Kind.RESUME, Kind.JOIN})
_UNCOUNTED = frozenset({Kind.BEAT, Kind.RECEIVED, Kind.RESUME, Kind.REFUSED, Kind.WELCOME})


class Uplink:
    """See the module (used by the leader only).

    Args:
        sockets: those of this agent.
        identity: who speaks.
        end: called with the reason when the group has ended for this agent.
    """

    def __init__(self, sockets: Sockets, identity: Identity, end: Callable[[str], None]) -> None:
        self._sockets = sockets
        self._identity = identity
        self._end = end
        self._beat = 0.0
        self._kept: ResendBuffer | None = None
        self._attempt_ends = 0.0
        #: When something was sent last (monotonic).
        self.last_sent = 0.0
        #: A new connection has been opened, and the supervisor has not answered on it.
        self.resuming = False

    def begin_to_resume(self, beat: float) -> None:
        """Make the connection anew from now on when it breaks.

        Args:
            beat: seconds between heartbeats.
        """
        self._beat = beat
        self._kept = ResendBuffer()

    @property
    def resumes(self) -> bool:
        """Tell whether it is made anew when it breaks."""
        return self._kept is not None

    def send(self, kind: Kind, extra: tuple[Any, ...], bodies: Sequence[Any], pid: int = SUPERVISOR) -> None:
        """Send to the supervisor, or through it; now, or on the next connection."""
        if self._kept is not None:
            if kind not in _UNKEPT:
                self._kept.keep((kind, extra, bodies, pid), sum(map(len, bodies)))
            if self.resuming and kind is not Kind.RESUME:
                self.last_sent = time.monotonic()
                return
        self._say(kind, extra, bodies, pid)

    def request(self, call: Call) -> None:
        """Make a system call without wanting its result."""
        self.send(Kind.CALL, (0, call.op), [pack_body(call.to_wire())])

    def _say(self, kind: Kind, extra: tuple[Any, ...], bodies: Sequence[Any] = (), pid: int = SUPERVISOR) -> None:
        """Send on the connection there is."""
        self._sockets.send(self._sockets.supervisor, [pack_route(pid), self._identity.header(kind, extra), *bodies])
        self.last_sent = time.monotonic()

    def took(self, header: Header, frames: Sequence[Any]) -> bool:
        """Count a message of the supervisor's; True when it was about the connection itself."""
        if self._kept is None:
            return False
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
        assert self._kept is not None
        sockets = self._sockets
        if sockets.revoked:
            self._end("the supervisor does not know this process any more")
        elif sockets.broken or now - heard >= SILENT_BEATS * self._beat:
            if now >= self._attempt_ends:
                self._attempt_ends = now + max(2 * self._beat, ATTEMPT)
                self._redial(self._kept)
        elif self._kept.due and not self.resuming:
            self._tell()

    def _redial(self, kept: ResendBuffer) -> None:
        try:
            self._sockets.redial()
        except (zmq.ZMQError, OSError):
            return  # too many open files: there will be another attempt
        self.resuming = True
        self._say(Kind.RESUME, (kept.tell(),))

    def _tell(self) -> None:
        assert self._kept is not None
        self._say(Kind.RECEIVED, (self._kept.tell(),))

    def _resume(self, count: int) -> None:
        if not self.resuming:
            return
        assert self._kept is not None
        self.resuming = False
        missing = self._kept.resend_from(count)
        if missing is None:
            self._end("the connection to the supervisor broke with too much under way to go on")
            return
        for kind, extra, bodies, pid in missing:
            self._say(kind, extra, bodies, pid)
