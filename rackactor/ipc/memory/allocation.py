"""Room on a file system for what is mapped: who touches a hole of a map while the disk is full is killed (SIGBUS)."""

from __future__ import annotations

import errno
import os

#: Bytes of LMDB's lock file: three cache lines, and one for each reader but the first (MDB_txninfo in its mdb.c).
_HEAD, _READER = 192, 64


def lock_file(directory: str, readers: int) -> None:
    """Make the lock file of an LMDB environment that is about to be opened, with all its blocks.

    Not afterwards: who closes a file loses all locks that the process has on it (see fcntl(2)), LMDB's too. The next
    process that opened the environment would then find itself the first, and begin the table of readers and
    transactions anew, under the writer's hands.

    Raises:
        OSError: there is no room for them.
    """
    descriptor = os.open(os.path.join(directory, "lock.mdb"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, _HEAD + (readers - 1) * _READER)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # a file system that has no such thing
            raise
    finally:
        os.close(descriptor)


def has_hole(descriptor: int, begin: int, end: int) -> bool:
    """Tell whether a range of a file has a hole, or goes beyond its end. (The end counts as one, see lseek(2).)"""
    try:
        return os.lseek(descriptor, begin, os.SEEK_HOLE) < end
    except OSError:
        return True  # it begins behind the end
