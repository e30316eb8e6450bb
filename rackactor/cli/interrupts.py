"""Ctrl-C: the first one sends INT, the second TERM, the third KILL."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from rackactor.kernel import interrupts

#: What the processes get for each.
SIGNALS = ("INT", "TERM", "KILL")


class Interrupts:
    """Count Ctrl-C while processes run; before and after that it is a KeyboardInterrupt as ever."""

    def __init__(self) -> None:
        self.count = 0
        self._notice: Callable[[], None] | None = None
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        self._before = signal.signal(signal.SIGINT, self._pressed)
        return self

    def __exit__(self, *_: object) -> None:
        self._notice = None
        signal.signal(signal.SIGINT, self._before)

    def notify(self, notice: Callable[[], None]) -> None:
        """From now on count, and call `notice` (in a signal handler) each time."""
        self._notice = notice

    def release(self) -> None:
        """From now on it is a KeyboardInterrupt again."""
        self._notice = None

    def _pressed(self, number: int, frame: FrameType | None) -> None:
        if self._notice is None:
            interrupts.guard(number, frame)
            return
        self.count += 1
        self._notice()
