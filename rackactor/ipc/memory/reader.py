"""Reading shared memory where it lies: an LMDB environment that this host has.

A transaction costs less than a microsecond, and sees one revision whatever is written meanwhile. Values read in place
are valid as long as their transaction. If the application keeps such a value, the transaction outlives its block, so
that the mistake is an error and not a wrong answer.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import lmdb

from rackactor.errors import GroupEnded
from rackactor.ipc.memory import layout, values
from rackactor.ipc.memory.layout import HEADER, LIST, Databases

#: Keys, or records of the log, read in one transaction.
BATCH = 512

#: Reference count of an object that has one name, as seen through another name.
_NAMED = 3
_open: weakref.WeakValueDictionary[tuple[int, int], Any] = weakref.WeakValueDictionary()
_opening = threading.RLock()


class Entry(NamedTuple):
    """A key's value, and what is known of it."""

    value: Any
    #: When it was put.
    revision: int
    #: Pid of the process whose end deletes the key; 0: none.
    lease: int


class Facts(NamedTuple):
    """What is known of a key without opening its value."""

    #: "list" (made by `append`), "bytes", "pickle", or "value": a string, a number, a list or dict of such.
    kind: str
    #: Size of the value, bytes; of a list, the number of its elements.
    size: int
    revision: int
    lease: int


class Logged(NamedTuple):
    """One change of one key, from the log."""

    revision: int
    when: float
    code: int
    key: str
    #: The value's bytes; None for a deletion, and if it is too large for the log.
    data: bytes | None


def open_environment(path: str, size: int) -> Any:
    """Open an environment for reading. It is shared within the process, and closed by its last user.

    LMDB must not open a file twice in one process: closing one of them would release the locks of the other.
    """
    with _opening:
        found = os.stat(os.path.join(path, "data.mdb"))
        name = found.st_dev, found.st_ino
        env = _open.get(name)
        try:
            if env is None:
                env = _open[name] = lmdb.open(
                    path,
                    map_size=size,
                    readonly=True,
                    create=False,
                    max_dbs=8,
                    max_readers=layout.READERS,
                    readahead=False,
                    max_spare_txns=4,
                )
        except lmdb.Error:
            env = _open.get(name)
            if env is None:
                raise
            # A signal handler has opened it meanwhile.
        return env


def databases(env: Any, *, create: bool = False) -> Databases:
    """Return the handles of an environment's databases."""
    return Databases(*(env.open_db(name, create=create) for name in layout.DATABASES))


class _Root:
    """A value that was given away in place: it tells whether any part of it is still used.

    Each slice of a memoryview, and whatever was made of it, keeps the same Python object behind them all alive.
    """

    def __init__(self, data: memoryview, body: memoryview) -> None:
        self._body = body  # another memoryview on the same bytes
        (self._buffer,) = gc.get_referents(data)
        self._uses = self._whole = 0

    def begin(self) -> None:
        """Begin to count: all references so far are our own."""
        self._uses = self._whole = sys.getrefcount(self._buffer)

    def complete(self) -> None:
        """Note that all references since belong to the value itself."""
        self._whole = sys.getrefcount(self._buffer)

    def allow(self) -> None:
        """Note one more reference, which is known and harmless."""
        self._uses += 1

    @property
    def used(self) -> bool:
        """Tell whether anybody else uses it."""
        return sys.getrefcount(self._buffer) > self._uses

    @property
    def shared(self) -> bool:
        """Tell whether anybody uses more of it than the value itself."""
        return sys.getrefcount(self._buffer) > self._whole


