"""Room on a file system for what is mapped: who touches a hole of a map while the disk is full is killed (SIGBUS)."""

from __future__ import annotations

import errno
import os


def allocate(path: str) -> None:
    """Have all blocks of a file there.

    Raises:
        OSError: there is no room for them.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.posix_fallocate(descriptor, 0, max(1, os.fstat(descriptor).st_size))
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
