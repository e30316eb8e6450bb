"""Open files by process, and reserved names. Pure: the owner of a handle knows what is behind it."""

from __future__ import annotations

import errno
import os
from typing import Any

from rackactor.records import dataclass

#: The most files that one process may have open.
OPEN = 512


@dataclass
class Handle:
    """One open file of one process."""

    number: int
    pid: int
    path: str
    #: "r", "w", "x" or "a".
    what: str
    #: None until its file has been opened.
    behind: Any = None
    #: The single-use ticket for its descriptor.
    ticket: bytes = b""


class Handles:
    """All of them."""

    def __init__(self, limit: int = OPEN) -> None:
        self._limit = limit
        self._handles: dict[int, Handle] = {}
        self._of: dict[int, set[int]] = {}
        self._reserved: dict[str, int] = {}
        self._tickets: dict[bytes, int] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._handles)

    def begin(self, pid: int, path: str, what: str) -> Handle:
        """Add a handle; "x" reserves the name until `end`, for a file that does not exist yet.

        Raises:
            FileExistsError: the name is reserved already.
            OSError: EMFILE, this process has too many open.
        """
        mine = self._of.setdefault(pid, set())
        if len(mine) >= self._limit:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)
        if what == "x" and path in self._reserved:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        handle: Handle = Handle(self._next, pid, path, what)
        self._next += 1
        self._handles[handle.number] = handle
        mine.add(handle.number)
        if what == "x":
            self._reserved[path] = handle.number
        return handle

    def get(self, pid: int, number: object) -> Handle:
        """Return a handle of a process by its number.

        Raises:
            OSError: EBADF, it has none of that number.
        """
        handle = self._handles.get(number) if isinstance(number, int) else None
        if handle is None or handle.pid != pid or handle.behind is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return handle

    def issue(self, handle: Handle, ticket: bytes) -> None:
        """Note the ticket for a handle's descriptor."""
        handle.ticket = ticket
        self._tickets[ticket] = handle.number

    def redeem(self, ticket: bytes) -> Handle | None:
        """Return the handle of a ticket, once."""
        number = self._tickets.pop(ticket, 0)
        return self._handles.get(number)

    def end(self, handle: Handle) -> None:
        """Remove a handle. Idempotent."""
        if self._handles.pop(handle.number, None) is None:
            return
        self._tickets.pop(handle.ticket, None)
        mine = self._of.get(handle.pid, set())
        mine.discard(handle.number)
        if not mine:
            self._of.pop(handle.pid, None)
        if self._reserved.get(handle.path) == handle.number:
            del self._reserved[handle.path]

    def of(self, pid: int) -> list[Handle]:
        """Return the handles of a process."""
        return [self._handles[number] for number in sorted(self._of.get(pid, ()))]

    def all(self) -> list[Handle]:
        """Return every handle."""
        return list(self._handles.values())
