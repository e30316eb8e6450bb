"""Whether a poll may stay awake for a moment before it sleeps.

In the middle of a conversation that halves a round trip: a wake-up takes about as long as many an answer does. But
whoever stays awake offers the processor to others all the while, and where others are busy, one of them takes it for
milliseconds. Whoever sleeps instead is woken, and served, at once. So staying awake has to pay: what was in vain costs
the next ones, and what has cost us the processor costs many.
"""

from __future__ import annotations

#: Seconds that a poll stays awake at the most.
WAKEFUL = 0.0001
#: One that took longer, seconds, has lost the processor to somebody else for a while.
_LOST = 0.0005
#: Seconds without another try after one that lost the processor; doubled from one to the next.
_REST, _LONGEST_REST = 0.05, 2.0
#: The same after one that was in vain, but cost nothing.
_NAP, _LONGEST_NAP = 0.0002, 0.02
#: By what each success makes the next rest shorter.
_FORGIVEN = 0.99


class Wakefulness:
    """What staying awake has brought so far. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        #: When the next try may be made.
        self.again = 0.0
        self._rest = self._nap = 0.0

    def ended(self, began: float, now: float, found: bool) -> None:
        """Take note of a try: when it began, that it has ended now, and whether something came meanwhile."""
        if now - began > _LOST:
            self._rest = min(max(_REST, 2 * self._rest), _LONGEST_REST)
            self.again = now + self._rest
        elif found:
            self._rest *= _FORGIVEN
            self._nap = 0.0
        else:
            self._nap = min(max(_NAP, 2 * self._nap), _LONGEST_NAP)
            self.again = now + self._nap
