"""How a process ended, as `wait` returns it."""

from __future__ import annotations

import signal as _signal
from enum import StrEnum
from typing import Any

from rackactor.records import dataclass

#: A POSIX signal as a number, or a free string.
Signal = int | str


class State(StrEnum):
    """Where a process stands in its life."""

    #: The fork is recorded; the provider has not been asked yet, or has not answered.
    NEW = "new"
    #: The instance exists; its agent has not joined yet.
    BOOTING = "booting"
    #: The agent has joined and runs the target.
    RUNNING = "running"
    #: It was asked to end: TERM was sent, or the provider was told to delete it.
    STOPPING = "stopping"
    #: Ended; its exit status waits for the parent.
    ZOMBIE = "zombie"
    #: Ended and waited for.
    GONE = "gone"
    #: The provider does not confirm the delete; the delete is retried, and the process stays visible.
    UNKILLABLE = "unkillable"


class Cause(StrEnum):
    """Why a process ended, in one word."""

    #: It ended by itself: return, `sys.exit`, `os._exit`, the exit code of a command.
    EXITED = "exited"
    #: An exception that nothing caught.
    EXCEPTION = "exception"
    #: A signal that somebody in the group sent, or that the process gave itself (a crash).
    SIGNALLED = "signalled"
    #: It used more memory than its limit.
    OOM = "oom"
    #: The target could not be loaded: a module that cannot be imported, a command not found.
    LOAD_FAILED = "load-failed"
    #: The instance did not come up, or its agent never joined.
    BOOT_FAILED = "boot-failed"
    #: The cloud's quota has no room for it.
    QUOTA = "quota"
    #: Its agent stopped answering; it was deleted.
    LOST = "lost"
    #: Killed from outside the group: by the operating system, or a VM that was deleted by hand.
    DELETED_OUTSIDE = "deleted-outside"
    #: Its deadline passed.
    DEADLINE = "deadline"
    #: Its parent died, and it was forked with `on_orphan="kill"`.
    PARENT_DIED = "parent-died"
    #: It sent something that breaks the protocol, to the supervisor or to another process, and was expelled.
    EXPELLED = "expelled"
    #: The group ended while it was alive.
    GROUP_ENDED = "group-ended"


#: Causes whose reason is only in the evidence.
_BEHIND_THE_SCENES = frozenset(
    {Cause.BOOT_FAILED, Cause.QUOTA, Cause.LOST, Cause.DELETED_OUTSIDE, Cause.LOAD_FAILED, Cause.OOM}
)
#: The longest part of a line of evidence that an error quotes, characters.
_LINE = 300


@dataclass(frozen=True)
class ExitStatus:
    """The end of a process.

    Attributes:
        code: 0-255, or 128+n when signal n ended it (as a shell's `$?`).
        signal: the number of the signal that ended it, or None.
        cause: why, in one word.
        evidence: the proof: a traceback, the last lines of output, the provider's message; "" for none.
        started: seconds since the epoch when its agent joined, or None if it never did.
        ended: seconds since the epoch when its end became known.
    """

    code: int
    signal: int | None
    cause: Cause
    evidence: str
    started: float | None
    ended: float

    @property
    def ok(self) -> bool:
        """Tell whether it ended by itself with code 0."""
        return self.code == 0 and self.cause is Cause.EXITED

    def __str__(self) -> str:
        if self.signal is not None:
            return f"{self.cause} by {signal_name(self.signal)} (code {self.code})"
        return f"{self.cause} with code {self.code}"

    @property
    def reason(self) -> str:
        """What `str` says, and the evidence's first line where only that gives the reason, as for a failed boot."""
        lines = self.evidence.strip().splitlines()
        if self.cause not in _BEHIND_THE_SCENES or not lines:
            return str(self)
        return f"{self}: {lines[0][:_LINE]}"

    def to_wire(self) -> dict[str, Any]:
        """Return plain msgpack values."""
        return {**vars(self), "cause": str(self.cause)}

    @classmethod
    def from_wire(cls, fields: dict[str, Any]) -> ExitStatus:
        """Build one from what `to_wire` gave."""
        return cls(**{**fields, "cause": Cause(fields["cause"])})


def signal_name(sig: Signal) -> str:
    """Return the usual name of a signal: "SIGTERM" for 15, a free string as it is."""
    if isinstance(sig, str):
        return sig
    try:
        return _signal.Signals(sig).name
    except ValueError:
        return f"signal {sig}"
