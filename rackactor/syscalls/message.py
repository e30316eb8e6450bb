"""Messages as functions and scripts take them from their mailbox; actors have handlers instead."""

from __future__ import annotations

import time
from typing import Any

from rackactor.errors import ProtocolError, RackTimeout
from rackactor.kernel.kernel import Kernel
from rackactor.kernel.peers import Delivery
from rackactor.syscalls import mail
from rackactor.units import Timeout
from rackactor.wire.codec import MESSAGE
from rackactor.wire.stream import EntryKind


class Message:
    """A message taken from this process's mailbox by `receive`.

    Attributes:
        value: what was sent.
        sender: the pid it came from.
    """

    def __init__(self, kernel: Kernel, delivery: Delivery, value: Any) -> None:
        self._kernel = kernel
        self._rid = delivery.entry.rid if delivery.entry.kind is EntryKind.ASK else 0
        self.sender = delivery.pid
        self.value = value

    def reply(self, value: Any) -> None:
        """Answer the sender: the reply to its ask, or a message of its own if it did not ask.

        If the sender has ended meanwhile, the reply is a dead letter.
        """
        kind = EntryKind.REPLY if self._rid else EntryKind.TELL
        mail.post(self._kernel, self.sender, kind, value, self._rid)


def receive(kernel: Kernel, timeout: Timeout) -> Message:
    """Take the next message from this process's mailbox: see `Session.receive`."""
    seconds = kernel.bound(timeout)
    until = None if seconds is None else time.monotonic() + seconds
    item = kernel.take(seconds)
    while item is not None:
        try:
            value = kernel.open(item.entry.payload, MESSAGE, item.pid)
            return Message(kernel, item, value)
        except ProtocolError:  # it is no message
            item = kernel.take(None if until is None else max(0.0, until - time.monotonic()))
    kernel.check()
    raise RackTimeout(f"no message within {seconds:g} s" if seconds is not None else None)
