"""What goes wrong, when: drawn from a seed, so that a run can be had again."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    #: Seconds after the one before.
    after: float
    kind: str
    #: Whom it hits: so far along the list of those that it can hit, from 0 to below 1.
    whom: float
    #: Seconds that it lasts, for those that end.
    lasts: float

    def target(self, among: Sequence[T]) -> T:
        """Return whom it hits."""
        return among[int(self.whom * len(among))]


def schedule(seed: str, kinds: Mapping[str, float], mean: float, longest: float) -> Iterator[Fault]:
    """Yield faults without end.

    Args:
        seed: the same seed gives the same faults.
        kinds: how often each kind comes, relative to the others.
        mean: seconds from one to the next, on average.
        longest: seconds that one lasts at the most.
    """
    chance = random.Random(seed)
    while True:
        kind = chance.choices(list(kinds), list(kinds.values()))[0]
        yield Fault(chance.expovariate(1 / mean), kind, chance.random(), chance.uniform(0.05, longest))
