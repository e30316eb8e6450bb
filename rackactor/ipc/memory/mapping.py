"""`rack.shm`: a mapping that all processes of a group share."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rackactor import units
from rackactor.address import RackAddress
from rackactor.errors import ConflictError, InvalidCall
from rackactor.ipc.memory import values
from rackactor.ipc.memory.backing import Lag
from rackactor.ipc.memory.client import Client
from rackactor.ipc.memory.layout import HEADER, LIST, pack_key
from rackactor.ipc.memory.locks import Lock
from rackactor.ipc.memory.operations import ABSENT, Absent, Batch
from rackactor.ipc.memory.transactions import Pipeline, Transaction
from rackactor.ipc.memory.watch import Delivered, Watch
from rackactor.kernel.kernel import Kernel
from rackactor.units import CALL_TIMEOUT, DEFAULT_TIMEOUT, Timeout
from rackactor.wire.calls.memory import ShmRestore, ShmSync

if TYPE_CHECKING:
    from rackactor.ipc.memory.reader import Entry, Reading

#: How many times `update` tries.
ATTEMPTS = 200
#: Bytes of a snapshot that are sent in one call.
PART = 1 << 20


class Memory:
    """A group's shared memory, as one of its processes sees it. Thread-safe.

    Keys are strings, values anything that can be sent to another process. Reads are local, each at one revision.
    Changes go to the supervisor, one revision per change, and are visible here when the call returns.
    """

    #: Stands for "no value", since None may be a value: see `cas`.
    ABSENT: Absent = ABSENT

    def __init__(self, kernel: Kernel) -> None:
        self.client = Client(kernel)
        self._kernel = kernel
        self._held: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<shared memory of group {self._kernel.gid}>"

    # -- reading ---------------------------------------------------------------------------------------

    def get(self, key: str, default: Any = None) -> Any:
        """Return a copy of a value (of a list made by `append`: its elements), or the default."""
        data = self.client.backing.reader.get(pack_key(key))
        if data is None:
            return default
        if data[0] == LIST:
            with self.reading() as reading:
                return reading.get(key, default)
        if data[HEADER] == values.BYTES:
            return data[HEADER + 1 :]
        return values.decode(memoryview(data)[HEADER:], key, allow_pickle=self._kernel.allow_pickle)

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, ABSENT)
        if value is ABSENT:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.client.backing.reader.get(pack_key(key)) is not None

    def __len__(self) -> int:
        return self.client.backing.reader.count()

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self, prefix: str = "") -> list[str]:
        """Return the keys that begin with a prefix, in order, as they are at one revision."""
        with self.reading() as reading:
            return list(reading.keys(prefix))

    def items(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Yield keys that begin with a prefix, and copies of their values, in order, all at one revision."""
        with self.reading() as reading:
            yield from reading.items(prefix)

    def values(self, prefix: str = "") -> Iterator[Any]:
        """Yield copies of the values whose keys begin with a prefix."""
        return (value for _, value in self.items(prefix))

    def entry(self, key: str) -> Entry | None:
        """Return (value, revision at which it was put, pid of its lease or 0), or None."""
        with self.reading() as reading:
            return reading.entry(key)

    def range(self, key: str, start: int = 0, stop: int | None = None) -> list[Any]:
        """Return copies of a list's elements, `start` and `stop` as in a slice. RACK's list_read.

        Raises:
            KeyError: there is no such key.
        """
        with self.reading() as reading:
            return reading.range(key, start, stop)

    def reading(self) -> Reading:
        """Begin several reads at one revision: `with rack.shm.reading() as r: r["a"], r["b"]`.

        Keep the block short: revisions that it may still read cannot be freed meanwhile.
        """
        return self.client.reading()

    @contextmanager
    def view(self, key: str) -> Iterator[Any]:
        """Read a large value in place, without a copy; it is valid within the block, and read-only.

        `with rack.shm.view("k") as array:` gives bytes as a memoryview. A value with buffers (a NumPy array, or
        something with arrays in it) has its usual type, with its data in the memory itself.

        Raises:
            KeyError: there is no such key.
            TypeError: a value of this type has nothing that could be read in place.
            BufferError: at the end of the block, if more of the value is still in use than the block's variable (which
                may stay bound): copy what you want to keep.
        """
        reading = self.reading()
        try:
            yield _Handover(reading, key).value
        except BaseException:
            reading.end()
            raise
        reading.__exit__(None)

    @property
    def revision(self) -> int:
        """The newest revision that this process sees."""
        return self.client.backing.reader.revision()

    def sync(self, timeout: Timeout = DEFAULT_TIMEOUT) -> int:
        """Wait until this process sees everything that was committed before this call; return the revision.

        Raises:
            RackTimeout: it did not come within the time.
        """
        self.client.backing.reader  # noqa: B018 - the replica begins with it
        seconds = units.timeout(timeout)
        fields, _ = self._kernel.call(ShmSync(), timeout=seconds)
        self.client.backing.reached(fields["revision"], seconds)
        return int(fields["revision"])

    def lag(self) -> Lag:
        """Return how far this process's view is behind, as far as it knows: (revisions, seconds)."""
        return self.client.backing.lag()

    # -- changing --------------------------------------------------------------------------------------

    def put(self, key: str, value: Any, *, lease: bool | int = False) -> int:
        """Put a value; return the revision.

        Args:
            key: 1 to 500 bytes in UTF-8.
            value: anything that can be sent to another process.
            lease: True: the key is deleted when this process ends; a pid: when that process ends.

        Raises:
            MemoryFull: there is no room; nothing has changed.
            NoSuchProcess: the process of the lease is not alive.
        """
        batch = self.client.batch()
        batch.put(key, value, lease)
        return int(self._one(batch))

    def __setitem__(self, key: str, value: Any) -> None:
        self.put(key, value)

    def update(self, key: str, function: Callable[[Any], Any], default: Any = None) -> Any:
        """Put what a function returns for the value (or for the default); no other change comes between.

        The function may be called several times. Returns: the new value.

        Raises:
            ConflictError: other processes were faster each time.
        """
        for attempt in range(ATTEMPTS):
            entry = self.entry(key)
            new = function(default if entry is None else entry.value)
            batch = self.client.batch()
            batch.cas(key, None, new, None, 0 if entry is None else entry.revision)
            if self._one(batch):
                return new
            time.sleep(random.random() * min(0.05, 0.0005 * attempt))
        raise ConflictError(f"others have changed {key!r} each of the {ATTEMPTS} times that this process tried to")

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value; put the default first if there is none."""
        while (value := self.get(key, ABSENT)) is ABSENT:
            if self.cas(key, ABSENT, default):
                return default
        return value

    def __delitem__(self, key: str) -> None:
        if not self.delete(key):
            raise KeyError(key)

    def delete(self, key: str) -> bool:
        """Delete a key; return whether there was one."""
        batch = self.client.batch()
        batch.delete(key)
        return bool(self._one(batch))

    def cas(
        self,
        key: str,
        expected: Any = ABSENT,
        new: Any = None,
        *,
        revision: int | None = None,
        lease: bool | int | None = None,
    ) -> int:
        """Put a value if the present one is the expected one (compare and set).

        Args:
            key: the key.
            expected: the value, compared by its encoded bytes (1 is not 1.0); `ABSENT`: there must be none.
            new: the value to put.
            revision: compare the revision at which the value was put instead (see `entry`; 0: there must be none).
            lease: as for `put`; None: unchanged.

        Returns: the new revision, or 0 if the value was another one.
        """
        batch = self.client.batch()
        batch.cas(key, expected, new, lease, revision)
        return int(self._one(batch))

    def incr(self, key: str, by: int = 1, initial: int = 0) -> int:
        """Add to an integer (of 64 bits), and return the sum; a missing key counts as `initial`.

        Raises:
            InvalidCall: the value is no integer, or the sum too large.
        """
        batch = self.client.batch()
        batch.incr(key, by, initial)
        return int(self._one(batch))

    def append(self, key: str, value: Any) -> int:
        """Append an element to a list, which the first append makes; return its length. RACK's list_write.

        Raises:
            InvalidCall: the value was put as a whole: only `append` makes such lists.
        """
        return self.extend(key, [value])

    def extend(self, key: str, items: Iterable[Any], *, left: bool = False) -> int:
        """Append elements at one revision (`left`: each before the first one); return the length."""
        batch = self.client.batch()
        batch.append(key, items, left)
        return int(self._one(batch))

    def pop(self, key: str, index: int = -1, *, default: Any = ABSENT) -> Any:
        """Take the last element of a list (index 0: the first one).

        Raises:
            IndexError: the list has none, and there is no default.
        """
        batch = self.client.batch()
        batch.pop(key, index)
        data = self._one(batch)
        if data is not None:
            return self.client.decode(data, key)
        if default is ABSENT:
            raise IndexError(f"pop from {key!r}, which is empty or not there")
        return default

    def remove(self, key: str, value: Any, count: int = 1) -> int:
        """Remove the first elements with this value from a list (0: all); return how many. RACK's list_delete_value."""
        batch = self.client.batch()
        batch.remove(key, value, count)
        return int(self._one(batch))

    def transaction(self, *, timeout: Timeout = DEFAULT_TIMEOUT) -> Transaction:
        """Change several keys at one revision, all or nothing: `with rack.shm.transaction() as t: t["a"] = t["b"]`."""
        return Transaction(self.client, timeout)

    def pipeline(self, *, timeout: Timeout = DEFAULT_TIMEOUT) -> Pipeline:
        """Perform many independent operations in few calls: `with rack.shm.pipeline() as p: p["a"] = 1; ...`."""
        return Pipeline(self.client, timeout)

    def load(self, mapping: Mapping[str, Any]) -> None:
        """Put all items of a mapping, each by itself, in few calls."""
        with self.pipeline() as pipeline:
            for key, value in mapping.items():
                pipeline.put(key, value)

    # -- hearing of changes ------------------------------------------------------------------------------

    def watch(
        self,
        prefix: str = "",
        from_revision: int | None = None,
        *,
        timeout: float | None = None,
        to: int | RackAddress | None = None,
    ) -> Any:
        """Watch every change of keys with a prefix, in order and without gaps.

        Args:
            prefix: "": all keys.
            from_revision: the first revision to report; None: the first one after this call.
            timeout: seconds without a change after which the iteration ends; None: it goes on.
            to: the pid or the address of a process (an actor: `self.myAddress`). Its mailbox gets each change as a
                `rack.Changed` message, instead of an iterator. A `RevisionGone` message says that some are missing.

        Returns: an iterator of `rack.Changed` with `next(timeout)` and `close()`; with `to`, an object with `close()`.

        Raises:
            RevisionGone: from the iterator, when the log does not reach back that far (`shm_log`).
        """
        if not isinstance(prefix, str):
            raise InvalidCall(f"a prefix is a str, not {prefix!r}")
        timeout = units.timeout(timeout)
        if to is None:
            return Watch(self.client, prefix, from_revision, timeout)
        return Delivered(self.client, prefix, from_revision, to.pid if isinstance(to, RackAddress) else to)

    # -- locks -------------------------------------------------------------------------------------------

    def lock(self, name: str, timeout: Timeout = DEFAULT_TIMEOUT) -> Lock:
        """Return a lock: `with rack.lock("name") as token:`. See `Lock`."""
        return Lock(self._kernel, self._held, name, timeout)

    # -- the whole ---------------------------------------------------------------------------------------

    def snapshot(self, file: str | os.PathLike[str]) -> None:
        """Write everything, as it is at one revision, to a file, which appears when it is complete.

        Nobody is blocked by it; locks are not included.
        """
        from rackactor.ipc.memory.snapshots import write_snapshot

        write_snapshot(self.client.backing.reader.env, file)

    def restore(self, file: str | os.PathLike[str]) -> int:
        """Replace everything by the contents of a snapshot, at one revision, which is returned.

        Keys leased to processes that have ended are left out. Watches start again after it (`RevisionGone`).

        Raises:
            InvalidCall: the file is no snapshot, or damaged; nothing has changed.
            MemoryFull: it does not fit; nothing has changed.
        """
        from rackactor.ipc.memory.snapshots import check_snapshot

        with open(file, "rb") as source:
            check_snapshot(source, os.fspath(file))
            source.seek(0)
            offset = 0
            while part := source.read(PART):
                self._kernel.call(ShmRestore(offset), part)
                offset += len(part)
        fields, _ = self._kernel.call(ShmRestore(last=True), timeout=None)
        self.client.backing.reached(fields["revision"])
        return int(fields["revision"])

    def _one(self, batch: Batch) -> Any:
        return self.client.perform(batch.ops, batch.blobs, CALL_TIMEOUT)["results"][0]


class _Handover:
    """Gives a value away without keeping a reference: the block's variable is the only one."""

    def __init__(self, reading: Reading, key: str) -> None:
        self._reading = reading
        self._key = key

    @property
    def value(self) -> Any:
        return self._reading.view(self._key)
