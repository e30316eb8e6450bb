"""The holders of locks, and who waits for them: first come, first served, each grant with a greater token."""

from __future__ import annotations

from collections import deque
from dataclasses import field
from typing import NamedTuple

from rackactor.errors import LockError
from rackactor.records import dataclass


class Asker(NamedTuple):
    """A call that waits for a lock."""

    pid: int
    rid: int


class Grant(NamedTuple):
    """A call that has been granted a lock."""

    pid: int
    rid: int
    token: int


@dataclass
class _Lock:
    pid: int = 0
    token: int = 0
    waiting: deque[Asker] = field(default_factory=deque)


class Locks:
    """The locks of a group. A lock that nobody holds is not kept."""

    def __init__(self) -> None:
        self._locks: dict[str, _Lock] = {}
        self._token = 0

    def acquire(self, name: str, asker: Asker, *, wait: bool = True) -> Grant | None:
        """Ask for a lock; None: not now, but the grant comes when it is this call's turn (if it waits)."""
        lock = self._locks.setdefault(name, _Lock())
        if lock.pid == 0:
            return self._grant(lock, asker)
        if wait:
            lock.waiting.append(asker)
        return None

    def release(self, name: str, pid: int, token: int) -> Grant | None:
        """Release a lock; return its next holder.

        Raises:
            LockError: this process does not hold it, or no longer with this token.
        """
        lock = self._locks.get(name)
        if lock is None or (lock.pid, lock.token) != (pid, token):
            raise LockError(f"process {pid} does not hold the lock {name!r} with the token {token}")
        return self._pass_on(name, lock)

    def cancel(self, pid: int, rid: int) -> None:
        """Withdraw a call that waits."""
        for lock in self._locks.values():
            if Asker(pid, rid) in lock.waiting:
                lock.waiting.remove(Asker(pid, rid))

    def gone(self, pid: int) -> list[Grant]:
        """Note that a process is gone; return the new holders of its locks."""
        grants = []
        for name, lock in list(self._locks.items()):
            lock.waiting = deque(asker for asker in lock.waiting if asker.pid != pid)
            if lock.pid == pid:
                grant = self._pass_on(name, lock)
                if grant is not None:
                    grants.append(grant)
        return grants

    def holder(self, name: str) -> tuple[int, int]:
        """Return (pid, token) of a lock's holder; zeros: there is none."""
        lock = self._locks.get(name)
        return (0, 0) if lock is None else (lock.pid, lock.token)

    def _pass_on(self, name: str, lock: _Lock) -> Grant | None:
        lock.pid = 0
        if lock.waiting:
            return self._grant(lock, lock.waiting.popleft())
        del self._locks[name]
        return None

    def _grant(self, lock: _Lock, asker: Asker) -> Grant:
        self._token += 1
        lock.pid, lock.token = asker.pid, self._token
        return Grant(asker.pid, asker.rid, self._token)
