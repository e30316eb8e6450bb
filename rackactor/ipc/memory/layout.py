"""The format of shared memory in LMDB, and of its changes: shared by the store, its readers and its replicas.

Four databases:

    entries    key -> header, value. The value of a list says where its elements are.
    items      list, index -> element, so that access to the ends of a list costs the same at any length
    log        revision -> when, and which changes: enough to apply them blindly, and to tell a watcher of them
    meta       revision, bounds of the log, who made it

A change is a tuple that begins with its code; one revision may have several. Nothing here opens a database.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import msgpack

from rackactor.errors import InvalidCall

#: Grows when the format of the databases changes.
FORMAT = 1
#: The longest key, bytes: LMDB's limit, less some room.
MAX_KEY = 500
#: The longest value, bytes: it must fit into one frame with its header.
MAX_VALUE = (1 << 30) - (1 << 20)
#: Values up to this size are in the log too, bytes; of larger ones, the log only says that they were put.
LOGGED = 256 << 10
#: Room for deletions in a full map, bytes, beyond the promised size.
RESERVE = 8 << 20
#: Processes of one host that can read at the same time.
READERS = 8192

DATABASES = (b"entries", b"items", b"log", b"meta")

#: Kinds of entries.
VALUE, LIST = 0, 1
_HEADER = struct.Struct("<BxxxIQ")  # kind, owner of its lease, revision
HEADER = _HEADER.size
#: Where LMDB puts the data of a large value in its page: 16 bytes after the beginning. So a value whose data must lie
#: at a multiple of 64 bytes is shifted by this much.
LEAD = 16 + HEADER
_LIST = struct.Struct("<QQQQ")  # number of the list, first index, index after the last, elements (there may be holes)
_ITEM = struct.Struct(">QQ")
_REVISION = struct.Struct(">Q")
#: The first element of a new list has this index, so that there is room at both ends.
MIDDLE = 1 << 62

#: Codes of changes: an entry put; an entry deleted; an element put; an element taken from an end; one removed by its
#: value; all elements of a list dropped; an entry put whose value is too large for the log.
PUT, DELETE, PUSH, POP, REMOVE, DROP, PUT_LARGE = range(7)

#: What watchers call them.
WORDS = {PUT: "put", DELETE: "delete", PUSH: "append", POP: "pop", REMOVE: "remove", PUT_LARGE: "put"}

Blob = bytes | memoryview
Change = tuple[Any, ...]


class Head(NamedTuple):
    """The header of a value."""

    kind: int
    #: Pid of the process whose end deletes the entry; 0: none.
    lease: int
    #: When it was put.
    revision: int


class ListState(NamedTuple):
    """Where a list's elements are."""

    number: int
    first: int
    end: int
    length: int


def pack_key(key: object) -> bytes:
    """Return a key's bytes.

    Raises:
        InvalidCall: not a string that can be a key.
    """
    if type(key) is not str:
        raise InvalidCall(f"a key of shared memory is a str, not {key!r}")
    try:
        packed = key.encode()
    except UnicodeEncodeError:
        raise InvalidCall(f"a key of shared memory is a string that UTF-8 can encode, not {key!r}") from None
    if not 0 < len(packed) <= MAX_KEY:
        raise InvalidCall(f"a key of shared memory has 1 to {MAX_KEY} bytes in UTF-8, not {len(packed)}")
    return packed


def pack_entry(kind: int, lease: int, revision: int, value: Blob) -> bytes:
    """Return an entry's bytes."""
    return b"".join((_HEADER.pack(kind, lease, revision), value))


def head(entry: Blob) -> Head:
    """Return the header of an entry."""
    return Head._make(_HEADER.unpack_from(entry))


def pack_list(number: int, first: int, end: int, count: int) -> bytes:
    """Return the value of a list's entry."""
    return _LIST.pack(number, first, end, count)


def list_state(entry: Blob) -> ListState:
    """Return where the elements of a list's entry are."""
    return ListState._make(_LIST.unpack_from(entry, HEADER))


def item_key(number: int, index: int) -> bytes:
    """Return the key of a list's element."""
    return _ITEM.pack(number, index)


def item_index(key: Blob) -> tuple[int, int]:
    """Return (number of the list, index) of an element's key."""
    number, index = _ITEM.unpack(key)
    return number, index


def pack_revision(revision: int) -> bytes:
    """Return a revision's bytes, which sort in the order of revisions."""
    return _REVISION.pack(revision)


def parse_revision(data: Blob) -> int:
    """Return a revision from its bytes."""
    revision: int = _REVISION.unpack(data)[0]
    return revision


