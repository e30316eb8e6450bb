"""Who an agent is on the wire: what stands in the header of each of its messages."""

from __future__ import annotations

import itertools
from typing import Any

from rackactor.kernel.transport.sockets import Keys
from rackactor.wire.frames import Header, Kind


class Identity:
    """See the module. Known when the agent has joined."""

    def __init__(self) -> None:
        self.pid = 0
        self.incarnation = 0
        #: Which life of the supervisor it belongs to.
        self.epoch = 0
        #: Its CURVE keys; None on one host.
        self.keys: Keys | None = None
        self._numbers = itertools.count(1)

    def header(self, kind: Kind, extra: tuple[Any, ...]) -> bytes:
        """Return the header of the next message."""
        return Header(kind, self.epoch, self.pid, self.incarnation, next(self._numbers), extra).pack()

    def greeting(self, kind: Kind) -> bytes:
        """Return the header of a message that is about a connection, and is not counted."""
        return Header(kind, self.epoch, self.pid, self.incarnation, 0).pack()
