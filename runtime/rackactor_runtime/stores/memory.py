"""The only writer of a group's shared memory: an LMDB environment in the group's directory.

A batch of operations is one transaction. When the map is full, the whole batch is undone, and the caller tries each
operation by itself; deletions may use a reserve beyond the promised size. Nothing is synced to the disk: the memory
lives no longer than its group.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import lmdb

from rackactor.errors import MemoryFull, RackError
from rackactor.ipc.memory import layout
from rackactor.ipc.memory.allocation import lock_file
from rackactor.ipc.memory.layout import Change, Databases, LogBounds
from rackactor.ipc.memory.snapshots import contents
from rackactor_runtime import descriptors

#: The log takes at most 1 / this of the map.
LOG_SHARE = 4
#: Bytes, and records, of a snapshot that are copied at a time.
PIECE, PIECE_RECORDS = 1 << 20, 1000


class Store:
    """Writes shared memory.

    Args:
        directory: its directory; made if it does not exist.
        size: promised size of the map, bytes.
        log: bytes of changes kept for watchers.

    Attributes:
        revision: of the last change, committed or not.

    Raises:
        MemoryFull: there is no room, on the disk or in what this process may map.
        RackError: it cannot be opened.
    """

    def __init__(self, directory: Path, size: int, log: int) -> None:
        self.path = str(directory)
        self._size = size
        self._whole = size + layout.RESERVE
        self._txn: Any = None
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            self._env = self._open()
        except (OSError, lmdb.Error) as error:
            raise self._full(error) from error
        try:
            self._begin_anew(log)
        except lmdb.Error as error:
            self._env.close()
            raise self._full(error) from error

    def _open(self) -> Any:
        descriptors.spared(lock_file, self.path, layout.READERS)
        return descriptors.spared(
            lmdb.open,
            self.path,
            map_size=self._whole,
            max_dbs=8,
            max_readers=layout.READERS,
            sync=False,
            metasync=False,
            writemap=False,
            readahead=False,
            mode=0o600,
        )

    def _begin_anew(self, log: int) -> None:
        self._dbs = Databases(*(self._env.open_db(name) for name in layout.DATABASES))
        #: Readers use it to tell this memory from another one at the same path.
        self.token = secrets.token_bytes(16)
        with self._env.begin(write=True) as txn:
            txn.put(b"token", self.token, db=self._dbs.meta)
            txn.put(b"format", bytes([layout.FORMAT]), db=self._dbs.meta)
            known = txn.get(b"revision", db=self._dbs.meta)
            self.revision = 0 if known is None else layout.parse_revision(known)
            self._log = LogBounds.read(txn, self._dbs, min(log, self._size // LOG_SHARE))
        self._env.set_mapsize(self._size)
        self._before = (self.revision, self._log.copy())

    @property
    def map_size(self) -> int:
        """The size that a reader must be able to map, bytes."""
        return self._whole

    @property
    def size(self) -> int:
        """The promised size, bytes."""
        return self._size

    # -- one transaction -------------------------------------------------------------------------------

    def begin(self, *, reserve: bool = False) -> None:
        """Begin a transaction; `reserve`: it only deletes, and may therefore exceed the promised size.

        Raises:
            RackError: the system refuses.
        """
        self._before = (self.revision, self._log.copy())
        try:
            if self._env is None:
                self._env = self._open()
                self._dbs = Databases(*(self._env.open_db(name) for name in layout.DATABASES))
                self._env.set_mapsize(self._size)
            if reserve:
                self._resize(self._whole)
            self._txn = self._env.begin(write=True, buffers=True)
        except (OSError, lmdb.Error) as error:
            raise self._full(error) from error

    def get(self, key: bytes) -> memoryview | None:
        """Return an entry as seen by the transaction; valid until the next change."""
        try:
            data: memoryview | None = self._txn.get(key, None, self._dbs.entries)
        except lmdb.Error as error:
            raise self._full(error) from error
        return data

    def items(self, number: int, *, backwards: bool = False) -> Iterator[tuple[int, bytes]]:
        """Yield (index, bytes) of a list's elements."""
        with self._txn.cursor(self._dbs.items) as cursor:
            if backwards:
                found = cursor.set_range(layout.item_key(number + 1, 0))
                found = cursor.prev() if found else cursor.last()
            else:
                found = cursor.set_range(layout.item_key(number, 0))
            while found:
                owner, index = layout.item_index(cursor.key())
                if owner != number:
                    return
                yield index, bytes(cursor.value())
                found = cursor.prev() if backwards else cursor.next()

    def apply(self, when: float, changes: Sequence[Change]) -> bytes:
        """Make the changes of the next revision; return its record.

        Raises:
            MemoryFull: there is no room; the transaction must be aborted.
        """
        revision = self.revision + 1
        record = layout.pack_record(when, changes)
        try:
            layout.apply(self._txn, self._dbs, changes)
            self._log.write(self._txn, self._dbs, revision, when, changes, record)
        except lmdb.Error as error:
            raise self._full(error) from error
        self.revision = revision
        return record

    def commit(self) -> None:
        """Make everything since `begin` visible, at once.

        Raises:
            MemoryFull: there is no room; everything is undone.
        """
        txn = self._txn
        try:
            self._log.seal(txn, self._dbs, self.revision)
            self._txn = None  # a failed commit ends it, too
            txn.commit()
        except lmdb.Error as error:
            self.abort()
            raise self._full(error) from error
        self._shrink()

    def abort(self) -> None:
        """Undo everything since `begin`."""
        txn, self._txn = self._txn, None
        if txn is not None:
            txn.abort()
        self.revision, self._log = self._before
        self._shrink()

    def _shrink(self) -> None:
        """Return to the promised size (or to the used size, if that is larger: then only free pages can be used)."""
        if self._env is not None and self._env.info()["map_size"] > self._size:
            with contextlib.suppress(lmdb.Error):
                self._resize(self._size)

    def _resize(self, size: int) -> None:
        """Change the size of the map. LMDB unmaps the old one first: if that then fails, nothing may be touched."""
        try:
            self._env.set_mapsize(size)
        except lmdb.Error:
            self._env.close()
            self._env = None  # it is opened again for the next transaction
            raise

    def _full(self, error: Exception) -> RackError:
        if isinstance(error, lmdb.MapFullError):
            return MemoryFull(
                f"the group's shared memory is full ({self._size} bytes, of which its log may take a quarter):"
                " delete something, or make the group with a larger shm_size="
            )
        number = error.errno if isinstance(error, OSError) else getattr(error, "code", None)
        if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            return MemoryFull(f"the disk is full on which the group's shared memory lies ({self.path})")
        if number == errno.EFBIG or "File too large" in str(error):
            return MemoryFull(f"the group's shared memory may not grow: `ulimit -f` bounds its file ({self.path})")
        if number == errno.ENOMEM or isinstance(error, lmdb.MemoryError):
            return MemoryFull(
                f"the supervisor may not map the {self._whole} bytes of the group's shared memory: raise `ulimit -v`,"
                " or make the group with a smaller shm_size="
            )
        return RackError(f"the database of the group's shared memory failed: {error}")

    # -- the whole -----------------------------------------------------------------------------------------

    def replace(self, path: str, alive: Callable[[int], bool]) -> Generator[None, None, None]:
        """Replace everything by the contents of a snapshot, in its own transaction, piece by piece.

        Until the iteration is over no other transaction can begin; abandoning it undoes everything.

        Args:
            path: an LMDB file that has been checked.
            alive: tells whether a process is alive. Keys leased to other processes, or to processes of another group,
                are left out.

        Raises:
            MemoryFull: it does not fit; nothing has changed.
        """
        self.begin()
        txn = self._txn
        try:
            txn.drop(self._dbs.entries, delete=False)
            txn.drop(self._dbs.items, delete=False)
            txn.drop(self._dbs.log, delete=False)
            with contents(path) as held:
                ours = held.token == self.token
                kept = (
                    (key, entry)
                    for key, entry in held.entries
                    if not (lease := layout.head(entry).lease) or (ours and alive(lease))
                )
                for database, records in ((self._dbs.entries, kept), (self._dbs.items, held.items)):
                    for piece in _pieces(records):
                        with txn.cursor(database) as cursor:
                            cursor.putmulti(piece, append=True)
                        yield
                self.revision = max(self.revision, held.revision) + 1
            # The log starts again after it: the changes could not be reported to any watcher.
            self._log = LogBounds(self._log.limit, self.revision + 1, 0)
        except lmdb.Error as error:
            self.abort()
            raise self._full(error) from error
        except BaseException:
            self.abort()
            raise
        self.commit()

    def sweep(self) -> None:
        """Remove readers that have died: the pages that they were reading would never be free again."""
        with contextlib.suppress(lmdb.Error):  # the next sweep does it
            if self._env is not None:
                self._env.reader_check()

    def leases(self) -> Iterator[tuple[int, bytes]]:
        """Yield (pid, key) of the entries with a lease."""
        try:
            with self._env.begin(buffers=True) as txn, txn.cursor(self._dbs.entries) as cursor:
                for key, entry in cursor:
                    if (lease := layout.head(entry).lease) != 0:
                        yield lease, bytes(key)
        except lmdb.Error as error:
            raise self._full(error) from error

    def close(self) -> None:
        """Close it; its file stays."""
        if self._env is not None:
            self._env.close()


def _pieces(records: Iterator[tuple[Any, Any]]) -> Iterator[list[tuple[Any, Any]]]:
    """Yield records in pieces of some size; a large record is a piece by itself."""
    piece: list[tuple[Any, Any]] = []
    size = 0
    for key, value in records:
        piece.append((key, value))
        size += len(value)
        if size >= PIECE or len(piece) >= PIECE_RECORDS:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece
