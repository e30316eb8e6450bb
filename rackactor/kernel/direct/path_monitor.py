"""When to give a direct connection up, and when to ask for another: decisions without a socket or a clock.

A network that is cut tells nobody. What is sent vanishes, and TCP waits for a quarter of an hour. So over tcp each
process watches its direct paths. A path is in one of these states:

- quiet: nothing is unacknowledged, and we do not wait for credit; it is not looked at
- watched (`since`): something is under way; looked at every `LOOK` seconds, and any news begins the wait anew
- asked (`asked`): no news for `ASK_AFTER`; the other one has been asked how far it is, by a BEAT on the path
- dark: no news since, for `DARK_AFTER` and as long as the `SLOWEST` network needs for what is under way; given up

News is that more was acknowledged. Where everything is acknowledged and only credit is awaited, it is any word.

After that, messages go through the supervisor (`retry`): another introduction may be asked for after `FIRST_RETRY`
seconds, doubled each time up to `LAST_RETRY`. A path that held for `STABLE` seconds begins anew.

A connection that does not come up within `MEET_WITHIN` is dropped (`Step.DROP`); what uses another path is not touched.

Both ends decide for themselves, but acknowledgements on a dark path are lost as well: a process that only receives
would never find out. So who gives up says so through the supervisor.

A process that holds Python's lock for long looks like a cut network. It loses no more than its direct path for a while.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from rackactor.records import dataclass
from rackactor.wire.stream import Standing

#: Seconds without news after which the other is asked how far it is.
ASK_AFTER = 0.5
#: Seconds from that question until the path is dark.
DARK_AFTER = 1.0
#: Bytes a second that the slowest network worth a direct path carries: what is large may take its time.
SLOWEST = 4 << 20
#: Seconds that a connection may take to come up.
MEET_WITHIN = 5.0
#: Seconds until the next introduction is asked for after one has failed; doubled each time.
FIRST_RETRY = 10.0
#: The most it is doubled to.
LAST_RETRY = 300.0
#: A path that has held this long begins anew with `FIRST_RETRY`, seconds.
STABLE = 60.0
#: Seconds between two looks at a path on which something is under way.
LOOK = 0.25


class Step(Enum):
    """What is to be done about a peer."""

    #: Ask it, on the direct path, how far it is.
    ASK = "ask"
    #: Give up every direct connection to it.
    GIVE_UP = "give up"
    #: Close a connection that has not come up.
    DROP = "drop"
    #: Ask for an introduction again when there is something to send.
    RETRY = "retry"


class Action(NamedTuple):
    """A step, and whom (for a `DROP`: which introduction) it is about."""

    step: Step
    pid: int
    number: int = 0


@dataclass(slots=True)
class _Path:
    """What is known of the way to one peer."""

    taken: float | None = None
    #: Since when there has been no news of what is under way; None: nothing is.
    since: float | None = None
    first: int = 0
    told: int = 0
    asked: float | None = None
    delay: float = 0.0
    retry: float | None = None


class Paths:
    """The direct paths of one agent; every time is in seconds, monotonic."""

    def __init__(self) -> None:
        self._paths: dict[int, _Path] = {}
        self._meeting: dict[tuple[int, int], float] = {}  # until when, by pid and the introduction's number
        #: When `tick` is to be called next.
        self.due = math.inf

    def asked(self, pid: int, now: float) -> None:
        """Take note that an introduction has been asked for."""
        self._retry_later(self._get(pid), now)

    def met(self, pid: int, number: int, now: float) -> None:
        """Take note that a connection has been begun."""
        self._meeting[pid, number] = now + MEET_WITHIN
        self._call_at(now + MEET_WITHIN)

    def taken(self, pid: int, number: int, now: float) -> None:
        """Take note that messages go on a direct path from now on."""
        self._meeting.pop((pid, number), None)
        path = self._get(pid)
        path.taken, path.retry = now, None
        path.delay = max(FIRST_RETRY, path.delay / 2)
        self.sent(pid, now)  # what went another way before may be under way still

    def sent(self, pid: int, now: float) -> None:
        """Take note that a message has been sent on a direct path."""
        path = self._get(pid)
        if path.since is None and path.taken is not None:
            path.since = now
            path.asked = None
            path.first = -1
            self._call_at(now + LOOK)

    def over(self, pid: int, now: float) -> None:
        """Take note that messages go through the supervisor again."""
        path = self._get(pid)
        if path.taken is None:
            return
        if now - path.taken >= STABLE:
            path.delay = FIRST_RETRY
        path.taken = path.since = None
        self._retry_later(path, now)

    def forget(self, pid: int) -> None:
        """Forget a peer that is gone."""
        self._paths.pop(pid, None)
        self._meeting = {pair: until for pair, until in self._meeting.items() if pair[0] != pid}

    def tick(self, now: float, standing: Callable[[int], Standing]) -> list[Action]:
        """Return what is to be done now; sets `due`."""
        self.due = math.inf
        actions = []
        for (pid, number), until in list(self._meeting.items()):
            if now >= until:
                del self._meeting[pid, number]
                actions.append(Action(Step.DROP, pid, number))
            else:
                self._call_at(until)
        for pid, path in self._paths.items():
            if path.retry is not None:
                if now >= path.retry:
                    path.retry = None
                    actions.append(Action(Step.RETRY, pid))
                else:
                    self._call_at(path.retry)
            if path.since is not None:
                step = self._look(path, now, standing(pid))
                if step is not None:
                    actions.append(Action(step, pid))
                if path.since is not None:
                    self._call_at(now + LOOK)
        return actions

    def _look(self, path: _Path, now: float, stands: Standing) -> Step | None:
        assert path.since is not None
        if not stands.unacknowledged and not stands.blocked:
            path.since = None
            return None
        # With everything acknowledged, any word of the receiver's will do; else it must be that it has more.
        news = stands.first != path.first if stands.unacknowledged else stands.told != path.told
        if news:
            path.since, path.asked = now, None
            path.first, path.told = stands.first, stands.told
        elif path.asked is None:
            if now - path.since >= ASK_AFTER:
                path.asked, path.told = now, stands.told
                return Step.ASK
        elif now - path.asked >= DARK_AFTER + stands.unacknowledged / SLOWEST:
            path.since = None
            return Step.GIVE_UP
        return None

    def _get(self, pid: int) -> _Path:
        path = self._paths.get(pid)
        if path is None:
            path = self._paths[pid] = _Path()
        return path

    def _retry_later(self, path: _Path, now: float) -> None:
        delay = max(path.delay, FIRST_RETRY)
        path.retry = now + delay
        path.delay = min(2 * delay, LAST_RETRY)
        self._call_at(path.retry)

    def _call_at(self, when: float) -> None:
        if when < self.due:
            self.due = when
