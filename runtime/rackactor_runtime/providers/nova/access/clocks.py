"""The cloud's time, by the `Date` of its services' answers.

A group's things say when it was made and when it ends, and `gc` compares that with the time. The clocks of two
hosts may differ, but both talk to the same cloud. So the cloud's clock counts, wherever it is known.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

#: Seconds by which clocks may differ without a warning: nothing here depends on a more exact time.
TOLERANCE = 30.0


class CloudClock:
    """A cloud's time, by its answers. Thread-safe.

    Args:
        wall: our own clock, seconds since the epoch.
    """

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._lock = threading.Lock()  # answers come to several threads
        self._offsets: tuple[float, float] | None = None  # that of the first answer, and the least

    def note(self, date: str | None, took: float = 0.0) -> None:
        """Process an answer that has just come.

        Args:
            date: its `Date` header (RFC 9110, 6.6.1), None if it has none.
            took: seconds since its request.
        """
        try:
            told = parsedate_to_datetime(date or "").timestamp()
        except (ValueError, TypeError, OverflowError):
            return
        offset = told + 0.5 - (self._wall() - took / 2)  # a date has whole seconds
        with self._lock:
            first, least = self._offsets or (offset, offset)
            self._offsets = first, min(least, offset)

    @property
    def skew(self) -> float:
        """Return how many seconds the cloud's clock is ahead of ours, by its first answer; 0.0 if that had no date."""
        return self._offsets[0] if self._offsets else 0.0

    def now(self) -> float:
        """Return the time, seconds since the epoch: the cloud's, or ours when its answers have no date."""
        return self._wall() + self.skew

    def earliest(self) -> float:
        """Return the time by the slowest clock of all services that answered: by it nothing ends too early."""
        return self._wall() + (self._offsets[1] if self._offsets else 0.0)

    def warning(self) -> str:
        """Return a warning if clocks differ, "" otherwise."""
        if abs(self.skew) <= TOLERANCE:
            return ""
        side = "behind" if self.skew > 0 else "ahead of"
        return (
            f"this host's clock is {_span(abs(self.skew))} {side} the cloud's. Deadlines go by the cloud's; set this"
            " host's clock (`timedatectl`), or logins and certificates may fail"
        )


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
