"""Snapshots of the memory as files: written without help of the supervisor, and checked before they are used.

The file is an LMDB environment, followed by its length and its digest. So a file that was cut off, or is something
else, is refused before LMDB opens it (which would crash).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import struct
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import lmdb

from rackactor.errors import InvalidCall
from rackactor.ipc.memory import layout
from rackactor.ipc.memory.reader import databases
from rackactor.system import threads

_MAGIC = b"RACKSHM1"
_TRAILER = struct.Struct("<8sQ32s")  # magic, bytes before this, digest of them
TRAILER = _TRAILER.size
#: Bytes copied at a time.
CHUNK = 1 << 20


def digest() -> Any:
    """Return the hash object for a file's digest."""
    return hashlib.blake2b(digest_size=32)


def copy_environment(env: Any, *, compact: bool, part: int = CHUNK) -> Iterator[bytearray]:
    """Yield the bytes of a consistent copy of an environment, as it is now."""
    read, write = os.pipe()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            env.copyfd(write, compact=compact)
        except BaseException as error:
            failed.append(error)
        finally:
            os.close(write)

    with contextlib.suppress(OSError):
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 1 << 20)  # a small one does, too
    with open(read, "rb", buffering=0) as pipe:
        try:
            thread = threads.start(threading.Thread(target=run, name="rackactor-copy", daemon=True))
        except OSError:
            os.close(write)
            raise
        while chunk := _fill(pipe, part):
            yield chunk
    thread.join()
    if failed:
        raise failed[0]


def _fill(pipe: Any, size: int) -> bytearray:
    """Return the next part; a short one is the last."""
    buffer = bytearray(size)
    with memoryview(buffer) as view:
        filled = 0
        while filled < size and (count := pipe.readinto(view[filled:])):
            filled += count
    if filled < size:
        del buffer[filled:]
    return buffer


def write_snapshot(env: Any, path: str | os.PathLike[str]) -> None:
    """Write an environment to a file, which appears when it is complete."""
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}-{os.urandom(4).hex()}")
    try:
        with partial.open("wb") as file:
            sum_, size = digest(), 0
            for chunk in copy_environment(env, compact=True):
                sum_.update(chunk)
                size += len(chunk)
                file.write(chunk)
            file.write(_TRAILER.pack(_MAGIC, size, sum_.digest()))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def check_snapshot(file: BinaryIO, name: str) -> int:
    """Check that a file is a complete snapshot; return the size of its environment.

    Raises:
        InvalidCall: it is something else, or damaged.
    """
    work = checking(file, name)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return int(end.value)


def checking(file: BinaryIO, name: str) -> Generator[None, None, int]:
    """Check as `check_snapshot` does, with a pause after each piece."""
    total = file.seek(0, os.SEEK_END)
    if total < TRAILER:
        raise InvalidCall(f"{name} is no snapshot of a shared memory")
    file.seek(total - TRAILER)
    magic, size, expected = _TRAILER.unpack(file.read(TRAILER))
    if magic != _MAGIC:
        raise InvalidCall(f"{name} is no snapshot of a shared memory, or its end is missing")
    sum_ = digest()
    file.seek(0)
    left = size
    while left and (chunk := file.read(min(left, CHUNK))):
        sum_.update(chunk)
        left -= len(chunk)
        yield
    if left or size != total - TRAILER or sum_.digest() != expected:
        raise InvalidCall(f"{name} is a damaged snapshot: its bytes are not those that were written")
    return int(size)


class Contents(NamedTuple):
    """The contents of a snapshot."""

    revision: int
    #: Identifies the memory that it was made of.
    token: bytes
    entries: Iterator[tuple[Any, Any]]
    #: Elements of lists.
    items: Iterator[tuple[Any, Any]]


@contextmanager
def contents(path: str) -> Iterator[Contents]:
    """Open a snapshot that has been checked.

    Raises:
        InvalidCall: it has another version.
    """
    env = lmdb.open(
        path,
        map_size=max(os.path.getsize(path), 1 << 20),
        subdir=False,
        readonly=True,
        lock=False,
        create=False,
        max_dbs=8,
        readahead=False,
    )
    try:
        dbs = databases(env)
        with env.begin(buffers=True) as txn:
            format_ = txn.get(b"format", db=dbs.meta)
            if format_ is None or bytes(format_) != bytes([layout.FORMAT]):
                raise InvalidCall("the snapshot is of another version of RackActor")
            known = txn.get(b"revision", db=dbs.meta)
            revision = 0 if known is None else layout.parse_revision(known)
            with txn.cursor(dbs.entries) as entries, txn.cursor(dbs.items) as items:
                token = bytes(txn.get(b"token", b"", db=dbs.meta))
                yield Contents(revision, token, iter(entries), iter(items))
    finally:
        env.close()
