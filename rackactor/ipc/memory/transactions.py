"""Combined changes of shared memory: many in few calls, or several all or nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rackactor import units
from rackactor.errors import RackError
from rackactor.ipc.memory.client import Client
from rackactor.ipc.memory.layout import pack_key
from rackactor.ipc.memory.operations import ABSENT, Batch, fault
from rackactor.kernel.pending import Pending
from rackactor.units import Timeout
from rackactor.wire.calls.memory import Shm

if TYPE_CHECKING:
    from rackactor.ipc.memory.reader import Reading

#: Operations, and bytes, of one call of a pipeline; and how many calls are under way at the same time.
CALL_OPS, CALL_BYTES, CALLS = 500, 256 << 10, 6


class Pipeline:
    """Many independent operations in few calls: a context, or `execute`.

    Each method queues an operation. `execute` performs them in this order, each with its own revision. At the end of
    the block the rest is executed, and the first error is raised.

    Attributes:
        results: the result of each operation, in order; an exception where one was refused.
    """

    def __init__(self, client: Client, timeout: Timeout) -> None:
        self._client = client
        self._timeout = units.timeout(timeout)
        self._batches: deque[Batch] = deque()
        self._kinds: list[str] = []
        self.results: list[Any] = []

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is not None:
            return
        for result in self.execute():
            if isinstance(result, RackError):
                raise result

    def __len__(self) -> int:
        return sum(len(batch.ops) for batch in self._batches)

    def put(self, key: str, value: Any, *, lease: bool | int = False) -> None:
        """Put a value; the result is its revision."""
        self._batch().put(key, value, lease)

    __setitem__ = put

    def delete(self, key: str) -> None:
        """Delete a key; the result is whether there was one."""
        self._batch().delete(key)

    __delitem__ = delete

    def cas(
        self,
        key: str,
        expected: Any = ABSENT,
        new: Any = None,
        *,
        revision: int | None = None,
        lease: bool | int | None = None,
    ) -> None:
        """Put if the value is the expected one; the result is the revision, or 0."""
        self._batch().cas(key, expected, new, lease, revision)

    def incr(self, key: str, by: int = 1, initial: int = 0) -> None:
        """Add to an integer; the result is the sum."""
        self._batch().incr(key, by, initial)

    def append(self, key: str, value: Any) -> None:
        """Append an element to a list; the result is the list's length."""
        self._batch().append(key, [value])

    def extend(self, key: str, items: Iterable[Any]) -> None:
        """Append elements to a list; the result is the list's length."""
        self._batch().append(key, items)

    def pop(self, key: str, index: int = -1) -> None:
        """Take an element from an end of a list; the result is the element, None if there was none."""
        self._batch().pop(key, index)

    def remove(self, key: str, value: Any, count: int = 1) -> None:
        """Remove elements of a list by their value; the result is how many."""
        self._batch().remove(key, value, count)

    def _batch(self) -> Batch:
        if not self._batches or len(self._batches[-1].ops) >= CALL_OPS or self._batches[-1].size >= CALL_BYTES:
            self._batches.append(self._client.batch())
        return self._batches[-1]

    def execute(self) -> list[Any]:
        """Perform the queued operations; return the results, which are in `results`, too.

        Raises:
            RackTimeout: no answer within the time; some of them may have been done.
        """
        kernel, client = self._client.kernel, self._client
        under_way: deque[tuple[Batch, Pending, int]] = deque()
        results: list[Any] = []
        revision = 0
        try:
            while self._batches or under_way:
                while self._batches and len(under_way) < CALLS:
                    batch = self._batches.popleft()
                    under_way.append((batch, *kernel.begin_call(Shm(batch.ops), *batch.blobs)))
                batch, pending, _ = under_way[0]
                fields = client.finish(pending, self._timeout)
                under_way.popleft()
                results += [self._result(op, each) for op, each in zip(batch.ops, fields["results"], strict=True)]
                revision = fields["revision"]
        finally:
            for _, pending, rid in under_way:
                kernel.withdraw(pending, rid)
        client.backing.reached(revision, self._timeout)
        self.results += results
        return results

    def _result(self, op: list[Any], result: Any) -> Any:
        error = fault(result)
        if error is not None:
            return error
        if op[0] == "pop" and result is not None:
            return self._client.decode(result, op[1])
        return result


class Transaction:
    """Several changes at one revision, all or nothing: a context.

    Reads in the block (`t[key]`, `t.get(key)`, `key in t`) are at one revision. If anybody else has changed what was
    read, the block ends with a `ConflictError`, and nothing is done. The block reads its own changes.
    """

    def __init__(self, client: Client, timeout: Timeout) -> None:
        self._client = client
        self._timeout = units.timeout(timeout)
        self._batch = client.batch()
        self._checks: dict[bytes, int] = {}
        self._written: dict[str, Any] = {}
        self._reading: Reading | None = None
        #: The revision of its changes, once the block has ended.
        self.revision = 0
        #: The result of each change.
        self.results: list[Any] = []

    def __enter__(self) -> Transaction:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.end()
        if kind is None:
            self._commit()

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, ABSENT)
        if value is ABSENT:
            raise KeyError(key)
        return value

    def __contains__(self, key: str) -> bool:
        return self.get(key, ABSENT) is not ABSENT

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value; it must be unchanged at the end of the block."""
        if key in self._written:
            value = self._written[key]
            return default if value is ABSENT else value
        if self._reading is None:
            self._reading = self._client.reading()
        entry = self._reading.entry(key)
        self._checks[pack_key(key)] = 0 if entry is None else entry.revision
        return default if entry is None else entry.value

    def check(self, key: str, revision: int) -> None:
        """Require that a key's value is still the one put at this revision (0: that there is none)."""
        self._checks[pack_key(key)] = revision

    def put(self, key: str, value: Any, *, lease: bool | int = False) -> None:
        """Put a value."""
        self._batch.put(key, value, lease)
        self._written[key] = value

    __setitem__ = put

    def delete(self, key: str) -> None:
        """Delete a key, if it exists."""
        self._batch.delete(key)
        self._written[key] = ABSENT

    __delitem__ = delete

    def incr(self, key: str, by: int = 1, initial: int = 0) -> None:
        """Add to an integer."""
        self._batch.incr(key, by, initial)

    def append(self, key: str, value: Any) -> None:
        """Append an element to a list."""
        self._batch.append(key, [value])

    def _commit(self) -> None:
        if not self._batch.ops and not self._checks:
            return
        ops = [["transaction", list(self._checks.items()), self._batch.ops]]
        fields = self._client.perform(ops, self._batch.blobs, self._timeout)
        self.revision, self.results = fields["results"][0]
