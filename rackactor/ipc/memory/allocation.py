"""Disk space for mapped files: a process that touches a hole of a map on a full disk is killed (SIGBUS)."""

from __future__ import annotations

import errno
import os

#: Size of LMDB's lock file, bytes: three cache lines, and one per reader but the first (MDB_txninfo in its mdb.c).
_HEAD, _READER = 192, 64


def lock_file(directory: str, readers: int) -> None:
    """Make the lock file of an LMDB environment that is about to be opened, with all its blocks.

    This must happen before the opening: closing a file releases all locks that the process has on it (see fcntl(2)),
    LMDB's too. The next process that opened the environment would then take itself for the first one, and reset the
    table of readers and transactions while the writer uses it.

    Raises:
        OSError: there is no room for the blocks.
    """
    descriptor = os.open(os.path.join(directory, "lock.mdb"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, _HEAD + (readers - 1) * _READER)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # the file system does not support it
            raise
    finally:
        os.close(descriptor)


def has_hole(descriptor: int, begin: int, end: int) -> bool:
    """Tell whether a range of a file has a hole, or goes beyond its end. (The end counts as one, see lseek(2).)"""
    try:
        return os.lseek(descriptor, begin, os.SEEK_HOLE) < end
    except OSError:
        return True  # it begins beyond the end
