"""The effect of an operation on shared memory: from the present values to a result and changes.

Nothing here keeps a state that matters between two operations. An operation reads the memory through a `View`, and its
changes must be applied at the revision that it was decided for. So a batch can be decided again if the map was full in
the middle of it. Values are bytes that only the members open; of integers alone the encoding is known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from rackactor.errors import ConflictError, InvalidCall, NoSuchProcess
from rackactor.ipc.memory import layout
from rackactor.ipc.memory.layout import DELETE, DROP, HEADER, LIST, POP, PUSH, PUT, REMOVE, VALUE, Blob, Change, Head
from rackactor.ipc.memory.values import integer, pack_integer

#: The most operations of one transaction, elements of one append.
MANY = 100_000
#: The lease of a cas that leaves the lease unchanged.
KEEP = -1
#: The operations allowed in a transaction: those that cannot depend on a list element that the transaction moves.
_IN_TRANSACTION = frozenset({"put", "delete", "incr", "append"})


class View(Protocol):
    """The present memory."""

    def get(self, key: bytes) -> Blob | None:
        """Return an entry's bytes."""

    def items(self, number: int, *, backwards: bool = False) -> Iterator[tuple[int, bytes]]:
        """Yield (index, bytes) of a list's elements."""


Outcome = tuple[Any, list[Change]]


