"""An answer that is awaited: of a system call, or to an ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


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
