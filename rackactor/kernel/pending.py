"""An answer that is awaited: of a system call, or to an ask."""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

_NUMBERS = struct.Struct("<64Q")


class Numbers:
    """Numbers that nobody can guess, from 1 to 2**62 - 1. Thread-safe.

    Whoever knows the number of an ask may answer it: the process that was asked, or one that it has passed the address
    of the sender to.
    """

    def __init__(self) -> None:
        self._ready: deque[int] = deque()

    def take(self) -> int:
        """Return one."""
        while True:
            try:
                return self._ready.pop()
            except IndexError:
                self._ready.extend(number >> 2 | 1 for number in _NUMBERS.unpack(os.urandom(_NUMBERS.size)))


class Pending:
    """An answer that is awaited."""

    __slots__ = ("blobs", "callback", "done", "error", "pid", "value")

    def __init__(self, pid: int = 0, callback: Callable[[Pending], None] | None = None) -> None:
        self.done = False
        self.value: Any = None
        self.blobs: Sequence[Any] = ()
        self.error: BaseException | None = None
        self.pid = pid
        self.callback = callback

    def get(self) -> Any:
        """Return the value or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value