#: One packer for all, since `msgpack.packb` makes one each time. Only one thread of a process uses it.
_pack = msgpack.Packer(autoreset=True).pack


# -- records --------------------------------------------------------------------------------------------


def pack_record(when: float, changes: Sequence[Change]) -> bytes:
    """Return the record of one revision."""
    packed: bytes = _pack((when, changes))
    return packed


def parse_record(record: Blob) -> tuple[float, list[list[Any]]]:
    """Return when a revision was made, and its changes."""
    when, changes = msgpack.unpackb(record, strict_map_key=False)
    return when, changes


def for_log(when: float, changes: Sequence[Sequence[Any]], record: bytes, logged: int) -> bytes:
    """Return the part of a record that goes into the log; `logged`: the longest value there, bytes."""
    if len(record) <= logged:
        return record
    return pack_record(when, [_shortened(change, logged) for change in changes])


def _shortened(change: Sequence[Any], logged: int) -> Change:
    if change[0] == PUT and len(change[2]) > logged:
        return (PUT_LARGE, change[1], len(change[2]))
    return tuple(change)


# -- writing --------------------------------------------------------------------------------------------


class Databases(NamedTuple):
    """The handles of the four databases."""

    entries: Any
    items: Any
    log: Any
    meta: Any


class Transaction(Protocol):
    """The part of an LMDB write transaction that is used here."""

    def put(self, key: bytes, value: Blob, *, db: Any = ..., append: bool = ...) -> Any: ...

    def delete(self, key: bytes, *, db: Any = ...) -> Any: ...

    def cursor(self, db: Any = ...) -> Any: ...


def apply(txn: Transaction, dbs: Databases, changes: Iterable[Sequence[Any]]) -> None:
    """Apply changes that have been decided on."""
    for change in changes:
        code = change[0]
        if code == PUT:
            txn.put(change[1], change[2], db=dbs.entries)
        elif code == DELETE:
            txn.delete(change[1], db=dbs.entries)
        elif code == PUSH:
            txn.put(change[1], change[2], db=dbs.entries)
            txn.put(change[3], change[4], db=dbs.items)
        elif code in (POP, REMOVE):
            txn.put(change[1], change[2], db=dbs.entries)
            txn.delete(change[3], db=dbs.items)
        elif code == DROP:
            _drop(txn, dbs, change[1])


def _drop(txn: Transaction, dbs: Databases, number: int) -> None:
    with txn.cursor(dbs.items) as cursor:
        cursor.set_range(item_key(number, 0))
        while (key := cursor.key()) and item_index(key)[0] == number:  # no key: the end
            cursor.delete()


class LogBounds:
    """Writes the log of a database, and keeps it within its bound: the oldest records go first."""

    def __init__(self, limit: int, first: int, size: int) -> None:
        self.limit = limit
        #: The longest value in the log, bytes.
        self.logged = min(LOGGED, limit // 8)
        #: The oldest revision in the log (one more than the newest if it is empty).
        self.first = first
        self.size = size

    @classmethod
    def read(cls, txn: Any, dbs: Databases, limit: int) -> LogBounds:
        """Read the bounds from a database."""
        known = txn.get(b"log", db=dbs.meta)
        first, size = msgpack.unpackb(known) if known is not None else (1, 0)
        return cls(limit, first, size)

    def copy(self) -> LogBounds:
        """Return a copy of the bounds, to restore them."""
        return LogBounds(self.limit, self.first, self.size)

    def write(
        self,
        txn: Transaction,
        dbs: Databases,
        revision: int,
        when: float,
        changes: Sequence[Sequence[Any]],
        full: bytes,
    ) -> None:
        """Append to the log the part of a full record that belongs there."""
        record = for_log(when, changes, full, self.logged)
        txn.put(pack_revision(revision), record, db=dbs.log, append=True)
        self.size += len(record)

    def seal(self, txn: Transaction, dbs: Databases, revision: int) -> None:
        """Drop what exceeds the bound, and store the bounds: the last step before a commit."""
        if self.size > self.limit:
            with txn.cursor(dbs.log) as cursor:
                cursor.first()
                while self.size > self.limit and cursor.key():
                    self.size -= len(cursor.value())
                    cursor.delete()
                key = cursor.key()
                self.first = parse_revision(key) if key else revision + 1
        txn.put(b"log", msgpack.packb((self.first, self.size)), db=dbs.meta)
        txn.put(b"revision", pack_revision(revision), db=dbs.meta)
