"""A copy of the memory in this process, where the supervisor's cannot be opened: a snapshot, and the log after it.

Its files have no names, so nothing is left of them however the process ends.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lmdb
import msgpack

from rackactor.errors import ProtocolError, RackError
from rackactor.ipc.memory import layout
from rackactor.ipc.memory.allocation import lock_file
from rackactor.ipc.memory.layout import LogBounds
from rackactor.ipc.memory.reader import Reader, databases
from rackactor.launch import directories

#: A replica's map is larger than the original: its free pages are elsewhere.
ROOM = 2
#: How many read transactions this process may have at the same time.
READERS = 1024


class Gap(Exception):
    """Changes are missing between what the replica has and what has come."""


class Replica:
    """Applies what the supervisor has committed.

    Args:
        size: bytes of the supervisor's map.
        log: bytes of changes kept for watchers.

    Attributes:
        reader: reads the present state; None before the first snapshot.
        revision: the last one applied.
    """

    def __init__(self, size: int, log: int, *, allow_pickle: bool = True) -> None:
        self._size = size * ROOM
        self._limit = log
        self._allow_pickle = allow_pickle
        self._env: Any = None
        self._log = LogBounds(log, 1, 0)
        self.reader: Reader | None = None
        self.revision = -1

    def load(self, chunks: Iterable[bytes | memoryview]) -> None:
        """Start again from the bytes of an environment; present reads go on in the old one."""
        # In main memory if there is room: a writer to a disk is blocked while the kernel writes back.
        base = directories.room_in_memory(self._size) or tempfile.gettempdir()
        with _nameless(base) as fd:
            for chunk in chunks:
                _write(fd, chunk)
            env = self._open(base, fd)
        dbs = databases(env)
        with env.begin() as txn:
            if txn.get(b"format", db=dbs.meta) != bytes([layout.FORMAT]):
                raise ProtocolError("the snapshot is of another version of RackActor")
            known = txn.get(b"revision", db=dbs.meta)
            self.revision = 0 if known is None else layout.parse_revision(known)
            self._log = LogBounds.read(txn, dbs, self._limit)
        self._env = env
        # The old environment is closed by its last reader.
        self.reader = Reader(env, allow_pickle=self._allow_pickle)

    def _open(self, base: str, fd: int) -> Any:
        """Open an environment whose files have names only during the opening."""
        directory = tempfile.mkdtemp(prefix="rack-replica-", dir=base)
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # With a directory descriptor, Python calls linkat, which follows the link to the file.
            path = os.path.join(directory, "data.mdb")
            os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=folder, follow_symlinks=True)
            lock_file(directory, READERS)
            return lmdb.open(
                directory,
                map_size=self._size,
                max_dbs=8,
                max_readers=READERS,
                sync=False,
                metasync=False,
                writemap=False,
                readahead=False,
                max_spare_txns=4,
            )
        finally:
            os.close(folder)
            shutil.rmtree(directory, ignore_errors=True)

    def apply(self, records: Sequence[tuple[int, bytes]]) -> None:
        """Apply records; those that have been applied already are skipped.

        Raises:
            Gap: a record is missing before them; nothing was applied.
        """
        fresh = [record for record in records if record[0] > self.revision]
        if not fresh:
            return
        revision = self.revision
        dbs = self.reader.dbs  # type: ignore[union-attr]
        log = self._log.copy()
        with self._env.begin(write=True) as txn:
            for number, record in fresh:
                if number != revision + 1:
                    raise Gap(f"revision {number} has come after {revision}")
                revision = number
                when, changes = layout.parse_record(record)
                layout.apply(txn, dbs, changes)
                log.write(txn, dbs, revision, when, changes, record)
            log.seal(txn, dbs, revision)
        self.revision, self._log = revision, log

    def close(self) -> None:
        """Close everything."""
        if self.reader is not None:
            self.reader.close()
            self.reader = self._env = None


def parse(body: bytes | memoryview) -> list[tuple[int, bytes]]:
    """Return the records of a message."""
    records: list[tuple[int, bytes]] = msgpack.unpackb(body)
    return records


@contextmanager
def _nameless(base: str) -> Iterator[int]:
    """Yield a file without a name, which vanishes when it is closed."""
    try:
        fd = os.open(base, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError as error:
        raise RackError(f"a replica of the shared memory needs a file without a name in {base}: {error}") from error
    try:
        yield fd
    finally:
        os.close(fd)


def _write(fd: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
