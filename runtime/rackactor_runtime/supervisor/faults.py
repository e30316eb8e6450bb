"""Errors of the operating system in the supervisor: each costs one answer, and never the group.

The caller is told by name what could not be done. If nobody waits for the result, the error is noted in the
supervisor's log, and whoever notices the lack repeats the action (at a heartbeat, a check of the provider, the next
request).
"""

from __future__ import annotations

import logging
import time
from typing import Any

import zmq

from rackactor.errors import RackError
from rackactor.wire.errors import pack_error

#: What a failing system call raises, in Python and in ZeroMQ.
SYSTEM_ERRORS = (OSError, MemoryError, zmq.ZMQError)
#: How many errors are noted: the first ones, then one of so many.
_FIRST, _EACH = 100, 1000
#: Seconds that the loop waits after an error, so that an error that recurs at once does not use up the processor.
_PAUSE = 0.01

_log = logging.getLogger(__name__)


class Faults:
    """Counts and logs the errors."""

    def __init__(self) -> None:
        self.count = 0

    def note(self, what: str, error: BaseException) -> None:
        """Note that something could not be done."""
        self.count += 1
        if self.count <= _FIRST or self.count % _EACH == 0:
            _log.warning("%s: %s (fault %d)", what, in_words(error), self.count)

    def pause(self) -> None:
        """Wait a moment before the next turn."""
        time.sleep(_PAUSE)


def in_words(error: BaseException) -> str:
    """Return an error as a message for people."""
    if isinstance(error, RackError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"out of memory{': ' if str(error) else ''}{error}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    return f"{error}" if isinstance(error, SYSTEM_ERRORS) else f"{type(error).__name__}: {error}"


def refusal(error: BaseException, op: str = "") -> dict[str, Any]:
    """Return what a member is told whose call has failed with an error."""
    if isinstance(error, RackError):
        return pack_error(error)
    asked = f"{op}: " if op else ""
    return pack_error(RackError(f"{asked}the supervisor could not do this: {in_words(error)}"))
