"""The supervisor's clock, handed to all parts that look at the time, so that a test can turn it by hand."""

from __future__ import annotations

import time
from collections.abc import Callable

from rackactor.records import dataclass


@dataclass(frozen=True)
class Clock:
    """Tells the time."""

    #: Seconds since some moment; never goes back.
    now: Callable[[], float] = time.monotonic
    #: Seconds since the epoch, for people to read.
    wall: Callable[[], float] = time.time
