"""A database file as it is at one revision, read in place while its writer goes on.

LMDB never overwrites a page that an open read transaction may still see. So, while such a transaction is open, the
file's own pages and that transaction's meta page are a consistent copy. No byte of it needs to be copied
(`mdb_env_copy`, into a pipe and out of it, took as long as the encryption of the wire).
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Iterator
from typing import Any

from rackactor.errors import RackError
from rackactor.ipc.memory.allocation import has_hole

# lmdb.h does not publish it, but the format of data.mdb has been that of LMDB 0.9 since 2011 (MDB_DATA_VERSION 1): a
# page begins with its number, a meta page continues at byte 16 with magic, version, ..., last page, transaction.
_MAGIC = struct.Struct("<II")
_NUMBER = struct.Struct("<Q")
_LAST = struct.Struct("<QQ")  # last page, transaction
_META, _LAST_AT = 16, 16 + 120
_EXPECTED = (0xBEEFC0DE, 1)
#: How many times a meta page is read again because the writer was just overwriting it.
_TRIES = 1000


class Frozen:
    """A copy in place; `close` it when its parts are no longer used."""

    def __init__(self, env: Any) -> None:
        path = os.path.join(env.path(), "data.mdb")
        self._page = env.stat()["psize"]
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - as long as there are parts to be read
        try:
            self._txn, meta = self._begin(env, self._file.fileno())
            last, number = _LAST.unpack_from(meta, _LAST_AT)
            self.size = (last + 1) * self._page
            there = min(self.size, os.fstat(self._file.fileno()).st_size)
            self._map = mmap.mmap(self._file.fileno(), there, access=mmap.ACCESS_READ)
        except BaseException:
            self._file.close()
            raise
        self._metas = self._both(meta, last, number)

    def _begin(self, env: Any, fd: int) -> tuple[Any, bytearray]:
        """Begin a transaction, and read its meta page: as the newest one, it is not being written to."""
        for _ in range(_TRIES):
            txn = env.begin()
            number = txn.id()
            meta = bytearray(os.pread(fd, self._page, (number & 1) * self._page))
            other = os.pread(fd, self._page, (number & 1 ^ 1) * self._page)
            if _MAGIC.unpack_from(meta, _META) != _EXPECTED:
                txn.abort()
                raise RackError("the shared memory lies in a format of LMDB that this release does not know")
            if self._number(meta) == number and self._number(other) < number:
                return txn, meta
            txn.abort()
            time.sleep(0.0001)
        raise RackError("no moment was found to copy the shared memory: its writer is too busy")

    @staticmethod
    def _number(meta: bytes | bytearray) -> int:
        return int(_LAST.unpack_from(meta, _LAST_AT)[1])

    def _both(self, meta: bytearray, last: int, number: int) -> bytes:
        """Return both meta pages: the other one is the same, but counts as older."""
        pages = [bytearray(meta), bytearray(meta)]
        for index, page in enumerate(pages):
            _NUMBER.pack_into(page, 0, index)
            if index != number & 1:
                _LAST.pack_into(page, _LAST_AT, last, max(0, number - 1))
        return b"".join(pages)

    def parts(self, size: int) -> Iterator[memoryview]:
        """Yield the bytes of the copy in parts, which are valid until `close`."""
        yield memoryview(self._metas)
        whole = memoryview(self._map)
        for begin in range(len(self._metas), self.size, size):
            end = min(begin + size, self.size)
            # A page that was never written is a hole: reading it through the map may allocate it, on a full disk.
            yield self._read(begin, end) if has_hole(self._file.fileno(), begin, end) else whole[begin:end]

    def _read(self, begin: int, end: int) -> memoryview:
        """Return the bytes of a range, with zeros for holes."""
        data = os.pread(self._file.fileno(), end - begin, begin)
        return memoryview(data + bytes(end - begin - len(data)))

    def close(self) -> None:
        """Release the pages for the writer; idempotent."""
        self._txn.abort()
        self._file.close()
        # The map is freed with its last part.