class _Overlay:
    """The memory as it would be after some changes of entries."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._entries: dict[bytes, Blob | None] = {}

    def get(self, key: bytes) -> Blob | None:
        return self._entries[key] if key in self._entries else self._view.get(key)

    def items(self, number: int, *, backwards: bool = False) -> Iterator[tuple[int, bytes]]:
        return self._view.items(number, backwards=backwards)

    def take(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change[0] in (PUT, PUSH):
                self._entries[change[1]] = change[2]
            elif change[0] == DELETE:
                self._entries[change[1]] = None


class Operations:
    """Decides on operations.

    Args:
        alive: tells whether a pid is that of a living process, which may have a lease.
    """

    def __init__(self, alive: Callable[[int], bool]) -> None:
        self._alive = alive
        self._lists = 0
        self._ops: dict[str, Callable[..., Outcome]] = {
            "put": self._put,
            "delete": self._delete,
            "cas": self._cas,
            "incr": self._incr,
            "append": self._append,
            "pop": self._pop,
            "remove": self._remove,
            "transaction": self._transaction,
        }

    def decide(self, view: View, revision: int, op: Sequence[Any]) -> Outcome:
        """Return the result of an operation and its changes, which must be applied at this revision.

        Raises:
            RackError: it cannot be done; nothing changes.
        """
        handler = self._ops.get(op[0]) if op and type(op[0]) is str else None
        if handler is None:
            raise InvalidCall(f"shared memory has no operation {op[0] if op else None!r}")
        try:
            return handler(view, revision, *op[1:])
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
            if isinstance(error, (InvalidCall, NoSuchProcess)):
                raise
            raise InvalidCall(f"{op[0]}: bad arguments ({type(error).__name__}: {error})") from None

    def expire(self, view: View, pid: int, keys: Sequence[bytes]) -> list[Change]:
        """Return the changes that delete the keys of a process; `keys` are those that may be leased to it."""
        changes: list[Change] = []
        for key in keys:
            entry = view.get(key)
            if entry is not None and layout.head(entry).lease == pid:
                changes += _deletion(key, entry)
        return changes

    # -- single values ---------------------------------------------------------------------------------

    def _put(self, view: View, revision: int, key: bytes, value: Blob, lease: int = 0) -> Outcome:
        _check_key(key)
        self._check_lease(lease)
        entry = layout.pack_entry(VALUE, lease, revision, value)
        before = view.get(key)
        changes: list[Change] = [(PUT, key, entry)]
        if before is not None and before[0] == LIST:
            changes.append((DROP, layout.list_state(before).number))
        return revision, changes

    def _delete(self, view: View, revision: int, key: bytes) -> Outcome:
        entry = view.get(key)
        return (False, []) if entry is None else (True, _deletion(key, entry))

    def _cas(
        self, view: View, revision: int, key: bytes, expected: Blob | int | None, value: Blob, lease: int = KEEP
    ) -> Outcome:
        """Put if the value is this one (None: there is none), or if it was put at this revision (an integer)."""
        _check_key(key)
        entry = view.get(key)
        if not _is(entry, expected):
            return 0, []
        if lease == KEEP:
            lease = 0 if entry is None else layout.head(entry).lease
        return self._put(view, revision, key, value, lease)

    def _incr(self, view: View, revision: int, key: bytes, by: int = 1, initial: int = 0) -> Outcome:
        _check_key(key)
        if type(by) is not int or type(initial) is not int:
            raise InvalidCall("incr adds an integer to an integer")
        entry = view.get(key)
        known: int | None = initial
        head = Head(VALUE, 0, 0)
        if entry is not None:
            head = layout.head(entry)
            known = integer(entry[HEADER:]) if head.kind == VALUE else None
        if known is None:
            raise InvalidCall(f"the value of {key.decode()!r} is no integer: incr cannot add to it")
        packed = layout.pack_entry(VALUE, head.lease, revision, pack_integer(known + by))
        return known + by, [(PUT, key, packed)]

    # -- lists -------------------------------------------------------------------------------------------

    def _append(self, view: View, revision: int, key: bytes, values: Sequence[Blob], left: bool = False) -> Outcome:
        _check_key(key)
        if len(values) > MANY:
            raise InvalidCall(f"{len(values)} elements at once; at most {MANY}")
        head, number, first, end, count = self._list(view, revision, key)
        changes: list[Change] = []
        for value in values:
            if left:
                first -= 1
            else:
                end += 1
            count += 1
            at = first if left else end - 1
            entry = _list_entry(head, revision, number, first, end, count)
            changes.append((PUSH, key, entry, layout.item_key(number, at), bytes(value)))
        return count, changes

    def _pop(self, view: View, revision: int, key: bytes, last: bool = True) -> Outcome:
        """Take an element from an end; None if there is none."""
        if view.get(key) is None:
            return None, []
        head, number, first, end, count = self._list(view, revision, key)
        found = next(iter(view.items(number, backwards=last)), None)
        if found is None:
            return None, []
        index, value = found
        first, end = (first, index) if last else (index + 1, end)
        entry = _list_entry(head, revision, number, first, end, count - 1)
        return value, [(POP, key, entry, layout.item_key(number, index), value)]

    def _remove(self, view: View, revision: int, key: bytes, value: Blob, limit: int = 1) -> Outcome:
        """Remove the first elements with this value, `limit` of them; 0: all. Returns how many there were."""
        if view.get(key) is None:
            return 0, []
        head, number, first, end, count = self._list(view, revision, key)
        changes: list[Change] = []
        for index, known in view.items(number):
            if known == value:
                count -= 1
                entry = _list_entry(head, revision, number, first, end, count)
                changes.append((REMOVE, key, entry, layout.item_key(number, index), known))
                if len(changes) == limit:
                    break
        return len(changes), changes

    def _list(self, view: View, revision: int, key: bytes) -> tuple[Head, int, int, int, int]:
        entry = view.get(key)
        if entry is None:
            self._lists += 1  # several may begin at the same revision
            number = revision << 20 | self._lists & 0xFFFFF
            return Head(LIST, 0, revision), number, layout.MIDDLE, layout.MIDDLE, 0
        head = layout.head(entry)
        if head.kind != LIST:
            raise InvalidCall(
                f"the value of {key.decode()!r} was put as a whole: append, pop and remove are for what append made"
            )
        return head, *layout.list_state(entry)

    # -- several at once ---------------------------------------------------------------------------------

    def _transaction(self, view: View, revision: int, checks: Sequence[Any], ops: Sequence[Any]) -> Outcome:
        """Do several operations at one revision, if each key of `checks` still has the revision given with it."""
        if len(ops) > MANY or len(checks) > MANY:
            raise InvalidCall(f"a transaction of {max(len(ops), len(checks))} keys; at most {MANY}")
        for key, expected in checks:
            entry = view.get(key)
            known = 0 if entry is None else layout.head(entry).revision
            if known != expected:
                raise ConflictError(f"{key.decode()!r} has changed: it was put at revision {known}, not {expected}")
        over = _Overlay(view)
        results, changes = [], list[Change]()
        for op in ops:
            if op[0] not in _IN_TRANSACTION:
                raise InvalidCall(f"a transaction has no operation {op[0]!r}")
            result, made = self.decide(over, revision, op)
            over.take(made)
            results.append(result)
            changes += made
        return [revision if changes else revision - 1, results], changes

    def _check_lease(self, lease: int) -> None:
        if type(lease) is not int or not 0 <= lease < 1 << 32:
            raise InvalidCall(f"a lease is the pid of a process, not {lease!r}")
        if lease and not self._alive(lease):
            raise NoSuchProcess(f"process {lease} does not live: no key can go with it")


def _check_key(key: object) -> None:
    if type(key) is not bytes or not 0 < len(key) <= layout.MAX_KEY:
        raise InvalidCall(f"a key of shared memory is 1 to {layout.MAX_KEY} bytes")
    key.decode()  # keys are shown, and iterated over by prefix, as strings


def _is(entry: Blob | None, expected: Blob | int | None) -> bool:
    if entry is None:
        return expected is None or (type(expected) is int and expected == 0)
    head = layout.head(entry)
    if type(expected) is int:
        return head.revision == expected
    return head.kind == VALUE and expected is not None and entry[HEADER:] == expected


def _deletion(key: bytes, entry: Blob) -> list[Change]:
    changes: list[Change] = [(DELETE, key)]
    if layout.head(entry).kind == LIST:
        changes.append((DROP, layout.list_state(entry).number))
    return changes


def _list_entry(head: Head, revision: int, number: int, first: int, end: int, count: int) -> bytes:
    return layout.pack_entry(LIST, head.lease, revision, layout.pack_list(number, first, end, count))
