"""How other parts of the supervisor speak to members, without knowing who carries the messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from rackactor.wire.schema import Event


class Post(Protocol):
    """Sends members their answers, and news. If a member is gone, nothing happens."""

    def reply(self, pid: int, rid: int, fields: dict[str, Any], blobs: Sequence[Any] = (), *, ok: bool = True) -> None:
        """Answer a member's call; `rid` 0: it waits for no answer, and gets none."""

    def notify(self, pid: int, event: Event, blobs: Sequence[Any] = ()) -> None:
        """Tell a member something that it has not asked for."""
