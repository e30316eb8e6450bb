"""Machines of the group that belong to no life: the cloud made them late, or twice.

A create whose answer was lost may be carried out minutes later, when nobody waits for it any more. Its machine has one
of our marks, boots, cannot join (its token was used, or its process is over), and costs money. So a listed machine that
belongs to no life is deleted when a second list shows it, too. Lists go on being made for as long as such a machine may
still appear: until then the group *owes* it.

Events go in, effects come out; time is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from rackactor.records import dataclass
from rackactor_runtime.providers.machines.effects import Discard, Seen

#: Seconds for which the cloud may still carry out a create that was given up: requests wait in its queues.
DEBT = 900.0
#: Seconds between lists: while there is a stray, and while one may appear.
LIST_STRAY, LIST_OWING = 1.0, 15.0
#: How many lists must show a machine before it is a stray, and seconds between the first and the last of them.
LOOKS, APART = 2, 0.8
#: Seconds between deletes of one stray; the last value is repeated.
PAUSES = (3.0, 6.0, 12.0, 24.0, 45.0)


@dataclass
class _Stray:
    seen: Seen
    since: float
    looks: int = 1
    #: How often its delete was requested; when the next one is due; whether one is under way.
    asked: int = 0
    ask_at: float = 0.0
    asking: bool = False


class Strays:
    """What a group has in its cloud beside its lives."""

    def __init__(self) -> None:
        self._strays: dict[str, _Stray] = {}
        self._owed: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._strays)

    def owe(self, mark: str, until: float) -> None:
        """Note until when a machine with this mark may still appear."""
        self._owed[mark] = max(until, self._owed.get(mark, -math.inf))

    def owing(self, now: float) -> bool:
        """Tell whether any machine may still appear."""
        for mark in [mark for mark, until in self._owed.items() if until <= now]:
            del self._owed[mark]
        return bool(self._owed)

    def listed(self, unclaimed: Iterable[Seen], now: float) -> list[Discard]:
        """Process the machines of a list that belong to no life; return those to be deleted."""
        before, self._strays = self._strays, {}
        for seen in unclaimed:
            stray = before.pop(seen.instance, None)
            if stray is None:
                self._strays[seen.instance] = _Stray(seen, now)
                continue
            stray.looks += 1
            self._strays[seen.instance] = stray
        # A machine that is being deleted stays known until its delete has been answered.
        self._strays |= {name: stray for name, stray in before.items() if stray.asking}
        return self.tick(now)

    def tick(self, now: float) -> list[Discard]:
        """Return what is to be deleted now."""
        found = []
        for name, stray in self._strays.items():
            sure = stray.looks >= LOOKS and now - stray.since >= APART
            if sure and not stray.asking and now >= stray.ask_at:
                stray.asking = True
                stray.asked += 1
                found.append(Discard(stray.seen.mark, name))
        return found

    def discarded(self, instance: str, now: float) -> None:
        """Note that a delete was answered, whatever the answer was: a list will show the result."""
        stray = self._strays.get(instance)
        if stray is not None:
            stray.asking = False
            stray.ask_at = now + PAUSES[min(stray.asked, len(PAUSES)) - 1]

    def list_due(self, ended: float, now: float) -> float:
        """Return when the next list is due, given the end of the last one; infinite: strays need none."""
        if self._strays:
            return ended + LIST_STRAY
        return ended + LIST_OWING if self.owing(now) else math.inf
