"""An actor of the tests of handlers, and their bound."""

from __future__ import annotations

from typing import Any

import rackactor as rack

ENOUGH = 30.0


class Counter(rack.Actor):
    """Count calls."""

    def __init__(self) -> None:
        self.calls = 0

    def receiveMsg_int(self, message: int, sender: Any) -> None:
        self.send(sender, message + self.calls)

    def receiveMsg_str(self, message: str, sender: Any) -> None:
        self.calls += 1
        raise ValueError(message)