class Reading:
    """Several reads at one revision: a context; values that were read in place in it end with it.

    The name of a value in the block stays bound after the block. That alone is no error: the transaction goes on until
    the name goes. Anything more, such as a part of the value that is kept, is an error.
    """

    def __init__(self, reader: Reader, txn: Any) -> None:
        self._reader = reader
        self._txn = txn
        self._dbs = reader.dbs
        self._roots: list[_Root] = []
        self._views: list[tuple[_Root, memoryview]] = []
        self._given: list[tuple[_Root, Any]] = []  # values other than views, during the block
        self._ended = False

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, kind: Any, *rest: object) -> None:
        kept = self.end()
        if kept and kind is None:
            raise BufferError(
                f"{kept} value(s) read in place are still used after their block: copy what is to be kept"
                " (array.copy(), bytes(view)), and let go of the rest (del) before the block ends"
            )

    def end(self) -> int:
        """End the reads; returns how many values are still used beyond the name that they were given."""
        if self._ended:
            return 0
        self._ended = True
        named = self._let_go()
        for root, view in self._views:
            try:
                view.release()
            except BufferError:
                continue  # a part of it is still used, and is counted below
            root.allow()
        used = [root for root in self._roots if root.used]
        if used:
            self._reader.keep(self)
        else:
            self.close()
        return sum(root not in named or root.shared for root in used)

    def _let_go(self) -> list[_Root]:
        """Release the values; return the roots of those that only one name keeps alive."""
        named = []
        while self._given:
            root, value = self._given.pop()
            if sys.getrefcount(value) == _NAMED:
                named.append(root)
            del value
        return named

    def try_close(self) -> bool:
        """Close if no value read in place is used any more; returns whether it is closed."""
        if any(root.used for root in self._roots):
            return False
        self.close()
        return True

    def close(self) -> None:
        """End the transaction."""
        self._views.clear()
        self._roots.clear()
        self._txn.abort()

    # -- reading -------------------------------------------------------------------------------------

    @property
    def revision(self) -> int:
        """The revision that all these reads see."""
        known = self._txn.get(b"revision", db=self._dbs.meta)
        return 0 if known is None else layout.parse_revision(known)

    def __contains__(self, key: str) -> bool:
        return self._txn.get(layout.pack_key(key), db=self._dbs.entries) is not None

    def __len__(self) -> int:
        return int(self._txn.stat(self._dbs.entries)["entries"])

    def __getitem__(self, key: str) -> Any:
        found = self.entry(key)
        if found is None:
            raise KeyError(key)
        return found.value

    def get(self, key: str, default: Any = None) -> Any:
        """Return a copy of a value, or the default."""
        found = self.entry(key)
        return default if found is None else found.value

    def entry(self, key: str) -> Entry | None:
        """Return a value with its revision and lease, or None."""
        data = self._txn.get(layout.pack_key(key), db=self._dbs.entries)
        return None if data is None else self._entry(data, key)

    def facts(self, key: str) -> Facts | None:
        """Return what is known of a key without its value, or None."""
        data = self._txn.get(layout.pack_key(key), db=self._dbs.entries)
        if data is None:
            return None
        kind, lease, revision = layout.head(data)
        if kind == LIST:
            return Facts("list", layout.list_state(data).length, revision, lease)
        body = data[HEADER:]
        what = "pickle" if values.pickled(body) else "bytes" if body[0] == values.BYTES else "value"
        return Facts(what, len(body) - 1, revision, lease)

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys that begin with a prefix, in order."""
        for key, _ in self._scan(prefix):
            yield str(key, "utf-8")

    def items(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Yield keys that begin with a prefix, and copies of their values, in order."""
        for key, data in self._scan(prefix):
            yield str(key, "utf-8"), self._entry(data, key).value

    def range(self, key: str, start: int = 0, stop: int | None = None) -> list[Any]:
        """Return copies of a list's elements.

        Raises:
            KeyError: there is no such key.
            TypeError: its value is no list of this kind.
        """
        data = self._txn.get(layout.pack_key(key), db=self._dbs.entries)
        if data is None:
            raise KeyError(key)
        if layout.head(data).kind != LIST:
            value = self._entry(data, key).value
            if isinstance(value, list):
                return value[start:stop]
            raise TypeError(f"the value of {key!r} is no list, but a {type(value).__name__}")
        return self._range(layout.list_state(data), key, start, stop)

    def view(self, key: str) -> Any:
        """Return a value read in place, valid until the reads end. Plain bytes become a memoryview.

        Raises:
            KeyError: there is no such key.
            TypeError: a value of this type has no bytes that could be read in place.
        """
        data = self._txn.get(layout.pack_key(key), db=self._dbs.entries)
        if data is None:
            raise KeyError(key)
        body = data[HEADER:]
        if layout.head(data).kind == LIST or not values.in_place(body):
            kind = type(self._entry(data, key).value).__name__
            raise TypeError(f"the value of {key!r} is a {kind}: only bytes and what has buffers (arrays) lie in place")
        root = _Root(data, body)
        del data
        root.begin()
        self._roots.append(root)
        value = values.decode_in_place(body, key, allow_pickle=self._reader.allow_pickle)
        if type(value) is memoryview:
            self._views.append((root, value))
        else:
            root.complete()
            self._given.append((root, value))
        return value

    def _entry(self, data: memoryview, key: str | memoryview) -> Entry:
        kind, lease, revision = layout.head(data)
        if kind == LIST:
            return Entry(self._range(layout.list_state(data), key, 0, None), revision, lease)
        return Entry(values.decode(data[HEADER:], key, allow_pickle=self._reader.allow_pickle), revision, lease)

    def _range(self, state: layout.ListState, key: str | memoryview, start: int, stop: int | None) -> list[Any]:
        begin, end, _ = slice(start, stop).indices(state.length)
        if begin >= end:
            return []
        whole = state.length == state.end - state.first  # there are no holes
        first = state.first + begin if whole else state.first
        found: list[Any] = []
        with self._txn.cursor(self._dbs.items) as cursor:
            if not cursor.set_range(layout.item_key(state.number, first)):
                return []
            for index, data in enumerate(cursor.iternext(keys=False), begin if whole else 0):
                if index >= end:
                    break
                if index >= begin:
                    found.append(values.decode(data, key, allow_pickle=self._reader.allow_pickle))
        return found

    def _scan(self, prefix: str) -> Iterator[tuple[memoryview, memoryview]]:
        start = prefix.encode()
        with self._txn.cursor(self._dbs.entries) as cursor:
            if not (cursor.set_range(start) if start else cursor.first()):
                return
            for key, data in cursor:
                if key[: len(start)] != start:
                    return
                yield key, data


