"""A limit on the rate of forks, so that a fault cannot start a flood of processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from rackactor.errors import SpawnIntensityExceeded


class Intensity:
    """Count forks within a period, as OTP counts restarts."""

    def __init__(self, limit: int, period: float) -> None:
        self._limit = limit
        self._period = period
        self._forks: deque[tuple[float, int]] = deque()
        self._count = 0

    def to_record(self) -> list[Any]:
        """Return plain values for `load`."""
        return [list(fork) for fork in self._forks]

    def load(self, record: Sequence[Any]) -> None:
        """Take what `to_record` gave."""
        self._forks.extend((at, n) for at, n in record)
        self._count = sum(n for _, n in self._forks)

    def admit(self, n: int, now: float) -> None:
        """Count n forks, or refuse all of them.

        Raises:
            SpawnIntensityExceeded: it says how many there were, and which setting to change.
        """
        while self._forks and self._forks[0][0] <= now - self._period:
            self._count -= self._forks.popleft()[1]
        if self._count + n > self._limit:
            raise SpawnIntensityExceeded(
                f"{self._count + n} forks within {self._period:g} s, and the group allows {self._limit}:"
                " raise max_spawns= of the group, or fork more slowly"
            )
        self._forks.append((now, n))
        self._count += n
