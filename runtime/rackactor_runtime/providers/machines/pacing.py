"""When a cloud may be asked for another machine: one pace for all creates of a provider.

More requests do not help an overloaded cloud. So creates come at a limited rate. A cloud that says it gets too many
requests gets none for as long as it says. A cloud without clear answers gets none for a while either, and then one
before it gets all. Nothing is given up here: what waits, waits.

Events go in, decisions come out; time is an argument. So this is the same for every cloud.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Hashable

#: Creates a second in the long run, and how many may come at once after a pause.
RATE, BURST = 5.0, 10
#: Creates without a clear answer, in a row, after which there is a pause; or so many of so many.
IN_A_ROW, OF_LAST, SAMPLE = 5, 0.5, 20
#: Seconds of that pause: at first, and at most.
REST, LONGEST_REST = 30.0, 600.0
#: Seconds to wait for a cloud that gets too many requests and does not say for how long: at first, and at most.
BUSY, LONGEST_BUSY = 2.0, 60.0
#: The slowest rate, and how a rate grows again with each machine that the cloud has made.
SLOWEST, GROWTH = 0.2, 0.25


class Pace:
    """The pace of one provider's creates.

    Args:
        jitter: a number from 0 to 1, by which pauses are stretched a little, so that many groups do not come at once.

    Attributes:
        troubled: since when no create has had a clear answer; None: the last one had.
        words: the cloud's message on that.
    """

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._rate = RATE
        self._tokens = float(BURST)
        self._counted = -math.inf
        self._began: dict[Hashable, float] = {}
        self._last: deque[bool] = deque(maxlen=SAMPLE)
        self._row = 0
        #: For all calls: as the cloud has asked. For creates only: because of unclear answers.
        self._free_at = self._rest_until = -math.inf
        self._busy = BUSY
        self._busy_at = -math.inf
        self._rest = 0.0
        self._probe: Hashable | None = None
        self.troubled: float | None = None
        self.words = ""

    @property
    def free_at(self) -> float:
        """Return when any call may be made again, by the cloud's own request."""
        return self._free_at

    @property
    def resting(self) -> bool:
        """Tell whether there is a pause because of unclear answers."""
        return self._rest > 0.0

    def due(self, now: float) -> float:
        """Return when the next create may be made; infinite: not before the one under way has been answered."""
        if self._rest and self._probe is not None:
            return math.inf
        self._count(now)
        tokens = now if self._tokens > 1.0 - 1e-9 else now + (1.0 - self._tokens) / self._rate
        return max(tokens, self._free_at, self._rest_until)

    def begin(self, key: Hashable, now: float) -> bool:
        """Begin a create, if that is allowed now."""
        if now < self.due(now):
            return False
        self._tokens -= 1.0
        self._began[key] = now
        if self._rest:
            self._probe = key
        return True

    def made(self, key: Hashable, now: float) -> None:
        """Note that the cloud has made a machine, or has clearly refused to: it works."""
        self._over(key, fault=False)
        self._busy = BUSY
        self._rate = min(RATE, self._rate + GROWTH)
        self.troubled, self.words = None, ""

    def unclear(self, key: Hashable, words: str, now: float) -> None:
        """Note that a create had no clear answer."""
        probed = self._over(key, fault=True)
        self._trouble(words, now)
        if probed:
            self._rest = min(2.0 * self._rest, LONGEST_REST)
        elif self._rest:
            return  # it was begun before the pause
        elif self._row >= IN_A_ROW or (len(self._last) == SAMPLE and sum(self._last) > OF_LAST * SAMPLE):
            self._rest = REST
        else:
            return
        self._rate = max(SLOWEST, self._rate / 2)
        self._rest_until = now + self._rest * (1.0 + 0.2 * self._jitter())

    def called_off(self, key: Hashable) -> None:
        """Note that a create was not requested after all."""
        self._began.pop(key, None)
        if self._probe == key:
            self._probe = None

    def busy(self, key: Hashable | None, after: float | None, words: str, now: float) -> None:
        """Note that the cloud gets too many requests, by a create (`key`) or another call, and for how long."""
        began = now if key is None else self._began.pop(key, now)
        if key is not None:
            if self._probe == key:
                self._probe = None
            self._trouble(words, now)
        if after is None:
            if began < self._busy_at or (key is None and now < self._free_at):
                return  # of the same burst as the last one
            after = self._busy * (1.0 + 0.2 * self._jitter())
            self._busy = min(2.0 * self._busy, LONGEST_BUSY)
        self._busy_at = now
        self._rate = max(SLOWEST, self._rate / 2) if began >= self._free_at else self._rate
        self._free_at = max(self._free_at, now + after)

    def _trouble(self, words: str, now: float) -> None:
        if self.troubled is None:
            self.troubled = now
        self.words = words

    def _over(self, key: Hashable, *, fault: bool) -> bool:
        """Count an answered create; tell whether it was the one that tested the cloud."""
        self._began.pop(key, None)
        self._last.append(fault)
        self._row = self._row + 1 if fault else 0
        probed, self._probe = self._probe == key, None if self._probe == key else self._probe
        if probed and not fault:
            self._rest, self._rest_until = 0.0, -math.inf
            self._last.clear()
        return probed

    def _count(self, now: float) -> None:
        if self._counted > -math.inf:
            self._tokens = min(float(BURST), self._tokens + (now - self._counted) * self._rate)
        self._counted = now
