"""The errors are the API: each says who did it and what to do about it.

Every error is a `RackError`. Where Python has a fitting exception (`ProcessLookupError`, `TimeoutError`,
`PermissionError`, ...), the error is a subclass of that too, so existing `except` clauses work. The default
message of an error is the first line of its docstring: each message is written once, for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rackactor.status import ExitStatus


class RackError(Exception):
    """Something in the group went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or type(self).__name__).strip().splitlines()[0])

    def __str__(self) -> str:
        # OSError's own __str__ would print "[Errno None]" for the mixed classes below.
        return str(self.args[0]) if self.args else ""


class NoSuchProcess(RackError, ProcessLookupError):
    """No process of this group has that pid (any more)."""


class NoChild(RackError, ChildProcessError):
    """There is no such child to wait for: it was never forked here, or it has been waited for already."""


class RackTimeout(RackError, TimeoutError):
    """The time given for this call is over; what the call has begun goes on."""


class MailboxFull(RackTimeout):
    """The receiver takes its messages too slowly: its credit did not come back within the time given."""


class AuthenticationError(RackError, PermissionError):
    """The supervisor does not know this key or token, or is not the supervisor that it was taken for."""


class NotAllowed(RackError, PermissionError):
    """The group does not allow this to the calling process."""


class InvalidCall(RackError, ValueError):
    """The call was given something that it cannot use."""


class NoGroup(RackError):
    """This program is in no group: open one with `with rack.group(...)`."""


class GroupEnded(RackError, ConnectionError):
    """The group has ended, or its supervisor cannot be reached any more."""


class StartError(RackError):
    """The group's supervisor did not start."""


class ProtocolError(RackError):
    """What arrived is not a message of this wire."""


class ServiceFailed(RackError, ConnectionError):
    """A service of the group did not start, or has ended: what was asked of it may or may not have been done."""


class ForkError(RackError):
    """The processes could not be forked."""


class SpawnIntensityExceeded(ForkError):
    """Too many forks in too short a time: raise `max_spawns` or slow down."""


class ForkFailed(ForkError):
    """Fewer processes came up than `min_ok` asked for.

    Attributes:
        outcomes: pid -> "running" or the `ExitStatus` of a child that did not come up.
    """

    def __init__(self, message: str | None = None, outcomes: dict[int, Any] | None = None) -> None:
        super().__init__(message)
        self.outcomes: dict[int, Any] = outcomes or {}


class ProcessDied(RackError):
    """The process ended without a result.

    Attributes:
        pid: whose end it was.
        status: its `ExitStatus`: code, signal, cause, evidence.
    """

    def __init__(self, message: str | None = None, *, pid: int = 0, status: ExitStatus | None = None) -> None:
        super().__init__(message)
        self.pid = pid
        self.status = status

    def __reduce__(self) -> Any:
        return _rebuild_process_died, (self.args[0], self.pid, self.status)


def _rebuild_process_died(message: str, pid: int, status: ExitStatus | None) -> ProcessDied:
    return ProcessDied(message, pid=pid, status=status)


class ActorNotMade(RackError):
    """The actor could not be made in its process.

    Attributes:
        reason: "specification", "import", "source" or "capabilities".
    """

    def __init__(self, message: str | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> Any:
        return ActorNotMade, (self.args[0], self.reason)


class CannotOpen(RackError):
    """What arrived cannot be opened here: a module that this process lacks, a constructor that wants arguments."""


class PipeEnded(RackError, EOFError):
    """The pipe has ended: its last writer has closed it, and everything was read."""


class PipeBroken(RackError, ConnectionResetError):
    """A writer of the pipe died before it had closed its end: what was read may not be all."""


class NoReader(RackError, BrokenPipeError):
    """The pipe has no reader any more: the last one has closed its end, or has died."""


class PipeClosed(RackError, ValueError):
    """This end of the pipe has been closed here."""


class OutputLost(RackError, OSError):
    """Some of what the process printed was dropped before anybody read it: no more than `log_limit` is kept."""


class HandlerFailed(RackError):
    """The receiver's handler raised on this message, or it has none for it; the message says which, and why."""


class MemoryFull(RackError, MemoryError):
    """The group's shared memory is full: delete something, or make the group with a larger `shm_size`."""


class ConflictError(RackError):
    """A key that this transaction depends on has changed; nothing of the transaction was done: try it again."""


class RevisionGone(RackError, LookupError):
    """The log does not reach back to that revision any more: read what there is, and watch from `shm.revision` on."""


class LockError(RackError):
    """This process does not hold the lock, or holds it already: locks are not re-entrant."""


class RemoteTraceback(Exception):
    """The traceback of an exception, as text, from the process that raised it."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


#: Errors that the supervisor sends to a caller by name.
BY_NAME: dict[str, type[RackError]] = {
    cls.__name__: cls
    for cls in (
        RackError,
        NoSuchProcess,
        NoChild,
        RackTimeout,
        AuthenticationError,
        NotAllowed,
        InvalidCall,
        GroupEnded,
        ProtocolError,
        ServiceFailed,
        ForkError,
        SpawnIntensityExceeded,
        MemoryFull,
        ConflictError,
        RevisionGone,
        LockError,
    )
}
