"""Whether the supervisor still answers: heartbeats, and the lease that runs out without an answer.

Over a network a silent supervisor may be cut off, so it is judged by how long ago it was last heard. On one host the
operating system tells of its end. Heartbeats are rare there, for each wakes an idle process, and what counts is for
how long one has not been answered.
"""

from __future__ import annotations

from collections.abc import Callable

from rackactor.kernel.uplink import Uplink
from rackactor.wire.frames import Kind


class Heartbeat:
    """See the module (used by the leader only).

    Args:
        uplink: to the supervisor.
        end: called with the reason when the lease has run out.
    """

    def __init__(self, uplink: Uplink, end: Callable[[str], None]) -> None:
        self._uplink = uplink
        self._end = end
        self._beat = self._lease = 0.0
        #: When the supervisor was last heard (monotonic).
        self.heard = 0.0
        self._told = 0.0  # when the last heartbeat left
        self._asked = 0.0  # when the first one left that has not been answered

    def begin(self, beat: float, lease: float, now: float) -> None:
        """Begin: the supervisor has just been heard.

        Args:
            beat: seconds between heartbeats.
            lease: seconds without the supervisor after which the group has ended for this agent.
            now: seconds, monotonic.
        """
        self._beat, self._lease = beat, lease
        self.heard = self._uplink.last_sent = now

    def due(self) -> float:
        """Return until when nothing has to be done."""
        due = self._beat + min(self._uplink.last_sent, max(self.heard, self._told))
        if self._asked > self.heard and self._asked + self._lease < due:
            return self._asked + self._lease
        return due

    def say(self, now: float) -> None:
        """Send a heartbeat."""
        self._told = now
        self._uplink.send(Kind.BEAT, (), [])

    def look(self, now: float, *, late: float, away: float, broken: bool) -> None:
        """Do what is due.

        Args:
            now: seconds, monotonic.
            late: seconds since it was due.
            away: seconds since the end of the last turn.
            broken: the connection to the supervisor has ended.
        """
        if not self._uplink.resumes:
            self._look_nearby(now, late)
            return
        if away > 2 * self._beat:
            self.heard += away  # it was we who were away: judge nobody by that
        if self._is_due(now):
            self.say(now)
            self._uplink.look(now, self.heard)
        elif broken:
            self._uplink.look(now, self.heard)
        self._judge(now - self.heard)

    def _look_nearby(self, now: float, late: float) -> None:
        unanswered = self._asked > self.heard
        if unanswered and late > self._lease / 4:
            self._asked = now  # it was we who were away: judge nobody by that
            self.say(now)
        elif self._is_due(now):
            if not unanswered:
                self._asked = now
            self.say(now)
        if self._asked > self.heard:
            self._judge(now - self._asked)

    def _is_due(self, now: float) -> bool:
        return now - self._uplink.last_sent >= self._beat or now - max(self.heard, self._told) >= self._beat

    def _judge(self, silent: float) -> None:
        if silent > self._lease:
            self._end(f"the supervisor has been silent for {silent:.1f} s")
