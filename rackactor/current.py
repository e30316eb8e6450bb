"""The group that a program is in."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from rackactor.errors import InvalidCall, NoGroup

#: Environment variable that names the group that a program was started in.
GROUP = "RACK_GID"


class Member(Protocol):
    """A program's membership in a group, as far as modules below the system calls need it."""

    gid: str

    @property
    def kernel(self) -> Any:
        """Its kernel, a `rackactor.kernel.kernel.Kernel`."""

    @property
    def shm(self) -> Any:
        """The group's shared memory."""

    @property
    def files(self) -> Any:
        """The group's files."""

    @property
    def waits(self) -> Any:
        """How processes have ended, a `rackactor.syscalls.wait.Waits`."""


_chosen: ContextVar[Member | None] = ContextVar("rackactor_session", default=None)
_open: list[Member] = []
_lock = threading.RLock()
_entering = False
#: Joins the group that this program was started in; set by `rackactor.syscalls`.
join: Callable[[], Member] | None = None


@contextmanager
def entering() -> Iterator[None]:
    """Let one thread at a time make or join this program's group.

    Raises:
        NoGroup: a signal handler has interrupted this very thread while it did so, and cannot wait for itself.
    """
    global _entering
    with _lock:
        if _entering:
            raise NoGroup(
                "this program is just entering its group, and a signal handler that has interrupted that cannot use it"
                " yet: enter it first, by rack.group() or any call, and then set the handler"
            )
        _entering = True
        try:
            yield
        finally:
            _entering = False


def enter(session: Member) -> None:
    """Make a session the current one of this context."""
    _open.append(session)
    _chosen.set(session)


def leave(session: Member) -> None:
    """Remove a session; the one before it becomes the current one again."""
    if session in _open:
        _open.remove(session)
    if _chosen.get() is session:
        _chosen.set(next((s for s in reversed(_open) if not s.kernel.closed), None))


def find() -> Member | None:
    """Return the group that this program is in, or None."""
    chosen = _chosen.get()
    if chosen is not None and not chosen.kernel.closed:
        return chosen
    return next((s for s in reversed(_open) if not s.kernel.closed), None)


def current() -> Member:
    """Return the group that this program is in; join the one that it was started in if it has not yet.

    Raises:
        NoGroup: it is in none, or cannot join it.
    """
    session = find()
    if session is not None:
        return session
    if started_inside():
        assert join is not None
        return join()
    if inherited():
        raise NoGroup("a child made by os.fork is no process of its parent's group: use rack.fork")
    raise NoGroup()


def member_of(gid: str, what: str) -> Member:
    """Return this program's membership in the group that an arrived object belongs to.

    Raises:
        InvalidCall: the program is in another group; the error names the object by `what`.
    """
    session = current()
    if session.gid != gid:
        raise InvalidCall(f"{what} belongs to another group than this program")
    return session


def inherited() -> bool:
    """Tell whether this program is the child, by os.fork, of one that is in a group."""
    return any(session.kernel.inherited for session in _open)


def started_inside() -> bool:
    """Tell whether this program was started in a process of a group, and has not been a member of any yet."""
    return GROUP in os.environ and not _open