class Reader:
    """Read an environment, from any thread.

    It is closed by the last read in it, and not before: another thread may be reading.
    """

    def __init__(self, env: Any, *, allow_pickle: bool = True) -> None:
        self.env = env
        self.dbs = databases(env)
        self.allow_pickle = allow_pickle
        self._begin: Callable[..., Any] = env.begin
        self._entries = self.dbs.entries
        self._kept: list[Reading] = []
        self._sweeping = threading.Lock()
        #: Called when a transaction is kept beyond its block, so that `sweep` is called later.
        self.on_keep: Callable[[], None] | None = None

    def get(self, key: bytes) -> bytes | None:
        """Return an entry's bytes, or None."""
        txn = self._begin()
        data: bytes | None = txn.get(key, None, self._entries)
        txn.abort()
        return data

    def reading(self) -> Reading:
        """Begin several reads at one revision."""
        self.sweep()
        return Reading(self, self._begin(buffers=True))

    def keep(self, reading: Reading) -> None:
        """Keep a transaction whose values the application still uses."""
        (self._kept if self.env is not None else _stranded).append(reading)
        if self.on_keep is not None:
            self.on_keep()

    def sweep(self) -> bool:
        """End the transactions whose values are no longer used; returns whether some are left. Does not wait."""
        if self._kept and self._sweeping.acquire(blocking=False):
            try:
                for kept in list(self._kept):
                    if kept.try_close():
                        self._kept.remove(kept)
            finally:
                self._sweeping.release()
        return bool(self._kept)

    def count(self) -> int:
        """Return how many keys there are."""
        with self._begin() as txn:
            return int(txn.stat(self.dbs.entries)["entries"])

    def revision(self) -> int:
        """Return the newest revision."""
        with self._begin() as txn:
            known = txn.get(b"revision", db=self.dbs.meta)
            return 0 if known is None else layout.parse_revision(known)

    def when(self, revision: int) -> float | None:
        """Return when a revision was made, if the log knows."""
        with self._begin() as txn:
            record = txn.get(layout.pack_revision(revision), db=self.dbs.log)
            return None if record is None else layout.parse_record(record)[0]

    def log(self, after: int, prefix: bytes) -> tuple[list[Logged], int, int]:
        """Return (changes of keys with a prefix, the last revision read, the oldest revision in the log).

        Reads some hundred revisions at most. If the oldest one is greater than `after` + 1, changes are missing.
        """
        found: list[Logged] = []
        reached = after
        with self._begin() as txn:
            bounds = layout.LogBounds.read(txn, self.dbs, 0)
            if bounds.first > after + 1:
                return found, reached, bounds.first
            with txn.cursor(self.dbs.log) as cursor:
                if cursor.set_range(layout.pack_revision(after + 1)):
                    for number, (key, record) in enumerate(cursor):
                        if number >= BATCH:
                            break
                        reached = layout.parse_revision(key)
                        found += _logged(reached, record, prefix)
        return found, reached, bounds.first

    def close(self) -> None:
        """Release the environment; idempotent. Values that the application still reads in place keep it open."""
        self.env, self._begin, self.on_keep = None, _refuse, None
        _stranded.extend(kept for kept in self._kept if not kept.try_close())
        self._kept = []


#: What the application still reads: unmapping it would turn a mistake into a crash.
_stranded: list[Reading] = []


def _refuse(**options: object) -> None:
    raise GroupEnded()


def _logged(revision: int, record: bytes, prefix: bytes) -> list[Logged]:
    when, changes = layout.parse_record(record)
    found = []
    for change in changes:
        code, key = change[0], change[1]
        if code == layout.DROP or not key.startswith(prefix):
            continue
        data = None
        if code == layout.PUT:
            if layout.head(change[2]).kind != LIST:
                data = change[2][HEADER:]
        elif code in (layout.PUSH, layout.POP, layout.REMOVE):
            data = change[4]
        found.append(Logged(revision, when, code, key.decode(), data))
    return found
