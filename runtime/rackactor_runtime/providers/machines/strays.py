"""Machines of the group that no life claims: what a cloud has built late, or twice.

A create whose answer was lost may be carried out minutes later, when nobody waits for it any more. Its machine carries
a mark of ours, boots, is not let in (its token has been used, or its process is over), and is billed. So whatever a
list shows beyond the lives is asked to be deleted, when a second list shows it, too; and lists go on being made for as
long as such a machine may still come: that is what the group *owes*.

Events go in, effects come out; time comes in as an argument.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from rackactor_runtime.providers.machines.effects import Discard, Seen

#: Seconds after a create was given up that the cloud may still carry it out: requests wait in its queues.
DEBT = 900.0
#: Seconds between lists: while there is a stray, and while one may come.
LIST_STRAY, LIST_OWING = 1.0, 15.0
#: Lists that must show a machine before it is a stray, and seconds between the first and the last of them.
LOOKS, APART = 2, 0.8
#: Seconds between deletes of one stray; the last one goes on.
PAUSES = (3.0, 6.0, 12.0, 24.0, 45.0)


@dataclass
class _Stray:
    seen: Seen
    since: float
    looks: int = 1
    #: How often it was asked to be deleted; when it is next; whether that is under way.
    asked: int = 0
    ask_at: float = 0.0
    asking: bool = False


class Strays:
    """What a group has in its cloud beyond its lives."""

    def __init__(self) -> None:
        self._strays: dict[str, _Stray] = {}
        self._owed: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._strays)

    def owe(self, mark: str, until: float) -> None:
        """Learn that a machine of a mark may still come, until when."""
        self._owed[mark] = max(until, self._owed.get(mark, -math.inf))

    def owing(self, now: float) -> bool:
        """Tell whether any machine may still come."""
        for mark in [mark for mark, until in self._owed.items() if until <= now]:
            del self._owed[mark]
        return bool(self._owed)

    def listed(self, unclaimed: Iterable[Seen], now: float) -> list[Discard]:
        """Learn what a list has that no life claims; return what is to be deleted."""
        before, self._strays = self._strays, {}
        for seen in unclaimed:
            stray = before.pop(seen.instance, None)
            if stray is None:
                self._strays[seen.instance] = _Stray(seen, now)
                continue
            stray.looks += 1
            self._strays[seen.instance] = stray
        # What is being deleted stays known until its delete has been answered.
        self._strays |= {name: stray for name, stray in before.items() if stray.asking}
        return self.tick(now)

    def tick(self, now: float) -> list[Discard]:
        """Return what is to be deleted by now."""
        found = []
        for name, stray in self._strays.items():
            sure = stray.looks >= LOOKS and now - stray.since >= APART
            if sure and not stray.asking and now >= stray.ask_at:
                stray.asking = True
                stray.asked += 1
                found.append(Discard(stray.seen.mark, name))
        return found

    def discarded(self, instance: str, now: float) -> None:
        """Learn that a delete was answered, whatever it said: a list will show what came of it."""
        stray = self._strays.get(instance)
        if stray is not None:
            stray.asking = False
            stray.ask_at = now + PAUSES[min(stray.asked, len(PAUSES)) - 1]

    def list_due(self, ended: float, now: float) -> float:
        """Return when the next list is due, given when the last one ended; infinite: for strays none is needed."""
        if self._strays:
            return ended + LIST_STRAY
        return ended + LIST_OWING if self.owing(now) else math.inf
