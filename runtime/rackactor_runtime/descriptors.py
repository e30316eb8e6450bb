"""A reserve of descriptors: a process that has used up its limit can still open what it needs itself.

ZeroMQ opens a descriptor for each connection, in its own threads. So in a process that must go on, the soft limit is
kept a little below the hard one, and is raised for a single call that has failed. The descriptor opened then has a
number above the limit, so that nobody else gets that number when it is closed.
"""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

#: Descriptors in the reserve.
RESERVE = 64
_lock = threading.Lock()


def keep_reserve() -> None:
    """Raise this process's soft limit on open files to the hard one, less the reserve."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard // 2, hard - RESERVE), hard))


def spared(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Make a call that opens something; if no descriptor is left for it, use the reserve.

    Raises:
        OSError: raised by the call; EMFILE if the reserve is used up, too.
    """
    try:
        return call(*args, **kwargs)
    except Exception as error:
        if not _none_left(error):
            raise
    with _lock:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            for limit in range(soft + 1, min(hard, soft + RESERVE) + 1):  # a thread of ZeroMQ may be faster
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
                try:
                    return call(*args, **kwargs)
                except Exception as error:
                    if not _none_left(error):
                        raise
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def lead_nowhere(*numbers: int) -> None:
    """Replace descriptors of this process by the null device: what is written is lost, and there is nothing to read."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for number in numbers:
        os.dup2(null, number)
    os.close(null)


def _none_left(error: Exception) -> bool:
    """Tell whether this is EMFILE, which ZeroMQ reports as an OSError does, and LMDB in its message."""
    return getattr(error, "errno", None) == errno.EMFILE or os.strerror(errno.EMFILE) in str(error)
