"""The operations on shared memory, as they are sent to the supervisor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rackactor.errors import InvalidCall
from rackactor.ipc.memory import values
from rackactor.ipc.memory.layout import pack_key
from rackactor.wire.errors import unpack_error

#: Values from this size on are sent in a frame of their own, bytes.
APART = 16 << 10
#: The lease of a cas that leaves the lease unchanged.
KEEP = -1


class Absent:
    """Says that a key must have no value: see `Memory.cas`."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = Absent()


class Batch:
    """The operations of one call, as they are sent."""

    def __init__(self, *, pid: int, allow_pickle: bool) -> None:
        self._pid = pid
        self._allow_pickle = allow_pickle
        self.ops: list[list[Any]] = []
        self.blobs: list[bytes] = []
        self.size = 0

    def encode(self, value: Any) -> bytes:
        """Return a value's bytes."""
        return values.encode(value, allow_pickle=self._allow_pickle)

    def place(self, data: bytes) -> Any:
        """Return the representation of a value's bytes in an operation."""
        self.size += len(data)
        if len(data) < APART:
            return data
        self.blobs.append(data)
        return [len(self.blobs) - 1]

    def add(self, *op: Any) -> None:
        """Add an operation."""
        self.ops.append([*op])
        self.size += 64

    def put(self, key: str, value: Any, lease: bool | int = False) -> None:
        """Add a put."""
        self.add("put", pack_key(key), self.place(self.encode(value)), self.lease(lease))

    def delete(self, key: str) -> None:
        """Add a deletion."""
        self.add("delete", pack_key(key))

    def incr(self, key: str, by: int = 1, initial: int = 0) -> None:
        """Add an increment."""
        if type(by) is not int or type(initial) is not int:
            raise InvalidCall("incr adds an integer to an integer")
        self.add("incr", pack_key(key), by, initial)

    def append(self, key: str, items: Iterable[Any], left: bool = False) -> None:
        """Add an append."""
        self.add("append", pack_key(key), [self.place(self.encode(item)) for item in items], left)

    def pop(self, key: str, index: int = -1) -> None:
        """Add a pop."""
        if index not in (0, -1):
            raise InvalidCall("pop takes the first element (0) or the last one (-1) of a list")
        self.add("pop", pack_key(key), index == -1)

    def remove(self, key: str, value: Any, count: int = 1) -> None:
        """Add a removal of elements by their value."""
        self.add("remove", pack_key(key), self.place(self.encode(value)), count)

    def cas(self, key: str, expected: Any, new: Any, lease: bool | int | None, revision: int | None) -> None:
        """Add a compare-and-set."""
        known: Any = revision
        if revision is None:
            known = None if expected is ABSENT else self.place(self.encode(expected))
        self.add(
            "cas",
            pack_key(key),
            known,
            self.place(self.encode(new)),
            KEEP if lease is None else self.lease(lease),
        )

    def lease(self, lease: bool | int) -> int:
        """Return the pid of a lease; True: this process."""
        if lease is True:
            return self._pid
        if type(lease) in (int, bool) and lease >= 0:
            return int(lease)
        raise InvalidCall(f"a lease is True (this process), False (none) or the pid of a process, not {lease!r}")


def fault(result: Any) -> Exception | None:
    """Return the error that an operation's result represents, or None."""
    if type(result) is not dict:
        return None
    return unpack_error(result)
