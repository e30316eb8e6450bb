"""Spawn intensity: so that a fault cannot become a storm of processes."""

from __future__ import annotations

from collections import deque

from rackactor.errors import SpawnIntensityExceeded


class Intensity:
    """Count forks within a period, as OTP counts restarts."""

    def __init__(self, limit: int, period: float) -> None:
        self._limit = limit
        self._period = period
        self._forks: deque[tuple[float, int]] = deque()
        self._count = 0

    def admit(self, n: int, now: float) -> None:
        """Count n forks, or refuse all of them.

        Raises:
            SpawnIntensityExceeded: says how many there were, and what may be changed.
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
