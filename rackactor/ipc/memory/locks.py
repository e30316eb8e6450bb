"""Locks of the group: one holder at a time, first come, first served, with fencing tokens."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING

from rackactor import units
from rackactor.errors import GroupEnded, InvalidCall, LockError, RackTimeout
from rackactor.kernel.pending import Pending
from rackactor.strings import show
from rackactor.units import DEFAULT_TIMEOUT, Timeout
from rackactor.wire.calls.memory import ShmHolder, ShmLock, ShmUnlock

if TYPE_CHECKING:
    from rackactor.kernel.kernel import Kernel

#: The longest name of a lock, characters.
MAX_NAME = 4096


class Lock:
    """A lock by its name. Not re-entrant; released when its process ends, however it ends.

    A slow holder may be taken for dead. So pass the token to what the lock protects, too, and let that refuse a token
    smaller than one it has seen: the tokens of a group grow with each grant.

    Attributes:
        name: the same name is the same lock, in the whole group.
        token: the token of this process's grant; 0: it does not hold the lock.
    """

    def __init__(self, kernel: Kernel, held: dict[str, int], name: str, timeout: Timeout) -> None:
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
            raise InvalidCall(f"the name of a lock is a string of 1 to {MAX_NAME} characters, not {show(name)}")
        self._kernel = kernel
        self._held = held  # by this process: name -> thread
        self._timeout = units.timeout(timeout)
        self.name = name
        self.token = 0

    def __repr__(self) -> str:
        return f"<Lock {self.name!r}{f' held, token {self.token}' if self.token else ''}>"

    def __enter__(self) -> int:
        return self.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self.release()
        except GroupEnded:
            if kind is None:
                raise

    def acquire(self, timeout: Timeout = DEFAULT_TIMEOUT) -> int:
        """Wait until this process holds the lock; return the fencing token.

        Args:
            timeout: seconds; None: no bound; 0: do not wait; -1, the default: the timeout that the lock was made with.

        Raises:
            RackTimeout: others held it all the time.
            LockError: this thread holds it already.
        """
        own = timeout is DEFAULT_TIMEOUT or timeout == -1
        seconds = self._timeout if own else units.timeout(timeout)
        me = threading.get_ident()
        if self._held.get(self.name) == me:
            raise LockError(f"this thread holds the lock {self.name!r} already, and would wait for itself for ever")
        wait = seconds is None or seconds > 0
        bound = seconds if wait else units.CALL_TIMEOUT
        try:
            call = ShmLock(self.name, wait=wait)
            fields, _ = self._kernel.call(call, timeout=bound, late=self._give_back)
        except RackTimeout:
            fields = {"token": 0}
        if not fields["token"]:
            raise RackTimeout(f"the lock {self.name!r} was somebody else's for {seconds or 0:g} s")
        self._held[self.name] = me
        self.token = fields["token"]
        return self.token

    def release(self) -> None:
        """Release the lock.

        Raises:
            LockError: this process does not hold it.
        """
        token, self.token = self.token, 0
        if not token:
            raise LockError(f"this process does not hold the lock {self.name!r}")
        self._held.pop(self.name, None)
        self._kernel.call(ShmUnlock(self.name, token))

    def holder(self) -> int | None:
        """Return the pid of the present holder, or None."""
        fields, _ = self._kernel.call(ShmHolder(self.name))
        return fields["pid"] or None

    def _give_back(self, pending: Pending) -> None:
        """Release a lock that was granted while the call was being withdrawn."""
        if pending.error is None and pending.value["token"]:
            self._kernel.cast(ShmUnlock(self.name, pending.value["token"]))
