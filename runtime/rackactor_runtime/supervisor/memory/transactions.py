"""Operations on shared memory in transactions: many calls in one, or each operation alone if that fails."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rackactor.errors import MemoryFull, RackError
from rackactor.ipc.memory import layout
from rackactor_runtime.supervisor.clock import Clock
from rackactor_runtime.supervisor.decisions.memory.operations import Operations
from rackactor_runtime.supervisor.decisions.memory.subscribers import Replicas, Watchers
from rackactor_runtime.supervisor.faults import refusal
from rackactor_runtime.supervisor.memory.restore import Replacement

#: Operations that make room, and may use the reserve for that.
_SHRINKING = frozenset({"delete", "pop", "remove", "expire"})


class Asked(NamedTuple):
    """A call that waits for its turn; `rid` 0: no answer is wanted; `pid` 0: the supervisor itself."""

    pid: int
    rid: int
    ops: Sequence[Sequence[Any]]
    blobs: Sequence[Any]


#: A call, and the results of its operations.
Answered = tuple[Asked, list[Any]]


class Transactions:
    """Carries out operations; remembers what the subscribers are to be told of what was committed.

    Args:
        open: returns the database.
        operations: decide what each operation does.
        watchers: processes that are told which keys have changed; nothing is remembered while there are none.
        replicas: processes that are sent each change; likewise.
        clock: tells when something was changed.
    """

    def __init__(
        self,
        open: Callable[[], Any],
        operations: Operations,
        watchers: Watchers,
        replicas: Replicas,
        clock: Clock,
    ) -> None:
        self._open = open
        self._operations = operations
        self._watchers = watchers
        self._replicas = replicas
        self._clock = clock
        #: Keys that may have a lease, by its holder: those that were once put with one.
        self.leased: dict[int, set[bytes]] = {}
        self._records: list[tuple[int, bytes]] = []
        self._keys: list[bytes] = []

    def committed(self) -> tuple[list[tuple[int, bytes]], list[bytes]]:
        """Return, once, what has been committed: a record for each revision, and the keys that were changed."""
        records, self._records = self._records, []
        keys, self._keys = self._keys, []
        return records, keys

    def together(self, queue: deque[Asked | Replacement], batch: list[Asked], seconds: float) -> list[Answered]:
        """Carry out calls in one transaction.

        Args:
            queue: what waits; calls are taken from its head.
            batch: gets the calls that were begun.
            seconds: after which no further one is begun.

        Raises:
            MemoryFull: everything is undone.
        """
        store, until = self._open(), self._clock.now() + seconds
        answers = []
        store.begin()
        try:
            while queue and (not batch or self._clock.now() < until):
                if isinstance(asked := queue[0], Replacement):
                    break
                queue.popleft()
                batch.append(asked)
                answers.append((asked, [self._do(store, op, asked) for op in asked.ops]))
        except BaseException:
            self._undo(store)
            raise
        try:
            store.commit()
        except RackError:
            self._records.clear()
            self._keys.clear()
            raise
        return answers

    def alone(self, op: Sequence[Any], asked: Asked) -> Any:
        """Carry out one operation in its own transaction; operations that make room may use the reserve."""
        try:
            return self._try_alone(op, asked, reserve=False)
        except MemoryFull as error:
            if op[0] not in _SHRINKING:
                return refusal(error)
        except Exception as error:
            return refusal(error)
        try:
            return self._try_alone(op, asked, reserve=True)
        except Exception as error:
            return refusal(error)

    def _try_alone(self, op: Sequence[Any], asked: Asked, *, reserve: bool) -> Any:
        records, keys = len(self._records), len(self._keys)
        store = self._open()
        store.begin(reserve=reserve)
        try:
            result = self._do(store, op, asked)
            store.commit()
        except BaseException:
            store.abort()
            del self._records[records:], self._keys[keys:]
            raise
        return result

    def _undo(self, store: Any) -> None:
        store.abort()
        self._records.clear()
        self._keys.clear()

    def _do(self, store: Any, op: Sequence[Any], asked: Asked) -> Any:
        """Carry out an operation within a transaction; a refusal is its result.

        Raises:
            MemoryFull: the transaction must be aborted.
        """
        try:
            if op[0] == "expire" and not asked.pid:
                result, changes = None, self._operations.expire(store, op[1], sorted(self.leased.get(op[1], ())))
            else:
                if asked.blobs:
                    op = _with_blobs(op, asked.blobs)
                result, changes = self._operations.decide(store, store.revision + 1, op)
        except MemoryFull:
            raise
        except RackError as error:
            return refusal(error)
        if changes:
            self._change(store, changes)
        return result

    def _change(self, store: Any, changes: list[layout.Change]) -> None:
        record = store.apply(self._clock.wall(), changes)
        if self._replicas:
            self._records.append((store.revision, record))
        for change in changes:
            code = change[0]
            if code == layout.DROP:
                continue
            if self._watchers:
                self._keys.append(change[1])
            if code == layout.PUT and change[2][4:8] != b"\0\0\0\0":
                self.leased.setdefault(layout.head(change[2]).lease, set()).add(change[1])


def _with_blobs(op: Sequence[Any], blobs: Sequence[Any]) -> list[Any]:
    """Return an operation with the values from separate frames; [number of the frame] stands for each."""
    if op[0] == "append":
        return [op[0], op[1], [blobs[v[0]] if type(v) is list else v for v in op[2]], *op[3:]]
    if op[0] == "transaction":
        return [op[0], op[1], [_with_blobs(each, blobs) for each in op[2]]]
    return [blobs[v[0]] if type(v) is list else v for v in op]
