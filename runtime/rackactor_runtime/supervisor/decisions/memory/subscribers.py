"""Subscribers to changes of shared memory: watchers of a prefix get a notice, replicas the changes themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field

from rackactor.records import dataclass

#: Up to this number of changes in a turn, it is checked which watchers they concern.
FEW = 256


class Watchers:
    """The processes that watch, and their prefixes."""

    def __init__(self) -> None:
        self._prefixes: dict[bytes, dict[int, int]] = {}

    def add(self, pid: int, prefix: bytes) -> None:
        """Count a watch of a process."""
        pids = self._prefixes.setdefault(prefix, {})
        pids[pid] = pids.get(pid, 0) + 1

    def remove(self, pid: int, prefix: bytes) -> None:
        """Remove a watch of a process."""
        pids = self._prefixes.get(prefix, {})
        if pids.get(pid, 0) > 1:
            pids[pid] -= 1
        else:
            self._forget(prefix, pid)

    def gone(self, pid: int) -> None:
        """Forget a process."""
        for prefix in list(self._prefixes):
            self._forget(prefix, pid)

    def concerned(self, keys: list[bytes]) -> Iterable[int]:
        """Return the pids of the watchers of one of these keys; in doubt too many."""
        found: set[int] = set()
        for prefix, pids in self._prefixes.items():
            if not prefix or len(keys) > FEW or any(key.startswith(prefix) for key in keys):
                found.update(pids)
        return found

    def everybody(self) -> Iterable[int]:
        """Return the pids of all watchers."""
        return {pid for pids in self._prefixes.values() for pid in pids}

    def __bool__(self) -> bool:
        return bool(self._prefixes)

    def _forget(self, prefix: bytes, pid: int) -> None:
        pids = self._prefixes.get(prefix)
        if pids is not None:
            pids.pop(pid, None)
            if not pids:
                del self._prefixes[prefix]


@dataclass
class Replica:
    """A replica, and how far it is."""

    #: Bytes sent so far, and bytes acknowledged.
    sent: int = 0
    acknowledged: int = 0


@dataclass
class Replicas:
    """The processes that keep a replica.

    Attributes:
        limit: bytes that may be under way to one; a slower one must start again from a snapshot.
    """

    limit: int
    _replicas: dict[int, Replica] = field(default_factory=dict)

    def add(self, pid: int) -> None:
        """Send a process the changes from now on; one that starts again counts as up to date."""
        self._replicas[pid] = Replica()

    def gone(self, pid: int) -> None:
        """Forget a process."""
        self._replicas.pop(pid, None)

    def send(self, size: int) -> tuple[list[int], list[int]]:
        """Return (the pids that get a message of this size, the pids that are too slow for it and are removed)."""
        good, slow = [], []
        for pid, replica in list(self._replicas.items()):
            # One message is always let through, so that one of any size passes.
            if replica.sent - replica.acknowledged > self.limit:
                slow.append(pid)
                del self._replicas[pid]
            else:
                replica.sent += size
                good.append(pid)
        return good, slow

    def acknowledged(self, pid: int, size: int) -> bool:
        """Record a replica's acknowledgement; False: it is not, or no longer, a replica."""
        replica = self._replicas.get(pid)
        if replica is None:
            return False
        replica.acknowledged = max(replica.acknowledged, min(size, replica.sent))
        return True

    def forget_all(self) -> list[int]:
        """Remove all: they must start again. Returns their pids."""
        pids = list(self._replicas)
        self._replicas.clear()
        return pids

    def __bool__(self) -> bool:
        return bool(self._replicas)
